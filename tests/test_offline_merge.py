"""The offline merge example on the tiny models: its experts are saved, and reload equal."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rig import tiny_models
from rig.client import Server
from rig.demo import fitted
from rig.graphs import Graph, Link, compare, dual, scene
from rig.server import ROOT, start

EXAMPLE = ROOT / "example_workflows" / "api" / "wan22_offline_merge.json"
ROUTER = "5"
RUN = {"settings": "manual", "steps": 4, "cfg_high": 1.0, "cfg_low": 1.0, "shift": 5.0}
SELECTIONS = ("lightx2v-4step", "lightx2v-unified@0.7, svi-v2-pro@-0.5:2")


def tiny(handle: str) -> Path:
    return Path(os.environ["DUALPASS_MODELS"], "models", tiny_models.FILES[handle])


def tensors(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Each tensor of a file by its name in it, and what its header says."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}, file.metadata()  # noqa: SIM118


def example(pairs: str) -> dict[str, Any]:
    """The shipped API prompt on the tiny models, with these pairs."""
    prompt = fitted(json.loads(EXAMPLE.read_text(encoding="utf-8")))
    (picker,) = (node for node in prompt.values() if node["class_type"] == "CatalogLoraPairPicker")
    picker["inputs"]["pairs"] = pairs
    return prompt


def save(server: Server, pairs: str) -> dict[str, str]:
    """Run the example: role -> name of the saved expert as UNETLoader lists it."""
    # A Wan model's text width is not in its shapes, and 768 is that of the tiny ones only: the
    # header of their files says so, and ModelSave writes what comes with the prompt into its own.
    config = json.loads(tensors(tiny("i2v_high"))[1]["config"])
    folder = server.base / "output" / "diffusion_models"
    before = set(folder.glob("*"))
    status, reply = server.queue(example(pairs), extra_pnginfo={"config": config})
    assert status == 200, reply
    entry = server.finished(reply["prompt_id"])
    assert entry["status"]["status_str"] == "success"
    assert entry["outputs"][ROUTER]["text"][0].startswith("high, merged")
    made = [path.name for path in set(folder.glob("*")) - before]
    return {role: name for name in made for role in ("high", "low") if f"_{role}_0" in name}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A ComfyUI that keeps the experts in bfloat16, as they are on disk and on a graphics card."""
    if "DUALPASS_COMFYUI" not in os.environ:
        pytest.skip("needs a real ComfyUI: run `python3 dev.py test`")
    packs = {"dualpass": ROOT, "probe": ROOT / "tests" / "rig" / "probe"}
    with start(packs=packs, flags=["--bf16-unet"]) as running:
        yield running


@pytest.fixture(scope="module", params=SELECTIONS)
def merged(request: pytest.FixtureRequest, server: Server) -> tuple[str, dict[str, str]]:
    """The chosen pairs, and the experts saved with them."""
    return request.param, save(server, request.param)


def routed(graph: Graph, at: dict[str, Link], pairs: str) -> dict[str, Link]:
    picked, *_ = graph.add("CatalogLoraPairPicker", base_model="wan-i2v-14b", pairs=pairs)
    models = {"model_high": at["high"], "model_low": at["low"]}
    high, low, *_ = graph.add("DualPassLoraRouter", **models, pairs=picked, mode="merged")
    return at | {"high": high, "low": low}


def reloaded(graph: Graph, at: dict[str, Link], names: dict[str, str]) -> dict[str, Link]:
    load = {
        role: graph.add("UNETLoader", unet_name=name, weight_dtype="default")[0]
        for role, name in names.items()
    }
    return at | load


def test_the_saved_experts_sample_as_the_merged_ones(
    server: Server, merged: tuple[str, dict[str, str]]
) -> None:
    """Bit for bit, through both passes of one run."""
    pairs, names = merged
    graph, at = scene()
    ours, _ = dual(graph, routed(graph, at, pairs), **RUN)
    compare(graph, "reloaded", ours, dual(graph, reloaded(graph, at, names), **RUN)[0])
    compare(graph, "bare", ours, dual(graph, at, **RUN)[0])
    outputs = server.run(graph)["outputs"]
    assert outputs["reloaded"]["difference"] == [0.0]
    assert outputs["reloaded"]["finite"] == [True]
    # The LoRAs do matter: without this the line above could not fail.
    assert outputs["bare"]["relative"][0] > 0.01


@pytest.mark.parametrize("role", ("high", "low"))
def test_a_saved_expert_has_the_names_shapes_and_types_of_its_base(
    server: Server, merged: tuple[str, dict[str, str]], role: str
) -> None:
    _, names = merged
    saved, header = tensors(server.base / "output" / "diffusion_models" / names[role])
    base, _ = tensors(tiny(f"i2v_{role}"))
    own = {key.removeprefix("model.diffusion_model."): value for key, value in saved.items()}
    # ComfyUI keeps a Wan model's patch embedding in float32, whatever the file has.
    base |= {key: value.float() for key, value in base.items() if key.startswith("patch_emb")}
    kind = {key: (value.dtype, value.shape) for key, value in own.items()}
    assert kind == {key: (value.dtype, value.shape) for key, value in base.items()}
    assert json.loads(header["prompt"])[ROUTER]["inputs"]["mode"] == "merged"
