"""The router in the running server: every base type, warnings, and what is not done twice."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from rig.bases import write_dequantised
from rig.client import Server
from rig.graphs import Graph, Link, compare, dual, error_of, scene
from rig.server import probed_packs, start
from rig.tiny_models import PAIRS

FOUR_STEPS = {"settings": "manual", "steps": 4, "cfg_high": 1.0, "cfg_low": 1.0, "shift": 5.0}
STACK = "lightx2v-4step@0.8:1, svi-v2-pro@-0.5:0.7"


def routed(graph: Graph, at: dict[str, Link], pairs: str, key: str = "", **inputs: Any) -> Any:
    """The scene with its experts routed; the router stands at `key`."""
    picked, *_ = graph.add("CatalogLoraPairPicker", base_model="wan-i2v-14b", pairs=pairs)
    models = {"model_high": at["high"], "model_low": at["low"]}
    high, low, *_ = graph.add("DualPassLoraRouter", key, **models, pairs=picked, **inputs)
    return at | {"high": high, "low": low}


def report(server: Server, graph: Graph) -> str:
    """The router's text; it stands at the key `router`."""
    return str(server.run(graph)["outputs"]["router"]["text"][0])


def core_chain(graph: Graph, at: dict[str, Link]) -> dict[str, Link]:
    """The same stack by core's loaders."""
    models = {"high": at["high"], "low": at["low"]}
    strengths = {"high": (0.8, -0.5), "low": (1.0, 0.7)}
    for role, model in models.items():
        for pair, strength in zip(("lightx2v-4step", "svi-v2-pro"), strengths[role], strict=True):
            file = PAIRS[pair][role]
            model, *_ = graph.add(
                "LoraLoaderModelOnly", model=model, lora_name=file, strength_model=strength
            )
            models[role] = model
    return at | models


# Base type -> the suffix of its tiny experts, and what the report says of it by default.
BASES = {
    "bf16": ("", "merged into float32 weights"),
    "fp16": ("_fp16", "merged into float32 weights"),
    "fp8 scaled": ("_fp8", "unmerged over quantised weights"),
    "Q8_0": ("_gguf", "unmerged over GGUF Q8_0 weights"),
    "Q4_K": ("_q4_k_gguf", "unmerged over GGUF"),
}


@pytest.mark.parametrize("base", BASES)
def test_every_base_type_gives_what_core_gives(
    server: Server, request: pytest.FixtureRequest, base: str
) -> None:
    suffix, how = BASES[base]
    if "gguf" in suffix:
        request.getfixturevalue("gguf")
    graph, at = scene(f"i2v_high{suffix}", f"i2v_low{suffix}")
    ours, _ = dual(graph, routed(graph, at, STACK, "router"), **FOUR_STEPS)
    theirs, _ = dual(graph, core_chain(graph, at), **FOUR_STEPS)
    bare, _ = dual(graph, at, **FOUR_STEPS)
    compare(graph, "core", ours, theirs)
    compare(graph, "bare", ours, bare)
    outputs = server.run(graph)["outputs"]
    assert how in outputs["router"]["text"][0]
    assert outputs["bare"]["relative"][0] > 0.01
    # Core merges into eight bits, and what it rounds away is most of a small change.
    tolerance = 0.05 if base == "fp8 scaled" else 2e-3
    assert outputs["core"]["relative"][0] < tolerance


def test_over_scaled_fp8_unmerged_is_nearer_to_the_exact_sum_than_merged(server: Server) -> None:
    """The exact sum: the same fp8 weights written out in bf16, merged there."""
    for role in ("high", "low"):
        write_dequantised(server.base / "models", f"i2v_{role}_fp8", f"dequantised_{role}")
    graph, at = scene("i2v_high_fp8", "i2v_low_fp8")
    exact = {
        role: graph.add(
            "UNETLoader", unet_name=f"dequantised_{role}.safetensors", weight_dtype="default"
        )[0]
        for role in ("high", "low")
    }
    runs = {
        "exact": dual(graph, routed(graph, at | exact, STACK), **FOUR_STEPS)[0],
        "unmerged": dual(graph, routed(graph, at, STACK), **FOUR_STEPS)[0],
        "merged": dual(graph, routed(graph, at, STACK, mode="merged"), **FOUR_STEPS)[0],
    }
    for mode in ("unmerged", "merged"):
        compare(graph, mode, runs[mode], runs["exact"])
    outputs = server.run(graph)["outputs"]
    assert outputs["unmerged"]["relative"][0] < outputs["merged"]["relative"][0] / 2


def test_strengths_by_step_run_and_are_said(server: Server) -> None:
    graph, at = scene()
    listed = routed(graph, at, "svi-v2-pro@1;0.8:0.5;0.2", "router")
    flat = routed(graph, at, "svi-v2-pro@1:0.5")
    compare(graph, "flat", dual(graph, listed, **FOUR_STEPS)[0], dual(graph, flat, **FOUR_STEPS)[0])
    held = routed(graph, at, "svi-v2-pro@1;1;1:0.5;0.5", mode="unmerged")
    compare(graph, "held", dual(graph, held, **FOUR_STEPS)[0], dual(graph, flat, **FOUR_STEPS)[0])
    outputs = server.run(graph)["outputs"]
    text = outputs["router"]["text"][0]
    assert "high, unmerged over float32 weights, for strengths by step:" in text
    assert "strength 1; 0.8: " in text and "strength 0.5; 0.2: " in text
    assert outputs["flat"]["relative"][0] > 1e-3
    assert outputs["held"]["relative"][0] < 1e-5


def test_what_can_not_change_by_step_is_said(server: Server) -> None:
    from safetensors.torch import load_file, save_file

    folder = server.base / "models" / "loras"
    file = folder / PAIRS["svi-v2-pro"]["high"]
    state = load_file(file)
    state["diffusion_model.blocks.0.diff_m"] = torch.ones(1, 6, 128) / 50
    sound = file.resolve()
    file.unlink()
    try:
        save_file(state, file)
        graph, at = scene()
        at = routed(graph, at, "svi-v2-pro@1;0.8:1", "router")
        graph.add("PreviewAny", source=at["high"])
        assert "note: 1 weights can not change by step" in report(server, graph)
    finally:
        file.unlink()
        file.symlink_to(sound)


def test_strengths_by_step_can_not_be_merged(server: Server) -> None:
    graph, at = scene()
    graph.add("PreviewAny", source=routed(graph, at, "svi-v2-pro@1;0.8", mode="merged")["high"])
    assert "Choose auto or unmerged" in error_of(server.run(graph))


@pytest.mark.parametrize(
    "high, low, words",
    [
        ("i2v_low", "i2v_high", "model_high is loaded from tiny_i2v_low.safetensors"),
        ("i2v_high", "i2v_high", "are the same model"),
    ],
)
def test_a_doubtful_wiring_is_said_under_router_and_sampler(
    server: Server, high: str, low: str, words: str
) -> None:
    graph, at = scene(high, low)
    if high == low:
        at["low"] = at["high"]
    _, schedule = dual(graph, routed(graph, at, "svi-v2-pro", "router"), **FOUR_STEPS)
    graph.add("PreviewAny", "schedule", source=schedule)
    outputs = server.run(graph)["outputs"]
    assert f"warning: {words}" in outputs["router"]["text"][0] or words in str(outputs["router"])
    assert words in outputs["schedule"]["text"][0]


def test_a_right_wiring_has_no_warning(server: Server) -> None:
    graph, at = scene()
    graph.add("PreviewAny", source=routed(graph, at, "svi-v2-pro", "router")["high"])
    assert "warning" not in report(server, graph)


@pytest.fixture
def lines(server: Server) -> Iterator[Any]:
    """What ComfyUI logs from here on."""
    seen = server.log.stat().st_size
    yield lambda: server.log.read_bytes()[seen:].decode(errors="replace")


def test_a_new_strength_for_low_leaves_the_high_expert_as_it_is(server: Server) -> None:
    uuids = []
    for low in (1.0, 0.5):
        graph, at = scene()
        at = routed(graph, at, f"svi-v2-pro@1:{low}")
        for role in ("high", "low"):
            graph.add("ProbeState", role, model=at[role], after=at["latent"])
        outputs = server.run(graph)["outputs"]
        uuids.append([outputs[role]["uuid"] for role in ("high", "low")])
    (high, low), (high_again, other_low) = uuids
    assert high == high_again
    assert low != other_low


def test_the_log_has_one_line_for_each_file_and_pass(server: Server, lines: Any) -> None:
    graph, at = scene()
    graph.add("PreviewAny", source=routed(graph, at, "svi-v2-pro, lightx2v-unified@0.31")["high"])
    server.run(graph)
    files = [line for line in lines().splitlines() if "[DualPass]" in line and "modules" in line]
    assert len(files) == 4
    assert sum("of the Wan 2.1 image branch (normal)" in line for line in files) == 2
    assert "lora key not loaded" not in lines()


def test_the_log_says_once_which_way_the_layers_went(server: Server, lines: Any) -> None:
    for strength in (0.41, 0.42, 0.43):
        graph, at = scene()
        at = routed(graph, at, f"svi-v2-pro@{strength}", mode="unmerged")
        graph.add("PreviewAny", source=dual(graph, at, **FOUR_STEPS)[0])
        server.run(graph)
    told = [line for line in lines().splitlines() if "weights get them at use" in line]
    assert [line.partition("[DualPass] ")[2] for line in told] == [
        f"{role}, unmerged: 0 weights get them at use, 20 layers beside" for role in ("high", "low")
    ]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc of Linux")
def test_a_hundred_prompts_leave_nothing_behind() -> None:
    """Four stacks in rotation, two of them unmerged, every tenth prompt failing.

    After 32 to warm up: for so long the allocator still takes memory, with core's loaders too.
    """
    with start(packs=probed_packs()) as server:
        for count in range(32):
            prompt(server, count)
        before = held(server, 32)
        for count in range(32, 132):
            prompt(server, count)
        after = held(server, 132)
    grown = {key: after[key] - before[key] for key in before}
    assert grown.pop("memory") <= 5e6
    assert grown == {"tensors": 0, "files": 0, "threads": 0}


ROTATION = (
    ("lightx2v-4step", "merged"),
    (STACK, "unmerged"),
    ("lightx2v-unified@0.5", "merged"),
    ("svi-v2-pro@1;0.5", "unmerged"),
)


def prompt(server: Server, count: int) -> None:
    graph, at = scene()
    pairs, mode = ROTATION[count % len(ROTATION)]
    at = routed(graph, at, pairs, mode=mode)
    if count % 10 == 9:
        at["low"] = graph.add("ProbeFail", model=at["low"], place="model call")[0]
    latent, _ = dual(graph, at, **FOUR_STEPS, seed=count)
    graph.add("PreviewAny", source=latent)
    status = server.run(graph)["status"]["status_str"]
    assert status == ("error" if count % 10 == 9 else "success")


def held(server: Server, seed: int) -> dict[str, int]:
    """What the server's process holds: tensors, open files, threads, and memory in bytes."""
    graph, at = scene()
    graph.add("ProbeState", "state", model=at["high"], after=at["latent"], nonce=seed, count=True)
    tensors = server.run(graph)["outputs"]["state"]["tensors"][0]
    server.post("/history", {"clear": True})  # of all prompts, errors with their tracebacks too
    folder = Path("/proc", str(server.process.pid))
    lines = (folder / "status").read_text().splitlines()
    status = dict(line.split(":", 1) for line in lines if ":" in line)
    return {
        "tensors": tensors,
        # A connection of ours may still be open, or not any more.
        "files": sum("socket:" not in where(each) for each in (folder / "fd").iterdir()),
        "threads": int(status["Threads"]),
        "memory": server.get("/probe/memory").json(),
    }


def where(link: Path) -> str:
    """What an open file is; one that was closed since the folder was listed counts for none."""
    try:
        return os.readlink(link)
    except FileNotFoundError:
        return "socket: closed"
