"""What a choice of pairs would run, told before any model is there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from types import SimpleNamespace
from typing import Any

from comfy.model_sampling import ModelSamplingDiscreteFlow

from ...catalog.stacks import Chosen
from .run import sigmas_for
from .schedule import Plan, plan_for, switch_step


def preview(base_model: str, chosen: Sequence[Chosen]) -> dict[str, Any]:
    """What is planned, and `switch_step`: how many steps the high-noise expert takes.

    Raises PlanError where the run would.
    """
    plan = plan_for(base_model, chosen)
    sigmas = sigmas_for(_wan(plan), plan).tolist()
    told = asdict(plan)
    told["sampler"] = told.pop("sampler_name")
    del told["cfg_steps"], told["sigmas"]  # no pair asks for them
    return told | {"switch_step": switch_step(sigmas, plan.boundary)}


def _wan(plan: Plan) -> Any:
    """What ComfyUI's schedulers ask of a Wan model: its noise levels at the plan's shift."""
    sampling = ModelSamplingDiscreteFlow()
    sampling.set_parameters(shift=plan.shift, multiplier=1000)
    return SimpleNamespace(get_model_object=lambda name: sampling, load_device="cpu")
