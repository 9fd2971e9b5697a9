"""Sampling a latent with two experts: checks, noise, progress and preview around one run."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Any

import comfy.model_management
import comfy.sample
import comfy.samplers
import comfy.utils
import latent_preview
import torch

from .experts import SharedRun
from .prefetch import AnsweringAhead, unread_files
from .schedule import (
    Plan,
    PlanError,
    Split,
    check_finite,
    schedule_text,
    split_at_boundary,
    split_at_step,
)


@dataclass(frozen=True)
class Scene:
    """What is sampled: both experts, the conditioning lists of both, and a latent."""

    model_high: Any
    model_low: Any
    positive: list[Any]
    negative: list[Any]
    latent: dict[str, Any]

    def guider(self, role: str, plan: Plan) -> comfy.samplers.CFGGuider:
        """ComfyUI's guider for one expert, at the plan's cfg for it."""
        high = role == "high"
        guider = comfy.samplers.CFGGuider(self.model_high if high else self.model_low)
        guider.set_conds(self.positive, self.negative)
        guider.set_cfg(plan.cfg_high if high else plan.cfg_low)
        return guider


def dual_sample(
    scene: Scene, plan: Plan, step: int | None, denoise: float, seed: int
) -> tuple[dict[str, Any], str]:
    """The denoised latent and its schedule as text.

    The experts change at `step`, or, with None, where sigma falls below the plan's boundary.
    Raises ValueError, before anything is loaded, for settings or a latent that can not run.
    """
    check_latent(scene)
    scene = replace(
        scene,
        model_high=shifted(scene.model_high, plan.shift),
        model_low=shifted(scene.model_low, plan.shift),
    )
    sigmas = sigmas_for(scene.model_high, plan, denoise)
    levels = sigmas.tolist()
    split = (
        split_at_boundary(levels, plan.boundary) if step is None else split_at_step(levels, step)
    )
    shift = scene.model_high.get_model_object("model_sampling").shift
    return _sampled(scene, plan, sigmas, split, seed), schedule_text(plan, levels, split, shift)


def check_latent(scene: Scene) -> None:
    """Raise unless the latent is (batch, channels, frames, height, width) for both experts."""
    shape = list(scene.latent["samples"].shape)
    for model in (scene.model_high, scene.model_low):
        channels = model.get_model_object("latent_format").latent_channels
        if len(shape) != 5 or shape[1] != channels:
            raise ValueError(
                f"The latent has the shape {shape}; the model needs [batch, {channels}, frames, "
                "height / 8, width / 8]. Take it from WanImageToVideo or EmptyHunyuanLatentVideo."
            )
    for _, options in [*scene.positive, *scene.negative]:
        image = options.get("concat_latent_image")
        if image is not None and list(image.shape[-3:]) != shape[-3:]:
            raise ValueError(
                f"The latent has {shape[-3:]} frames, height and width, the conditioning "
                f"{list(image.shape[-3:])}. Take both from the same node."
            )


def shifted(model: Any, shift: float) -> Any:
    """`model` with its flow sampling moved to `shift`; 0 keeps what it has.

    sigma(u) = shift * u / (1 + (shift - 1) * u), as ModelSamplingSD3 sets it.
    """
    sampling = model.get_model_object("model_sampling")
    if shift == 0 or shift == getattr(sampling, "shift", None):
        return model
    if not hasattr(sampling, "shift"):
        raise PlanError(f"This model has no shift ({shift:g} was asked). Is it a Wan model?")
    sampling = copy.deepcopy(sampling)
    sampling.set_parameters(shift=shift, multiplier=sampling.multiplier)
    model = model.clone()
    model.add_object_patch("model_sampling", sampling)
    return model


def sigmas_for(model: Any, plan: Plan, denoise: float = 1.0) -> torch.Tensor:
    """The sigmas of a whole run, (steps + 1,), from ComfyUI's own schedulers."""
    check_finite(cfg_high=plan.cfg_high, cfg_low=plan.cfg_low, shift=plan.shift, denoise=denoise)
    if not 0 < denoise <= 1:
        raise PlanError(f"denoise is {denoise:g}: nothing would be sampled. Use more than 0, to 1.")
    if plan.sampler_name not in comfy.samplers.KSampler.SAMPLERS:
        raise PlanError(f"This ComfyUI has no sampler {plan.sampler_name!r}.")
    if plan.scheduler not in comfy.samplers.KSampler.SCHEDULERS:
        raise PlanError(f"This ComfyUI has no scheduler {plan.scheduler!r}.")
    core = comfy.samplers.KSampler(
        model, plan.steps, model.load_device, plan.sampler_name, plan.scheduler, denoise
    )
    return core.sigmas


def _sampled(
    scene: Scene, plan: Plan, sigmas: torch.Tensor, split: Split, seed: int
) -> dict[str, Any]:
    latent, samples = scene.latent, scene.latent["samples"]
    noise = comfy.sample.prepare_noise(samples, seed, latent.get("batch_index"))
    steps = len(sigmas) - 1
    options = {
        "denoise_mask": latent.get("noise_mask"),
        "callback": latent_preview.prepare_callback(scene.model_high, steps),
        "disable_pbar": not comfy.utils.PROGRESS_BAR_ENABLED,
        "seed": seed,
    }
    with SharedRun(comfy.samplers.sampler_object(plan.sampler_name)) as run:
        for role, down_to in _shares(split, steps):
            if not run.done:
                # Loading the next expert takes long; a cancel in between counts at once.
                comfy.model_management.throw_exception_if_processing_interrupted()
                # Only the high expert has one after it; below its `down_to` that one answers.
                files = unread_files(scene.model_low, scene.model_high) if down_to else ()
                answering, guider = AnsweringAhead(run, down_to, files), scene.guider(role, plan)
                out = guider.sample(noise, samples, answering, sigmas, **options)
    kept = {key: value for key, value in latent.items() if not key.startswith("downscale_ratio")}
    return kept | {"samples": _at_rest(out)}


def _shares(split: Split, steps: int) -> list[tuple[str, float]]:
    """Who answers in turn, and the sigma below which the next one does. No step, no share."""
    if not split.steps:
        return [("low", 0.0)]
    if split.steps == steps:
        return [("high", 0.0)]
    return [("high", split.sigma), ("low", 0.0)]


def _at_rest(samples: torch.Tensor) -> torch.Tensor:
    return samples.to(
        device=comfy.model_management.intermediate_device(),
        dtype=comfy.model_management.intermediate_dtype(),
    )
