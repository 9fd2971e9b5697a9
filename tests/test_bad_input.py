"""What is refused, when, and in which words; and that the next prompt works."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rig.client import Server, changing_catalog
from rig.graphs import Graph, dual, error_of, scene
from rig.tiny_models import PAIRS


def picked(pairs: Any, base_model: Any = "wan-i2v-14b") -> Graph:
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
    with changing_catalog(server):
        path.unlink()


def entry(file: str, role: str, **more: Any) -> dict[str, Any]:
    made = {"name": "Mine", "file": file, "base_model": "wan-i2v-14b", "pair_id": "mine"}
    return made | {"dest": "loras", "source": "huggingface", "pair_role": role} | more


def write(server: Server, path: Path, *entries: dict[str, Any]) -> None:
    with changing_catalog(server):
        path.write_text(json.dumps({"version": "1", "date": "2026-01-01", "loras": list(entries)}))


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


@pytest.mark.parametrize("base_model", ("nonsense", "", None, 5, True, {}))
def test_a_base_model_that_the_catalog_lacks_is_refused(server: Server, base_model: Any) -> None:
    assert "your catalog has wan-fun-inp-14b" in refusal(server, picked("", base_model))


@pytest.mark.parametrize("pairs", (None, 5, {"a": 1}, {"__value__": ["svi-v2-pro"]}, True))
def test_pairs_that_are_no_text_are_refused(server: Server, pairs: Any) -> None:
    assert refusal(server, picked(pairs))


@pytest.mark.parametrize(
    "node, inputs, words",
    [
        ("SVIProDualSampler", {"plan": "4 steps"}, "plan takes a link"),
        ("SVIProDualSampler", {"latent": {}}, "latent is not connected"),
        ("DualPassLoraRouter", {"pairs": "svi-v2-pro"}, "pairs takes a link"),
        ("DualPassLoraRouter", {"pairs": ""}, "pairs takes a link"),
        ("CatalogLoraPairPicker", {"previous": "svi-v2-pro"}, "previous takes a link"),
    ],
)
def test_a_value_where_a_link_belongs_is_refused(
    server: Server, node: str, inputs: dict[str, Any], words: str
) -> None:
    graph, at = scene()
    latent, _ = dual(graph, at, **MANUAL)
    models = {"model_high": at["high"], "model_low": at["low"]}
    graph.add("DualPassLoraRouter", **models)
    graph.add("CatalogLoraPairPicker", base_model="wan-i2v-14b", pairs="")
    (key,) = (key for key, made in graph.items() if made["class_type"] == node)
    graph[key]["inputs"] |= inputs
    graph.add("PreviewAny", source=[key, 0])
    assert words in error_of(server.run(graph))


def test_accelerators_with_different_plans_are_refused(server: Server, own_catalog: Path) -> None:
    file = PAIRS["lightx2v-unified"]["both"]
    write(server, own_catalog, entry(file, "both", kind="accelerator", steps=6, cfg=1.0))
    assert "mine" in refusal(server, picked("mine, lightx2v-4step"))
    status, body = server.queue(picked("mine@0, lightx2v-4step"))
    assert status == 200, body


@pytest.mark.parametrize(
    "first, second, words",
    [
        ("svi-v2-pro", "svi-v2-pro", "chosen in two pickers"),
        ("lightx2v-4step", "mine", "want different steps: 4 and 6"),
    ],
)
def test_a_chain_of_pickers_is_checked_as_a_whole(
    server: Server, own_catalog: Path, first: str, second: str, words: str
) -> None:
    file = PAIRS["lightx2v-unified"]["both"]
    write(server, own_catalog, entry(file, "both", kind="accelerator", steps=6, cfg=1.0))
    graph = picked(second)
    before, *_ = graph.add("CatalogLoraPairPicker", base_model="wan-i2v-14b", pairs=first)
    graph["picker"]["inputs"]["previous"] = before
    assert words in error_of(server.run(graph))


def test_a_chain_of_two_base_models_is_refused(server: Server, own_catalog: Path) -> None:
    file = PAIRS["lightx2v-unified"]["both"]
    write(server, own_catalog, entry(file, "both", base_model="wan-t2v-14b"))
    graph = picked("svi-v2-pro")
    before, *_ = graph.add("CatalogLoraPairPicker", base_model="wan-t2v-14b", pairs="mine")
    graph["picker"]["inputs"]["previous"] = before
    assert "Set both pickers to the same base model" in error_of(server.run(graph))


def test_a_file_that_no_pass_needs_may_be_missing(server: Server, own_catalog: Path) -> None:
    high = entry("gone.safetensors", "high")
    write(server, own_catalog, high, entry(PAIRS["svi-v2-pro"]["low"], "low"))
    assert server.queue(picked("mine@0:1"))[0] == 200
    assert "gone.safetensors" in refusal(server, picked("mine"))


def test_a_missing_file_is_refused_with_folder_and_source(
    server: Server, own_catalog: Path
) -> None:
    gone = entry("gone.safetensors", "both", hf_repo="someone/something", hf_file="a/b.safetensors")
    write(server, own_catalog, gone)
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
    write(server, own_catalog, entry("twin.safetensors", "both"))
    words = refusal(server, picked("mine"))
    assert "one" in words and "two" in words


def test_a_file_in_the_folder_itself_counts_before_its_namesake_below(
    server: Server, own_catalog: Path
) -> None:
    loras = server.base / "models" / "loras"
    (loras / "below").mkdir()
    for folder in (loras, loras / "below"):
        (folder / "namesake.safetensors").write_bytes(b"")
    write(server, own_catalog, entry("namesake.safetensors", "both"))
    assert server.queue(picked("mine"))[0] == 200


def test_links_to_one_file_are_one_and_links_to_nothing_are_none(
    server: Server, own_catalog: Path
) -> None:
    loras = server.base / "models" / "loras"
    (loras / "linked").mkdir()
    (loras / "linked" / PAIRS["lightx2v-unified"]["both"]).symlink_to(
        loras / PAIRS["lightx2v-unified"]["both"]
    )
    (loras / "nowhere.safetensors").symlink_to(loras / "gone")
    write(server, own_catalog, entry("nowhere.safetensors", "both"))
    assert server.queue(picked("lightx2v-unified"))[0] == 200
    assert "nowhere.safetensors is in none of" in refusal(server, picked("mine"))


def test_a_pair_with_two_files_for_one_role_is_refused(server: Server, own_catalog: Path) -> None:
    write(server, own_catalog, entry("a.safetensors", "high"), entry("b.safetensors", "high"))
    words = refusal(server, picked("mine"))
    assert "a.safetensors" in words and "b.safetensors" in words


def test_a_broken_catalog_keeps_the_last_good_one(server: Server, own_catalog: Path) -> None:
    file = PAIRS["lightx2v-unified"]["both"]
    write(server, own_catalog, entry(file, "both"))
    assert server.queue(picked("mine, svi-v2-pro"))[0] == 200
    with changing_catalog(server):
        own_catalog.write_text('{"loras": [')
    status, body = server.queue(picked("svi-v2-pro, mine"))
    assert status == 200, body


@pytest.mark.parametrize("linked", (False, True))
def test_the_fingerprint_notices_a_replaced_file(
    server: Server, own_catalog: Path, linked: bool
) -> None:
    """Run twice, the picker is cached; with the file's time moved on, it runs again."""
    source = (server.base / "models" / "loras" / PAIRS["lightx2v-unified"]["both"]).resolve()
    copy = server.base / "models" / "loras" / "copied.safetensors"
    copy.write_bytes(source.read_bytes())
    write(server, own_catalog, entry(copy.name, "both"))
    graph = picked("mine")
    if linked:
        graph["picker"]["inputs"]["pairs"], *_ = graph.add("PrimitiveString", value="mine")
    assert "picker" not in cached(server.run(graph))
    assert "picker" in cached(server.run(graph))
    os.utime(copy, ns=(1, 1))
    assert "picker" not in cached(server.run(graph))


def test_the_fingerprint_notices_a_change_of_the_catalog(server: Server, own_catalog: Path) -> None:
    write(server, own_catalog, entry(PAIRS["lightx2v-unified"]["both"], "both"))
    graph = picked("mine")
    server.run(graph)
    assert "picker" in cached(server.run(graph))
    write(server, own_catalog, entry(PAIRS["lightx2v-unified"]["both"], "both", strength=0.5))
    assert "picker" not in cached(server.run(graph))


def test_a_linked_selection_is_cached_and_checked_when_it_runs(server: Server) -> None:
    for text, works_out in (("svi-v2-pro", True), ("nobody", False)):
        graph = picked("")
        graph["picker"]["inputs"]["pairs"], *_ = graph.add("PrimitiveString", value=text)
        first, second = server.run(graph), server.run(graph)
        assert (first["status"]["status_str"] == "success") is works_out
        assert ("picker" in cached(second)) is works_out


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


def routed(server: Server, **inputs: Any) -> dict[str, Any]:
    """The history of a run that puts the pair `mine` on the experts."""
    graph, at = scene()
    pairs, *_ = graph.add("CatalogLoraPairPicker", base_model="wan-i2v-14b", pairs="mine")
    models = {"model_high": at["high"], "model_low": at["low"]}
    high, *_ = graph.add("DualPassLoraRouter", "router", pairs=pairs, **models, **inputs)
    graph.add("PreviewAny", source=high)
    return dict(server.run(graph))


def test_a_lora_of_which_nothing_matches_stops_the_run(server: Server, own_catalog: Path) -> None:
    write(server, own_catalog, entry("no_match.safetensors", "high"))
    words = error_of(routed(server))
    assert "no_match.safetensors" in words and "high" in words
    assert works(server)


def altered(server: Server, name: str, change: Callable[[str, Any], Any]) -> None:
    """A copy of SVI's high file with each tensor changed, or left out where that gives None."""
    from safetensors.torch import load_file, save_file

    folder = server.base / "models" / "loras"
    tensors = load_file(folder / PAIRS["svi-v2-pro"]["high"])
    changed = {key: change(key, tensor) for key, tensor in tensors.items()}
    kept = {key: tensor.contiguous() for key, tensor in changed.items() if tensor is not None}
    save_file(kept, folder / name)


def _narrow(key: str, tensor: Any) -> Any:
    """As for a model half as wide."""
    return tensor[:, : len(tensor[0]) // 2] if "lora_A" in key else tensor[: len(tensor) // 2]


def test_a_lora_for_a_model_of_another_size_stops_the_run(
    server: Server, own_catalog: Path
) -> None:
    altered(server, "narrow.safetensors", _narrow)
    write(server, own_catalog, entry("narrow.safetensors", "high"))
    words = error_of(routed(server))
    assert "20 of its modules do not fit the high-noise model, which is 128 wide" in words
    report = routed(server, strict=False)["outputs"]["router"]["text"][0]
    assert "0 of 20 modules, 20 of another size, strength 1: narrow.safetensors" in report
    assert "warning: narrow.safetensors is made for a model 64 wide" in report


def test_a_file_for_some_of_the_blocks_is_told(server: Server, own_catalog: Path) -> None:
    altered(server, "half.safetensors", lambda key, x: None if ".1." in key else x)
    write(server, own_catalog, entry("half.safetensors", "high"))
    lines = routed(server)["outputs"]["router"]["text"][0].splitlines()
    assert lines[1] == "  10 of 10 modules, strength 1: half.safetensors"
    assert lines[3] == "    note: it covers 1 of the model's 2 blocks."
    assert lines[-1] == "Mine has no file for the low pass, which runs without it."


@pytest.mark.parametrize(
    "content", (b"", b"<!DOCTYPE html>" * 9, b"\xff" * 99), ids=("empty", "a web page", "noise")
)
def test_a_file_that_is_no_lora_is_named(server: Server, own_catalog: Path, content: bytes) -> None:
    (server.base / "models" / "loras" / "damaged.safetensors").write_bytes(content)
    write(server, own_catalog, entry("damaged.safetensors", "both"))
    words = error_of(routed(server))
    assert words.startswith("damaged.safetensors ") and "It lies in" in words


def works(server: Server) -> bool:
    graph, at = scene()
    latent, _ = dual(graph, at, **MANUAL, seed=int(time.time()))
    graph.add("PreviewAny", source=latent)
    return bool(server.run(graph)["status"]["status_str"] == "success")
