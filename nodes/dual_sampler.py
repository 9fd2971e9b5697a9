"""SVIProDualSampler: both experts over one trajectory."""

from __future__ import annotations

from typing import Any

import comfy.samplers

from ._api import SHOWS_TEXT, io
from .sampling.run import Scene, dual_sample
from .sampling.schedule import Plan
from .sampling.wiring import doubts
from .sockets import DualPassPlan, check_link


class SVIProDualSampler(io.ComfyNode):
    """One sampler run; the expert changes where the noise level crosses the boundary."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SVIProDualSampler",
            display_name="DualPass Sampler (SVI Pro)",
            category="DualPass",
            description="Samples both Wan 2.2 experts as one trajectory: no split to wire, no "
            "noise to hand over, and the sampler keeps its history.",
            search_aliases=["wan 2.2 sampler", "moe ksampler", "dual ksampler", "two pass"],
            inputs=[
                io.Model.Input("model_high", tooltip="The high-noise expert."),
                io.Model.Input("model_low", tooltip="The low-noise expert."),
                io.Conditioning.Input("positive"),
                io.Conditioning.Input("negative"),
                io.Latent.Input("latent", optional=True, tooltip="What is denoised."),
                DualPassPlan.Input(
                    "plan",
                    optional=True,
                    tooltip="From LoRA Pairs (Catalog). It sets steps, both cfg, sampler, "
                    "scheduler, shift and boundary while settings is plan.",
                ),
                *_widgets(),
            ],
            outputs=[
                io.Latent.Output("latent", display_name="latent"),
                io.String.Output("schedule", display_name="schedule"),
            ],
            **SHOWS_TEXT,
        )

    @classmethod
    def execute(
        cls,
        model_high: Any,
        model_low: Any,
        positive: list[Any],
        negative: list[Any],
        latent: dict[str, Any] | None = None,
        plan: Plan | None = None,
        seed: int = 0,
        settings: str = "plan",
        steps: int = 20,
        cfg_high: float = 3.5,
        cfg_low: float = 3.5,
        sampler_name: str = "euler",
        scheduler: str = "simple",
        shift: float = 0.0,
        split: str = "boundary",
        boundary: float = 0.9,
        switch_step: int = 10,
        denoise: float = 1.0,
    ) -> io.NodeOutput:
        if not latent:
            raise ValueError("latent is not connected. Connect the latent of WanImageToVideo.")
        check_link("plan", plan, Plan | None)
        if plan is None or settings == "manual":
            plan = Plan(steps, cfg_high, cfg_low, sampler_name, scheduler, shift, boundary)
        scene = Scene(model_high, model_low, positive, negative, latent)
        out, text = dual_sample(
            scene, plan, switch_step if split == "step" else None, denoise, seed
        )
        text = "\n".join([text, *doubts(model_high, model_low)])
        return io.NodeOutput(out, text, ui={"text": [text]})


def _widgets() -> list[Any]:
    """The settings; all may be left out of an API prompt, and the first are seen first."""
    samplers, schedulers = comfy.samplers.KSampler.SAMPLERS, comfy.samplers.KSampler.SCHEDULERS
    cfg = {"min": 0.0, "max": 100.0, "step": 0.1, "round": 0.01}
    seeds = {"min": 0, "max": 0xFFFFFFFFFFFFFFFF, "control_after_generate": True}
    counts = {"min": 1, "max": 10000}
    return [
        _widget(io.Int, "seed", 0, "The noise of the whole run.", **seeds),
        _widget(io.Combo, "settings", "plan", _SETTINGS, options=["plan", "manual"]),
        _widget(io.Int, "steps", 20, "Steps of both experts together.", **counts),
        _widget(io.Float, "cfg_high", 3.5, "Guidance of the high-noise expert; 1 is off.", **cfg),
        _widget(io.Float, "cfg_low", 3.5, "Guidance of the low-noise expert; 1 is off.", **cfg),
        _widget(io.Combo, "sampler_name", "euler", "Used for both experts.", options=samplers),
        _widget(io.Combo, "scheduler", "simple", "How sigma falls.", options=schedulers),
        _widget(io.Float, "shift", 0.0, _SHIFT, min=0.0, max=100.0, step=0.5, round=0.01),
        _widget(io.Combo, "split", "boundary", _SPLIT, options=["boundary", "step"]),
        _widget(io.Float, "boundary", 0.9, _BOUNDARY, min=0.0, max=1.0, step=0.005, round=0.0001),
        _widget(io.Int, "switch_step", 10, _SWITCH_STEP, **counts),
        _widget(io.Float, "denoise", 1.0, _DENOISE, min=0.0, max=1.0, step=0.01),
    ]


_SETTINGS = "plan: a connected plan counts. manual: the values below count."
_SHIFT = "Flow shift of both experts; 0 keeps what the models have."
_SPLIT = "Where the experts change: at a noise level (the official rule), or at a typed step."
_BOUNDARY = (
    "The high-noise expert works while sigma is at least this: "
    "0.9 for image to video, 0.875 for text to video."
)
_SWITCH_STEP = "With split step: how many steps the high-noise expert takes."
_DENOISE = "Below 1 the run starts at a lower sigma; the latent then shows through."


def _widget(kind: Any, name: str, default: object, tooltip: str, **options: Any) -> Any:
    return kind.Input(name, default=default, tooltip=tooltip, optional=True, **options)
