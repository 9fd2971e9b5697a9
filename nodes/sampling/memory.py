"""What ComfyUI does with memory after a node, for a node that runs two models or many clips."""

from __future__ import annotations

import gc
import importlib.util

import comfy.memory_management
import comfy.model_management

# What execution.py calls after each node; ComfyUI 0.18 lacks the second.
CLEANED = (
    ("comfy.model_management", "reset_cast_buffers"),
    ("comfy.model_prefetch", "cleanup_prefetch_queues"),
    ("comfy_aimdo.model_vbar", "vbars_reset_watermark_limits"),
)


def reset_as_after_a_node() -> None:
    """With dynamic VRAM: let go of what casting weights has left. Else there is nothing to do."""
    if not getattr(comfy.memory_management, "aimdo_enabled", False):
        return
    for module, function in CLEANED:
        if importlib.util.find_spec(module):
            getattr(importlib.import_module(module), function)()


def make_room() -> None:
    """Unload every model, and give the memory back to the card."""
    comfy.model_management.unload_all_models()
    gc.collect()
    comfy.model_management.soft_empty_cache(True)
