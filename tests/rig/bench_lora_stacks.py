"""Random LoRAs of the size of Wan's, as core's patches, as ours, and by formulas of other packs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import comfy.lora
import torch
from comfy.weight_adapter import LoRAAdapter

from pack.nodes.lora.stack import stacked  # type: ignore[import-not-found]

WIDTH, FFN, RANK = 5120, 13824, 64  # of Wan 14B, and of most of its LoRAs
STRENGTHS = (0.8, 1.0, 0.55, 0.35)
WEIGHT_STD = 0.02
CHANGE = 0.07  # of one LoRA, relative to the weight
KEY = "diffusion_model.blocks.0.self_attn.q.weight"

Patch = tuple[float, Any, float, Any, Any]
Factors = tuple[torch.Tensor, torch.Tensor]


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def weight(rows: int = WIDTH, columns: int = WIDTH) -> torch.Tensor:
    return (noise(rows, columns) * WEIGHT_STD).bfloat16()


def factors(
    count: int, rows: int = WIDTH, columns: int = WIDTH, dtype: torch.dtype = torch.bfloat16
) -> list[Factors]:
    """So many LoRAs: up (rows, RANK) and down (RANK, columns) each."""
    size = CHANGE * WEIGHT_STD * (columns / RANK) ** 0.5
    return [
        (
            (noise(rows, RANK, seed=2 * at + 1) * size).to(dtype),
            (noise(RANK, columns, seed=2 * at + 2) / columns**0.5).to(dtype),
        )
        for at in range(count)
    ]


def adapters(pairs: Sequence[Factors]) -> list[tuple[float, LoRAAdapter]]:
    """(strength, core's adapter) of each, with an alpha that is its rank."""
    return [
        (strength, LoRAAdapter(set(), (up, down, float(down.shape[0]), None, None, None)))
        for strength, (up, down) in zip(STRENGTHS, pairs, strict=False)
    ]


def core_patches(pairs: Sequence[Factors]) -> list[Patch]:
    """As ModelPatcher.add_patches keeps them."""
    return [(strength, patch, 1.0, None, None) for strength, patch in adapters(pairs)]


def our_patches(pairs: Sequence[Factors]) -> list[Patch]:
    shape = (pairs[0][0].shape[0], pairs[0][1].shape[1])
    return [
        (strength, patch, 1.0, None, None) for strength, patch in stacked(adapters(pairs), shape)
    ]


def merge(patches: Sequence[Patch], into: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """ComfyUI's own loop, in place: `dtype` is that of its products.

    That of the weight is what dynamic VRAM and low VRAM do, float32 what ComfyUI-GGUF does.
    """
    return comfy.lora.calculate_weight(patches, into, KEY, dtype)


def wrapper_formula(pairs: Sequence[Factors], into: torch.Tensor) -> torch.Tensor:
    """WanVideoWrapper's unmerged LoRAs: one product after the other, in the weight's dtype."""
    for strength, (up, down) in zip(STRENGTHS, pairs, strict=False):
        into = into + torch.mm(up.to(into.dtype), down.to(into.dtype)) * strength
    return into


def exact(pairs: Sequence[Factors], base: torch.Tensor) -> torch.Tensor:
    """The change of the weight in float64."""
    change = torch.zeros(base.shape, dtype=torch.float64)
    for strength, (up, down) in zip(STRENGTHS, pairs, strict=False):
        change.addmm_(up.double(), down.double(), alpha=strength)
    return change
