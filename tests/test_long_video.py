"""Long videos through the real server, on tiny models: frames, files, resuming, rolling again."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import av
import pytest

from rig.client import Server
from rig.graphs import Graph, Link, error_of, scene
from rig.tiny_models import IMAGE, name

SMALL = {"settings": "manual", "steps": 4, "cfg_high": 1.0, "cfg_low": 1.0, "shift": 5.0}
SMALL |= {"width": 32, "height": 32, "length": 13, "seed": 5}


def film(prompts: str, prefix: str = "", **settings: Any) -> Graph:
    """A long video of these prompts; each call without a prefix has a folder of its own."""
    graph, at = scene()
    clip = graph.add("CLIPLoader", clip_name=name("text_encoder"), type="wan")[0]
    image = graph.add("LoadImage", image=IMAGE)[0]
    graph.add(
        "SVIProLongVideo", "film",
        model_high=at["high"], model_low=at["low"], clip=clip, vae=at["vae"], image=image,
        prompts=prompts, filename_prefix=prefix or f"test/{time.time_ns()}",
        **(SMALL | settings),
    )  # fmt: skip
    return graph


def report(server: Server, graph: Graph) -> list[str]:
    history = server.run(graph, timeout=300)
    assert history["status"]["status_str"] == "success", error_of(history)
    return str(history["outputs"]["film"]["text"][0]).splitlines()


THREE = "a fox runs\na fox jumps\na fox sleeps"


@pytest.mark.parametrize("join", ("cut", "blend"))
@pytest.mark.parametrize("motion", (0, 1, 2))
def test_clips_are_joined_to_one_video(server: Server, join: str, motion: int) -> None:
    lines = report(server, film(THREE, join=join, motion_latents=motion, length=25))
    frames = 25 + 2 * (25 - (1 + 4 * motion))
    assert lines[-1].endswith(f": {frames} frames")
