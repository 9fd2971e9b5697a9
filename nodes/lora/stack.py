"""A stack of low-rank LoRAs on one weight: one product, one rounding, however many they are."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import comfy.model_management
import torch
from comfy.weight_adapter import LoRAAdapter, WeightAdapterBase

# (up [out, rank], down [rank, in])
Segment = tuple[torch.Tensor, torch.Tensor]

_rounding = (torch.float16, torch.bfloat16)


def is_low_rank(patch: Any, shape: Sequence[int]) -> bool:
    """Whether a patch is the plain product of two matrices: no core tensor, no DoRA, no resize."""
    if not isinstance(patch, LoRAAdapter) or len(shape) != 2:
        return False
    up, down, _, *others = patch.weights
    return up.ndim == down.ndim == 2 and all(other is None for other in others)


def scale_of(patch: LoRAAdapter) -> float:
    """alpha / rank; 1 where the file states no alpha, as every loader of ComfyUI takes it."""
    alpha, rank = patch.weights[2], patch.weights[1].shape[0]
    return 1.0 if alpha is None else alpha / rank


def product(
    segments: Sequence[Segment], scales: Sequence[Any], device: torch.device, dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor]:
    """Factors (out, n) and (n, in) of `dtype` whose product is the sum of scale * up @ down.

    In half precision each factor that would be rounded comes as two, its rounded value and what the
    rounding left over, so that the sum with a weight is rounded once.
    """
    up = torch.cat(
        [_on(up, device).float() * scale for (up, _), scale in zip(segments, scales, strict=True)],
        1,
    )
    downs = [_on(down, device) for _, down in segments]
    if dtype not in _rounding:
        return up.to(dtype), torch.cat([down.to(dtype) for down in downs])
    high, rest = _halves(up, dtype)
    if all(down.dtype == dtype for down in downs):
        return torch.cat((high, rest), 1), torch.cat((*downs, *downs))
    down, lost = _halves(torch.cat([down.float() for down in downs]), dtype)
    return torch.cat((high, rest, high), 1), torch.cat((down, down, lost))


def _on(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    return comfy.model_management.cast_to_device(tensor, device, None)


def _halves(exact: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    rounded = exact.to(dtype)
    return rounded, (exact - rounded).to(dtype)


class LoraStack(WeightAdapterBase):
    """W' = W + sum of strength * alpha / rank * up @ down, as one patch of ComfyUI's.

    `weights` is (segments, scales). Nothing else may be kept here: to move patches to a device,
    ComfyUI takes `weights` apart and makes the adapter anew from what it moved.
    """

    name = "lora_stack"

    def __init__(self, loaded_keys: set[str], weights: tuple[Sequence[Segment], Any]) -> None:
        self.loaded_keys = loaded_keys
        self.weights = weights

    def calculate_weight(
        self,
        weight: torch.Tensor,
        key: str,
        strength: float,
        strength_model: float,
        offset: tuple[int, int, int] | None,
        function: Callable[[torch.Tensor], torch.Tensor] | None,
        intermediate_dtype: torch.dtype = torch.float32,
        original_weight: Any = None,
    ) -> torch.Tensor:
        """`weight` (out, in) with the whole stack added in place, times `strength`."""
        if strength:
            weight.addmm_(*product(*self.weights, weight.device, weight.dtype), alpha=strength)
        return weight


def stacked(patches: Sequence[tuple[float, Any]], shape: Sequence[int]) -> list[tuple[float, Any]]:
    """The (strength, patch) of one weight in order, neighbours that are low-rank made into one."""
    merged: list[tuple[float, Any]] = []
    run: list[tuple[float, LoRAAdapter]] = []
    for strength, patch in (*patches, (0.0, None)):
        if is_low_rank(patch, shape):
            run.append((strength, patch))
            continue
        if run:
            merged.append((1.0, _stack(run)))
            run = []
        if patch is not None:
            merged.append((strength, patch))
    return merged


def _stack(run: Sequence[tuple[float, LoRAAdapter]]) -> LoraStack:
    segments = tuple((patch.weights[0], patch.weights[1]) for _, patch in run)
    scales = tuple(strength * scale_of(patch) for strength, patch in run)
    return LoraStack(set(), (segments, scales))


def fits(patch: Any, shape: Sequence[int], sides: tuple[int, int] | None) -> bool:
    """Whether a patch is made for a weight of this shape.

    `sides` is what the module gives and takes, where the file tells. ComfyUI itself would only log
    that a patch does not fit, or reshape it into nonsense, and go on.
    """
    wide = (shape[0], math.prod(shape[1:])) if shape else (1, 1)
    if isinstance(patch, LoRAAdapter):
        up, down, _, mid, _, reshape = patch.weights
        if reshape is not None:
            return math.prod(reshape) <= 4 * math.prod(shape)
        return mid is not None or (up.shape[0], down.flatten(1).shape[1]) == wide
    if isinstance(patch, tuple):
        return bool(patch[1][0].shape == torch.Size(shape))
    return sides is None or sides == wide
