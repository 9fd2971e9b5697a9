"""SVIProDualSampler: both experts over one trajectory."""

from __future__ import annotations

from typing import Any

from comfy.model_patcher import ModelPatcher

from ._api import SHOWS_TEXT, io
from .sampling.order import Scene
from .sampling.run import dual_sample
from .sampling.schedule import Plan
from .sampling.svi import samples_of
from .settings import (
    Settings,
    check_kind,
    plan_input,
    recipe_inputs,
    seed_input,
    settings_inputs,
    widget,
)
from .sockets import check_link


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
                io.Latent.Input(
                    "latent", optional=True, tooltip="What is denoised. With an anchor, none."
                ),
                plan_input(),
                seed_input(),
                *settings_inputs(),
                widget(io.Float, "denoise", 1.0, _DENOISE, min=0.0, max=1.0, step=0.01),
                *recipe_inputs(),
                io.Latent.Input("anchor", optional=True, tooltip=_ANCHOR),
                io.Latent.Input("previous", optional=True, tooltip=_PREVIOUS),
                widget(io.Int, "motion_latents", 1, _MOTION, min=0, max=32),
                widget(io.Int, "length", 81, _LENGTH, min=5, max=16381, step=4),
                io.Latent.Input("end", optional=True, tooltip=_END),
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
        denoise: float = 1.0,
        model_first: Any = None,
        anchor: dict[str, Any] | None = None,
        previous: dict[str, Any] | None = None,
        motion_latents: int = 1,
        length: int = 81,
        end: dict[str, Any] | None = None,
        **settings: Any,
    ) -> io.NodeOutput:
        chosen = Settings(**settings)
        for name, value in (("seed", seed), ("length", length), ("motion_latents", motion_latents)):
            check_kind(name, value, int)
        check_kind("denoise", denoise, float)
        for name, model in (("model_high", model_high), ("model_low", model_low)):
            check_link(name, model, ModelPatcher, "a model loader")
        for name, words in (("positive", positive), ("negative", negative)):
            check_link(name, words, list, "CLIPTextEncode or WanImageToVideo")
        check_link("model_first", model_first, ModelPatcher | None, "DualPass LoRA Router")
        check_link("latent", latent, dict | None, "WanImageToVideo")
        scene = Scene(model_high, model_low, positive, negative, latent or {}, model_first)
        if anchor:
            scene = scene.anchored(
                samples_of("anchor", anchor),
                previous and samples_of("previous", previous),
                end and samples_of("end", end),
                length,
                motion_latents,
            )
        elif previous or end:
            raise ValueError("previous and end need an anchor: the encoded first frame.")
        elif not latent:
            raise ValueError(
                "latent is not connected, and neither is anchor. Connect the latent of "
                "WanImageToVideo, or for SVI the encoded first frame as the anchor."
            )
        out, text = dual_sample(scene, chosen.plan(plan), chosen.way(denoise), seed)
        text = "\n".join([text, *chosen.told()])
        return io.NodeOutput(out, text, ui={"text": [text]})


_DENOISE = "Below 1 the run starts at a lower sigma; the latent then shows through."
_ANCHOR = (
    "SVI: the encoded first frame, of which every clip is reminded. Then latent is not needed."
)
_PREVIOUS = "SVI: the latent of the clip before, or the encoded end of any video."
_MOTION = "SVI: how many latents of previous lead into the clip; 1 is what SVI was trained with."
_LENGTH = "SVI: frames of the clip, 1 more than a multiple of 4."
_END = "SVI: an encoded frame to end on."
