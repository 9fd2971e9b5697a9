"""The socket types of this pack; every other socket is ComfyUI's own."""

from typing import Any

from ._api import io

# Carries tuple[catalog.stacks.Chosen, ...]
LoraPairs = io.Custom("LORA_PAIRS")

# Carries nodes.sampling.schedule.Plan
DualPassPlan = io.Custom("DUAL_PASS_PLAN")


def check_link(name: str, value: object, kind: Any, source: str = "LoRA Pairs (Catalog)") -> None:
    """Raise for what an API prompt wrote where only a link belongs: ComfyUI lets it through."""
    if not isinstance(value, kind):
        raise ValueError(f"{name} takes a link from {source}, not {value!r:.80}.")
