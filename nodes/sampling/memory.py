"""What ComfyUI does with memory after a node, for a node that runs two models or many clips."""

from __future__ import annotations

import gc
import importlib.util
from collections.abc import Callable
from typing import Any

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
    """Unload every model, and give the memory back to the card, as ComfyUI does after an error."""
    reset_as_after_a_node()
    comfy.model_management.unload_all_models()
    gc.collect()
    comfy.model_management.soft_empty_cache(True)


def with_one_retry(attempt: Callable[[], Any], who: str, may_retry: Callable[[], bool]) -> Any:
    """What an attempt gives. Out of memory, all is unloaded, and it is made once more.

    `who` is the expert that makes it, in words.
    """
    try:
        return attempt()
    except RuntimeError as error:
        if not comfy.model_management.is_oom(error) or not may_retry():
            raise
    make_room()
    try:
        return attempt()
    except RuntimeError as error:
        if not comfy.model_management.is_oom(error):
            raise
        raise comfy.model_management.OOM_EXCEPTION(
            f"Out of memory in the pass of the {who}, also with every other model unloaded. "
            f"Use fewer frames or a smaller size. {error}"
        ) from error
