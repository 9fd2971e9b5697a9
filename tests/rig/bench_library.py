"""A large collection: a catalog of the user's with 2,000 entries, and 10,000 LoRA files."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count, islice, product
from pathlib import Path
from typing import Any

# Base model -> pairs; most are made for few models.
BIG, SMALL = "wan-i2v-14b", "wan2.1-vace-14b"
PAIRS = {BIG: 450, "wan-t2v-14b": 300, "wan2.1-i2v-14b": 150, "wan2.1-t2v-14b": 92, SMALL: 8}
FILES = 10_000
UNDECLARED = 500  # pairs that are on disk only
KINDS = ("style", "character", "motion", "quality")
WORDS = (
    "Amber Bronze Coral Dusky Ember Frosty Golden Hazel Indigo Jade",
    "Alley Bridge Canyon Desert Estuary Forest Glacier Harbour Island Jungle",
    "Anime Blur Cinema Dolly Engraving Film Grain Haze Impasto Jitter",
)


@contextmanager
def library() -> Iterator[tuple[Path, list[str]]]:
    """A folder that holds all of it, and what ComfyUI is started with to find it there."""
    with tempfile.TemporaryDirectory(prefix="dualpass-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        entries = list(catalog())
        user = folder / "user" / "__dualpass"
        user.mkdir(parents=True)
        (user / "loras.json").write_text(json.dumps({"loras": entries}, indent=2), encoding="utf-8")
        for number, file in enumerate(file_names(entries)):
            path = folder / "loras" / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(tiny_file(number))
        paths = folder / "paths.yaml"
        paths.write_text(json.dumps({"library": {"loras": str(folder / "loras")}}))
        yield folder, [f"--user-directory={user.parent}", f"--extra-model-paths-config={paths}"]


def catalog() -> Iterator[dict[str, Any]]:
    """The entries: pairs of high and low, with all that the picker shows."""
    names = map(" ".join, product(*map(str.split, WORDS)))
    for base_model, pairs in PAIRS.items():
        for number, name in enumerate(islice(names, pairs)):
            for role in ("high", "low"):
                slug = name.lower().replace(" ", "_")
                yield {
                    "name": f"{name} {role.title()} Noise",
                    "file": f"{slug}_{base_model}_{role}_noise.safetensors",
                    "dest": "loras",
                    "source": "civitai",
                    "base_model": base_model,
                    "tags": ["wan", "video"],
                    "pair_id": slug.replace("_", "-"),
                    "pair_role": role,
                    "kind": KINDS[number % len(KINDS)],
                    "strength": 0.8,
                    "trigger": name.lower(),
                }


def file_names(entries: list[dict[str, Any]]) -> Iterator[str]:
    """Below the loras folder: those of the catalog, other pairs, and LoRAs of other families."""
    halves = product(range(UNDECLARED), ("HIGH", "LOW"))
    others = ((family, number) for number in count() for family in ("sdxl", "flux", "qwen"))
    yield from (entry["file"] for entry in entries)
    yield from (f"wan/mine_{number:03}_i2v_{role}.safetensors" for number, role in halves)
    rest = FILES - len(entries) - 2 * UNDECLARED
    for family, number in islice(others, rest):
        words = [part.split()[number // 10**place % 10] for place, part in enumerate(WORDS)]
        yield f"{family}/{'_'.join(words).lower()}_v{number}.safetensors"


def tiny_file(number: int) -> bytes:
    """A safetensors file without tensors; no two are alike."""
    header = json.dumps({"__metadata__": {"number": str(number)}}).encode()
    return len(header).to_bytes(8, "little") + header
