"""`two passes as core` beside ComfyUI's own nodes, as older workflows wire them: bit for bit."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

if not os.environ.get("DUALPASS_COMFYUI"):
    pytest.skip("needs a real ComfyUI: run `python3 dev.py test`", allow_module_level=True)

import comfy.memory_management
import comfy.samplers
import nodes as core_nodes
import torch
from comfy_extras.nodes_custom_sampler import (
    BasicScheduler,
    CFGGuider,
    DisableNoise,
    RandomNoise,
    SamplerCustomAdvanced,
    SplitSigmas,
)

from pack.nodes.sampling.memory import CLEANED, make_room
from pack.nodes.sampling.run import Way, dual_sample
from pack.nodes.sampling.schedule import First, PlanError
from rig import changes, small

pytestmark = pytest.mark.usefixtures("as_a_node_runs")
as_a_node_runs = pytest.fixture(small.as_a_node_runs)
SEED = small.SEED


def ours(at: Any, plan: Any, step: int, **way: Any) -> torch.Tensor:
    asked = Way(step=step, two_passes=True, **way)
    out: torch.Tensor = dual_sample(at, plan, asked, SEED)[0]["samples"]
    return out


def advanced(at: Any, plan: Any, ends: list[tuple[Any, int, float]]) -> torch.Tensor:
    """A KSamplerAdvanced for each expert, up to a step, at a cfg, as ComfyUI's templates do."""
    latent, start = at.latent, 0
    for model, end, cfg in ends:
        (latent,) = core_nodes.KSamplerAdvanced().sample(
            small.shifted(model, plan.shift) if plan.shift else model,
            "disable" if start else "enable",
            0 if start else SEED,
            plan.steps,
            cfg,
            plan.sampler_name,
            plan.scheduler,
            at.positive,
            at.negative,
            latent,
            start,
            end,
            "disable" if end >= plan.steps else "enable",
        )
        start = end
    samples: torch.Tensor = latent["samples"]
    return samples


@pytest.fixture
def at() -> Any:
    return small.scene(small.expert("high", blocks=0), small.expert("low", blocks=0))


OTHERS = [(name, "beta") for name in ("euler", "dpm_2", "uni_pc", "dpmpp_2m_sde")]


@pytest.mark.parametrize(
    "sampler, scheduler",
    [*((name, "simple") for name in comfy.samplers.KSampler.SAMPLERS), *OTHERS],
)
def test_two_advanced_ksamplers_bit_for_bit(at: Any, sampler: str, scheduler: str) -> None:
    plan = replace(small.plan(sampler, scheduler, 6), cfg_low=1.5)
    made = ours(at, plan, 3)
    assert torch.equal(
        made, advanced(at, plan, [(at.model_high, 3, 2.0), (at.model_low, 10000, 1.5)])
    )
    # One trajectory is another thing, but for samplers without a history and noise of their own.
    if sampler in ("dpmpp_2m", "uni_pc", "euler_ancestral", "lcm", "res_multistep"):
        assert not torch.equal(made, small.dual(at, plan, 3))


@pytest.mark.parametrize("name", ("batch", "noise mask", "area", "timestep ranges"))
def test_what_hangs_on_the_latent_goes_through_both(name: str) -> None:
    at = small.scene(small.expert("high"), small.expert("low"), size=(3, 8, 8))
    at, plan = changes.CONDITIONING[name](at), small.plan("dpmpp_2m", "beta", 6)
    wanted = advanced(at, plan, [(at.model_high, 3, 2.0), (at.model_low, 6, 2.0)])
    assert torch.equal(ours(at, plan, 3), wanted)


def test_three_advanced_ksamplers_bit_for_bit(at: Any) -> None:
    at, plan = replace(at, model_first=small.expert("first")), small.plan("dpmpp_2m", "simple", 6)
    wanted = advanced(
        at, plan, [(at.model_first, 1, 3.5), (at.model_high, 3, 2.0), (at.model_low, 6, 2.0)]
    )
    assert torch.equal(ours(at, plan, 3, first=First(1, 3.5)), wanted)


def test_the_sigmas_of_a_boundary_too(at: Any) -> None:
    plan = small.plan("euler", "simple", 8)
    wanted = advanced(at, plan, [(at.model_high, 3, 2.0), (at.model_low, 8, 2.0)])
    assert torch.equal(dual_sample(at, plan, Way(two_passes=True), SEED)[0]["samples"], wanted)


def test_models_of_two_shifts_keep_their_own_and_that_is_told(at: Any) -> None:
    high, low = small.shifted(at.model_high, 5.0), small.shifted(at.model_low, 8.0)
    models = [(high, 3, 2.0), (low, 8, 2.0)]
    plan = replace(small.plan("euler", "simple", 8), shift=0.0)
    at = replace(at, model_high=high, model_low=low)
    out, text = dual_sample(at, plan, Way(step=3, two_passes=True), SEED)
    assert torch.equal(out["samples"], advanced(at, plan, models))
    assert "hand-over: sigma 0.9375 to 0.9302\n  4  0.9302  low\n  5  0.8889  low" in text
    assert "would be at 0.9302 by the low one's. Each pass keeps its own; set shift" in text
    way = Way(step=3, two_passes=True, sampler=comfy.samplers.sampler_object("euler"))
    _, text = dual_sample(at, plan, way, SEED)  # a given sampler runs on the high one's
    assert "hand-over: sigma 0.9375 to 0.8929" in text
    assert "model_high's counts; set shift" in text


def test_two_custom_samplers_bit_for_bit(at: Any) -> None:
    """The workflow of SVI 2.0 Pro: split sigmas, a sampler node, noise for the first only."""
    high = small.shifted(at.model_high, 5.0)
    (sigmas,) = BasicScheduler.execute(high, "simple", 6, 1.0).result
    sampler, latent = comfy.samplers.sampler_object("euler"), at.latent
    parts = SplitSigmas.execute(sigmas, 3).result
    noises = (RandomNoise.execute(SEED).result[0], DisableNoise.execute().result[0])
    for model, noise, part in zip((at.model_high, at.model_low), noises, parts, strict=True):
        (guider,) = CFGGuider.execute(model, at.positive, at.negative, 1.0).result
        latent = SamplerCustomAdvanced.execute(noise, guider, sampler, part, latent).result[0]
    levels = tuple(sigmas.tolist())
    plan = replace(small.plan(steps=6), cfg_high=1.0, cfg_low=1.0, shift=0.0, sigmas=levels)
    assert torch.equal(ours(at, plan, 3, sampler=sampler), latent["samples"])


def test_a_cfg_for_each_step_needs_one_trajectory(at: Any) -> None:
    plan = replace(small.plan(), cfg_steps=(3.0, 2.0))
    with pytest.raises(PlanError, match="cfg_steps needs one trajectory"):
        ours(at, plan, 3)


def test_out_of_memory_is_cleaned_up_as_comfyui_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """What dynamic VRAM has left goes before all is unloaded, as after a node that failed."""
    asked: list[str] = []

    def note(_frame: Any, event: str, _: Any) -> None:
        if event == "call" and _frame.f_code.co_name in ("reset_cast_buffers", "free_memory"):
            asked.append(_frame.f_code.co_name)

    monkeypatch.setattr(comfy.memory_management, "aimdo_enabled", True)
    sys.setprofile(note)
    try:
        make_room()
    finally:
        sys.setprofile(None)
    assert asked[:2] == ["reset_cast_buffers", "free_memory"]


def test_what_comfyui_cleans_after_a_node_is_cleaned_at_the_hand_over() -> None:
    """With dynamic VRAM; the names are looked up, so that their loss is noticed here."""
    text = Path(os.environ["DUALPASS_COMFYUI"], "execution.py").read_text()
    block = text.split("if comfy.memory_management.aimdo_enabled:", 1)[1].split(
        "if has_pending", 1
    )[0]
    called = {
        line.strip().removesuffix("()")
        for line in block.splitlines()
        if line.strip().endswith("()")
    }
    called -= {"comfy_aimdo.control.analyze"}  # prints only
    assert called == {f"{module}.{name}" for module, name in CLEANED if f"{name}()" in block}
    assert len(called) >= 2
