"""SVIProConditioning: what SVI 2.0 Pro makes a clip from."""

from __future__ import annotations

from typing import Any

import comfy.model_management
import torch
from comfy.model_patcher import ModelPatcher

from ._api import io
from .sampling.svi import latent_format_of, samples_of, svi_concat, svi_conditioned
from .settings import widget
from .sockets import check_link


class SVIProConditioning(io.ComfyNode):
    """Anchor, motion of the clip before, padding and end frame, as SVI 2.0 Pro was trained."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SVIProConditioning",
            display_name="DualPass SVI Conditioning",
            category="DualPass",
            description="Conditions a clip on an anchor image and on the motion of the clip before "
            "it, as SVI 2.0 Pro was trained, so that clips go on without a seam.",
            search_aliases=["svi pro", "stable video infinity", "image to video", "extend video"],
            inputs=[
                io.Conditioning.Input("positive"),
                io.Conditioning.Input("negative"),
                io.Model.Input("model", tooltip="One of the two experts. It is only looked at."),
                io.Latent.Input("anchor", tooltip="The encoded anchor image: one for all clips."),
                io.Latent.Input("previous", optional=True, tooltip=_PREVIOUS),
                io.Latent.Input("end", optional=True, tooltip="The encoded last frame, if any."),
                widget(io.Int, "length", 81, _LENGTH, min=5, max=16381, step=4),
                widget(io.Int, "motion_latents", 1, _MOTION, min=0, max=32),
            ],
            outputs=[
                io.Conditioning.Output("positive", display_name="positive"),
                io.Conditioning.Output("negative", display_name="negative"),
                io.Latent.Output("latent", display_name="latent"),
            ],
        )

    @classmethod
    def execute(
        cls,
        positive: list[Any],
        negative: list[Any],
        model: Any,
        anchor: dict[str, Any],
        previous: dict[str, Any] | None = None,
        end: dict[str, Any] | None = None,
        length: int = 81,
        motion_latents: int = 1,
    ) -> io.NodeOutput:
        check_link("model", model, ModelPatcher, "a model loader")
        concat, mask = svi_concat(
            samples_of("anchor", anchor),
            previous and samples_of("previous", previous),
            length,
            motion_latents,
            end and samples_of("end", end),
            latent_format_of(model),
        )
        positive, negative = svi_conditioned(positive, negative, concat, mask)
        empty = torch.zeros(concat.shape, device=comfy.model_management.intermediate_device())
        return io.NodeOutput(positive, negative, {"samples": empty})


_PREVIOUS = (
    "The sampled latent of the clip before; or the last frames of a video, encoded: "
    "1 and 4 for each of motion_latents. None for the first clip."
)
_LENGTH = "Frames of the clip. SVI 2.0 Pro was trained with 81."
_MOTION = "How many of previous go on, 4 frames each. 1 is as trained."
