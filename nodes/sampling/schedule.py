"""When each expert runs: plans, the switch step, and both as text. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ...catalog.pairs import ROLES
from ...catalog.stacks import Chosen

# Below any gap that a schedule leaves between a sigma and the boundary, above float32's rounding.
TIE = 1e-6


@dataclass(frozen=True)
class Plan:
    """How a video is sampled; `boundary` is a sigma in 0..1, `shift` 0 keeps the model's own."""

    steps: int
    cfg_high: float
    cfg_low: float
    sampler_name: str
    scheduler: str
    shift: float
    boundary: float


# Wan-Video/Wan2.2, wan/configs/wan_i2v_A14B.py and wan_t2v_A14B.py; steps and sampler are those of
# ComfyUI's own templates.
IMAGE_TO_VIDEO = Plan(20, 3.5, 3.5, "euler", "simple", 5.0, 0.9)
TEXT_TO_VIDEO = Plan(20, 4.0, 3.0, "euler", "simple", 12.0, 0.875)


class PlanError(ValueError):
    """The chosen pairs, or the settings, give no plan that could run."""


def full_plan(base_model: str) -> Plan:
    """The plan of a base model without any accelerator."""
    return TEXT_TO_VIDEO if base_model.startswith("wan-t2v-") else IMAGE_TO_VIDEO


def plan_for(base_model: str, chosen: Sequence[Chosen]) -> Plan:
    """The full plan with what the accelerators among `chosen` say, on the passes where they act.

    Raises PlanError when two of them say different things.
    """
    said: dict[str, tuple[Any, str]] = {}
    for choice in chosen:
        for name, value in _said(choice):
            known, by = said.setdefault(name, (value, choice.pair.pair_id))
            if known != value:
                raise PlanError(_clash(by, choice.pair.pair_id, f"{name}: {known} and {value}"))
    return replace(full_plan(base_model), **{name: value for name, (value, _) in said.items()})


def _clash(first: str, second: str, what: str) -> str:
    if first == second:
        return f"The two files of {first} want different {what}. Correct your catalog."
    return (
        f"The accelerators {first} and {second} want different {what}. "
        "Choose one of them, or set the other's strength to 0."
    )


def _said(choice: Chosen) -> Iterator[tuple[str, Any]]:
    """What an accelerator asks for, by the entries of the passes on which it acts."""
    if choice.pair.kind != "accelerator":
        return
    for role in ROLES:
        if entry := choice.entry_for(role):
            asked: dict[str, Any] = {"steps": entry.steps, "shift": entry.shift}
            asked |= {"sampler_name": entry.sampler, "scheduler": entry.scheduler}
            asked |= {f"cfg_{role}": entry.cfg}
            yield from ((name, value) for name, value in asked.items() if value)


def switch_step(sigmas: Sequence[float], boundary: float) -> int:
    """How many steps the high-noise expert takes: those that start at or above the boundary.

    Wan-Video/Wan2.2, wan/image2video.py: the high-noise model runs while t >= boundary * 1000.
    """
    return sum(sigma >= boundary - TIE for sigma in sigmas[:-1])


@dataclass(frozen=True)
class Split:
    """Where one run changes experts: `steps` high ones, and model calls below `sigma` are low."""

    steps: int
    sigma: float


def split_at_boundary(sigmas: Sequence[float], boundary: float) -> Split:
    """The official rule: the high-noise expert makes every model call at sigma >= boundary."""
    if not 0 <= boundary <= 1:
        raise PlanError(f"boundary is {boundary}; it must lie between 0 and 1.")
    return Split(switch_step(sigmas, boundary), boundary - TIE)


def split_at_step(sigmas: Sequence[float], step: int) -> Split:
    """A typed step: model calls at or below the sigma of that step are the low-noise expert's."""
    last = len(sigmas) - 2
    if last < 1:
        raise PlanError("split is step, but one step has no room for both experts. Use 2 or more.")
    if not 1 <= step <= last:
        raise PlanError(
            f"switch_step is {step}; with {last + 1} steps it must be 1 to {last}, so that each "
            "expert has a step. Set split to boundary to let the noise level decide."
        )
    return Split(step, sigmas[step] + TIE)


def check_finite(**numbers: float) -> None:
    """Raise for the first number that is NaN or infinite: ComfyUI lets both through."""
    for name, number in numbers.items():
        if not math.isfinite(number):
            raise PlanError(f"{name} is {number}; it must be a finite number.")


def schedule_text(plan: Plan, sigmas: Sequence[float], split: Split, shift: float) -> str:
    """Every sigma with its expert, and the hand-over, a line each."""
    steps = len(sigmas) - 1
    low_steps = steps - split.steps
    lines = [
        f"{_count(steps)}, {plan.sampler_name} / {plan.scheduler}, shift {shift:g}",
        f"high: {_share(split.steps, plan.cfg_high)}, low: {_share(low_steps, plan.cfg_low)}",
    ]
    for step, sigma in enumerate(sigmas[:-1]):
        if step == split.steps and step:
            lines.append(f"hand-over: sigma {sigmas[step - 1]:.4f} to {sigma:.4f}")
        lines.append(f"{step + 1:>3}  {sigma:.4f}  {'high' if step < split.steps else 'low'}")
    return "\n".join([*lines, f"end  {sigmas[-1]:.4f}"])


def _share(steps: int, cfg: float) -> str:
    return f"{_count(steps)} at cfg {cfg:g}" if steps else "no step, not loaded"


def _count(steps: int) -> str:
    return "1 step" if steps == 1 else f"{steps} steps"
