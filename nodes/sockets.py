"""The socket types of this pack; every other socket is ComfyUI's own."""

from ._api import io

# Carries tuple[catalog.stacks.Chosen, ...]
LoraPairs = io.Custom("LORA_PAIRS")

# Carries nodes.sampling.schedule.Plan
DualPassPlan = io.Custom("DUAL_PASS_PLAN")
