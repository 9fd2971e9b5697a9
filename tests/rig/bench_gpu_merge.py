"""LoRAs merged into all linears of an expert that is on the card, and factors brought to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import comfy.model_management
import torch
from comfy.model_patcher import ModelPatcher

from pack.nodes.lora.injected import LoraFactors  # type: ignore[import-not-found]
from rig.bench_gpu_size import Run, Size, emptied, sync, synced
from rig.bench_gpu_weights import HALF, Layer, layers
from rig.bench_lora_figure import Line
from rig.bench_lora_measure import beside, paired, rounds, seconds
from rig.bench_lora_stacks import Patch, core_patches, merge, our_patches

COUNTS = (1, 2, 4)
# Predicted, for 1, 2 and 4 LoRAs.
DYNAMIC, LEGACY = {1: 2.5, 2: 5.0, 4: 9.0}, {1: 3.0, 2: 5.0, 4: 8.0}
FACTORS = 3.0

Row = tuple[str, Callable[[], Iterator[Line]]]


def rows(size: Size, _: str) -> Iterator[Row]:
    every: list[Layer] = []  # made when the first row is; 31 GB at full size
    yield "merge14b_dynamic", lambda: dynamic(size, filled(every, size))
    yield "merge14b_legacy", lambda: legacy(size, filled(every, size))
    yield "factor_h2d", lambda: factor_uploads(size, every)


def filled(every: list[Layer], size: Size) -> list[Layer]:
    every.extend(() if every else layers(size, size.blocks))
    return every


def patches(every: list[Layer], count: int) -> tuple[list[list[Patch]], list[list[Patch]]]:
    """Ours and core's, of each layer."""
    pairs = [layer.pairs[:count] for layer in every]
    return list(map(our_patches, pairs)), list(map(core_patches, pairs))


def dynamic(size: Size, every: list[Layer]) -> Iterator[Line]:
    """In place and in bfloat16, as dynamic VRAM merges; float32 products are ComfyUI-GGUF's."""
    weights = [layer.weight for layer in every]

    def merging(patches: list[list[Patch]], dtype: torch.dtype) -> Run:
        def run() -> None:
            for each, weight in zip(patches, weights, strict=True):
                merge(each, weight, dtype)

        return synced(run, size.device)

    for count in COUNTS:
        mine, theirs = patches(every, count)
        peers: dict[str, tuple[Run, float | None]] = {
            "dynamic VRAM": (merging(theirs, HALF), DYNAMIC[count]),
            "float32": (merging(theirs, torch.float32), None),
        }
        name = f"merge14b_dynamic[N={count}, {len(every)} linears]"
        yield from paired(name, merging(mine, HALF), peers)


def legacy(size: Size, every: list[Layer]) -> Iterator[Line]:
    """Core's full load of each weight, its casts included."""
    model = torch.nn.ModuleList(torch.nn.Linear(1, 1, False, device="meta") for _ in every)
    for module, layer in zip(model, every, strict=True):
        module.weight = torch.nn.Parameter(layer.weight, requires_grad=False)

    def loading(patches: list[list[Patch]]) -> Run:
        patcher = ModelPatcher(model, size.device, torch.device("cpu"))
        patcher.patches = {f"{at}.weight": each for at, each in enumerate(patches)}

        def run() -> None:
            for key in patcher.patches:
                patcher.patch_weight_to_device(key, size.device, return_weight=True)

        return synced(run, size.device)

    for count in COUNTS:
        mine, theirs = patches(every, count)
        peers: dict[str, tuple[Run, float | None]] = {"full load": (loading(theirs), LEGACY[count])}
        yield from paired(f"merge14b_legacy[N={count}]", loading(mine), peers)


def factor_uploads(size: Size, every: list[Layer]) -> Iterator[Line]:
    """The factors of one LoRA: as our model of factors, one by one, and as one pinned block."""
    on_host = [[factor.cpu() for factor in layer.pairs[0]] for layer in filled(every, size)]
    every.clear()
    emptied()
    flat = [factor for pair in on_host for factor in pair]
    total = sum(factor.nbytes for factor in flat)
    kept = (
        torch.nn.ParameterList(torch.nn.Parameter(one, requires_grad=False) for one in pair)
        for pair in on_host
    )
    ours = ModelPatcher(LoraFactors(kept), size.device, torch.device("cpu"))
    block = torch.empty(total, dtype=torch.uint8, pin_memory=size.device.type == "cuda")
    target = torch.empty(total, dtype=torch.uint8, device=size.device)
    runs: dict[str, Run] = {
        "ours": partial(comfy.model_management.load_models_gpu, [ours]),
        "one by one": lambda: [
            comfy.model_management.cast_to_device(one, size.device, None) for one in flat
        ],
        "one pinned block, what the bus gives": lambda: target.copy_(block, non_blocking=True),
    }
    found = rounds(runs, lambda run: fresh(run, size))
    mine = found.pop("ours")
    for peer, times in found.items():
        mark = FACTORS if peer == "one by one" else None
        yield beside(f"factor_h2d[{total / 1e9:.2f} GB], ms / {peer}", mine, times, mark)


def fresh(run: Callable[[], Any], size: Size) -> float:
    """Seconds with nothing loaded before."""
    comfy.model_management.unload_all_models()
    sync(size.device)
    return seconds(synced(run, size.device))
