"""A run that differs on the low side only: the high-noise expert is neither run nor loaded."""

from __future__ import annotations

import gc
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

if not os.environ.get("DUALPASS_COMFYUI"):
    pytest.skip("needs a real ComfyUI: run `python3 dev.py test`", allow_module_level=True)

import comfy.model_management
import comfy.model_sampling
import comfy.samplers
import numpy as np
import torch
from comfy.patcher_extension import WrappersMP

from pack.nodes.sampling import replay
from pack.nodes.sampling.order import Scene
from pack.nodes.sampling.replay import Recording, Recordings, identity, model_identity
from pack.nodes.sampling.run import Way, dual_sample
from pack.nodes.sampling.schedule import First, Plan
from rig import changes, small

pytestmark = pytest.mark.usefixtures("as_a_node_runs")
as_a_node_runs = pytest.fixture(small.as_a_node_runs)

Run = tuple[Scene, Plan, Way, int]
Change = Callable[[Run], Run]


def counting(model: Any, calls: Counter[str], role: str) -> Any:
    """A clone that counts its model calls."""

    def count(executor: Any, *args: Any, **kwargs: Any) -> Any:
        calls[role] += 1
        return executor(*args, **kwargs)

    model = model.clone()
    model.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "count", count)
    return model


@pytest.fixture
def calls() -> Counter[str]:
    return Counter()


@pytest.fixture
def run(calls: Counter[str]) -> Run:
    at = small.scene(
        counting(small.expert("high"), calls, "high"), counting(small.expert("low"), calls, "low")
    )
    return at, small.plan(steps=8), Way(), 7


def sampled(run: Run, keep: bool = True) -> tuple[torch.Tensor, str]:
    at, plan, way, seed = run
    latent, text = dual_sample(at, plan, way, seed, keep=keep)
    return latent["samples"], text


def scene(**changed: Any) -> Change:
    return lambda run: (replace(run[0], **changed), *run[1:])


def plan(**changed: Any) -> Change:
    return lambda run: (run[0], replace(run[1], **changed), *run[2:])


def way(**changed: Any) -> Change:
    return lambda run: (*run[:2], replace(run[2], **changed), run[3])


def model(role: str, change: Callable[[Any], Any]) -> Change:
    name = f"model_{role}"
    return lambda run: (replace(run[0], **{name: change(getattr(run[0], name))}), *run[1:])


def with_lora(seed: int) -> Callable[[Any], Any]:
    def change(patcher: Any) -> Any:
        patcher = patcher.clone()
        key = "diffusion_model.blocks.0.self_attn.q.weight"
        noise = torch.Generator().manual_seed(seed)
        patcher.add_patches({key: ("diff", (torch.randn(16, 16, generator=noise),))})
        return patcher

    return change


def with_object(patcher: Any) -> Any:
    patcher = patcher.clone()
    patcher.add_object_patch("manual_cast_dtype", torch.float32)
    return patcher


def another_text(seed: int) -> Change:
    return scene(positive=small.text(seed))


def a_clone_of_all(run: Run) -> Run:
    """As nodes hand them on when they ran again: new lists, the same tensors."""
    at = run[0]
    positive = [[words, dict(options)] for words, options in at.positive]
    latent = dict(at.latent)
    changed = scene(positive=positive, latent=latent, model_high=at.model_high.clone())
    return changed(run)


def with_shift(run: Run) -> Run:
    """As ModelSamplingSD3 behind a router that ran again."""
    shifts = [lambda patcher: small.shifted(patcher, 6.0)] * 2
    return model("low", shifts[1])(model("high", shifts[0])(run))


LOW_SIDE: dict[str, Change] = {
    "nothing": lambda run: run,
    "clones of all": a_clone_of_all,
    "another low LoRA": model("low", with_lora(3)),
    "cfg of low": plan(cfg_low=4.0),
    "cfg of low's steps": plan(cfg_steps=(2.0, 2.0, 2.0, 2.0, 5.0, 1.0)),
    "another low expert": scene(model_low=small.expert("third")),
}
HIGH_SIDE: dict[str, Change] = {
    "another high LoRA": model("high", with_lora(3)),
    "an object patch": model("high", with_object),
    "a wrapper": model("high", lambda patcher: counting(patcher, Counter(), "again")),
    "cfg of high": plan(cfg_high=4.0),
    "cfg of high's steps": plan(cfg_steps=(3.0, 2.0)),
    "steps": plan(steps=9),
    "shift": plan(shift=6.0),
    "boundary": plan(boundary=0.94),
    "scheduler": plan(scheduler="beta"),
    "sampler": plan(sampler_name="heun"),
    "a given sampler": way(sampler=comfy.samplers.sampler_object("euler")),
    "seed": lambda run: (*run[:3], 8),
    "denoise": way(denoise=0.8),
    "another text": another_text(5),
    "a latent": lambda run: (changes.batch(run[0]), *run[1:]),
    "a mask": lambda run: (changes.noise_mask(run[0]), *run[1:]),
    "first steps": lambda run: way(first=First(1, 3.0))(
        scene(model_first=small.expert("first"))(run)
    ),
}


@pytest.mark.parametrize("sampler", ("euler", "heun", "dpmpp_2m_sde", "uni_pc", "euler_ancestral"))
@pytest.mark.parametrize("name", LOW_SIDE)
def test_a_change_of_the_low_side_runs_only_low(
    name: str, sampler: str, run: Run, calls: Counter[str]
) -> None:
    run = plan(sampler_name=sampler)(run)
    sampled(run)
    asked, calls["high"] = calls["high"], 0
    assert asked > 2
    changed = LOW_SIDE[name](run)
    comfy.model_management.unload_all_models()
    ours, text = sampled(changed)
    assert calls["high"] == 0
    assert "high: as in an earlier run, not run again" in text
    loaded = comfy.model_management.loaded_models()
    assert not any(run[0].model_high.is_clone(each) for each in loaded)
    assert torch.equal(ours, sampled(changed, keep=False)[0])


def test_a_node_that_sets_the_shift_anew_runs_only_low(run: Run, calls: Counter[str]) -> None:
    own = plan(shift=0.0)(run)
    sampled(with_shift(own))
    calls["high"] = 0
    assert "not run again" in sampled(with_shift(plan(cfg_low=4.0)(own)))[1]
    assert calls["high"] == 0
    shifted = model("high", lambda patcher: small.shifted(patcher, 7.0))
    assert "not run again" not in sampled(shifted(with_shift(own)))[1]


class Lower(comfy.model_sampling.ModelSamplingDiscreteFlow, comfy.model_sampling.CONST):
    """A sampling that differs in what no instance holds."""

    sigma_min = property(lambda _: torch.tensor(0.1))


class Odd(comfy.model_sampling.ModelSamplingDiscreteFlow, comfy.model_sampling.CONST):
    """A sampling that does something of its own, which only it knows."""

    def timestep(self, sigma: torch.Tensor) -> torch.Tensor:
        return super().timestep(sigma) * 0.9


@pytest.mark.parametrize("kind", (Odd, Lower))
def test_a_sampling_that_does_something_of_its_own_runs_both(
    kind: Any, run: Run, calls: Counter[str]
) -> None:
    def odd(patcher: Any) -> Any:
        patcher = patcher.clone()
        patcher.add_object_patch("model_sampling", kind(patcher.model.model_config))
        return patcher

    own = plan(shift=0.0)(run)
    for _ in range(2):
        calls["high"] = 0
        assert "not run again" not in sampled(model("low", odd)(model("high", odd)(own)))[1]
        assert calls["high"] > 0


@pytest.mark.parametrize("name", HIGH_SIDE)
def test_a_change_of_the_high_side_runs_both(name: str, run: Run, calls: Counter[str]) -> None:
    sampled(run)
    calls["high"] = 0
    changed = HIGH_SIDE[name](run)
    ours, text = sampled(changed)
    assert calls["high"] > 0
    assert "not run again" not in text
    assert torch.equal(ours, sampled(changed, keep=False)[0])


@pytest.mark.parametrize("sampler", ("euler_cfg_pp", "res_multistep_cfg_pp"))
def test_a_sampler_that_hooks_into_the_calls_runs_both(
    sampler: str, run: Run, calls: Counter[str]
) -> None:
    run = plan(sampler_name=sampler)(run)
    first, _ = sampled(run)
    calls["high"] = 0
    again, text = sampled(run)
    assert calls["high"] > 0
    assert "not run again" not in text
    assert torch.equal(first, again)


def halving(patcher: Any) -> Any:
    """With a wrapper that changes what the sampler begins with."""

    def half(executor: Any, guider: Any, sigmas: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        sigmas = sigmas.clone()
        sigmas[-2] /= 2
        return executor(guider, sigmas, *args, **kwargs)

    patcher = patcher.clone()
    patcher.add_wrapper(WrappersMP.SAMPLER_SAMPLE, half)
    return patcher


# What the low expert brings, by which a run of it alone would begin otherwise.
BEGIN: dict[str, Callable[[Any], Any]] = {
    "shuffles the noise": changes.windows,
    "changes the sigmas": halving,
}


@pytest.mark.parametrize("sampler", ("euler", "euler_ancestral"))
@pytest.mark.parametrize("name", BEGIN)
def test_a_low_side_that_changes_how_a_run_begins_runs_both(
    name: str, sampler: str, run: Run, calls: Counter[str]
) -> None:
    """In a full run the sampler begins with what the high expert gives it."""
    run = plan(sampler_name=sampler)((small.scene(run[0].model_high, run[0].model_low), *run[1:]))
    run = scene(latent={"samples": torch.zeros(1, 16, 3, 2, 2)}, positive=TEXT, negative=TEXT)(run)
    sampled(run)
    changed = model("low", BEGIN[name])(run)
    calls["high"] = 0
    ours, text = sampled(changed)
    assert calls["high"] > 0
    assert "not run again" not in text
    assert torch.equal(ours, sampled(changed, keep=False)[0])
    assert "not run again" in sampled(run)[1]  # it is as it was
    # With the same low side that is not tried again: it costs a load of the low expert.
    begun: list[str] = []

    def note(executor: Any, *args: Any, **kwargs: Any) -> Any:
        begun.append("low")
        return executor(*args, **kwargs)

    changed[0].model_low.add_wrapper(WrappersMP.OUTER_SAMPLE, note)
    for count in (2, 1, 1):
        begun.clear()
        sampled(changed)
        assert len(begun) == count


TEXT = small.text(1, size=(3, 2, 2))


def test_the_high_answers_survive_a_failing_low_pass(run: Run, calls: Counter[str]) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("low fails")

    def failing(patcher: Any) -> Any:
        patcher = patcher.clone()
        patcher.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "fail", fail)
        return patcher

    with pytest.raises(RuntimeError, match="low fails"):
        sampled(model("low", failing)(run))
    calls["high"] = 0
    assert "not run again" in sampled(run)[1]
    assert calls["high"] == 0


def test_the_recordings_are_few_and_of_limited_size(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Recordings()
    for number in range(9):
        recording = Recording(number)
        recording.add(torch.zeros(4), torch.ones(1), torch.zeros(4))
        kept.keep(recording)
    assert [number for number in range(9) if kept.find(number)] == [5, 6, 7, 8]
    monkeypatch.setattr(replay, "LIMIT", 100)
    large = Recording("large")
    for _ in range(3):
        large.add(torch.zeros(12), torch.ones(1), torch.zeros(12))
    kept.keep(large)
    assert not large.calls
    assert kept.find("large") is None


def test_a_recording_keeps_no_model_alive() -> None:
    """ComfyUI frees the memory of a model that nobody holds."""
    high = small.expert("high", copy=41)
    seen = model_identity(high)
    assert seen == model_identity(high.clone())
    assert seen != model_identity(small.expert("high", copy=42))
    thing = Recordings()
    known = identity({"a": [thing, 1.0]})
    assert known == identity({"a": [thing, 1.0]})
    assert known != identity({"a": [Recordings(), 1.0]})
    again = identity({"a": [thing, 1.0]})
    del thing
    gc.collect()
    assert known != again
    assert identity(torch.zeros(3)) == identity(torch.zeros(3)) != identity(torch.ones(3))


@pytest.mark.parametrize(
    "value",
    [torch.zeros(2, 2).to_sparse(), torch.nested.nested_tensor([torch.zeros(2)]), {Recordings()}],
    ids=["sparse", "nested", "a set of objects"],
)
def test_what_can_not_be_compared_is_equal_to_nothing(value: Any) -> None:
    assert identity([value]) != identity([value])


def test_arrays_are_compared_by_content() -> None:
    values = np.zeros(3), np.zeros(3), np.zeros((3, 1)), np.zeros(3, np.float32), np.ones(3)
    first, *others = map(identity, values)
    assert [each == first for each in others] == [True, False, False, False]
    assert identity(torch.zeros(2, 3)) != identity(torch.zeros(3, 2))
