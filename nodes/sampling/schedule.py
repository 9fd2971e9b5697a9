"""When each expert runs: plans, the switch step, and both as text. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from ...catalog.pairs import ROLES
from ...catalog.stacks import Chosen

# Below any gap that a schedule leaves between a sigma and the boundary, above float32's rounding.
TIE = 1e-6


@dataclass(frozen=True)
class Plan:
    """How a video is sampled; `boundary` is a sigma in 0..1, `shift` 0 keeps the model's own.

    `cfg_steps` is the guidance of each step, the last one holds on; empty, `cfg_high` and `cfg_low`
    count. `sigmas`, (steps + 1,), stands in place of the scheduler's list; empty, the scheduler's.
    """

    steps: int
    cfg_high: float
    cfg_low: float
    sampler_name: str
    scheduler: str
    shift: float
    boundary: float
    cfg_steps: tuple[float, ...] = ()
    sigmas: tuple[float, ...] = ()


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


def cfgs_from(text: str) -> tuple[float, ...]:
    """The guidance of each step from text such as `3.5, 3.5, 1`; empty for none."""
    try:
        cfgs = tuple(float(number) for number in text.replace(",", " ").split())
    except ValueError:
        raise PlanError(f"cfg_steps is {text!r}; write numbers, such as 3.5, 3.5, 1.") from None
    if any(not 0 <= cfg <= 100 for cfg in cfgs):  # NaN lies nowhere
        raise PlanError(f"cfg_steps is {text!r}; each number must lie between 0 and 100.")
    return cfgs


@dataclass(frozen=True)
class Share:
    """One expert's part of a run: model calls below sigma `down_to` are the next one's."""

    role: str
    start: int  # which step of the run is its first
    cfgs: tuple[float, ...]  # of each of its steps
    down_to: float


@dataclass(frozen=True)
class First:
    """The first steps, which a model without accelerator takes at a guidance of its own."""

    steps: int = 0
    cfg: float = 1.0


def shares(plan: Plan, sigmas: Sequence[float], split: Split, first: First) -> tuple[Share, ...]:
    """Who answers in turn. An expert without a step has no share, and is not loaded."""
    steps = len(sigmas) - 1
    if first.steps > split.steps:
        raise PlanError(
            f"first_steps is {first.steps}, but only {_count(split.steps)} lie above the change "
            "of experts. Lower it, or raise steps."
        )
    ends = {
        "first": (first.steps, first.cfg, max(sigmas[first.steps] + TIE, split.sigma)),
        "high": (split.steps, plan.cfg_high, split.sigma),
        "low": (steps, plan.cfg_low, 0.0),
    }
    found, start = [], 0
    for role, (end, cfg, down_to) in ends.items():
        own = plan.cfg_steps and role != "first"
        cfgs = tuple(_held(plan.cfg_steps, step) if own else cfg for step in range(start, end))
        if cfgs:
            # Nobody is left to answer what lies below the last one's share.
            found.append(Share(role, start, cfgs, down_to if end < steps else 0.0))
        start = end
    return tuple(found)


def _held(values: Sequence[float], index: int) -> float:
    return values[min(index, len(values) - 1)]


def cfg_of(share: Share, sigmas: Sequence[float], sigma: float) -> float:
    """The guidance of a model call at `sigma`: that of the last step that starts at or above it."""
    # As exact as core takes them: samplers come back to a sigma by way of its logarithm. But in
    # long lists the steps lie closer than that.
    near = min(sigma * 1e-4, *(sooner - later for sooner, later in pairwise(sigmas))) / 2
    step = sum(start >= sigma - near for start in sigmas[:-1]) - 1
    return _held(share.cfgs, max(step - share.start, 0))


def check_sigmas(sigmas: Sequence[float]) -> None:
    """Raise unless this is a list on which one run can go down."""
    if len(sigmas) < 2 or not all(math.isfinite(sigma) and sigma >= 0 for sigma in sigmas):
        raise PlanError("sigmas needs 2 numbers or more, all finite and not below 0.")
    if any(later >= sooner for sooner, later in pairwise(sigmas)):
        raise PlanError("sigmas must fall from step to step. Connect the sigmas of one scheduler.")


def schedule_text(plan: Plan, sigmas: Sequence[float], parts: Sequence[Share], shift: float) -> str:
    """Every sigma with its expert, and the hand-over, a line each."""
    by_role = {part.role: part.cfgs for part in parts}
    roles = [role for role in ("first", "high", "low") if role != "first" or role in by_role]
    lines = [
        f"{_count(len(sigmas) - 1)}, {plan.sampler_name} / {plan.scheduler}, shift {shift:g}",
        ", ".join(f"{role}: {_share(by_role.get(role, ()))}" for role in roles),
    ]
    experts = [part.role for part in parts for _ in part.cfgs]
    for step, (sigma, expert) in enumerate(zip(sigmas[:-1], experts, strict=True)):
        if step and expert != experts[step - 1]:
            lines.append(f"hand-over: sigma {sigmas[step - 1]:.4f} to {sigma:.4f}")
        lines.append(f"{step + 1:>3}  {sigma:.4f}  {expert}")
    return "\n".join([*lines, f"end  {sigmas[-1]:.4f}"])


def _share(cfgs: Sequence[float]) -> str:
    if not cfgs:
        return "no step, not loaded"
    told = cfgs if len(set(cfgs)) > 1 else cfgs[:1]
    return f"{_count(len(cfgs))} at cfg {', '.join(f'{cfg:g}' for cfg in told)}"


def _count(steps: int) -> str:
    return "1 step" if steps == 1 else f"{steps} steps"
