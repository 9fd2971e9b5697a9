"""What the page is told of a long video while it is made: step, time left, and finished clips."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import comfy.utils
import latent_preview
import torch
from comfy_execution.utils import get_executing_context
from server import PromptServer

from ..sampling.order import Watch


def watching(model: Any, node: str, count: int, needed: Sequence[int]) -> Callable[[int], Watch]:
    """What tells of each step of a clip: one bar over all that is to be sampled, and a line."""
    previewer = latent_preview.get_previewer(model.load_device, model.model.latent_format)
    bar, started = comfy.utils.ProgressBar(len(needed)), time.monotonic()

    def watch(number: int) -> Watch:
        def tell(step: int, steps: int, role: str, x0: torch.Tensor) -> None:
            done, total = needed.index(number) * steps + step, len(needed) * steps
            left = (time.monotonic() - started) / done * (total - done)
            preview = previewer and previewer.decode_latent_to_preview_image("JPEG", x0)
            bar.update_absolute(done, total, preview)
            text = f"clip {number} of {count}, {role}, step {step} of {steps}, {_span(left)}"
            PromptServer.instance.send_progress_text(text, node)

        return tell

    return watch


def _span(seconds: float) -> str:
    """Time left. Decoding counts by what it took so far; after the last step it is all that is."""
    if not seconds:
        return "decoding"
    minutes = round(seconds / 60)
    if minutes < 2:
        return f"about {seconds:.0f} s left"
    return (
        f"about {minutes // 60} h {minutes % 60} min left"
        if minutes > 90
        else f"about {minutes} min left"
    )


def show_video(node: str, shown: str, video: dict[str, Any]) -> None:
    """Let the page show a finished clip under the node `shown` while the next one is made."""
    server, running = PromptServer.instance, get_executing_context()
    message = {"node": node, "display_node": shown, "output": video}
    message["prompt_id"] = running and running.prompt_id
    server.send_sync("executed", message, server.client_id)
