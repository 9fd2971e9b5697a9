"""Model options of two experts in one sampler run: which count, and what the sampler adds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch


def carried_over(
    called: dict[str, Any], given: dict[str, Any], own: dict[str, Any]
) -> dict[str, Any]:
    """`own` model options plus what the sampler added (`called`) to those it was `given`.

    Samplers such as euler_cfg_pp put a function of their own into the options of each call, others
    write into the dictionaries that they got; `given` must share none with `called`. Without any
    difference it is `own` itself.
    """
    new: dict[str, Any] = {}
    for key, value in called.items():
        before, mine = given.get(key), own.get(key)
        if value is before and key in given:
            continue
        if isinstance(value, dict):
            inner = carried_over(value, before or {}, mine or {})
            if inner is not mine and (inner or key not in given):
                new[key] = inner
        elif isinstance(value, list):
            if added := [item for item in value if not any(item is old for old in before or [])]:
                new[key] = (mine or []) + added
        else:
            new[key] = value
    return {**own, **new} if new else own


def mask_function(functions: Sequence[tuple[float, Any]]) -> dict[str, Any]:
    """The option with which a sampler asks for its mask: each expert's function in its share.

    `functions` are the experts' own, or None, with the sigma down to which each counts; the sampler
    reads the option once, at its start.
    """
    if len({id(function) for _, function in functions}) == 1:
        return {}

    def by_sigma(sigma: torch.Tensor, mask: torch.Tensor, extra_options: Any) -> torch.Tensor:
        now = float(sigma.max())
        function = next(function for down_to, function in functions if now >= down_to)
        return function(sigma, mask, extra_options=extra_options) if function else mask

    return {"denoise_mask_function": by_sigma}
