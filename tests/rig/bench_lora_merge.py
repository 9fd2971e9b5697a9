"""LoRAs merged into one weight of Wan 14B: bytes moved, time, exactness, memory."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from comfy.model_patcher import ModelPatcher

from rig.bench_figure import Figure, at_most
from rig.bench_lora_figure import Line, compared
from rig.bench_lora_measure import (
    FLOAT32_MARKS,
    cpu_flags,
    has_amx,
    mark_for,
    paired,
    peak_bytes,
    traced,
)
from rig.bench_lora_stacks import (
    WIDTH,
    core_patches,
    exact,
    factors,
    merge,
    our_patches,
    weight,
    wrapper_formula,
)

COUNTS = (1, 2, 4)
# Marks for 1, 2 and 4 LoRAs: beside dynamic VRAM, and beside ComfyUI-GGUF.
TRAFFIC = {1: (2.6, 5), 2: (5, 10), 4: (10, 20)}
WITH_AMX = {1: (3, 5), 2: (4.5, 9), 4: (12, 24)}
LEGACY = (1, 4)
HALF, FULL = torch.bfloat16, torch.float32


def merging() -> Iterator[Line]:
    """Every measure of one weight."""
    which = "with" if has_amx() else "without"
    yield f"one CPU thread; {' '.join(cpu_flags())}: marks for CPUs {which} AMX"
    yield "one weight of 5120 x 5120, LoRAs of rank 64"
    base = weight()
    for count in COUNTS:
        yield from traffic(count, base)
    for count in COUNTS:
        yield from time_in_place(count, base)
    for count in LEGACY:
        yield from time_legacy(count)
    yield from memory(base)
    for dtype in (HALF, torch.float16, FULL):
        yield from exactness(dtype, base)


def traffic(count: int, base: torch.Tensor) -> Iterator[Line]:
    """Bytes that kernels read and write, per element of the weight: counted, not timed.

    Of tensors as large as the weight; those of the factors, which grow with the ranks, are in the
    last line.
    """
    pairs, name = factors(count), f"traffic_merge[N={count}], B an element"
    mine, theirs = our_patches(pairs), core_patches(pairs)
    target, size = base.clone(), base.numel()
    ours = traced(lambda: merge(mine, target, HALF), size)
    dynamic = traced(lambda: merge(theirs, target, HALF), size)
    gguf = traced(lambda: merge(theirs, target, FULL), size)
    first, second = TRAFFIC[count]
    yield compared(f"{name} / dynamic VRAM", ours.large / size, dynamic.large / size, first)
    yield compared(f"{name} / GGUF", ours.large / size, gguf.large / size, second)
    yield at_most(4.5, f"{name}", ours.large / size)
    yield compared(f"{name}, all / dynamic VRAM", ours.bytes / size, dynamic.bytes / size)
    yield compared(f"kernels_merge[N={count}] / dynamic VRAM", ours.kernels, dynamic.kernels)


def time_in_place(count: int, base: torch.Tensor) -> Iterator[Line]:
    """The weight stays in bfloat16."""
    pairs = factors(count)
    mine, theirs = our_patches(pairs), core_patches(pairs)
    one, two, three = base.clone(), base.clone(), base.clone()
    first, second = (mark_for(count, mark) for mark in WITH_AMX[count])
    yield from paired(
        f"merge_bf16[N={count}]",
        lambda: merge(mine, one, HALF),
        {
            "dynamic VRAM": (lambda: merge(theirs, two, HALF), first),
            "GGUF": (lambda: merge(theirs, three, FULL), second),
        },
    )


def time_legacy(count: int) -> Iterator[Line]:
    """ComfyUI's full load on a CPU: cast to float32, merged, rounded back."""
    pairs = factors(count)
    ours, core = holder(), holder()
    ours.patches = {"weight": our_patches(pairs)}
    core.patches = {"weight": core_patches(pairs)}
    cpu = torch.device("cpu")
    yield from paired(
        f"merge_fp32[N={count}]",
        lambda: ours.patch_weight_to_device("weight", cpu, return_weight=True),
        {
            "full load": (
                lambda: core.patch_weight_to_device("weight", cpu, return_weight=True),
                FLOAT32_MARKS[count],
            )
        },
    )


def holder() -> ModelPatcher:
    """A model that is one weight."""
    model = torch.nn.Linear(WIDTH, WIDTH, bias=False, device="meta")
    model.weight = torch.nn.Parameter(weight(), requires_grad=False)
    cpu = torch.device("cpu")
    return ModelPatcher(model, load_device=cpu, offload_device=cpu)


def memory(base: torch.Tensor) -> Iterator[Line]:
    """The most that is held at a time, relative to the weight."""
    for count in (1, 4):
        pairs = factors(count)
        mine, theirs = our_patches(pairs), core_patches(pairs)
        here, there = (
            peak_bytes(partial(merge, patches, base, HALF)) / base.nbytes
            for patches in (mine, theirs)
        )
        name = f"peak_temp[N={count}], weights / dynamic VRAM"
        yield at_most(0.1, name, here, there)


def exactness(dtype: torch.dtype, base: torch.Tensor) -> Iterator[Line]:
    """Elements that are the float64 result rounded once, and the error of the change.

    The least error possible is that of this rounding.
    """
    pairs = factors(4, dtype=dtype)
    change = exact(pairs, base)
    best = (base.double() + change).bfloat16()
    ideal = error(best, base, change)
    name = f"merge_exact[N=4, {str(dtype).removeprefix('torch.')} files]"
    ours = merge(our_patches(pairs), base.clone(), HALF)
    dynamic = merge(core_patches(pairs), base.clone(), HALF)
    yield at_most(0.1, f"{name}: rounded wrong, %", rounded_wrong(ours, best))
    yield Figure("  dynamic VRAM", rounded_wrong(dynamic, best))
    if dtype == HALF:
        full_load = merge(core_patches(pairs), base.half(), FULL).to(HALF)
        yield Figure("  full load on a GPU, in float16", rounded_wrong(full_load, best))
        yield Figure("  WanVideoWrapper", rounded_wrong(wrapper_formula(pairs, base), best))
    found, there = (
        round(100 * (error(one, base, change) / ideal - 1), 3) for one in (ours, dynamic)
    )
    yield at_most(0.1, f"{name}: error beyond the least, % / dynamic VRAM", found, there)


def rounded_wrong(result: torch.Tensor, best: torch.Tensor) -> float:
    """Percent of the elements."""
    return 100 * float((result != best).double().mean())


def error(result: torch.Tensor, base: torch.Tensor, change: torch.Tensor) -> float:
    """Of the change, relative to it."""
    return float((result.double() - base.double() - change).norm() / change.norm())
