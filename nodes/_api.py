"""The one import of ComfyUI's node API: one line to change when its version does."""

from comfy_api.v0_0_2 import ComfyExtension, InputImpl, io, ui

__all__ = ["SHOWS_TEXT", "ComfyExtension", "InputImpl", "io", "ui"]

# Lets a cached run repeat the node's text; ComfyUI 0.18 does not know it yet.
SHOWS_TEXT = (
    {"has_intermediate_output": True} if hasattr(io.Schema, "has_intermediate_output") else {}
)
