"""A dual run as ComfyUI's users see it: progress, preview, interrupt, errors, and nothing left."""

from __future__ import annotations

import signal
import time
from typing import Any

import pytest

from rig import server as rig_server
from rig.client import Server, holding
from rig.graphs import Graph, compare, core, dual, error_of, scene, shifted

PACKS = {"dualpass": rig_server.ROOT, "probe": rig_server.ROOT / "tests" / "rig" / "probe"}
EIGHT = {"settings": "manual", "steps": 8, "cfg_high": 2.0, "cfg_low": 2.0, "shift": 5.0}


def fresh() -> Graph:
    """A run that no cache holds."""
    graph, at = scene()
    latent, _ = dual(graph, at, **EIGHT, seed=time.time_ns() % 2**32)
    graph.add("PreviewAny", source=latent)
    return graph


def left_behind(server: Server) -> dict[str, list[int]]:
    """What a run must not leave: threads of ours."""
    graph, at = scene()
    graph.add("ProbeState", "state", model=at["low"], after=at["latent"], nonce=time.time_ns())
    return dict(server.run(graph)["outputs"]["state"])


def slow(graph: Graph, at: dict[str, Any]) -> dict[str, Any]:
    """The scene with experts slow enough that ComfyUI leaves out no message of a step."""
    return at | {
        role: graph.add("ProbeSlow", model=at[role], seconds=0.25)[0] for role in ("high", "low")
    }


def slow_run(**settings: Any) -> tuple[Graph, str]:
    graph, at = scene()
    seed = {"seed": time.time_ns() % 2**32}
    latent, _ = dual(graph, slow(graph, at), **(EIGHT | seed | {"steps": 4} | settings))
    graph.add("PreviewAny", source=latent)
    return graph, latent[0]


def test_one_progress_bar_covers_both_experts(server: Server) -> None:
    graph, sampler = slow_run()
    seen = [
        (event["data"]["value"], event["data"]["max"])
        for event in server.events(graph)
        if event["type"] == "progress" and event["data"]["node"] == sampler
    ]
    assert list(dict.fromkeys(seen)) == [(1, 4), (2, 4), (3, 4), (4, 4)]


@pytest.mark.parametrize("method", ("latent2rgb", "taesd"))
def test_each_step_of_both_experts_has_a_preview(server: Server, method: str) -> None:
    """4 steps at shift 5: two of each expert."""
    if method == "taesd":
        make_taehv(server)
    graph, _ = slow_run()
    events = server.events(graph, preview_method=method)
    previews = [event["data"] for event in events if event["type"] == "preview"]
    assert len(previews) == 4
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


@pytest.mark.parametrize(("role", "calls", "after"), (("high", 1, 1), ("low", 2, 5)))
def test_an_interrupt_stops_either_expert_and_leaves_nothing(
    server: Server, role: str, calls: int, after: int
) -> None:
    """8 steps at shift 5, 3 of them high."""
    graph, at = scene()
    at = slow(graph, at)
    at[role] = graph.add("ProbeHold", model=at[role])[0]
    latent, _ = dual(graph, at, **(EIGHT | {"cfg_high": 1.0, "cfg_low": 1.0}))
    graph.add("PreviewAny", source=latent)
    with holding(server, calls) as held:
        for event in server.events(graph):
            if event["type"] == "progress" and event["data"]["value"] == after:
                server.post("/interrupt", {})
                held.unlink(missing_ok=True)
    assert event["type"] == "execution_interrupted"
    assert left_behind(server)["threads"] == [0]
    assert server.run(fresh())["status"]["status_str"] == "success"


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
    assert left_behind(server)["threads"] == [0]
    assert server.run(fresh())["status"]["status_str"] == "success"


def test_comfyui_can_be_ended_while_it_samples() -> None:
    """Ctrl-C in the terminal, as with any KSampler; the sampler's thread does not keep it."""
    with rig_server.start(packs=PACKS) as server:
        graph, at = scene()
        latent, _ = dual(graph, slow(graph, at), **(EIGHT | {"steps": 200}))
        graph.add("PreviewAny", source=latent)
        for event in server.events(graph):
            if event["type"] == "progress":
                break
        server.process.send_signal(signal.SIGINT)
        server.process.wait(timeout=120)


def test_a_noise_mask_and_a_batch_go_through_both_experts(server: Server) -> None:
    """As one KSampler does it, with the same weights on both sides."""
    graph, at = scene(batch_size=2)
    mask, *_ = graph.add("SolidMask", value=0.5, width=64, height=64)
    at["latent"], *_ = graph.add("SetLatentNoiseMask", samples=at["latent"], mask=mask)
    same = at | {"low": at["high"]}
    latent, _ = dual(graph, same, **EIGHT, seed=3)
    euler = {"seed": 3, "steps": 8, "cfg": 2.0, "sampler_name": "euler", "scheduler": "simple"}
    compare(graph, "core", latent, core(graph, at, shifted(graph, at["high"], 5.0), **euler))
    assert server.run(graph)["outputs"]["core"]["difference"] == [0.0]
