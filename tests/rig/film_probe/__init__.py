"""A node for tests only: it notes in the log what a long video asks for, and fails at will.

And a route, to count tensors while it runs.
"""

from __future__ import annotations

import gc
import logging
from pathlib import Path
from typing import Any

import folder_paths
import torch
from aiohttp import web
from comfy.patcher_extension import WrappersMP
from server import PromptServer


class ProbeFilm:
    """A model and a text encoder that note each use as `[probe] model` or `[probe] text`.

    While a file `fail` lies in the base directory, the model raises at its call of that number.
    """

    RETURN_TYPES = ("MODEL", "CLIP")
    FUNCTION = "note"
    CATEGORY = "probe"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"model": ("MODEL",), "clip": ("CLIP",)}}

    def note(self, model: Any, clip: Any) -> tuple[Any, Any]:
        def called(executor: Any, *args: Any, **kwargs: Any) -> Any:
            logging.info("[probe] model")
            _fail_if_asked(Path(folder_paths.base_path, "fail"))
            return executor(*args, **kwargs)

        def encoded(*args: Any, **kwargs: Any) -> Any:
            logging.info("[probe] text")
            return encode(*args, **kwargs)

        model, clip = model.clone(), clip.clone()
        encode = clip.encode_from_tokens_scheduled
        model.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "film probe", called)
        clip.encode_from_tokens_scheduled = encoded
        return model, clip


def _fail_if_asked(file: Path) -> None:
    if file.exists():
        left = int(file.read_text()) - 1
        file.write_text(str(left))
        if left == 0:
            raise RuntimeError("the film probe fails")


NODE_CLASS_MAPPINGS = {"ProbeFilm": ProbeFilm}


@PromptServer.instance.routes.get("/film_probe/tensors")
async def tensors(_: web.Request) -> web.Response:
    """The bytes of all tensors that are alive."""
    # By its type alone: some objects answer to isinstance with a warning.
    alive = [each for each in gc.get_objects() if type(each) is torch.Tensor]
    storages = {each.data_ptr(): each.nbytes for each in alive if each.device.type == "cpu"}
    return web.json_response(sum(storages.values()))
