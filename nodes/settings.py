"""The settings that the sampling nodes share: their widgets, and what they make of a run."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import comfy.samplers
import torch

from ._api import io
from .sampling.presets import PRESETS
from .sampling.run import Way
from .sampling.schedule import First, Plan, PlanError, cfgs_from, check_sigmas
from .sampling.svi import JOINS
from .sockets import DualPassPlan, check_link

ONE, TWO_PASSES = "one", "two passes as core"
NEW, SAME = "new for each clip", "the same"


@dataclass(frozen=True)
class Settings:
    """The widgets and links as they come from a prompt; what it leaves out has these values."""

    settings: str = "plan"
    steps: int = 20
    cfg_high: float = 3.5
    cfg_low: float = 3.5
    sampler_name: str = "euler"
    scheduler: str = "simple"
    shift: float = 0.0
    split: str = "boundary"
    boundary: float = 0.9
    switch_step: int = 10
    trajectory: str = ONE
    cfg_steps: str = ""
    sampler: Any = None
    sigmas: torch.Tensor | None = None
    first_steps: int = 1
    cfg_first: float = 3.5

    def __post_init__(self) -> None:
        """Raise for what an API prompt linked though no widget could hold it."""
        for each in fields(self):
            check_kind(each.name, getattr(self, each.name), type(each.default))

    def plan(self, linked: Plan | None) -> Plan:
        """The plan that counts: the linked one, a preset's, or that of the widgets."""
        check_link("plan", linked, Plan | None)
        plan = linked if self.settings == "plan" else None
        if preset := PRESETS.get(self.settings):
            plan = preset.plan
        plan = plan or self._typed()
        if self.cfg_steps:
            plan = replace(plan, cfg_steps=cfgs_from(self.cfg_steps))
        if self.sigmas is None:
            return plan
        if not isinstance(self.sigmas, torch.Tensor) or self.sigmas.ndim != 1:
            raise PlanError("sigmas takes a link from a scheduler node.")
        levels = tuple(self.sigmas.float().tolist())
        check_sigmas(levels)
        return replace(plan, steps=len(levels) - 1, sigmas=levels, scheduler="given sigmas")

    def told(self) -> list[str]:
        """What is to be told of a preset, under the schedule."""
        if not (preset := PRESETS.get(self.settings)):
            return []
        made_for = f"Made for {preset.length} frames."
        return [f"{self.settings}: {preset.source}. {preset.note} {made_for}"]

    def way(self, denoise: float = 1.0) -> Way:
        """How the run is made."""
        if self.sampler is not None and not isinstance(self.sampler, comfy.samplers.Sampler):
            raise PlanError("sampler takes a link from a sampler node, such as KSamplerSelect.")
        step = self.switch_step if self.split == "step" else None
        if preset := PRESETS.get(self.settings):
            # Its step is one of its own sigmas, all of them.
            step = preset.split_step if self.sigmas is None and denoise == 1 else None
        first = First(self.first_steps, self.cfg_first)
        return Way(step, denoise, first, self.sampler, self.trajectory == TWO_PASSES)

    def _typed(self) -> Plan:
        return Plan(
            self.steps,
            self.cfg_high,
            self.cfg_low,
            self.sampler_name,
            self.scheduler,
            self.shift,
            self.boundary,
        )


def check_kind(name: str, value: object, kind: type) -> None:
    """Raise unless a value is of the kind of its default; of other kinds there are only links."""
    words = {int: "a whole number", float: "a number", str: "text"}
    allowed = (int, float) if kind is float else kind
    if kind in words and (isinstance(value, bool) or not isinstance(value, allowed)):
        raise PlanError(f"{name} is {value!r}; it must be {words[kind]}.")


def plan_input() -> Any:
    """The link from the picker."""
    return DualPassPlan.Input("plan", optional=True, tooltip=_PLAN)


def seed_input() -> Any:
    """The seed, with what becomes of it after a run."""
    seeds = {"min": 0, "max": 0xFFFFFFFFFFFFFFFF, "control_after_generate": True}
    return widget(io.Int, "seed", 0, "The noise of the whole run.", **seeds)


def settings_inputs() -> list[Any]:
    """What a run needs; all may be left out of an API prompt, and the first are seen first."""
    samplers, schedulers = comfy.samplers.KSampler.SAMPLERS, comfy.samplers.KSampler.SCHEDULERS
    counts = {"min": 1, "max": 10000}
    return [
        widget(io.Combo, "settings", "plan", _SETTINGS, options=["plan", "manual", *PRESETS]),
        widget(io.Int, "steps", 20, "Steps of all experts together.", **counts),
        widget(io.Float, "cfg_high", 3.5, "Guidance of the high-noise expert; 1 is off.", **_CFG),
        widget(io.Float, "cfg_low", 3.5, "Guidance of the low-noise expert; 1 is off.", **_CFG),
        widget(io.Combo, "sampler_name", "euler", "Used for both experts.", options=samplers),
        widget(io.Combo, "scheduler", "simple", "How sigma falls.", options=schedulers),
        widget(io.Float, "shift", 0.0, _SHIFT, min=0.0, max=100.0, step=0.5, round=0.01),
        widget(io.Combo, "split", "boundary", _SPLIT, options=["boundary", "step"]),
        widget(io.Float, "boundary", 0.9, _BOUNDARY, min=0.0, max=1.0, step=0.005, round=0.0001),
        widget(io.Int, "switch_step", 10, _SWITCH_STEP, **counts),
    ]


def recipe_inputs() -> list[Any]:
    """What goes beyond one plan for two experts."""
    return [
        widget(io.Combo, "trajectory", ONE, _TRAJECTORY, options=[ONE, TWO_PASSES]),
        widget(io.String, "cfg_steps", "", _CFG_STEPS),
        io.Sampler.Input("sampler", optional=True, tooltip=_SAMPLER),
        io.Sigmas.Input("sigmas", optional=True, tooltip=_SIGMAS),
        io.Model.Input("model_first", optional=True, tooltip=_MODEL_FIRST),
        widget(io.Int, "first_steps", 1, _FIRST_STEPS, min=0, max=10000),
        widget(io.Float, "cfg_first", 3.5, "Guidance of the first steps.", **_CFG),
    ]


def film_inputs() -> list[Any]:
    """What is changed most, above the settings of the sampling."""
    size = {"min": 16, "max": 16384, "step": 16}
    return [
        widget(io.Int, "width", 832, "Of the video. The image is cut to it.", **size),
        widget(io.Int, "height", 480, "Of the video. The image is cut to it.", **size),
        widget(io.Int, "length", 81, _CLIP_LENGTH, min=5, max=16381, step=4),
        widget(io.Float, "fps", 16.0, "Frames a second.", min=1.0, max=120.0, step=1.0),
        widget(io.String, "filename_prefix", "video/dualpass", _PREFIX),
    ]


def clip_inputs() -> list[Any]:
    """How the clips of a long video hang together."""
    return [
        widget(io.Int, "motion_latents", 1, _MOTION, min=0, max=32),
        widget(io.Combo, "seeds", NEW, _SEEDS, options=[NEW, SAME]),
        widget(io.Combo, "join", "blend", _JOIN, options=[*JOINS]),
        widget(io.Float, "colour_match", 0.0, _COLOUR, min=0.0, max=1.0, step=0.05, round=0.01),
        widget(io.Combo, "following", "redo", _FOLLOWING, options=["redo", "keep"]),
    ]


def widget(kind: Any, name: str, default: object, tooltip: str, **options: Any) -> Any:
    """An input with a value of its own, that may be left out."""
    return kind.Input(name, default=default, tooltip=tooltip, optional=True, **options)


_CFG = {"min": 0.0, "max": 100.0, "step": 0.1, "round": 0.01}
_PLAN = (
    "From LoRA Pairs (Catalog). It sets steps, both cfg, sampler, scheduler, shift and boundary "
    "while settings is plan."
)
_SETTINGS = (
    "plan: a connected plan counts. manual: the values below count. Any other: a published recipe."
)
_SHIFT = "Flow shift of both experts; 0 keeps what the models have."
_SPLIT = "Where the experts change: at a noise level (the official rule), or at a typed step."
_BOUNDARY = (
    "The high-noise expert works while sigma is at least this: "
    "0.9 for image to video, 0.875 for text to video."
)
_SWITCH_STEP = "With split step: how many steps the high-noise expert takes."
_TRAJECTORY = (
    "one: one sampler run through both experts. two passes as core: the results of older workflows "
    "with two KSamplerAdvanced, bit for bit."
)
_CFG_STEPS = (
    "Guidance of each step, such as 3.5, 3.5, 1; the last one holds on. Empty: cfg_high, cfg_low."
)
_SAMPLER = "A sampler of another node, in place of sampler_name."
_SIGMAS = "Noise levels of another node, in place of steps and scheduler; denoise must be 1."
_MODEL_FIRST = (
    "The high-noise expert without its accelerator, from the router: it takes the first steps, for "
    "more motion."
)
_FIRST_STEPS = "How many of the steps model_first takes."
_CLIP_LENGTH = "Frames of a clip, 1 more than a multiple of 4. SVI was trained with 81."
_MOTION = "How many latents lead from clip to clip; 1 is what SVI was trained with."
_SEEDS = "SVI's authors advise a new seed for each clip: the same one lets faults add up."
_JOIN = "blend fades the frames that two clips share, cut drops the later ones, as SVI does."
_COLOUR = "Pull the colours of each clip to those of the image: 0 not at all, 1 wholly."
_PREFIX = "Where the video is saved. Its clips lie beside it, in a folder of that name."
_FOLLOWING = (
    "When a clip has changed: redo makes those behind it anew, keep leaves them as they are."
)
