"""What is refused, when, and in which words; and that the next prompt works."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rig.client import Server
from rig.graphs import Graph, dual, error_of, scene
from rig.tiny_models import PAIRS

SECOND = 1.2  # the catalog is looked at once a second


def picked(pairs: Any, base_model: str = "wan-i2v-14b") -> Graph:
    graph = Graph()
    pairs_out, *_ = graph.add("CatalogLoraPairPicker", "picker", base_model=base_model, pairs=pairs)
    graph.add("PreviewAny", source=pairs_out)
    return graph


def refusal(server: Server, graph: Graph) -> str:
    """The details of a node error of POST /prompt, which must answer 400."""
    status, body = server.queue(graph)
    assert status == 400, body
    return str(body["node_errors"]["picker"]["errors"][0]["details"])


@pytest.fixture
def own_catalog(server: Server) -> Iterator[Path]:
    """The user's own loras.json, gone again after the test."""
    path = server.base / "user" / "__dualpass" / "loras.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    yield path
    path.unlink(missing_ok=True)
    time.sleep(SECOND)


def entry(file: str, role: str, **more: Any) -> dict[str, Any]:
    made = {"name": "Mine", "file": file, "base_model": "wan-i2v-14b", "pair_id": "mine"}
    return made | {"dest": "loras", "source": "huggingface", "pair_role": role} | more


def write(path: Path, *entries: dict[str, Any]) -> None:
    path.write_text(json.dumps({"version": "1", "date": "2026-01-01", "loras": list(entries)}))
    time.sleep(SECOND)


@pytest.mark.parametrize(
    "pairs, words",
    [
        ("nobody", "not in your catalog"),
        ("nobody", "lightx2v-4step"),
        ("lightx2v-4step, lightx2v-4step", "chosen twice"),
        ("lightx2v-4step@", "strength"),
        ("lightx2v-4step@strong", "strength"),
        ("lightx2v-4step@nan", "strength"),
        ("lightx2v-4step@inf:1", "strength"),
        ("lightx2v-4step@1e999", "strength"),
        ("lightx2v-4step@11", "between -10 and 10"),
        ("lightx2v-4step@1:2:3", "strength"),
        ("lightx2v-4step@1;0.5:1", "one"),
        ("../../etc/passwd", "id of a pair"),
        ("lightx2v-4step,,svi-v2-pro", "id of a pair"),
        ("x" * 5000, "longer than"),
    ],
)
def test_a_selection_that_can_not_run_is_refused_before_anything_loads(
    server: Server, pairs: str, words: str
) -> None:
    assert words in refusal(server, picked(pairs))


def test_a_selection_of_another_base_model_is_refused_and_named(server: Server) -> None:
    words = refusal(server, picked("lightx2v-4step", "wan-t2v-14b"))
    assert "wan-i2v-14b" in words


def test_accelerators_with_different_plans_are_refused(server: Server, own_catalog: Path) -> None:
    file = PAIRS["lightx2v-unified"]["both"]
    write(own_catalog, entry(file, "both", kind="accelerator", steps=6, cfg=1.0))
    assert "mine" in refusal(server, picked("mine, lightx2v-4step"))
    status, body = server.queue(picked("mine@0, lightx2v-4step"))
    assert status == 200, body


def test_a_missing_file_is_refused_with_folder_and_source(
    server: Server, own_catalog: Path
) -> None:
    gone = entry("gone.safetensors", "both", hf_repo="someone/something", hf_file="a/b.safetensors")
    write(own_catalog, gone)
    words = refusal(server, picked("mine"))
    assert "gone.safetensors" in words
    assert str(server.base / "models" / "loras") in words
    assert "https://huggingface.co/someone/something" in words


def test_a_file_that_is_there_twice_in_subfolders_is_refused(
    server: Server, own_catalog: Path
) -> None:
    loras = server.base / "models" / "loras"
    for folder in ("one", "two"):
        (loras / folder).mkdir()
        (loras / folder / "twin.safetensors").write_bytes(b"")
    write(own_catalog, entry("twin.safetensors", "both"))
    words = refusal(server, picked("mine"))
    assert "one" in words and "two" in words


def test_a_pair_with_two_files_for_one_role_is_refused(server: Server, own_catalog: Path) -> None:
    write(own_catalog, entry("a.safetensors", "high"), entry("b.safetensors", "high"))
    words = refusal(server, picked("mine"))
    assert "a.safetensors" in words and "b.safetensors" in words


def test_a_broken_catalog_keeps_the_last_good_one(server: Server, own_catalog: Path) -> None:
    file = PAIRS["lightx2v-unified"]["both"]
    write(own_catalog, entry(file, "both"))
    assert server.queue(picked("mine, svi-v2-pro"))[0] == 200
    own_catalog.write_text('{"loras": [')
    time.sleep(SECOND)
    status, body = server.queue(picked("svi-v2-pro, mine"))
    assert status == 200, body


def test_the_fingerprint_notices_a_replaced_file(server: Server, own_catalog: Path) -> None:
    """Run twice, the picker is cached; with the file's time moved on, it runs again."""
    source = (server.base / "models" / "loras" / PAIRS["lightx2v-unified"]["both"]).resolve()
    copy = server.base / "models" / "loras" / "copied.safetensors"
    copy.write_bytes(source.read_bytes())
    write(own_catalog, entry(copy.name, "both"))
    graph = picked("mine")
    assert "picker" not in cached(server.run(graph))
    assert "picker" in cached(server.run(graph))
    os.utime(copy, ns=(1, 1))
    assert "picker" not in cached(server.run(graph))


def cached(history: dict[str, Any]) -> list[str]:
    return next(
        data["nodes"] for kind, data in history["status"]["messages"] if kind == "execution_cached"
    )


MANUAL = {"settings": "manual", "steps": 4, "cfg_high": 1.0, "cfg_low": 1.0}


@pytest.mark.parametrize(
    "inputs, words",
    [
        ({"split": "step", "switch_step": 4}, "must be 1 to 3"),
        ({"split": "step", "switch_step": 9}, "must be 1 to 3"),
        ({"cfg_high": math.nan}, "cfg_high is nan"),
        ({"cfg_low": "nan"}, "cfg_low is nan"),
        ({"shift": math.nan}, "shift is nan"),
        ({"boundary": math.nan}, "boundary is nan"),
        ({"denoise": 0.0}, "nothing would be sampled"),
        ({"denoise": math.nan}, "denoise is nan"),
    ],
)
def test_settings_that_can_not_run_stop_before_sampling(
    server: Server, inputs: dict[str, Any], words: str
) -> None:
    graph, at = scene()
    latent, _ = dual(graph, at, **(MANUAL | inputs))
    graph.add("PreviewAny", source=latent)
    assert words in error_of(server.run(graph))
    assert works(server)


@pytest.mark.parametrize(
    "node, words",
    [
        ("EmptyLatentImage", "the shape [1, 4, 8, 8]"),
        ("EmptyHunyuanLatentVideo", "Take both from the same node"),
    ],
)
def test_a_latent_of_another_shape_stops_before_sampling(
    server: Server, node: str, words: str
) -> None:
    graph, at = scene()
    size = {"width": 64, "height": 64, "batch_size": 1}
    size |= {"length": 17} if node == "EmptyHunyuanLatentVideo" else {}
    at["latent"], *_ = graph.add(node, **size)
    latent, _ = dual(graph, at, **MANUAL)
    graph.add("PreviewAny", source=latent)
    assert words in error_of(server.run(graph))


def test_without_a_latent_the_sampler_says_what_to_connect(server: Server) -> None:
    graph, at = scene()
    latent, _ = dual(graph, at, **MANUAL)
    sampler = latent[0]
    del graph[sampler]["inputs"]["latent"]
    graph.add("PreviewAny", source=latent)
    assert "latent is not connected" in error_of(server.run(graph))


def test_a_lora_of_which_nothing_matches_stops_the_run(server: Server, own_catalog: Path) -> None:
    write(own_catalog, entry("no_match.safetensors", "high"))
    graph, at = scene()
    pairs, *_ = graph.add("CatalogLoraPairPicker", base_model="wan-i2v-14b", pairs="mine")
    high, *_ = graph.add(
        "DualPassLoraRouter", model_high=at["high"], model_low=at["low"], pairs=pairs, mode="auto"
    )
    graph.add("PreviewAny", source=high)
    words = error_of(server.run(graph))
    assert "no_match.safetensors" in words and "high" in words
    assert works(server)


def works(server: Server) -> bool:
    graph, at = scene()
    latent, _ = dual(graph, at, **MANUAL, seed=int(time.time()))
    graph.add("PreviewAny", source=latent)
    return bool(server.run(graph)["status"]["status_str"] == "success")
