"""Layers on the card with unmerged LoRAs by each way, ours and others', and calls of many."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from comfy.model_patcher import LowVramPatch

from pack.nodes.lora.strengths import Live  # type: ignore[import-not-found]
from pack.nodes.lora.unmerged import UnmergedWeight  # type: ignore[import-not-found]
from rig.bench_gpu_size import Run, Size, synced
from rig.bench_gpu_weights import Layer, noise
from rig.bench_lora_forward import layer as plain_layer
from rig.bench_lora_forward import with_functions
from rig.bench_lora_stacks import KEY, STRENGTHS, Factors, adapters, core_patches


def unmerged(pairs: Sequence[Factors]) -> UnmergedWeight:
    """Ours, on the device of the factors, with its strengths set."""
    live = Live(len(pairs), pairs[0][0].device)
    live.set(STRENGTHS[: len(pairs)])
    patches = [(at, adapter) for at, (_, adapter) in enumerate(adapters(pairs))]
    return UnmergedWeight(KEY, patches, (len(pairs[0][0]), pairs[0][1].shape[1]), live)


def parameter(weight: torch.Tensor) -> torch.nn.Parameter:
    return torch.nn.Parameter(weight, requires_grad=False)


def by_choice(weight: torch.nn.Parameter, pairs: Sequence[Factors]) -> Any:
    """A layer with ours, which chooses the way at each call."""
    made = plain_layer(weight)
    unmerged(pairs).attach(made)
    return made


def only_beside(weight: torch.nn.Parameter, pairs: Sequence[Factors]) -> Any:
    made = plain_layer(weight)
    unmerged(pairs).attach(made, always_beside=True)
    return made


def only_at_use(weight: torch.nn.Parameter, pairs: Sequence[Factors]) -> Any:
    return with_functions(weight, unmerged(pairs))


def low_vram(weight: torch.nn.Parameter, pairs: Sequence[Factors]) -> Any:
    return with_functions(weight, LowVramPatch(KEY, {KEY: core_patches(pairs)}))


def peft(weight: torch.nn.Parameter, pairs: Sequence[Factors]) -> Run:
    """The formula of PEFT and LightX2V: one LoRA after the other on the layer's output."""
    plain, linear = plain_layer(weight), torch.nn.functional.linear

    def forward(x: torch.Tensor) -> torch.Tensor:
        out = plain(x)
        for strength, (up, down) in zip(STRENGTHS, pairs, strict=False):
            out = out + linear(linear(x, down), up) * strength
        return out

    return forward


def forward(size: Size, some: Sequence[Layer], called: Sequence[Run], tokens: int) -> Run:
    """All these layers by turns, each on its own number of tokens."""
    inputs: dict[tuple[int, int], torch.Tensor] = {}
    for layer in some:
        shape = (size.text if layer.sees_text else tokens, layer.weight.shape[1])
        if shape not in inputs:
            inputs[shape] = noise(size, 1, *shape)
    xs = [inputs[size.text if one.sees_text else tokens, one.weight.shape[1]] for one in some]

    def run() -> None:
        for layer, x in zip(called, xs, strict=True):
            layer(x)

    return synced(run, size.device)


def made(some: Sequence[Layer], count: int, make: Callable[..., Run]) -> list[Run]:
    return [make(parameter(one.weight), one.pairs[:count]) for one in some]


def bare(some: Sequence[Layer]) -> list[Run]:
    return [plain_layer(parameter(one.weight)) for one in some]
