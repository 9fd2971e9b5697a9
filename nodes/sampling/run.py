"""Sampling a latent with two experts: checks, the schedule, and the way that is asked for."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import comfy.samplers
import torch

from .order import Order, Scene, Watch
from .schedule import (
    First,
    Plan,
    PlanError,
    check_finite,
    check_sigmas,
    schedule_text,
    shares,
    split_at_boundary,
    split_at_step,
)
from .trajectory import one_trajectory
from .two_passes import two_passes
from .wiring import check_experts, doubts

MOST_STEPS = 10000


@dataclass(frozen=True)
class Way:
    """How a run is made, beyond its plan.

    `step` is where the experts change; None, where sigma falls below the plan's boundary. `sampler`
    is another pack's sampler in place of the plan's. `two_passes` samples as core's two nodes do.
    """

    step: int | None = None
    denoise: float = 1.0
    first: First = First()
    sampler: Any = None
    two_passes: bool = False


def dual_sample(
    scene: Scene, plan: Plan, way: Way, seed: int, watch: Watch | None = None, keep: bool = True
) -> tuple[dict[str, Any], str]:
    """The denoised latent and its schedule as text.

    `watch` is told of each step; `keep` lets a later run do without the high-noise expert. Raises
    ValueError, before anything is loaded, for settings or a latent that can not run.
    """
    check_experts(scene.model_high, scene.model_low, scene.model_first)
    check_latent(scene)
    check_numbers(plan, way, seed)
    seen, scene = scene, _shifted_scene(scene, plan.shift)
    sigmas = sigmas_for(scene.model_high, plan, way.denoise, way.sampler is None)
    levels = sigmas.tolist()
    split = (
        split_at_boundary(levels, plan.boundary)
        if way.step is None
        else split_at_step(levels, way.step)
    )
    parts = shares(plan, levels, split, way.first if scene.model_first else First())
    order = Order(scene, plan, sigmas, parts, seed, way.sampler, watch)
    latent, told = (
        two_passes(order, way.denoise)
        if way.two_passes
        else one_trajectory(order, keep)
    )
    # Where the plan shifts both, their own shifts do not matter.
    sigma = levels[split.steps] if plan.shift == 0 and 0 < split.steps < len(levels) - 1 else None
    first = seen.model_first if any(part.role == "first" for part in parts) else None
    # Core's two nodes give each model its own sigmas.
    if each_own := way.two_passes and not (plan.sigmas or way.sampler):
        low = sigmas_for(scene.model_low, plan, way.denoise).tolist()
        levels = [*levels[: split.steps], *low[split.steps :]]
    lines = [
        _text(order, levels),
        told,
        *_notes(plan, way),
        *doubts(seen.model_high, seen.model_low, sigma, first, each_own),
    ]
    return latent, "\n".join(line for line in lines if line)


def _text(order: Order, levels: Sequence[float]) -> str:
    sampling = order.scene.model_high.get_model_object("model_sampling")
    plan = order.plan
    if order.sampler:
        function = getattr(order.sampler, "sampler_function", order.sampler)
        plan = replace(plan, sampler_name=getattr(function, "__name__", "a given sampler"))
    return schedule_text(plan, levels, order.shares, getattr(sampling, "shift", 0.0))


def _notes(plan: Plan, way: Way) -> Iterator[str]:
    if way.denoise < 1 and int(plan.steps / way.denoise) == plan.steps:
        yield (
            f"note: denoise {way.denoise:g} of {plan.steps} steps is rounded to 1: nothing of the "
            "latent shows through. Lower it, or raise steps."
        )
    if plan.sampler_name in ("dpm_fast", "dpm_adaptive") and not way.sampler:
        yield (
            f"note: {plan.sampler_name} takes steps of its own from the first sigma to the last; "
            "each model call still goes to the expert of its sigma."
        )


def check_numbers(plan: Plan, way: Way, seed: int) -> None:
    """Raise for what a linked number may be though no widget allows it."""
    cfgs = {"cfg_high": plan.cfg_high, "cfg_low": plan.cfg_low, "cfg_first": way.first.cfg}
    check_finite(**cfgs, shift=plan.shift, denoise=way.denoise)
    if not 0 < way.denoise <= 1:
        raise PlanError(
            f"denoise is {way.denoise:g}: nothing would be sampled. Use more than 0, to 1."
        )
    for name, value, least, most in (
        ("seed", seed, 0, 2**64 - 1),
        ("steps", plan.steps, 1, MOST_STEPS),
        ("steps / denoise", plan.steps / way.denoise, 1, MOST_STEPS),
        ("shift", plan.shift, 0, 100),
        *((name, cfg, 0, 100) for name, cfg in cfgs.items()),
        ("first_steps", way.first.steps, 0, MOST_STEPS),
    ):
        if not least <= value <= most:
            raise PlanError(f"{name} is {value:g}; it must lie between {least} and {most}.")


def _shifted_scene(scene: Scene, shift: float) -> Scene:
    return replace(
        scene,
        model_high=shifted(scene.model_high, shift),
        model_low=shifted(scene.model_low, shift),
        model_first=scene.model_first and shifted(scene.model_first, shift),
    )


def check_latent(scene: Scene) -> None:
    """Raise unless the latent is (batch, channels, frames, height, width) for both experts.

    And for numbers in it or in the conditioning that are not finite: the video would be black.
    """
    words = {"positive": scene.positive, "negative": scene.negative}
    given = [(name, each) for name, conditions in words.items() for each, _ in conditions]
    for name, each in [("latent", scene.latent["samples"]), *given]:
        if not _is_finite(each):
            raise ValueError(f"{name} holds numbers that are not finite. Make it again.")
    shape = list(scene.latent["samples"].shape)
    for model in (scene.model_high, scene.model_low):
        channels = model.get_model_object("latent_format").latent_channels
        if len(shape) != 5 or shape[1] != channels or 0 in shape:
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


def _is_finite(value: Any) -> bool:
    plain = isinstance(value, torch.Tensor) and value.layout == torch.strided
    return not plain or value.is_nested or bool(value.isfinite().all())


def shifted(model: Any, shift: float) -> Any:
    """`model` with its flow sampling moved to `shift`; 0 keeps what it has.

    sigma(u) = shift * u / (1 + (shift - 1) * u), as ModelSamplingSD3 sets it.
    """
    sampling = model.get_model_object("model_sampling")
    if shift == 0 or shift == getattr(sampling, "shift", None):
        return model
    if not hasattr(sampling, "shift") or not hasattr(sampling, "multiplier"):
        raise PlanError(f"This model has no shift ({shift:g} was asked). Is it a Wan model?")
    sampling = copy.deepcopy(sampling)
    sampling.set_parameters(shift=shift, multiplier=sampling.multiplier)
    model = model.clone()
    model.add_object_patch("model_sampling", sampling)
    return model


def sigmas_for(model: Any, plan: Plan, denoise: float = 1.0, named: bool = True) -> torch.Tensor:
    """The sigmas of a whole run, (steps + 1,), from the plan or ComfyUI's own schedulers.

    Not `named`, the sampler is another pack's, for which ComfyUI leaves out no sigma.
    """
    if plan.sigmas:
        return _own_sigmas(plan, denoise)
    name = plan.sampler_name if named else "euler"
    if name not in comfy.samplers.KSampler.SAMPLERS:
        raise PlanError(f"This ComfyUI has no sampler {name!r}.")
    if plan.scheduler not in comfy.samplers.KSampler.SCHEDULERS:
        raise PlanError(f"This ComfyUI has no scheduler {plan.scheduler!r}.")
    core = comfy.samplers.KSampler(
        model, plan.steps, model.load_device, name, plan.scheduler, denoise
    )
    if not core.sigmas.isfinite().all():
        raise PlanError(f"{plan.scheduler} gives no sigmas for {plan.steps} steps. Use more steps.")
    return core.sigmas


def _own_sigmas(plan: Plan, denoise: float) -> torch.Tensor:
    check_sigmas(plan.sigmas)
    if denoise < 1:
        raise PlanError(
            f"denoise is {denoise:g}, but the sigmas are given. Set it to 1; sigmas of another "
            "node can be shortened there."
        )
    return torch.tensor(plan.sigmas)
