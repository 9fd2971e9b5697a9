"""Faults of a run through the real server: each is stopped before sampling, or told of."""

from __future__ import annotations

import math
from typing import Any

import pytest

from rig.client import Server
from rig.graphs import Graph, Link, compare, core, dual, error_of, scene, shifted

FOUR_STEPS = {"settings": "manual", "steps": 4, "cfg_high": 1.0, "cfg_low": 1.0, "shift": 5.0}


def ended(server: Server, graph: Graph, at: dict[str, Link], **settings: Any) -> str:
    """The error that ended the run, or its schedule."""
    latent, _ = dual(graph, at, **(FOUR_STEPS | settings))
    graph.add("PreviewAny", source=latent)
    history = server.run(graph)
    if history["status"]["status_str"] != "success":
        return error_of(history)
    return str(history["outputs"][latent[0]]["text"][0])


def linked(graph: Graph, number: float) -> Link:
    """A number through a link: ComfyUI checks the limits of typed ones only."""
    kind = "PrimitiveInt" if isinstance(number, int) else "PrimitiveFloat"
    return graph.add(kind, value=number)[0]


@pytest.mark.parametrize(
    "high, low, words",
    [
        ("i2v_high", "t2v_low", "is Wan image to video (128 wide"),
        ("t2v_high", "i2v_low", "but model_low is Wan image to video (128 wide"),
        ("wan21_i2v", "t2v_low", "but model_low is Wan text to video (128 wide"),
    ],
)
def test_experts_of_two_models_stop_before_either_is_loaded(
    server: Server, high: str, low: str, words: str
) -> None:
    graph, at = scene(high, low)
    at = at | {
        role: graph.add("ProbeFail", model=at[role], place="load")[0] for role in ("high", "low")
    }
    told = ended(server, graph, at)
    assert words in told and told.strip().endswith("connect experts of one model.")


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"switch_step": 0}, "switch_step is 0; with 4 steps it must be 1 to 3"),
        ({"switch_step": -2}, "switch_step is -2; with 4 steps it must be 1 to 3"),
        ({"steps": 1}, "one step has no room for both experts"),
    ],
)
def test_a_linked_step_outside_the_run_is_refused(
    server: Server, settings: dict[str, int], words: str
) -> None:
    graph, at = scene()
    links = {name: linked(graph, number) for name, number in settings.items()}
    assert words in ended(server, graph, at, split="step", **links)


@pytest.mark.parametrize(
    "scheduler, steps, made",
    [("ddim_uniform", 60, 63), ("beta", 600, 559)],
    ids=["more sigmas than steps", "sigmas left out"],
)
def test_the_last_step_is_that_of_the_sigmas_not_of_the_number_asked_for(
    server: Server, scheduler: str, steps: int, made: int
) -> None:
    graph, at = scene()
    settings = {"scheduler": scheduler, "steps": steps, "split": "step", "switch_step": made}
    words = f"switch_step is {made}; with {made} steps it must be 1 to {made - 1}"
    assert words in ended(server, graph, at, **settings)


def test_another_shift_on_the_low_model_is_told(server: Server) -> None:
    """Both models keep their own; a shift of the plan's sets both, and is told of no more."""
    graph, at = scene()
    at["high"], at["low"] = shifted(graph, at["high"], 5.0), shifted(graph, at["low"], 8.0)
    told = ended(server, graph, at, shift=0.0).splitlines()[-1]
    assert told.startswith("warning: model_high has shift 5, model_low 8: ")
    assert "0.8333 would be at 0.8889" in told
    assert "warning" not in ended(server, graph, at, shift=5.0)


def test_with_denoise_the_typed_step_counts_in_what_is_sampled(server: Server) -> None:
    """The last 8 of 16 steps: step 3 is the third of those."""
    graph, at = scene()
    half = {"steps": 8, "denoise": 0.5, "split": "step"}
    text = ended(server, graph, at, **half, switch_step=3)
    assert "high: 3 steps at cfg 1, low: 5 steps at cfg 1" in text
    assert "hand-over: sigma 0.7500 to 0.6949" in text
    graph, at = scene()
    assert "with 8 steps it must be 1 to 7" in ended(server, graph, at, **half, switch_step=8)


@pytest.mark.parametrize(
    "name, number, words",
    [
        ("denoise", -0.5, "denoise is -0.5: nothing would be sampled"),
        ("denoise", 2.0, "Use more than 0, to 1"),
        ("denoise", math.nan, "denoise is nan"),
        ("boundary", 2.0, "boundary is 2.0; it must lie between 0 and 1"),
        ("boundary", -1.0, "boundary is -1.0; it must lie between 0 and 1"),
        ("cfg_high", math.nan, "cfg_high is nan"),
        ("shift", math.nan, "shift is nan"),
    ],
)
def test_a_linked_number_outside_its_limits_is_refused(
    server: Server, name: str, number: float, words: str
) -> None:
    graph, at = scene()
    assert words in ended(server, graph, at, **{name: linked(graph, number)})


@pytest.mark.parametrize(
    "name, number",
    [
        ("seed", -1),
        ("seed", 2**64),
        ("steps", 0),
        ("switch_step", 0),
        ("cfg_high", math.inf),
        ("cfg_low", -1.0),
        ("shift", -1.0),
        ("shift", math.inf),
        ("boundary", 1.5),
        ("denoise", 1.5),
    ],
)
def test_a_typed_number_outside_its_limits_is_never_queued(
    server: Server, name: str, number: float
) -> None:
    graph, at = scene()
    latent, _ = dual(graph, at, **(FOUR_STEPS | {name: number}))
    graph.add("PreviewAny", source=latent)
    status, body = server.queue(graph)
    (error,) = body["node_errors"][latent[0]]["errors"]
    assert (status, error["details"]) == (400, name)


def test_a_latent_without_frames_is_refused(server: Server) -> None:
    graph, at = scene()
    at["latent"], *_ = graph.add("TrimVideoLatent", samples=at["latent"], trim_amount=9)
    assert "The latent has the shape [1, 16, 0, 8, 8]" in ended(server, graph, at)


def test_odd_sizes_and_a_batch_are_sampled_as_by_one_ksampler(server: Server) -> None:
    """7 x 9 latents, two of them; the patches of the model are 2 x 2."""
    graph, at = scene(width=72, height=56, batch_size=2)
    ours, _ = dual(graph, at | {"low": at["high"]}, **FOUR_STEPS, seed=3)
    same = {"seed": 3, "steps": 4, "cfg": 1.0, "sampler_name": "euler", "scheduler": "simple"}
    compare(graph, "core", ours, core(graph, at, shifted(graph, at["high"], 5.0), **same))
    outputs = server.run(graph)["outputs"]
    assert outputs["core"]["finite"] == [True]
    assert outputs["core"]["difference"] == [0.0]
