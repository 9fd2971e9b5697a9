"""LoRAs over quantised linears of ComfyUI-GGUF on the card: what they add to a forward."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from types import ModuleType
from typing import Any

import torch

from pack.nodes.lora.injected import Seat  # type: ignore[import-not-found]
from rig.bench_gpu_layers import forward, unmerged
from rig.bench_gpu_size import Run, Size, uploaded
from rig.bench_gpu_weights import BLOCKS, GGUF, Layer, layers, ops, packed, quantised
from rig.bench_lora_figure import Line, compared
from rig.bench_lora_measure import paired_over
from rig.bench_lora_stacks import Patch, core_patches

COUNTS = (1, 2, 4)
# Predicted, for 1, 2 and 4 LoRAs: beside ComfyUI-GGUF, and beside it with patch_dtype `target`.
STOCK, TARGET = {1: 6.0, 2: 12.0, 4: 20.0}, {1: 2.5, 2: 5.0, 4: 9.0}

Row = tuple[str, Callable[[], Iterator[Line]]]


def rows(size: Size, _: str) -> Iterator[Row]:
    for kind in BLOCKS:
        yield f"gguf14b_forward[{kind}]", partial(measured, size, kind)


def measured(size: Size, kind: str) -> Iterator[Line]:
    pack = ops()
    if not pack:
        yield f"gguf14b_forward[{kind}]: skipped, {GGUF} names no checkout of ComfyUI-GGUF"
        return
    some = layers(size, size.some_blocks)
    data = [packed(size, one.weight.shape, kind) for one in some]
    base = [linear(pack, one, each, kind) for one, each in zip(some, data, strict=True)]
    for tokens in size.tokens:
        for count in COUNTS if tokens == size.tokens[-1] else COUNTS[1:2]:
            mine, stock, target = (
                [
                    linear(pack, one, each, kind, *make(one, count))
                    for one, each in zip(some, data, strict=True)
                ]
                for make in (seated, chained, chained)
            )
            for layer in target:
                layer.patch_dtype = "target"
            runs = [forward(size, some, run, tokens) for run in (base, mine, stock, target)]
            peers: dict[str, tuple[Run, float | None]] = {
                "ComfyUI-GGUF": (runs[2], STOCK[count]),
                "ComfyUI-GGUF, patch_dtype target": (runs[3], TARGET[count]),
            }
            name = f"gguf14b_forward[{kind}, N={count}, {tokens} tokens]"
            yield from paired_over(runs[0], name, runs[1], peers)
            moved = [uploaded(run, size.device) / 1e6 for run in runs[1:3]]
            yield compared(f"{name}, MB uploaded / ComfyUI-GGUF", *moved)


def linear(
    pack: ModuleType,
    layer: Layer,
    data: torch.Tensor,
    kind: str,
    patches: Sequence[Patch] = (),
    hook: Callable[[Any], Any] | None = None,
) -> Any:
    """A quantised layer on the card, with patches as the pack's patcher hands them over."""
    rows, columns = layer.weight.shape
    made = pack.GGMLOps.Linear(columns, rows, bias=False)
    weight = quantised(pack, data, (rows, columns), kind)
    made.weight = torch.nn.Parameter(weight, requires_grad=False)
    made.weight.patches = [(list(patches), layer.key)] if patches else []
    if hook:
        hook(made)
    return made


def seated(layer: Layer, count: int) -> tuple[list[Patch], Callable[[Any], Any]]:
    """Ours: a patch that applies the stack, or a hook that adds it beside the layer."""
    mine = unmerged(layer.pairs[:count])
    seat = Seat(set(), [mine])
    return [(1.0, seat, 1.0, None, None)], lambda made: mine.attach(made, listed=False)


def chained(layer: Layer, count: int) -> tuple[list[Patch], None]:
    """Core's patches, whose factors that pack leaves in RAM."""
    pairs = [(up.cpu(), down.cpu()) for up, down in layer.pairs[:count]]
    return core_patches(pairs), None
