"""What the page is told of a long video while it is made: step, time left, and finished clips.

Only the page that asked: without a client, ComfyUI would tell every open page, and each shows it
under whatever node of its own has that id.
"""

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


def beginning(model: Any, node: str, count: int, needed: Sequence[int]) -> Callable[[int], Watch]:
    """To be called as each clip begins: it says so, and gives what tells of the clip's steps.

    There is one bar over all clips that are `needed`, those that are sampled, and a line.
    """
    previewer = latent_preview.get_previewer(model.load_device, model.model.latent_format)
    bar, started = comfy.utils.ProgressBar(len(needed)), time.monotonic()

    def begin(number: int) -> Watch:
        # Until its first step, or the line would still be that of the clip before.
        _show_line(f"clip {number} of {count}, {'sampling' if number in needed else 'found'}", node)

        def tell(step: int, steps: int, role: str, x0: torch.Tensor) -> None:
            done, total = needed.index(number) * steps + step, len(needed) * steps
            left = (time.monotonic() - started) / done * (total - done)
            preview = previewer and previewer.decode_latent_to_preview_image("JPEG", x0)
            bar.update_absolute(done, total, preview)
            at = "decoding" if step == steps else f"{role}, step {step} of {steps}"
            said = (f"clip {number} of {count}", at, _span(left))
            _show_line(", ".join(filter(None, said)), node)

        return tell

    return begin


def _show_line(text: str, node: str) -> None:
    if client := PromptServer.instance.client_id:
        PromptServer.instance.send_progress_text(text, node, client)


def _span(seconds: float) -> str:
    """Time left, with decoding by what it took so far; nothing after the last step of all."""
    if seconds <= 0:  # dpm_adaptive may take more steps than it says
        return ""
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
    if not server.client_id:
        return
    message = {"node": node, "display_node": shown, "output": video}
    message["prompt_id"] = running and running.prompt_id
    server.send_sync("executed", message, server.client_id)
