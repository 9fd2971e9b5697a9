"""DualPass: LoRA pairs and dual-pass sampling for Wan 2.2 in ComfyUI."""

WEB_DIRECTORY = "./web"


async def comfy_entrypoint():  # noqa: ANN201 - its type lives in ComfyUI, imported inside
    """Return the extension that ComfyUI loads; nothing is imported before it asks."""
    from .nodes import DualPassExtension

    return DualPassExtension()
