"""DualPassLoraRouter: the files of each pair onto the experts that they are for."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from ..catalog.pairs import ROLES, Role
from ..catalog.stacks import Chosen, Levels, warnings
from ._api import SHOWS_TEXT, io
from .lora.apply import patched
from .lora.files import LoraFile, find_file, open_file, stamp
from .sampling.wiring import doubts
from .sockets import LoraPairs, check_link

# high, low, and the one that takes the first steps or None
Experts = tuple[Any, Any, Any]


class DualPassLoraRouter(io.ComfyNode):
    """Each file onto the expert it is for; a `both` file onto both."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DualPassLoraRouter",
            display_name="DualPass LoRA Router",
            category="DualPass",
            description="Puts the chosen pairs on the two experts and reports what of each file "
            "reached them. A LoRA that changes nothing stops the run.",
            search_aliases=["wan 2.2 lora loader", "high low lora", "lora pair loader"],
            inputs=[
                io.Model.Input("model_high", tooltip="The high-noise expert."),
                io.Model.Input("model_low", tooltip="The low-noise expert."),
                LoraPairs.Input(
                    "pairs", optional=True, tooltip="From LoRA Pairs (Catalog). None, no LoRA."
                ),
                io.Combo.Input(
                    "mode",
                    options=["auto", "merged", "unmerged"],
                    default="auto",
                    optional=True,
                    tooltip="merged: into the weights. unmerged: beside them, exact over quantised "
                    "weights, and strengths change at once. auto: what suits the model.",
                ),
                io.Boolean.Input(
                    "strict",
                    default=True,
                    optional=True,
                    tooltip="Stop for a LoRA of another model or size, or of which less than half "
                    "has a place. Off, that is only a warning.",
                ),
            ],
            outputs=[
                io.Model.Output("model_high", display_name="model_high"),
                io.Model.Output("model_low", display_name="model_low"),
                io.String.Output("report", display_name="report"),
                io.Model.Output(
                    "model_first",
                    display_name="model_first",
                    tooltip="The high-noise expert without its accelerators, for first steps of "
                    "more motion.",
                ),
            ],
            **SHOWS_TEXT,
        )

    @classmethod
    def execute(
        cls,
        model_high: Any,
        model_low: Any,
        pairs: tuple[Chosen, ...] = (),
        mode: str = "auto",
        strict: bool = True,
    ) -> io.NodeOutput:
        check_link("pairs", pairs, tuple)
        experts = (model_high, model_low, model_high)
        (high, low, first), text = routed(experts, pairs, mode, strict)
        lines = [text, *warnings(pairs), *doubts(model_high, model_low)]
        if ", unmerged over " in text:
            lines.append("note: ModelSave and model merging leave unmerged LoRAs out.")
        report = "\n".join(lines)
        return io.NodeOutput(high, low, report, first, ui={"text": [report]})


def routed(
    experts: Experts, pairs: tuple[Chosen, ...], mode: str = "auto", strict: bool = True
) -> tuple[Experts, str]:
    """The experts with their files, and the report of high and low.

    The last expert, if any, takes the first steps: it gets what the high one does, without the
    accelerators.
    """
    high, low, first = experts
    # All before any is used: a file for both passes is opened once.
    files_high, files_low = files_for(pairs, "high"), files_for(pairs, "low")
    new_high, text_high = patched(high, "high", files_high, mode, strict)
    new_low, text_low = patched(low, "low", files_low, mode, strict)
    slow = tuple(choice for choice in pairs if choice.pair.kind != "accelerator")
    if first is high and slow == pairs:
        first = new_high
    elif first is not None:
        # Its files are among those that were just logged.
        first, _ = patched(first, "first", files_for(slow, "high"), mode, strict, logged=False)
    return (new_high, new_low, first), f"{text_high}\n{text_low}"


def files_for(pairs: tuple[Chosen, ...], role: Role) -> list[tuple[LoraFile, Levels]]:
    """(file, strengths) of each pair that acts on the pass; strength 0 loads nothing."""
    acting = [(choice.entry_for(role), choice.levels(role)) for choice in pairs]
    return [(open_file(find_file(entry)), levels) for entry, levels in acting if entry]


def loras_on(experts: Iterable[Any]) -> list[Any]:
    """Size, time and strengths of each LoRA file that our router put on a model."""
    models = [model for model in experts if model]
    files = [name for each in models for name in each.get_attachment("dualpass_files") or ()]
    stats = [(os.path.basename(name), os.stat(name)) for name in files]
    levels = [each.get_attachment("dualpass_levels") for each in models]
    return [levels, *((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)]


def content_of(pairs: tuple[Chosen, ...]) -> list[Any]:
    """The files of a clip's own pairs by size and time, and their strengths; none is opened."""
    acting = ((role, each, each.entry_for(role)) for role in ROLES for each in pairs)
    return [
        (role, stamp(find_file(entry))[1:3], each.levels(role))
        for role, each, entry in acting
        if entry
    ]
