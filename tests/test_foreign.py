"""Stacks of other programs: what they choose here, what is refused, what comes back unchanged."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pack.catalog.entries import Entry
from pack.catalog.foreign import FORMS, ForeignError, read_foreign, write_foreign
from pack.catalog.pairs import ROLES, LoraPair, find_pairs
from pack.catalog.stacks import Choice, Chosen, format_selection, parse_selection
from pack.catalog.store import Store

BASE = "wan-i2v-14b"
SHIPPED = Path(__file__).parents[1] / "catalog"
DISTILL, REWARD = "lightx2v/Wan2.2-Distill-Loras", "alibaba-pai/Wan2.2-Fun-Reward-LoRAs"
BOTH = {
    "anime": "anime_style_v2.safetensors",
    "main": "main_character.safetensors",
    "cinema": "cinematic_grade.safetensors",
    "insta": "instagram_aesthetic.safetensors",
    "face": "influencer_face.safetensors",
    "triplet": "c/twin.safetensors",
}
ROWS = [
    ("speed", "high", "fast_high.safetensors", DISTILL),
    ("speed", "low", "fast_low.safetensors", DISTILL),
    ("hps2.1", "high", "hps_high.safetensors", REWARD),
    ("hps2.1", "low", "hps_low.safetensors", REWARD),
    ("half", "low", "half.safetensors", ""),
    ("twin", "high", "a/twin.safetensors", ""),
    ("twin", "low", "b/twin.safetensors", ""),
    *[(pair_id, "both", file, "") for pair_id, file in BOTH.items()],
]
KEYS = ("pair_id", "pair_role", "file", "hf_repo")
ENTRIES = [
    Entry(base_model=BASE, hf_file=row[2], **dict(zip(KEYS, row, strict=True))) for row in ROWS
]
PAIRS = find_pairs(ENTRIES, BASE)
BY_ID = {pair.pair_id: pair for pair in PAIRS}


def item(path: str, name: str, weight: float, applies_to: str = "both") -> dict[str, Any]:
    return {"path": path, "name": name, "weight": weight, "applies_to": applies_to}


def fast(path: str, name: str) -> list[dict[str, Any]]:
    return [item(path, f"{name}{role}", 1.0, f"{role}_noise") for role in ROLES]


ANIME = [*fast(DISTILL, "speed_"), item("custom/anime_style_v2.safetensors", "anime", 0.9)]
CINEMATIC = [
    *fast("lightx2v/...", "speed_"),
    item("custom/main_character.safetensors", "character", 1.1),
    item("custom/cinematic_grade.safetensors", "cinema", 0.8),
    item(REWARD, "quality", 0.4, "low_noise"),
]
INSTAGRAM = [
    *fast("lightx2v/...", "speed_"),
    item("custom/instagram_aesthetic.safetensors", "insta_style", 0.85),
    item("custom/influencer_face.safetensors", "influencer", 1.0),
]
LIGHTX2V = [
    {"name": "low_noise_model", "path": "fast_low.safetensors", "strength": 1.0, "alpha": None},
    {"name": "high_noise_model", "path": "fast_high.safetensors", "strength": 0.6, "alpha": None},
]
REQUEST = {
    "model": "wan22_14b_i2v",
    "prompts": [{"prompt": "[trigger] a photo", "ctrl_img": "<base64>", "guidance_scale": 4.0}],
    "loras": [
        {"path": "job\\fast_high.safetensors", "transformer": "high", "network_multiplier": 1.0},
        {"path": "job\\fast_low.safetensors", "transformer": "low", "network_multiplier": 0.9},
        {"path": f"https://huggingface.co/{REWARD}/resolve/main/hps_low.safetensors"},
    ],
}


def read(value: Any, pairs: Any = PAIRS) -> tuple[str, tuple[str, ...]]:
    imported = read_foreign(json.dumps(value), pairs)
    return format_selection(imported.choices), imported.notes


@pytest.mark.parametrize(
    ("stack", "selection"),
    [
        (ANIME, "speed@1, anime@0.9"),
        (CINEMATIC, "speed@1, main@1.1, cinema@0.8, hps2.1@0:0.4"),
        (INSTAGRAM, "speed@1, insta@0.85, face@1"),
        ({"lora_configs": LIGHTX2V}, "speed@0.6:1"),
        ({"infer_steps": 4, "lora_configs": [{"path": "anime_style_v2.safetensors"}]}, "anime@1"),
        ({"loras": REQUEST["loras"][:2]}, "speed@1:0.9"),
        ([{"path": "half.safetensors", "applies_to": "low", "weight": -0.0}], "half@0"),
    ],
)
def test_a_stack_of_known_files_needs_no_note(stack: Any, selection: str) -> None:
    assert read(stack) == (selection, ())


def test_a_request_without_a_transformer_puts_a_file_only_where_it_belongs() -> None:
    selection, notes = read(REQUEST)
    assert selection == "speed@1:0.9, hps2.1@0:1"
    assert "is the low file of hps2.1 and is left out on the other pass." in notes[0]


def test_an_alpha_of_its_own_is_told() -> None:
    _, notes = read({"lora_configs": [LIGHTX2V[0] | {"alpha": 16}]})
    assert "Item 1 (fast_low.safetensors) states alpha 16, which is not carried" in notes[0]


def test_the_shipped_catalog_has_the_speed_and_says_what_is_missing() -> None:
    pairs = Store(SHIPPED, None).catalog().find_pairs(BASE)
    selection, notes = read(ANIME, pairs)
    assert (selection, len(notes)) == ("lightx2v-1022@1, anime@0.9", 1)
    selection, notes = read(CINEMATIC, pairs)
    assert selection == "speed@1, character@1.1, cinema@0.8, quality@0:0.4"
    assert "may mean lightx2v-1022, lightx2v-unified, seko-v1: choose one" in notes[0]


def second(**fields: Any) -> str:
    return json.dumps([{"path": "x.safetensors"}, {"path": "y.safetensors"} | fields])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "There is no stack in this text."),
        ("anime_stack = [", "Line 2, column 1: "),
        ('[\n {"path": "x",,}]', "Line 2, column 16: "),
        ('a = [\n # one\n {"path": nil}]', "Line 3, column 11: Expecting value."),
        ('[{"path": NaN}]', "Line 1, column 11: This number is not finite"),
        ('[{"path": "x", "path": "y"}]', "Line 1, column 16: The key 'path' stands twice"),
        pytest.param("[" * 9 + "]" * 9, "nested too deep", id="deep"),
        pytest.param("[" * 100_000, "Line 1, column ", id="deepest"),
        pytest.param("[" + " " * 5_000_000 + "]", "longer than 4194304", id="long"),
        ('[], "loras": []', "none of the forms"),
        ('{"loras": [], "lora_configs": []}', "none of the forms"),
        ('{"loras": {"path": "x"}}', "The loras must be a list of at most 64 items."),
        (json.dumps([{"path": "x"}] * 10_000), "The list must be a list of at most 64 items."),
        (json.dumps([{"path": f"{n}"} for n in range(33)]), "holds more than 32 pairs"),
        (json.dumps([{"path": "c/twin.safetensors", "weight": 9}] * 2), "triplet@18"),
        ("[[]]", "Item 1 must be an object; it is []."),
        (second(path=None), "Item 2: path must be 1 to 500 characters"),
        (second(path="a\u202eb"), "Item 2: path must be 1 to 500 characters, all visible."),
        (second(name=["x"]), "Item 2: name must be a text"),
        (second(weight="1"), 'Item 2: weight must be a number from -10 to 10; it is "1".'),
        (second(weight=True), "Item 2: weight must be a number from -10 to 10; it is true."),
        (second(weight=-10.5), "Item 2: weight is -10.5, not within -10 to 10."),
        (second(applies_to="middle"), 'Item 2: applies_to is "middle"; write one of high_noise'),
        (second(strength=1), 'Item 2 has "strength"; known are path, name, weight, applies_to.'),
        ('{"loras": [{"path": "x", "transformer": 3}]}', "Item 1: transformer must be a text"),
        ('{"lora_configs": [{"path": "x", "name": "wan"}]}', 'Item 1: name is "wan"; write one'),
        ('{"lora_configs": [{"path": "x", "alpha": "8"}]}', "Item 1: alpha must be a number or"),
    ],
)
def test_a_bad_stack_is_refused_with_item_and_field(text: str, reason: str) -> None:
    with pytest.raises(ForeignError) as caught:
        read_foreign(text, PAIRS)
    assert reason in str(caught.value)
    assert len(str(caught.value)) < 300


def chosen(choices: Iterable[Choice]) -> tuple[Chosen, ...]:
    return tuple(
        Chosen(BY_ID[each.pair_id], each.high or (1.0,), each.low or (1.0,)) for each in choices
    )


def written(form: str, text: str) -> Any:
    return json.loads(write_foreign(form, chosen(parse_selection(text))))


def test_a_stack_in_the_words_of_each_program() -> None:
    selection = "hps2.1@1:0.5, triplet@0.8"
    high, low, both = "hps_high.safetensors", "hps_low.safetensors", "c/twin.safetensors"
    passes = [("high", high, 1.0), ("low", low, 0.5), ("high", both, 0.8), ("low", both, 0.8)]
    assert written("lightx2v", selection) == {
        "lora_configs": [
            {"name": f"{role}_noise_model", "path": file, "strength": strength, "alpha": None}
            for role, file, strength in passes
        ]
    }
    assert written("ai-toolkit", selection) == {
        "loras": [
            {"path": file, "transformer": role, "network_multiplier": strength}
            for role, file, strength in passes
        ]
    }
    assert written("applies-to", selection) == [
        item(high, "hps2_1_high", 1.0, "high_noise"),
        item(low, "hps2_1_low", 0.5, "low_noise"),
        item(both, "triplet", 0.8, "both"),
    ]


@pytest.mark.parametrize(
    ("form", "text", "reason"),
    [
        *[(form, "speed@1;0:1", "strengths by step of speed") for form in FORMS],
        *[(form, "anime, speed@0", "cannot say speed, which acts on no pass") for form in FORMS],
        ("ai-toolkit", "anime@2.5:1", "ai-toolkit cannot say 2.5 of anime; it takes -2 to 2"),
        ("yaml", "", "'yaml' is no form; write one of lightx2v, ai-toolkit, applies-to."),
    ],
)
def test_what_a_form_cannot_say_is_refused_by_name(form: str, text: str, reason: str) -> None:
    with pytest.raises(ForeignError, match=reason):
        written(form, text)


def test_a_minus_zero_is_refused() -> None:
    with pytest.raises(ForeignError, match="lightx2v cannot say -0.0 of speed"):
        write_foreign("lightx2v", [Chosen(BY_ID["speed"], (1.0,), (-0.0,))])


level = st.just(0.0) | st.floats(-2, 2).map(lambda number: number + 0.0)


def choice(pair: LoraPair, high: float, low: float) -> Choice:
    high = high if pair.entry_for("high") else 0.0
    return Choice(pair.pair_id, (high,), (low if high else low or 1.0,))


sayable = st.builds(choice, st.sampled_from(PAIRS), level, level)


@given(st.sampled_from(FORMS), st.lists(sayable, max_size=8, unique_by=lambda one: one.pair_id))
def test_what_is_written_is_read_again(form: str, choices: list[Choice]) -> None:
    imported = read_foreign(write_foreign(form, chosen(choices)), PAIRS)
    assert (imported.choices, imported.notes) == (tuple(choices), ())


scalars = st.none() | st.booleans() | st.floats() | st.text(max_size=5) | st.integers()
keys = st.sampled_from(["path", "name", "weight", "applies_to", "strength", "loras", ""])
junk = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4)
)


@given(st.sampled_from(["%s", '{"loras": %s}', '{"lora_configs": %s}', "[%s]"]), junk)
def test_any_text_is_read_or_refused(frame: str, value: Any) -> None:
    try:
        imported = read_foreign(frame % json.dumps(value), PAIRS)
    except ForeignError:
        return
    assert parse_selection(format_selection(imported.choices)) == imported.choices
