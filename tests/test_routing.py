"""Pairs onto experts: the router against chains of ComfyUI's own loaders, through the server."""

from __future__ import annotations

from typing import Any

import pytest

from rig.client import Server
from rig.graphs import Graph, Link, compare, core, dual, error_of, scene
from rig.tiny_models import PAIRS

FOUR_STEPS = {"settings": "manual", "steps": 4, "cfg_high": 1.0, "cfg_low": 1.0, "shift": 5.0}


def route(graph: Graph, at: dict[str, Link], pairs: str, **inputs: Any) -> dict[str, Link]:
    """The scene with its experts routed; picker and router stand at the keys of their names."""
    picked, plan, *_ = graph.add(
        "CatalogLoraPairPicker", "picker", base_model="wan-i2v-14b", pairs=pairs
    )
    mode = {"mode": "auto"} | inputs
    high, low, *_ = graph.add(
        "DualPassLoraRouter", "router", model_high=at["high"], model_low=at["low"], pairs=picked,
        **mode,
    )  # fmt: skip
    return at | {"high": high, "low": low, "plan": plan}


def chain(graph: Graph, model: Link, *files: tuple[str, float]) -> Link:
    for file, strength in files:
        model, *_ = graph.add(
            "LoraLoaderModelOnly", model=model, lora_name=file, strength_model=strength
        )
    return model


SVI = "diffusion_model. lora_A/B, rank 4, scale 1"
STACKS = {
    "lightx2v-4step": ([("lightx2v-4step", 1.0)], [("lightx2v-4step", 1.0)]),
    "lightx2v-4step@0.5:0.8": ([("lightx2v-4step", 0.5)], [("lightx2v-4step", 0.8)]),
    "lightx2v-4step@0:1": ([], [("lightx2v-4step", 1.0)]),
    "lightx2v-unified@0.7": ([("lightx2v-unified", 0.7)], [("lightx2v-unified", 0.7)]),
    "lightx2v-4step@1, svi-v2-pro@-0.5:2": (
        [("lightx2v-4step", 1.0), ("svi-v2-pro", -0.5)],
        [("lightx2v-4step", 1.0), ("svi-v2-pro", 2.0)],
    ),
    "svi-v2-pro, lightx2v-unified": (
        [("svi-v2-pro", 1.0), ("lightx2v-unified", 1.0)],
        [("svi-v2-pro", 1.0), ("lightx2v-unified", 1.0)],
    ),
}


def files(stack: list[tuple[str, float]], role: str) -> list[tuple[str, float]]:
    return [(PAIRS[pair].get(role) or PAIRS[pair]["both"], strength) for pair, strength in stack]


def both_ways(
    graph: Graph, at: dict[str, Link], pairs: str, high: list[Any], low: list[Any], **inputs: Any
) -> None:
    """Our router and a chain of core's loaders, sampled alike and compared at key `core`."""
    ours, _ = dual(graph, route(graph, at, pairs, **inputs), **FOUR_STEPS)
    chained = at | {
        "high": chain(graph, at["high"], *files(high, "high")),
        "low": chain(graph, at["low"], *files(low, "low")),
    }
    cores, _ = dual(graph, chained, **FOUR_STEPS)
    bare, _ = dual(graph, at, **FOUR_STEPS)
    compare(graph, "core", ours, cores)
    compare(graph, "bare", ours, bare)


@pytest.mark.parametrize("pairs", STACKS)
def test_merged_equals_a_chain_of_core_loaders(server: Server, pairs: str) -> None:
    graph, at = scene()
    both_ways(graph, at, pairs, *STACKS[pairs])
    outputs = server.run(graph)["outputs"]
    # One sum where core has several: a few weights round the other way.
    assert outputs["core"]["relative"][0] < 2e-3
    # The LoRAs do matter: without this the line above could not fail.
    assert outputs["bare"]["relative"][0] > 0.01


@pytest.mark.usefixtures("gguf")
@pytest.mark.parametrize("pairs", STACKS)
def test_over_gguf_the_router_equals_core_loaders(server: Server, pairs: str) -> None:
    graph, at = scene("i2v_high_gguf", "i2v_low_gguf")
    both_ways(graph, at, pairs, *STACKS[pairs])
    outputs = server.run(graph)["outputs"]
    assert outputs["core"]["relative"][0] < 1e-5
    assert outputs["bare"]["relative"][0] > 0.01
    assert "unmerged" in outputs["router"]["text"][0]


@pytest.mark.usefixtures("gguf")
def test_merged_over_gguf_is_refused_with_the_reason(server: Server) -> None:
    graph, at = scene("i2v_high_gguf", "i2v_low_gguf")
    graph.add("PreviewAny", source=route(graph, at, "svi-v2-pro", mode="merged")["high"])
    assert "GGUF" in error_of(server.run(graph))


@pytest.mark.parametrize("pairs", STACKS)
def test_unmerged_over_other_models_equals_core_loaders(server: Server, pairs: str) -> None:
    graph, at = scene()
    both_ways(graph, at, pairs, *STACKS[pairs], mode="unmerged")
    outputs = server.run(graph)["outputs"]
    assert outputs["core"]["relative"][0] < 2e-3
    assert outputs["bare"]["relative"][0] > 0.01
    assert "unmerged over float32 weights" in outputs["router"]["text"][0]


def test_no_pair_equals_no_router(server: Server) -> None:
    graph, at = scene()
    ours, _ = dual(graph, route(graph, at, ""), **FOUR_STEPS)
    bare, _ = dual(graph, at, **FOUR_STEPS)
    compare(graph, "bare", ours, bare)
    outputs = server.run(graph)["outputs"]
    assert outputs["bare"]["difference"] == [0.0]
    assert outputs["router"]["text"] == ["high: no LoRA\nlow: no LoRA"]


def test_the_report_counts_what_of_each_file_reached_each_expert(server: Server) -> None:
    graph, at = scene()
    graph.add("PreviewAny", source=route(graph, at, "svi-v2-pro, lightx2v-unified@0:1")["high"])
    lines = server.run(graph)["outputs"]["router"]["text"][0].splitlines()
    svi, unified = PAIRS["svi-v2-pro"], PAIRS["lightx2v-unified"]["both"]
    assert lines[:6] == [
        "high, merged into float32 weights:",
        f"  20 of 20 modules, strength 1: {svi['high']}",
        f"    {SVI}",
        "low, merged into float32 weights:",
        f"  20 of 20 modules, strength 1: {svi['low']}",
        f"    {SVI}",
    ]
    assert lines[6].endswith(f" of the Wan 2.1 image branch (normal), strength 1: {unified}")


@pytest.mark.usefixtures("gguf")
def test_each_expert_holds_its_loras_its_own_way(server: Server) -> None:
    graph, at = scene("i2v_high_gguf", "i2v_low")
    graph.add("PreviewAny", source=route(graph, at, "svi-v2-pro")["high"])
    lines = server.run(graph)["outputs"]["router"]["text"][0].splitlines()
    over, into = "high, unmerged over GGUF Q8_0 weights:", "low, merged into float32 weights:"
    assert (lines[0], lines[3]) == (over, into)


def test_a_router_without_pairs_hands_its_models_on(server: Server) -> None:
    """What is left of a bypassed picker."""
    graph, at = scene()
    high, low, *_ = graph.add(
        "DualPassLoraRouter", "router", model_high=at["high"], model_low=at["low"]
    )
    ours, _ = dual(graph, at | {"high": high, "low": low}, **FOUR_STEPS)
    compare(graph, "bare", ours, dual(graph, at, **FOUR_STEPS)[0])
    assert server.run(graph)["outputs"]["bare"]["difference"] == [0.0]


def test_a_chain_of_pickers_puts_the_previous_pairs_first(server: Server) -> None:
    graph, at = scene()
    first, *_ = graph.add("CatalogLoraPairPicker", base_model="wan-i2v-14b", pairs="lightx2v-4step")
    second, plan, *_ = graph.add(
        "CatalogLoraPairPicker", base_model="wan-i2v-14b", previous=first, pairs="svi-v2-pro"
    )
    high, low, report, _ = graph.add(
        "DualPassLoraRouter", "router", model_high=at["high"], model_low=at["low"], pairs=second,
        mode="auto",
    )  # fmt: skip
    _, schedule = dual(graph, at | {"high": high, "low": low}, plan=plan)
    graph.add("PreviewAny", "schedule", source=schedule)
    outputs = server.run(graph)["outputs"]
    names = [line for line in outputs["router"]["text"][0].splitlines() if ", strength " in line]
    assert [name.partition(", strength 1: ")[2] for name in names] == [
        PAIRS[pair][role] for role in ("high", "low") for pair in ("lightx2v-4step", "svi-v2-pro")
    ]
    assert outputs["schedule"]["text"][0].startswith("4 steps, euler / simple, shift 5")


def test_the_router_leaves_the_callers_models_alone(server: Server) -> None:
    graph, at = scene()
    routed = route(graph, at, "lightx2v-4step")
    latent = core(graph, at, routed["high"], seed=1, steps=1, cfg=1.0, sampler_name="euler",
                  scheduler="simple")  # fmt: skip
    graph.add("ProbeState", "state", model=at["high"], after=latent)
    assert server.run(graph)["outputs"]["state"]["patches"] == [0]
