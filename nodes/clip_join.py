"""SVIProJoin: the frames of a clip behind those before it."""

from __future__ import annotations

from typing import Any

import torch

from ._api import io
from .sampling.colour import colour_matched
from .sampling.svi import JOINS, SviError, joined
from .settings import widget


class SVIProJoin(io.ComfyNode):
    """Drops or blends the frames with which an SVI clip repeats the one before."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SVIProJoin",
            display_name="DualPass Join Clips",
            category="DualPass",
            description="Puts a clip behind the video before it, without the frames with which it "
            "repeats the anchor and that video's end.",
            search_aliases=["svi join", "extend video", "concatenate clips", "colour match"],
            inputs=[
                io.Image.Input("frames_before", tooltip="All frames so far."),
                io.Image.Input("frames", tooltip="The decoded frames of the new clip, all of it."),
                widget(io.Int, "motion_latents", 1, _MOTION, min=0, max=32),
                widget(io.Combo, "join", "cut", _JOIN, options=[*JOINS]),
                widget(io.Float, "colour_match", 0.0, _COLOUR, min=0.0, max=1.0, step=0.05),
                io.Image.Input("anchor", optional=True, tooltip="The image for colour_match."),
            ],
            outputs=[io.Image.Output("frames", display_name="frames")],
        )

    @classmethod
    def execute(
        cls,
        frames_before: Any,
        frames: Any,
        motion_latents: int = 1,
        join: str = "cut",
        colour_match: float = 0.0,
        anchor: Any = None,
    ) -> io.NodeOutput:
        if colour_match:
            if anchor is None:
                raise SviError("colour_match is on. Connect the anchor image, or set it to 0.")
            frames = colour_matched(frames, anchor, colour_match)
        before, held = joined(None, frames_before, motion_latents, join, last=False)
        after, _ = joined(held, frames, motion_latents, join, last=True)
        return io.NodeOutput(torch.cat([before, after]))


_JOIN = (
    "cut: drop the frames that repeat, as the official code does. "
    "blend: fade into them. Both give the same number of frames."
)
_MOTION = "As in the conditioning of the new clip: 4 frames repeat for each."
_COLOUR = "How far the new clip's colours move to those of the anchor. 0 is off."
