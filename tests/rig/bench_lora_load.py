"""LoRA files onto models of Wan's size: from the disk to the patches, and into all weights."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from rig.bench_figure import at_most
from rig.bench_lora_figure import Line, Times
from rig.bench_lora_measure import paired, seconds, traced
from rig.bench_lora_models import CPU, lora_file, one_block, ours, stock, whole_tree

PATCH_MODEL = {1: 1.5, 4: 4.0}  # marks for so many LoRAs
FEW = ("self_attn.q", "ffn.0")  # of ten, to take less long
PAIR = 1.8


def loading() -> Iterator[Line]:
    """The host's part, then the merge of a block."""
    yield "LoRA files of rank 64 onto models as wide as Wan 14B"
    yield from pair_load_host()
    model = one_block()
    files = [lora_file(f"bench_{at}", 1, seed=at, parts=FEW) for at in range(4)]
    yield from zero_strength(model, files[0])
    for count, mark in PATCH_MODEL.items():
        yield from patch_model(model, files[:count], mark)


def pair_load_host() -> Iterator[Line]:
    """Both experts of 40 blocks from one file: opened, checked, mapped, patched; none is kept.

    Clones go in, so that nothing that is remembered of a model is found again.
    """
    high, low = whole_tree(), whole_tree()
    file = lora_file("bench_pair", 40)

    def mine() -> Any:
        return ours(high.clone(), [file], "merged"), ours(low.clone(), [file], "merged")

    def theirs() -> Any:
        return stock(high, [file]), stock(low, [file])

    yield from paired("pair_load_host", mine, {"two LoraLoaderModelOnly": (theirs, PAIR)})
    if Path("/proc/self/maps").exists():
        name = "pair_load_host, maps of the file / two LoraLoaderModelOnly"
        yield at_most(1, name, mapped(file, mine()), mapped(file, theirs()))


def mapped(file: str, _held: Any) -> int:
    """How many times the file is mapped into memory while something holds what was made of it."""
    gc.collect()
    return sum(file in line for line in Path("/proc/self/maps").read_text().splitlines())


def zero_strength(model: Any, file: str) -> Iterator[Line]:
    """Kernels to load a model whose only LoRA has strength 0."""
    mine, theirs = ours(model, [file], "merged", [0.0]), model.clone()
    adapters = stock(model, [file], [1.0]).patches
    theirs.add_patches({key: each[0][1] for key, each in adapters.items()}, 0.0)
    here, there = (traced(partial(patched_in, patcher)).kernels for patcher in (mine, theirs))
    yield at_most(0, "zero_strength, kernels / core's patches", here, there)


def patched_in(patcher: Any) -> float:
    """Seconds to merge all of it into the weights; undone again, untimed."""
    spent = seconds(lambda: patcher.patch_model(device_to=CPU))
    patcher.unpatch_model(device_to=CPU)
    return spent


def patch_model(model: Any, files: list[str], mark: float) -> Iterator[Times]:
    """`ModelPatcher.patch_model`, which a full load runs."""
    mine, theirs = ours(model, files, "merged"), stock(model, files)
    yield from paired(
        f"patch_model[N={len(files)}, one block]",
        lambda: mine,
        {"core": (lambda: theirs, mark)},
        timer=lambda patcher: patched_in(patcher()),
    )
