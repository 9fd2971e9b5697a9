"""DualPassLoraRouter: the files of each pair onto the experts that they are for."""

from __future__ import annotations

from typing import Any

from ..catalog.pairs import Role
from ..catalog.stacks import Chosen, warnings
from ._api import SHOWS_TEXT, io
from .lora.apply import mode_for, patched
from .lora.files import find_file
from .lora.report import report_text
from .sockets import LoraPairs, check_link


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
                    tooltip="merged: into the weights. unmerged: beside quantised weights, as GGUF "
                    "models keep them. auto: what the model can do.",
                ),
            ],
            outputs=[
                io.Model.Output("model_high", display_name="model_high"),
                io.Model.Output("model_low", display_name="model_low"),
                io.String.Output("report", display_name="report"),
            ],
            **SHOWS_TEXT,
        )

    @classmethod
    def execute(
        cls, model_high: Any, model_low: Any, pairs: tuple[Chosen, ...] = (), mode: str = "auto"
    ) -> io.NodeOutput:
        check_link("pairs", pairs, tuple)
        mode_high, mode_low = mode_for(model_high, mode), mode_for(model_low, mode)
        high, reports_high = patched(model_high, "high", _files(pairs, "high"))
        low, reports_low = patched(model_low, "low", _files(pairs, "low"))
        lines = [
            report_text("high", mode_high, reports_high),
            report_text("low", mode_low, reports_low),
            *warnings(pairs),
        ]
        report = "\n".join(lines)
        return io.NodeOutput(high, low, report, ui={"text": [report]})


def _files(pairs: tuple[Chosen, ...], role: Role) -> list[tuple[str, float]]:
    """(file name, strength) of each pair that acts on the pass; strength 0 loads nothing."""
    acting = [(choice.entry_for(role), choice.strength(role)) for choice in pairs]
    return [(find_file(entry), strength) for entry, strength in acting if entry]
