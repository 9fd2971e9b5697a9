"""Long videos on the tiny models: their prompts in API form, and what is found on disk of them."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
from safetensors.numpy import load_file

from rig.client import Server
from rig.graphs import Graph, Link, error_of, scene
from rig.tiny_models import IMAGE, name

SMALL: dict[str, Any] = {"settings": "manual", "steps": 2, "cfg_high": 1.0, "cfg_low": 1.0}
SMALL |= {"shift": 5.0, "width": 32, "height": 32, "length": 13, "seed": 5}
SMALL |= {"base_model": "wan-i2v-14b"}


def seeded(*seeds: int) -> str:
    """A prompt of one line for each seed."""
    return "\n".join(f"a fox | seed={seed}" for seed in seeds)


def new_prefix() -> str:
    """A place that no other video has."""
    return f"film/{time.time_ns()}"


def studio(high: str = "i2v_high", low: str = "i2v_low") -> tuple[Graph, dict[str, Link]]:
    """All that a long video is made from; the first frame too."""
    graph, at = scene(high, low)
    at["clip"] = graph.add("CLIPLoader", clip_name=name("text_encoder"), type="wan")[0]
    at["image"] = graph.add("LoadImage", image=IMAGE)[0]
    return graph, at


def add_film(
    graph: Graph, at: dict[str, Link], prompts: Any, key: str = "film", **settings: Any
) -> tuple[Link, Link]:
    """A long video from a studio; its video and its last latent."""
    links = {each: at[each] for each in ("clip", "vae", "image")}
    links |= {"model_high": at["high"], "model_low": at["low"]}
    given = {"prompts": prompts, "filename_prefix": new_prefix()}
    video, latent, *_ = graph.add("SVIProLongVideo", key, **(links | SMALL | given | settings))
    return video, latent


def film(prompts: Any, prefix: str = "", **settings: Any) -> Graph:
    """Nothing but a long video; without a prefix its folder is its own."""
    graph, at = studio()
    add_film(graph, at, prompts, filename_prefix=prefix or new_prefix(), **settings)
    return graph


def report(server: Server, graph: Graph) -> list[str]:
    """The report of the video at the key `film`."""
    history = server.run(graph)
    assert history["status"]["status_str"] == "success", error_of(history)
    return str(history["outputs"]["film"]["text"][0]).splitlines()


def told(lines: Sequence[str]) -> list[str]:
    """`sampled` or `found`, for each clip of a report."""
    found = [re.match(r"clip \d+: (\w+)", line) for line in lines]
    return [each[1] for each in found if each]


def frames_told(lines: Sequence[str]) -> int:
    """How many frames the final file has, by a report."""
    return int(_final(lines)[2])


def video_of(server: Server, prefix: str, lines: Sequence[str]) -> Path:
    """The final file that a report names."""
    return (server.base / "output" / prefix).parent / _final(lines)[1]


def _final(lines: Sequence[str]) -> re.Match[str]:
    (found,) = (each for line in lines if (each := re.match(r"(.+\.mp4): (\d+) frames", line)))
    return found


def frames_of(path: Path) -> Any:
    """Every frame of a video, [F, h, w, 3], 0..255."""
    with av.open(str(path)) as video:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)])


def latent_files(folder: Path) -> list[Path]:
    """The finished latents of a folder of clips, by clip, the newest last."""
    files = folder.glob("clip_*.latent.safetensors")
    return sorted(files, key=lambda path: (path.name[:9], path.stat().st_mtime_ns))


def latents_of(server: Server, prefix: str) -> list[Any]:
    """The newest latent of each clip of a video, [1, 16, T, H, W]."""
    folder = server.base / "output" / f"{prefix}_clips"
    newest = {path.name[:9]: load_file(path)["samples"] for path in latent_files(folder)}
    return list(newest.values())
