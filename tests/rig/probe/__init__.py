"""Nodes for tests only: they record model calls, build references and compare latents.

And routes, to measure ours beside them, and to ask for the memory that is really in use.
"""

from __future__ import annotations

import ctypes
import gc
import json
import threading
import time
from pathlib import Path
from typing import Any

import folder_paths
import nodes
import torch
from aiohttp import web
from comfy.patcher_extension import WrappersMP
from server import PromptServer

from .reference import reference

ANY = ("LATENT", {"forceInput": True})
CALLS: dict[str, list[tuple[float, str]]] = {}


class ProbeRecord:
    """Both experts, their model calls noted under `tag` as (sigma, expert)."""

    RETURN_TYPES = ("MODEL", "MODEL")
    FUNCTION = "record"
    CATEGORY = "probe"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"high": ("MODEL",), "low": ("MODEL",), "tag": ("STRING", {})}}

    def record(self, high: Any, low: Any, tag: str) -> tuple[Any, Any]:
        CALLS[tag] = []
        return _noting(high, tag, "high"), _noting(low, tag, "low")


def _noting(model: Any, tag: str, expert: str) -> Any:
    def note(executor: Any, x: torch.Tensor, sigma: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        call = (float(sigma.max()), expert)
        # Without cfg batching, one model call of the sampler arrives as two.
        if CALLS[tag][-1:] != [call]:
            CALLS[tag].append(call)
        return executor(x, sigma, *args, **kwargs)

    model = model.clone()
    model.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "probe", note)
    return model


class ProbeCalls:
    """The calls noted under `tag`, once `after` is there."""

    RETURN_TYPES = ()
    OUTPUT_NODE = True
    FUNCTION = "read"
    CATEGORY = "probe"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"after": ANY, "tag": ("STRING", {})}}

    def read(self, after: dict[str, Any], tag: str) -> dict[str, Any]:
        return {"ui": {"calls": CALLS[tag]}}


class ProbeState:
    """What a model holds once `after` is there."""

    RETURN_TYPES = ()
    OUTPUT_NODE = True
    FUNCTION = "read"
    CATEGORY = "probe"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        models = {"model": ("MODEL",), "after": ANY}
        options = {"nonce": ("INT", {"max": 2**63}), "count": ("BOOLEAN", {})}
        return {"required": models, "optional": options}

    def read(
        self, model: Any, after: dict[str, Any], nonce: int = 0, count: bool = False
    ) -> dict[str, Any]:
        shift = model.get_model_object("model_sampling").shift
        keys = sorted(after)
        ours = [thread for thread in threading.enumerate() if "dualpass" in thread.name]
        # Only where asked: after a failed run, core 0.18 then collects at each load.
        if count:
            gc.collect()
        objects = gc.get_objects() if count else ()
        tensors = sum(isinstance(each, torch.Tensor) for each in objects)
        counts = {"shift": shift, "patches": len(model.patches), "threads": len(ours)}
        counts |= {"tensors": tensors, "uuid": str(model.patches_uuid)}
        return {"ui": {name: [count] for name, count in counts.items()} | {"latent": keys}}


class ProbeFail:
    """A model that raises, at its first call or while it is prepared."""

    RETURN_TYPES = ("MODEL",)
    FUNCTION = "fail"
    CATEGORY = "probe"
    PLACES = {"model call": WrappersMP.APPLY_MODEL, "load": WrappersMP.PREPARE_SAMPLING}

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"model": ("MODEL",), "place": (list(cls.PLACES),)}}

    def fail(self, model: Any, place: str) -> tuple[Any]:
        def raising(*_: Any, **__: Any) -> None:
            raise RuntimeError(f"probe fails at {place}")

        model = model.clone()
        model.add_wrapper_with_key(self.PLACES[place], "probe", raising)
        return (model,)


class ProbeSlow:
    """A model whose calls take longer, so that no progress message is left out."""

    RETURN_TYPES = ("MODEL",)
    FUNCTION = "slow"
    CATEGORY = "probe"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"model": ("MODEL",), "seconds": ("FLOAT", {"step": 0.01})}}

    def slow(self, model: Any, seconds: float) -> tuple[Any]:
        def wait(executor: Any, *args: Any, **kwargs: Any) -> Any:
            time.sleep(seconds)
            return executor(*args, **kwargs)

        model = model.clone()
        model.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "slow", wait)
        return (model,)


class ProbeHold:
    """A model whose calls wait while a file `hold` in the base directory has a smaller number."""

    RETURN_TYPES = ("MODEL",)
    FUNCTION = "hold"
    CATEGORY = "probe"
    LONGEST = 300  # seconds

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"model": ("MODEL",)}}

    @classmethod
    def IS_CHANGED(cls, model: Any) -> float:
        return time.monotonic()  # each run counts its own calls

    def hold(self, model: Any) -> tuple[Any]:
        calls, file = 0, Path(folder_paths.base_path, "hold")

        def wait(executor: Any, *args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            calls, started = calls + 1, time.monotonic()
            while calls > _allowed(file):
                if time.monotonic() - started > self.LONGEST:
                    raise RuntimeError("nobody let the held model go on")
                time.sleep(0.05)
            return executor(*args, **kwargs)

        model = model.clone()
        model.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "hold", wait)
        return (model,)


def _allowed(file: Path) -> float:
    try:
        return int(file.read_text() or 0)  # empty while it is written
    except FileNotFoundError:
        return float("inf")


class ProbeReference:
    """One KSampler on the high expert; from the first model call below `sigma` on, low answers."""

    RETURN_TYPES = ("LATENT",)
    FUNCTION = "sample"
    CATEGORY = "probe"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        settings = nodes.KSampler.INPUT_TYPES()["required"]
        models = {"high": ("MODEL",), "low": ("MODEL",), "sigma": ("FLOAT", {"step": 1e-9})}
        return {"required": models | {k: v for k, v in settings.items() if k != "model"}}

    def sample(self, high: Any, low: Any, sigma: float, **settings: Any) -> tuple[Any]:
        return nodes.KSampler().sample(reference(high, low, sigma), **settings)


class ProbeCompare:
    """The largest difference of two latents, and the same relative to the largest value."""

    RETURN_TYPES = ()
    OUTPUT_NODE = True
    FUNCTION = "compare"
    CATEGORY = "probe"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"a": ANY, "b": ANY}}

    def compare(self, a: Any, b: Any) -> dict[str, Any]:
        a, b = a["samples"].double(), b["samples"].double()
        difference = (a - b).abs().max().item()
        size = b.abs().max().item()
        finite = bool(a.isfinite().all() and b.isfinite().all())
        result = {"difference": difference, "relative": difference / size, "finite": finite}
        return {"ui": {name: [value] for name, value in result.items()}}


NODES = (
    ProbeRecord, ProbeCalls, ProbeState, ProbeFail, ProbeSlow, ProbeHold, ProbeReference,
    ProbeCompare,
)  # fmt: skip
NODE_CLASS_MAPPINGS = {node.__name__: node for node in NODES}


@PromptServer.instance.routes.get("/probe/reread/{base_model}")
async def reread(request: web.Request) -> web.Response:
    """The pairs of a base model, the simple way: the catalog is read and parsed each time."""
    pairs: dict[str, dict[str, Any]] = {}
    for path in _catalog_files():
        for entry in json.loads(path.read_text(encoding="utf-8"))["loras"]:
            if entry["base_model"] == request.match_info["base_model"]:
                new = {"name": entry["name"], "high": None, "low": None, "both": None}
                pair = pairs.setdefault(entry["pair_id"], {"pair_id": entry["pair_id"]} | new)
                pair[entry["pair_role"]] = entry["file"]
    return web.json_response(list(pairs.values()))


def _catalog_files() -> list[Path]:
    shipped = Path(folder_paths.get_folder_paths("custom_nodes")[0], "dualpass", "catalog")
    user = Path(folder_paths.get_system_user_directory("dualpass"))
    files = (folder / name for folder in (shipped, user) for name in ("models.json", "loras.json"))
    return [path for path in files if path.exists()]


@PromptServer.instance.routes.get("/probe/memory")
async def memory(_: web.Request) -> web.Response:
    """The bytes that are in use, without garbage and what the allocator holds back. Linux only.

    Without the pages of mapped files, too, which the system takes back when it likes.
    """
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    lines = Path("/proc/self/status").read_text().splitlines()
    (anonymous,) = (line.split()[1] for line in lines if line.startswith("RssAnon:"))
    return web.json_response(int(anonymous) * 1024)


@PromptServer.instance.routes.get("/probe/bytes/{size}")
async def as_many_bytes(request: web.Request) -> web.Response:
    """What answering alone costs."""
    return web.Response(body=bytes(int(request.match_info["size"])))
