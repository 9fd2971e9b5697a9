"""What API clients build on: node ids, input names, order and defaults; the route; /history."""

from __future__ import annotations

from typing import Any

import pytest

from rig.client import Server
from rig.contract import EXAMPLE
from rig.graphs import dual, scene

NODES = {
    "CatalogLoraPairPicker": (
        ["base_model"],
        ["previous", "pairs"],
        ["LORA_PAIRS", "DUAL_PASS_PLAN"],
    ),
    "DualPassLoraRouter": (
        ["model_high", "model_low"],
        ["pairs", "mode", "strict"],
        ["MODEL", "MODEL", "STRING", "MODEL"],
    ),
    "SVIProDualSampler": (
        ["model_high", "model_low", "positive", "negative"],
        [
            *("latent", "plan", "seed", "settings", "steps", "cfg_high", "cfg_low"),
            *("sampler_name", "scheduler", "shift", "split", "boundary", "switch_step", "denoise"),
            *("trajectory", "cfg_steps", "sampler", "sigmas", "model_first", "first_steps"),
            *("cfg_first", "anchor", "previous", "motion_latents", "length", "end"),
        ],
        ["LATENT", "STRING"],
    ),
    "SVIProLongVideo": (
        ["model_high", "model_low", "clip", "vae", "image", "prompts"],
        [
            *("negative", "plan", "seed", "width", "height", "length", "fps", "filename_prefix"),
            *("settings", "steps", "cfg_high", "cfg_low", "sampler_name", "scheduler", "shift"),
            *("split", "boundary", "switch_step", "motion_latents", "seeds", "join"),
            *("colour_match", "following", "base_model", "trajectory", "cfg_steps"),
            *("sampler", "sigmas", "model_first", "first_steps", "cfg_first", "previous"),
            "end_image",
        ],
        ["VIDEO", "LATENT", "STRING"],
    ),
    "SVIProConditioning": (
        ["positive", "negative", "model", "anchor"],
        ["previous", "end", "length", "motion_latents"],
        ["CONDITIONING", "CONDITIONING", "LATENT"],
    ),
    "SVIProJoin": (
        ["frames_before", "frames"],
        ["motion_latents", "join", "colour_match", "anchor"],
        ["IMAGE"],
    ),
}
LINKS = {
    *("plan", "sampler", "sigmas", "model_first", "anchor", "previous", "end", "end_image"),
    "latent",
}
OUTPUT_NAMES = {
    "CatalogLoraPairPicker": ["pairs", "plan"],
    "DualPassLoraRouter": ["model_high", "model_low", "report", "model_first"],
    "SVIProDualSampler": ["latent", "schedule"],
    "SVIProLongVideo": ["video", "latent", "report"],
    "SVIProConditioning": ["positive", "negative", "latent"],
    "SVIProJoin": ["frames"],
}


def info(server: Server, node: str) -> dict[str, Any]:
    answer = server.get(f"/object_info/{node}").json()
    return dict(answer[node])


@pytest.mark.parametrize("node", NODES)
def test_inputs_and_outputs_keep_their_names_and_order(server: Server, node: str) -> None:
    required, optional, outputs = NODES[node]
    about = info(server, node)
    assert list(about["input"].get("required", {})) == required
    assert list(about["input"].get("optional", {})) == optional
    assert about["output"] == outputs
    assert about["output_name"] == OUTPUT_NAMES[node]
    assert about["category"] == "DualPass"


def test_the_pairs_input_is_text_on_the_wire_drawn_by_our_widget(server: Server) -> None:
    kind, options = info(server, "CatalogLoraPairPicker")["input"]["optional"]["pairs"]
    assert kind == "STRING"
    assert "widgetType" not in options  # our script sets it; without that, a text field stays
    assert options["socketless"] is True


@pytest.mark.parametrize("node", ("SVIProDualSampler", "SVIProLongVideo", "SVIProConditioning"))
def test_every_widget_has_a_default_and_every_input_a_tooltip(server: Server, node: str) -> None:
    inputs = info(server, node)["input"]["optional"]
    for name in NODES[node][1]:
        assert name in LINKS or "default" in inputs[name][1], name
        assert inputs[name][1]["tooltip"], name


@pytest.mark.parametrize("prefix", ("/api", ""))
def test_the_route_has_the_example_in_order(server: Server, prefix: str) -> None:
    pairs = server.get(f"{prefix}/admin/loras/compatible/wan-i2v-14b").json()
    assert [pair for pair in pairs if pair in EXAMPLE] == EXAMPLE
    assert all(list(pair) == ["pair_id", "name", "high", "low", "both"] for pair in pairs)


def test_an_unknown_base_model_has_no_pairs(server: Server) -> None:
    reply = server.get("/api/admin/loras/compatible/nobody")
    assert (reply.status, reply.json()) == (200, [])
    assert reply.headers["Cache-Control"] == "no-store"


def test_an_ill_formed_base_model_is_refused(server: Server) -> None:
    assert server.get("/api/admin/loras/compatible/%2e%2e%2fx").status == 400


def test_a_prompt_with_only_what_is_required_and_a_latent_runs(server: Server) -> None:
    graph, at = scene()
    latent, schedule = dual(graph, at)
    graph.add("PreviewAny", source=latent)
    history = server.run(graph)
    assert history["status"]["status_str"] == "success"
    text = history["outputs"][schedule[0]]["text"][0]
    # 20 steps at shift 8, the model's own: 10 high steps.
    assert text.splitlines()[:2] == [
        "20 steps, euler / simple, shift 8",
        "high: 10 steps at cfg 3.5, low: 10 steps at cfg 3.5",
    ]


PLANS = {
    ("wan-i2v-14b", ""): ("20 steps, euler / simple, shift 5", "high: 8 steps at cfg 3.5, low: 12"),
    ("wan-i2v-14b", "svi-v2-pro"): ("20 steps", "high: 8 steps at cfg 3.5, low: 12"),
    ("wan-i2v-14b", "lightx2v-4step"): ("4 steps", "high: 2 steps at cfg 1, low: 2 steps at cfg 1"),
    ("wan-i2v-14b", "lightx2v-4step, svi-v2-pro"): ("4 steps", "high: 2 steps at cfg 1, low: 2"),
    ("wan-i2v-14b", "lightx2v-4step@0"): ("20 steps", "high: 8 steps at cfg 3.5"),
    ("wan-i2v-14b", "lightx2v-4step@0:1"): ("4 steps", "high: 2 steps at cfg 3.5, low: 2"),
    ("wan-t2v-14b", ""): ("20 steps, euler / simple, shift 12", "high: 13 steps at cfg 4, low: 7"),
}


@pytest.mark.parametrize("base_model, pairs", PLANS)
def test_the_plan_follows_the_pairs(server: Server, base_model: str, pairs: str) -> None:
    graph, at = scene()
    _, plan, *_ = graph.add("CatalogLoraPairPicker", base_model=base_model, pairs=pairs)
    latent, schedule = dual(graph, at, plan=plan, steps=7, cfg_high=9.0)
    graph.add("PreviewAny", source=latent)
    text = server.run(graph)["outputs"][schedule[0]]["text"][0].splitlines()
    first, second = PLANS[base_model, pairs]
    assert text[0].startswith(first)
    assert text[1].startswith(second)


def test_manual_settings_win_over_a_connected_plan(server: Server) -> None:
    graph, at = scene()
    _, plan, *_ = graph.add("CatalogLoraPairPicker", base_model="wan-i2v-14b", pairs="")
    latent, schedule = dual(graph, at, plan=plan, settings="manual", steps=7)
    graph.add("PreviewAny", source=latent)
    text = server.run(graph)["outputs"][schedule[0]]["text"][0]
    assert text.startswith("7 steps")


def test_a_cached_run_still_has_its_texts_in_the_history(server: Server) -> None:
    if server.get("/system_stats").json()["system"]["comfyui_version"].startswith("0.18"):
        pytest.skip("ComfyUI 0.18 repeats the text of output nodes only")
    graph, at = scene()
    latent, schedule = dual(graph, at, seed=5, steps=4)
    graph.add("PreviewAny", source=latent)
    first, second = server.run(graph), server.run(graph)
    assert first["outputs"][schedule[0]] == second["outputs"][schedule[0]]
