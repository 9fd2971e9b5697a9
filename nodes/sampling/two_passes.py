"""Two passes as ComfyUI's two sampler nodes make them, for the results of older workflows."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import comfy.model_management
import comfy.sample
import torch

from .memory import reset_as_after_a_node, with_one_retry
from .order import Order, check_made, in_words
from .schedule import PlanError, Share


def two_passes(order: Order, denoise: float) -> tuple[dict[str, Any], str]:
    """The latent of one KSamplerAdvanced for each expert, bit for bit, and that it is that.

    The first one adds the noise and hands on what is left of it. The others have seed 0, as in
    ComfyUI's templates and behind DisableNoise; it counts for samplers with noise of their own.
    """
    if any(len(set(share.cfgs)) > 1 for share in order.shares):
        raise PlanError("cfg_steps needs one trajectory. Leave it empty for two passes as core.")
    # Core begins hooks anew with the sigma that it saw last: a second attempt would differ.
    hooked = any("hooks" in kept for _, kept in [*order.scene.positive, *order.scene.negative])
    latent = order.scene.latent["samples"]
    for share in order.shares:
        comfy.model_management.throw_exception_if_processing_interrupted()
        attempt = partial(_pass, order, share, latent, denoise)
        latent = with_one_retry(attempt, in_words(share.role), lambda: not hooked)
        check_made(latent, share.role)
        reset_as_after_a_node()
    return order.finished(latent), "two passes, as ComfyUI's two sampler nodes"


def _pass(order: Order, share: Share, latent: torch.Tensor, denoise: float) -> Any:
    scene, plan = order.scene, order.plan
    start, end = share.start, share.start + len(share.cfgs)
    noise = torch.zeros(latent.size(), dtype=latent.dtype) if start else order.make_noise()
    model, cfg = scene.expert(share.role), share.cfgs[0]
    options = order.options() | {"noise_mask": scene.latent.get("noise_mask")}
    options["seed"] = 0 if start else order.seed
    # One bar over all passes, where each of core's nodes has its own.
    options["callback"] = partial(_further, options["callback"], start, len(order.sigmas) - 1)
    if order.sampler or plan.sigmas:
        sampler, sigmas = order.sampler_object(), order.sigmas[start : end + 1]
        return comfy.sample.sample_custom(
            model, noise, cfg, sampler, sigmas, scene.positive, scene.negative, latent, **options
        )
    return comfy.sample.sample(
        model,
        noise,
        plan.steps,
        cfg,
        plan.sampler_name,
        plan.scheduler,
        scene.positive,
        scene.negative,
        latent,
        denoise=denoise,
        start_step=start,
        last_step=end,
        force_full_denoise=end == len(order.sigmas) - 1,
        **options,
    )


def _further(
    callback: Callable[..., None], start: int, steps: int, step: int, x0: Any, x: Any, _: int
) -> None:
    callback(start + step, x0, x, steps)
