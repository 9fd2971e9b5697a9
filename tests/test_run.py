"""A dual run as ComfyUI's users see it: progress, preview, interrupt, errors, and nothing left."""

from __future__ import annotations

import time
from typing import Any

import pytest

from rig.client import Server
from rig.graphs import Graph, dual, error_of, scene
from rig.graphs import shifted as core_shifted

EIGHT = {"settings": "manual", "steps": 8, "cfg_high": 2.0, "cfg_low": 2.0, "shift": 5.0}


def fresh(**settings: Any) -> tuple[Graph, dict[str, Any], str]:
    """A run that no cache holds; the graph, its links, and the sampler's key."""
    graph, at = scene()
    latent, _ = dual(graph, at, **(EIGHT | {"seed": time.time_ns() % 2**32} | settings))
    graph.add("PreviewAny", source=latent)
    return graph, at, latent[0]


def left_behind(server: Server) -> dict[str, list[int]]:
    """What a run must not leave: threads of ours, patches on the models."""
    graph, at = scene()
    graph.add("ProbeState", "state", model=at["low"], after=at["latent"], nonce=time.time_ns())
    return dict(server.run(graph)["outputs"]["state"])


def test_one_progress_bar_covers_both_experts(server: Server) -> None:
    graph, _, sampler = fresh()
    seen = [
        (event["data"]["value"], event["data"]["max"])
        for event in server.events(graph)
        if event["type"] == "progress" and event["data"]["node"] == sampler
    ]
    # ComfyUI leaves out messages that come too fast; a bar for each expert would start again.
    assert seen == sorted(seen)
    assert {steps for _, steps in seen} == {8}
    assert seen[-1] == (8, 8)


@pytest.mark.parametrize("method", ("latent2rgb", "taesd"))
def test_each_step_of_both_experts_has_a_preview(server: Server, method: str) -> None:
    if method == "taesd":
        make_taehv(server)
    graph, *_ = fresh()
    events = server.events(graph, preview_method=method)
    previews = [event["data"] for event in events if event["type"] == "preview"]
    assert len(previews) >= 4
    assert all(image.startswith(b"\xff\xd8") for image in previews)  # JPEG


def make_taehv(server: Server) -> None:
    """A small video autoencoder with random weights under the name that Wan's latents ask for."""
    import torch
    from comfy.taesd.taehv import TAEHV
    from safetensors.torch import save_file

    torch.manual_seed(0)
    folder = server.base / "models" / "vae_approx"
    folder.mkdir(parents=True, exist_ok=True)
    save_file(TAEHV(latent_channels=16).state_dict(), folder / "lighttaew2_1.safetensors")


@pytest.mark.parametrize("at_value", (1, 30))
def test_an_interrupt_stops_either_expert_and_leaves_nothing(server: Server, at_value: int) -> None:
    """40 steps, 15 of them high: step 1 is the high expert's, step 30 the low one's."""
    graph, *_ = fresh(steps=40)
    ends = []
    for event in server.events(graph):
        if event["type"] == "progress" and event["data"]["value"] == at_value:
            server.post("/interrupt", {})
        ends.append(event["type"])
    assert ends[-1] == "execution_interrupted"
    assert left_behind(server)["threads"] == [0]
    assert server.run(fresh()[0])["status"]["status_str"] == "success"


@pytest.mark.parametrize("expert", ("high", "low"))
@pytest.mark.parametrize("place", ("model call", "load"))
def test_an_error_in_either_expert_is_reported_and_leaves_nothing(
    server: Server, expert: str, place: str
) -> None:
    graph, at = scene()
    failing, *_ = graph.add("ProbeFail", model=at[expert], place=place)
    latent, _ = dual(graph, at | {expert: failing}, **EIGHT, seed=time.time_ns() % 2**32)
    graph.add("PreviewAny", source=latent)
    assert f"probe fails at {place}" in error_of(server.run(graph))
    assert left_behind(server) == {"shift": [8.0], "patches": [0], "threads": [0]}
    assert server.run(fresh()[0])["status"]["status_str"] == "success"


def test_a_noise_mask_and_a_batch_go_through_both_experts(server: Server) -> None:
    """As one KSampler does it, with the same weights on both sides."""
    graph, at = scene(batch_size=2)
    mask, *_ = graph.add("SolidMask", value=0.5, width=64, height=64)
    at["latent"], *_ = graph.add("SetLatentNoiseMask", samples=at["latent"], mask=mask)
    same = at | {"low": at["high"]}
    latent, _ = dual(graph, same, **EIGHT, seed=3)
    core, *_ = graph.add(
        "KSampler",
        model=core_shifted(graph, at["high"], 5.0),
        positive=at["positive"],
        negative=at["negative"],
        latent_image=at["latent"],
        **{"seed": 3, "steps": 8, "cfg": 2.0, "sampler_name": "euler", "scheduler": "simple"},
        denoise=1.0,
    )
    graph.add("ProbeCompare", "core", a=latent, b=core)
    assert server.run(graph)["outputs"]["core"]["difference"] == [0.0]
