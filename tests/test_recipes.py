"""What goes beyond one plan: presets, first steps, given samplers and sigmas, SVI clips."""

from __future__ import annotations

from typing import Any

import pytest

from rig.client import Server
from rig.graphs import Link, compare, core, dual, error_of, scene, shifted
from rig.tiny_models import PAIRS

MANUAL = {"settings": "manual", "steps": 8, "cfg_high": 2.0, "cfg_low": 2.0, "shift": 5.0}
QUICK = MANUAL | {"steps": 4, "cfg_high": 1.0, "cfg_low": 1.0}


def text_of(outputs: Any, schedule: Link) -> list[str]:
    return str(outputs[schedule[0]]["text"][0]).splitlines()


PRESETS = {
    "ComfyUI template, 20 steps": "high: 10 steps at cfg 3.5, low: 10 steps at cfg 3.5",
    "ComfyUI template, 4 steps": "high: 2 steps at cfg 1, low: 2 steps at cfg 1",
    "Lightning, 4 steps": "high: 2 steps at cfg 1, low: 2 steps at cfg 1",
    "LightX2V, 4 steps": "high: 2 steps at cfg 1, low: 2 steps at cfg 1",
    "LightX2V, 6 steps": "high: 3 steps at cfg 1, low: 3 steps at cfg 1",
    "SVI 2.0 Pro, 6 steps": "high: 3 steps at cfg 1, low: 3 steps at cfg 1",
    "RunComfy, 25 steps": "high: 7 steps at cfg 4, low: 18 steps at cfg 4",
    "ai-toolkit preview, 25 steps": "high: 11 steps at cfg 3.5, low: 14 steps at cfg 3.5",
}


def test_every_preset_runs_as_published_and_names_its_source(server: Server) -> None:
    graph, at = scene()
    texts = {name: dual(graph, at, settings=name, steps=3)[1] for name in PRESETS}
    for name, schedule in texts.items():
        graph.add("PreviewAny", name, source=schedule)
    outputs = server.run(graph)["outputs"]
    for name, schedule in texts.items():
        lines = text_of(outputs, schedule)
        assert lines[1] == PRESETS[name]
        assert any(line.startswith(f"{name}: ") and "frames" in line for line in lines)
    offered = server.get("/object_info/SVIProDualSampler").json()["SVIProDualSampler"]
    kinds = offered["input"]["optional"]["settings"]
    assert (kinds[0] if isinstance(kinds[0], list) else kinds[1]["options"])[2:] == [*PRESETS]


def test_lightning_steps_are_its_training_steps(server: Server) -> None:
    graph, at = scene()
    _, schedule = dual(graph, at, settings="Lightning, 4 steps")
    graph.add("PreviewAny", source=schedule)
    lines = text_of(server.run(graph)["outputs"], schedule)
    sigmas = [float(line.split()[1]) for line in lines if line[:3].strip().isdigit()]
    assert sigmas == [1.0, 0.9375, 0.8333, 0.625]


@pytest.mark.parametrize("sampler", ("euler", "dpmpp_2m", "uni_pc"))
def test_a_given_sampler_and_given_sigmas_do_what_the_named_ones_do(
    server: Server, sampler: str
) -> None:
    """uni_pc's named form leaves out a sigma, the given one takes the list as it is."""
    graph, at = scene()
    given = graph.add("KSamplerSelect", sampler_name=sampler)[0]
    high = shifted(graph, at["high"], 5.0)
    sigmas = graph.add("BasicScheduler", model=high, scheduler="beta", steps=8, denoise=1.0)[0]
    ours, schedule = dual(graph, at, **MANUAL, sampler=given, sigmas=sigmas)
    named, _ = dual(graph, at, **MANUAL, sampler_name=sampler, scheduler="beta")
    compare(graph, "same", ours, named)
    outputs = server.run(graph)["outputs"]
    assert (outputs["same"]["difference"] == [0.0]) is (sampler != "uni_pc")
    assert "given sigmas" in text_of(outputs, schedule)[0]


@pytest.mark.parametrize(
    "inputs, words",
    [
        ({"sigmas": "x"}, "sigmas takes a link"),
        ({"sampler": "euler"}, "sampler takes a link"),
        ({"model_high": "x"}, "model_high takes a link from a model loader"),
        ({"positive": "a fox"}, "positive takes a link from CLIPTextEncode or"),
        ({"anchor": "x"}, "anchor takes a link"),
        ({"cfg_steps": "3.5; 1"}, "cfg_steps is"),
        ({"cfg_steps": "nan"}, "cfg_steps is"),
        ({"trajectory": "two passes as core", "cfg_steps": "3, 1"}, "needs one trajectory"),
    ],
)
def test_what_can_not_run_is_told_in_a_sentence(
    server: Server, inputs: dict[str, Any], words: str
) -> None:
    graph, at = scene()
    latent, _ = dual(graph, at, **(QUICK | inputs))
    graph.add("PreviewAny", source=latent)
    assert words in error_of(server.run(graph))


def test_the_router_gives_the_high_expert_without_its_accelerator(server: Server) -> None:
    """Three phases, beside the same wired with core's loaders."""
    graph, at = scene()
    pairs = graph.add(
        "CatalogLoraPairPicker", base_model="wan-i2v-14b", pairs="lightx2v-4step, svi-v2-pro"
    )[0]
    high, low, _, first = graph.add(
        "DualPassLoraRouter", model_high=at["high"], model_low=at["low"], pairs=pairs, mode="merged"
    )
    three = QUICK | {"first_steps": 1, "cfg_first": 3.0}
    ours, schedule = dual(graph, at | {"high": high, "low": low}, **three, model_first=first)
    svi = PAIRS["svi-v2-pro"]["high"]
    alone = graph.add("LoraLoaderModelOnly", model=at["high"], lora_name=svi, strength_model=1.0)[0]
    cores, _ = dual(graph, at | {"high": high, "low": low}, **three, model_first=alone)
    two, _ = dual(graph, at | {"high": high, "low": low}, **QUICK)
    compare(graph, "core", ours, cores)
    compare(graph, "two", ours, two)
    outputs = server.run(graph)["outputs"]
    assert text_of(outputs, schedule)[1] == (
        "first: 1 step at cfg 3, high: 1 step at cfg 1, low: 2 steps at cfg 1"
    )
    assert outputs["core"]["relative"][0] < 2e-3  # one rounding where core has another
    assert outputs["two"]["relative"][0] > 0.01


def test_a_cfg_for_each_step_is_that_of_a_ksampler_a_step(server: Server) -> None:
    graph, at = scene()
    same = at | {"low": at["high"]}
    ours, _ = dual(graph, same, **QUICK, cfg_steps="3, 1, 2")
    plain, _ = dual(graph, same, **QUICK)
    model, latent = shifted(graph, at["high"], 5.0), at["latent"]
    for step, cfg in enumerate((3.0, 1.0, 2.0, 2.0)):
        latent = graph.add(
            "KSamplerAdvanced",
            model=model,
            positive=at["positive"],
            negative=at["negative"],
            latent_image=latent,
            add_noise="disable" if step else "enable",
            noise_seed=0,
            steps=4,
            cfg=cfg,
            sampler_name="euler",
            scheduler="simple",
            start_at_step=step,
            end_at_step=step + 1,
            return_with_leftover_noise="enable" if step < 3 else "disable",
        )[0]
    compare(graph, "core", ours, latent)
    compare(graph, "plain", ours, plain)
    outputs = server.run(graph)["outputs"]
    assert outputs["core"]["relative"][0] < 1e-5  # core divides by 1 - sigma after each pass
    assert outputs["plain"]["relative"][0] > 0.01


def test_an_anchor_is_what_the_svi_node_makes_of_it(server: Server) -> None:
    graph, at = scene()
    image = graph.add("LoadImage", image="tiny_input.png")[0]
    small = graph.add(
        "ImageScale", image=image, upscale_method="lanczos", width=64, height=64, crop="center"
    )[0]
    anchor = graph.add("VAEEncode", pixels=small, vae=at["vae"])[0]
    text = [graph[at["positive"][0]]["inputs"][name] for name in ("positive", "negative")]
    plain = {"positive": text[0], "negative": text[1]}
    clip = {"anchor": anchor, "length": 13}
    first, _ = dual(graph, at | plain | {"latent": None}, **QUICK, **clip)
    second, _ = dual(graph, at | plain, **QUICK, **clip, previous=first, seed=1)
    by_hand = graph.add(
        "SVIProConditioning", **plain, model=at["low"], anchor=anchor, previous=first, length=13
    )
    wired = {"positive": by_hand[0], "negative": by_hand[1], "latent": by_hand[2]}
    hand, _ = dual(graph, at | wired, **QUICK, seed=1)
    alone, _ = dual(graph, at | plain, **QUICK, **clip, seed=1)
    for node in graph.values():
        if node["class_type"] == "SVIProDualSampler" and "anchor" in node["inputs"]:
            del node["inputs"]["latent"]
    compare(graph, "hand", second, hand)
    compare(graph, "alone", second, alone)
    frames = [graph.add("VAEDecode", samples=each, vae=at["vae"])[0] for each in (first, second)]
    joined = graph.add(
        "SVIProJoin", frames_before=frames[0], frames=frames[1], motion_latents=1, join="cut"
    )[0]
    graph.add("PreviewAny", "count", source=graph.add("GetImageSize", image=joined)[2])
    outputs = server.run(graph)["outputs"]
    assert outputs["hand"]["difference"] == [0.0]
    assert outputs["alone"]["relative"][0] > 0.01
    assert outputs["count"]["text"] == [str(13 + 8)]


FILES = {"merged": "svi-v2-pro@1", "unmerged": "svi-v2-pro@1", "merged ": "lightx2v-unified@0.7"}


@pytest.mark.parametrize("mode", FILES)
def test_a_new_strength_for_low_runs_only_low(server: Server, mode: str) -> None:
    """Through the picker and the router, which run again; the answers are those of a fresh run."""
    texts, outputs = [], {}
    for low in (1.0, 0.5, 0.25):
        graph, at = scene()
        pairs = graph.add(
            "CatalogLoraPairPicker", base_model="wan-i2v-14b", pairs=f"{FILES[mode]}:{low}"
        )[0]
        at["high"], at["low"], *_ = graph.add(
            "DualPassLoraRouter",
            model_high=at["high"],
            model_low=at["low"],
            pairs=pairs,
            mode=mode.strip(),
        )
        ours, schedule = dual(graph, at, **QUICK, seed=len(mode))
        fresh, _ = dual(graph, at, **QUICK, seed=len(mode), trajectory="two passes as core")
        compare(graph, "fresh", ours, fresh)
        outputs = server.run(graph)["outputs"]
        texts.append("\n".join(text_of(outputs, schedule)))
        # Core divides by 1 - sigma between its passes.
        assert outputs["fresh"]["relative"][0] < 1e-5
    assert ["not run again" in text for text in texts] == [False, True, True]


def test_a_shift_that_differs_is_told(server: Server) -> None:
    graph, at = scene()
    at["low"] = shifted(graph, at["low"], 3.0)
    _, schedule = dual(graph, at, **(QUICK | {"shift": 0.0}))
    _, other = dual(graph, at, **QUICK)
    for each in (schedule, other):
        graph.add("PreviewAny", source=each)
    outputs = server.run(graph)["outputs"]
    assert "warning: model_high has shift 8, model_low 3" in "\n".join(text_of(outputs, schedule))
    assert "warning" not in "\n".join(text_of(outputs, other))


def test_experts_of_two_kinds_are_refused(server: Server) -> None:
    graph, at = scene("i2v_high", "t2v_low")
    graph.add("PreviewAny", source=dual(graph, at, **QUICK)[0])
    assert "model_low is Wan text to video" in error_of(server.run(graph))


def test_one_ksampler_is_still_one_trajectory_of_one_model(server: Server) -> None:
    """Boundary 0: the high expert takes all steps, as a KSampler does."""
    graph, at = scene()
    ours, schedule = dual(graph, at, **QUICK, boundary=0.0, seed=3)
    model = shifted(graph, at["high"], 5.0)
    same = {"seed": 3, "steps": 4, "cfg": 1.0, "sampler_name": "euler", "scheduler": "simple"}
    compare(graph, "core", ours, core(graph, at, model, **same))
    outputs = server.run(graph)["outputs"]
    assert outputs["core"]["difference"] == [0.0]
    assert "low: no step, not loaded" in text_of(outputs, schedule)[1]
