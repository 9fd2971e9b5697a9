"""The one import of ComfyUI's node API: one line to change when its version does."""

from dataclasses import fields

from comfy_api.v0_0_2 import ComfyExtension, io

__all__ = ["SHOWS_TEXT", "ComfyExtension", "io"]

# Lets a cached run repeat the node's text; ComfyUI 0.18 does not know it yet.
SHOWS_TEXT = {
    name: True
    for name in ("has_intermediate_output",)
    if name in {f.name for f in fields(io.Schema)}
}
