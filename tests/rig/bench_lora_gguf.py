"""LoRAs over a quantised weight of ComfyUI-GGUF, by that pack's own code."""

from __future__ import annotations

import importlib
import operator
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Any

import gguf as library
import numpy
import torch

from rig.bench_lora_figure import Line
from rig.bench_lora_measure import beside, mark_for, rounds
from rig.bench_lora_stacks import (
    KEY,
    WEIGHT_STD,
    WIDTH,
    Patch,
    core_patches,
    factors,
    noise,
    our_patches,
)

FOLDER = "COMFYUI_GGUF_DIR"
ROWS = WIDTH // 2  # unpacking takes long, and is the same on both sides
Quant: Any = library.GGMLQuantizationType
# Marks for 1 and 4 LoRAs.
MARKS = {Quant.Q4_K: {1: 1.5, 4: 3.8}, Quant.Q8_0: {1: 2.2, 4: 6.0}}


def gguf() -> Iterator[Line]:
    """`GGMLLayer.get_weight`, which every forward calls: the weight in bfloat16, with LoRAs."""
    folder = os.environ.get(FOLDER)
    if not folder:
        yield f"gguf_get_weight: not measured, {FOLDER} does not name a checkout of ComfyUI-GGUF"
        return
    ops = load_ops(folder)
    for quant, marks in MARKS.items():
        data = BYTES[quant]()
        check(ops, data, quant)
        yield from measured(ops, data, quant, marks)


def measured(
    ops: ModuleType, data: numpy.ndarray, quant: Any, marks: dict[int, float]
) -> Iterator[Line]:
    layer = ops.GGMLOps.Linear(WIDTH, ROWS, bias=False)

    def run(patches: Sequence[Patch]) -> Callable[[], Any]:
        weight = tensor(ops, data, quant, patches)
        return lambda: layer.get_weight(weight, torch.bfloat16)

    for count, mark in marks.items():
        pairs = factors(count, ROWS)
        name = f"gguf_get_weight[{quant.name}, N={count}]"
        found = rounds(
            {"bare": run(()), "ours": run(our_patches(pairs)), "core": run(core_patches(pairs))}
        )
        bare, ours, core = found.values()
        yield beside(f"{name}, ms / ComfyUI-GGUF", ours, core, mark_for(count, mark))
        if count == 1:
            continue  # too little beside the rest to tell from noise
        ours, core = (list(map(operator.sub, times, bare)) for times in (ours, core))
        yield beside(f"{name}, what LoRAs add, ms / ComfyUI-GGUF", ours, core, None)


def load_ops(folder: str) -> ModuleType:
    """Its ops.py, without the __init__ that registers nodes."""
    package = ModuleType("comfyui_gguf")
    package.__path__ = [folder]
    sys.modules["comfyui_gguf"] = package
    return importlib.import_module("comfyui_gguf.ops")


def tensor(ops: ModuleType, data: numpy.ndarray, quant: Any, patches: Sequence[Patch]) -> Any:
    """As its loader makes them; `patches` as its patcher hands them over."""
    made = ops.GGMLTensor(
        torch.from_numpy(data), tensor_type=quant, tensor_shape=torch.Size((ROWS, WIDTH))
    )
    made.patches = [(list(patches), KEY)] if patches else []
    return made


def check(ops: ModuleType, data: numpy.ndarray, quant: Any) -> None:
    """Raises ValueError unless the bytes mean the same to llama.cpp's library and to the pack."""
    layer = ops.GGMLOps.Linear(WIDTH, ROWS, bias=False)
    rows = torch.from_numpy(library.quants.dequantize(data[:8], quant))
    theirs = layer.get_weight(tensor(ops, data, quant, ()), torch.float32)[:8]
    if not torch.allclose(rows, theirs, rtol=1e-2, atol=1e-4):  # it multiplies in float16
        raise ValueError(f"The {quant.name} bytes are not in llama.cpp's layout.")


def q8_0() -> numpy.ndarray:
    return library.quants.quantize((noise(ROWS, WIDTH) * WEIGHT_STD).numpy(), Quant.Q8_0)


def q4_k() -> numpy.ndarray:
    """Blocks of 256: two float16, then 8 scales and 8 minima of 6 bits each, then the nibbles.

    The minima are the scales, and their factor 7.5 times the other: values around zero. The packing
    of the 6 bits is that of `get_scale_min_k4` in llama.cpp's ggml-quants.c.
    """
    source = numpy.random.default_rng(0)
    blocks = ROWS * WIDTH // 256
    scales = source.integers(16, 64, (blocks, 8), dtype=numpy.uint8)
    low, high = scales[:, :4], scales[:, 4:]
    first = low | (high >> 4 << 6)  # 6 bits of the first four; the upper 2 of the others above
    last = (high & 15) | (high << 4)  # the lower 4 bits of the others, as scale and as minimum
    step: Any = numpy.full((blocks, 1), WEIGHT_STD / 180, numpy.float16)
    halves = numpy.concatenate((step, step * numpy.float16(7.5)), 1).view(numpy.uint8)
    nibbles = source.integers(0, 256, (blocks, 128), dtype=numpy.uint8)
    return numpy.concatenate((halves, first, first, last, nibbles), 1).reshape(ROWS, -1)


BYTES = {Quant.Q4_K: q4_k, Quant.Q8_0: q8_0}
