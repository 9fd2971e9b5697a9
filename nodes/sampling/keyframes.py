"""Keyframes of conditioning hooks, in a run that more than one expert answers."""

from __future__ import annotations

from typing import Any

import torch


def catch_up(guider: Any, sigma: torch.Tensor, own_options: dict[str, Any], goes_on: bool) -> None:
    """Before an expert's first call, at `sigma`: let keyframes be where the run is.

    Core has them begin with the first one, which is right unless the run `goes_on`. Then they see a
    sigma just above that of the call, since core takes one that it saw last for done.
    """
    above = torch.nextafter(sigma, torch.full_like(sigma, torch.inf))
    now = own_options | {"transformer_options": {"sample_sigmas": above}}
    for conds in guider.conds.values():
        for hooks in filter(None, (cond.get("hooks") for cond in conds)):
            forget_sigma(hooks)
            if goes_on:
                patcher = guider.model_patcher
                patcher.prepare_hook_patches_current_keyframe(above, hooks, now)


def forget_sigma(hooks: Any) -> None:
    """Have keyframes take the next sigma for a new one, also where an earlier run ended on it.

    Core's HookKeyframeGroup.reset() means to (ComfyUI 0.18 to 0.30), but sets `curr_t`.
    """
    for hook in hooks.hooks:
        if hasattr(hook.hook_keyframe, "_curr_t"):
            hook.hook_keyframe._curr_t = -1.0
