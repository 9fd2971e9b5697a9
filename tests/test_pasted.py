"""Stacks as documentation prints them, pasted as they are: Python's lists, with comments."""

from __future__ import annotations

import json

import pytest

from pack.catalog.entries import Entry
from pack.catalog.foreign import read_foreign
from pack.catalog.pairs import ROLES, find_pairs
from pack.catalog.stacks import format_selection

BASE = "wan-i2v-14b"
DISTILL, REWARD = "lightx2v/Wan2.2-Distill-Loras", "alibaba-pai/Wan2.2-Fun-Reward-LoRAs"
PAIRS = find_pairs(
    [
        Entry(file=f, base_model=BASE, pair_id=p, pair_role=r, hf_repo=h, hf_file=f)
        for p, r, f, h in [
            ("speed", "high", "fast_high.safetensors", DISTILL),
            ("speed", "low", "fast_low.safetensors", DISTILL),
            ("hps", "low", "hps_low.safetensors", REWARD),
            ("look", "both", "anime_style_v2.safetensors", ""),
        ]
    ],
    BASE,
)
ANIME = """
anime_stack = [
    # Speed
    {
        "path": "lightx2v/Wan2.2-Distill-Loras",
        "name": "speed_high",
        "weight": 1.0,
        "applies_to": "high_noise"
    },
    {
        "path": "lightx2v/Wan2.2-Distill-Loras",
        "name": "speed_low",
        "weight": 1.0,
        "applies_to": "low_noise"
    },
    # Style
    {
        "path": "custom/anime_style_v2.safetensors",
        "name": "anime",
        "weight": 0.9,
        "applies_to": "both"
    }
]
"""
CINEMATIC = """
cinematic_character_stack = [
    # Speed
    {"path": "lightx2v/...", "name": "speed_h", "weight": 1.0, "applies_to": "high_noise"},
    {"path": "lightx2v/...", "name": "speed_l", "weight": 1.0, "applies_to": "low_noise"},
    # Character consistency
    {
        "path": "custom/main_character.safetensors",
        "name": "character",
        "weight": 1.1,
        "applies_to": "both"
    },
    # Cinematic style
    {
        "path": "custom/cinematic_grade.safetensors",
        "name": "cinema",
        "weight": 0.8,
        "applies_to": "both"
    },
    # Quality boost
    {
        "path": "alibaba-pai/Wan2.2-Fun-Reward-LoRAs",
        "name": "quality",
        "weight": 0.4,
        "applies_to": "low_noise"
    }
]
"""
INSTAGRAM = """
instagram_stack = [
    # Speed
    {"path": "lightx2v/...", "name": "speed_h", "weight": 1.0, "applies_to": "high_noise"},
    {"path": "lightx2v/...", "name": "speed_l", "weight": 1.0, "applies_to": "low_noise"},
    # Instagram aesthetic (warm tones, soft focus, trendy)
    {
        "path": "custom/instagram_aesthetic.safetensors",
        "name": "insta_style",
        "weight": 0.85,
        "applies_to": "both"
    },
    # Influencer character
    {
        "path": "custom/influencer_face.safetensors",
        "name": "influencer",
        "weight": 1.0,
        "applies_to": "both"
    }
]
"""
TRAILING = """[
    # Two commas that Python allows, and a text that looks like two more
    {"path": "anime_style_v2.safetensors", "name": "a, # [it] \\\",]", "weight": 0.9,},
]
"""


@pytest.mark.parametrize(
    ("text", "selection"),
    [
        (ANIME, "speed@1, look@0.9"),
        (ANIME.partition("= ")[2], "speed@1, look@0.9"),
        (f"# mine\n\n{ANIME}", "speed@1, look@0.9"),
        (CINEMATIC, "speed@1, character@1.1, cinema@0.8, hps@0:0.4"),
        (INSTAGRAM, "speed@1, insta_style@0.85, influencer@1"),
        (TRAILING, "look@0.9"),
        ('request = {"loras": [{"path": "anime_style_v2.safetensors"},],}', "look@1"),
    ],
)
def test_a_stack_as_python_has_it_is_read(text: str, selection: str) -> None:
    assert format_selection(read_foreign(text, PAIRS).choices) == selection


def test_halves_that_no_pair_has_are_one_choice_in_each_form() -> None:
    lightx2v = [
        {"name": f"{role}_noise_model", "path": f"fast_{role}.safetensors"} for role in ROLES[::-1]
    ]
    toolkit = [{"path": f"job/my_{role}_noise.safetensors", "transformer": role} for role in ROLES]
    for stack, pair_id, file in (
        ({"lora_configs": lightx2v}, "fast", "fast_{}.safetensors"),
        ({"loras": toolkit}, "my", "job/my_{}_noise.safetensors"),
    ):
        imported = read_foreign(json.dumps(stack), ())
        (note,) = imported.notes
        assert format_selection(imported.choices) == f"{pair_id}@1"
        files = " ".join(f'--{role} "{file.format(role)}"' for role in ROLES)
        assert note.endswith(f"--id {pair_id} {files}")
