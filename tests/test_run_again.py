"""A run that was cut short, or tried again out of memory, gives what an undisturbed one gives."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

if not os.environ.get("DUALPASS_COMFYUI"):
    pytest.skip("needs a real ComfyUI: run `python3 dev.py test`", allow_module_level=True)

import comfy.samplers
import torch
from comfy.model_management import OOM_EXCEPTION, InterruptProcessingException
from comfy.patcher_extension import CallbacksMP, WrappersMP

from pack.nodes.lora.strengths import ByStep
from pack.nodes.sampling import replay
from pack.nodes.sampling.order import Scene
from pack.nodes.sampling.run import Way, dual_sample
from pack.nodes.sampling.schedule import First
from rig import changes, small

PLAN = small.plan(steps=8)
HIGH = 3

pytestmark = pytest.mark.usefixtures("as_a_node_runs")
as_a_node_runs = pytest.fixture(small.as_a_node_runs)


class Disturbed:
    """An expert whose calls are counted, and at one of which something happens, once."""

    def __init__(self, role: str) -> None:
        self.calls: Counter[str] = Counter()
        self.role, self.at = role, 0
        # Made where it is raised: a kept one would keep all models of its traceback.
        self.error: type[BaseException] = RuntimeError

    def hang_on(self, model: Any, role: str) -> Any:
        def count(executor: Any, *args: Any, **kwargs: Any) -> Any:
            self.calls[role] += 1
            if role == self.role and self.calls[role] == self.at:
                raise self.error
            return executor(*args, **kwargs)

        model = model.clone()
        model.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "disturbed", count)
        return model

    def scene(self, first: bool = False) -> Scene:
        roles = ("high", "low", *(["first"] if first else []))
        models = {f"model_{role}": self.hang_on(small.expert(role), role) for role in roles}
        at = small.scene(small.expert("high"), small.expert("low"), size=(3, 8, 8))
        return replace(at, **models)


def sampled(at: Scene, keep: bool = True, **way: Any) -> torch.Tensor:
    out: torch.Tensor = dual_sample(at, PLAN, Way(**way), small.SEED, keep=keep)[0]["samples"]
    return out


@pytest.mark.parametrize("hooks", (False, True))
@pytest.mark.parametrize("first", (False, True))
@pytest.mark.parametrize("role, call", [("first", 1), ("high", 2), ("low", 1), ("low", 3)])
def test_after_an_interrupt_the_next_run_is_as_if_nothing_had_been(
    role: str, call: int, first: bool, hooks: bool
) -> None:
    if role == "first" and not first:
        return
    disturbed = Disturbed(role)
    at = disturbed.scene(first)
    if hooks:
        at = changes.texts(changes.hooked_in_part)(at)
    way = {"first": First(1, 2.0)} if first else {}
    wanted = sampled(at, keep=False, **way)
    disturbed.calls.clear()
    disturbed.at, disturbed.error = call, InterruptProcessingException
    with pytest.raises(InterruptProcessingException):
        sampled(at, **way)
    disturbed.at = 0
    disturbed.calls.clear()
    assert torch.equal(sampled(at, **way), wanted)
    # What was finished above the last hand-over is not run again.
    assert (disturbed.calls["high"] == 0) is (role == "low")
    assert torch.equal(sampled(at, **way), wanted)


@pytest.mark.parametrize(
    "change, two_passes", [("plain", False), ("plain", True), ("hooks in part", False)]
)
@pytest.mark.parametrize("role, call", [("high", 1), ("high", 3), ("low", 1), ("low", 5)])
def test_out_of_memory_once_changes_nothing(
    role: str, call: int, change: str, two_passes: bool
) -> None:
    disturbed = Disturbed(role)
    at = disturbed.scene()
    if change != "plain":
        at = changes.HOOKS[change](at)
    wanted = sampled(at, keep=False, two_passes=two_passes, step=HIGH)
    disturbed.calls.clear()
    disturbed.at, disturbed.error = call, OOM_EXCEPTION
    assert torch.equal(sampled(at, keep=False, two_passes=two_passes, step=HIGH), wanted)
    assert disturbed.calls[role] > call


class Log:
    """The strengths that were set, in the place of a stack of LoRAs."""

    none = (0.0,)

    def __init__(self) -> None:
        self.live = self
        self.seen: list[float] = []

    def set(self, values: tuple[float, ...]) -> None:
        self.seen += [value for value in values if values != self.none]

    def restart(self) -> None: ...

    def check(self) -> None: ...


@pytest.mark.parametrize("role, call", [("high", 2), ("high", 3), ("low", 1), ("low", 3)])
def test_strengths_by_step_go_on_after_out_of_memory(role: str, call: int) -> None:
    disturbed, log = Disturbed(role), Log()
    at = disturbed.scene()
    by_step: Any = ByStep(log, [(1.0, 0.7, 0.4, 0.2)])  # type: ignore[arg-type]
    model = getattr(at, f"model_{role}")
    model.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "by step", by_step)
    model.add_callback_with_key(CallbacksMP.ON_PRE_RUN, "by step", by_step.restart)
    sampled(at, keep=False)
    wanted, log.seen = log.seen, []
    assert wanted[:3] == [1.0, 0.7, 0.4]
    disturbed.calls.clear()
    disturbed.at, disturbed.error = call, OOM_EXCEPTION
    sampled(at, keep=False)
    # The call that failed is made again, at the same strength.
    assert log.seen in (wanted, wanted[:call] + wanted[call - 1 :])


@pytest.mark.parametrize("first", (False, True))
def test_a_recording_that_grew_too_large_is_not_used(
    first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    disturbed = Disturbed("")
    at = disturbed.scene(first)
    way = {"first": First(1, 2.0)} if first else {}
    wanted = sampled(at, keep=False, **way)
    monkeypatch.setattr(replay, "LIMIT", wanted.nbytes * 2)
    for _ in range(2):
        disturbed.calls.clear()
        assert torch.equal(sampled(at, **way), wanted)
        assert disturbed.calls["high"] == HIGH - first


def writing(model: Any, x: torch.Tensor, sigmas: torch.Tensor, **extra: Any) -> torch.Tensor:
    """Euler that writes into the options that it got, as samplers of other packs do."""
    options = extra.pop("extra_args")
    for step, (sigma, after) in enumerate(zip(sigmas, sigmas[1:], strict=False)):
        options["model_options"]["transformer_options"]["weight"] = 0.1 * step
        x = x + (x - model(x, sigma * x.new_ones([len(x)]), **options)) / sigma * (after - sigma)
    return x


def weighing(seen: list[float]) -> Callable[[Any], Any]:
    def change(model: Any) -> Any:
        def weigh(args: dict[str, Any]) -> torch.Tensor:
            seen.append(args["model_options"]["transformer_options"].get("weight", -1.0))
            out: torch.Tensor = args["denoised"] * (1 - seen[-1])
            return out

        model = model.clone()
        model.set_model_sampler_post_cfg_function(weigh)
        return model

    return change


def test_what_a_sampler_writes_into_its_options_reaches_both_experts() -> None:
    seen: list[float] = []
    at = changes.models(weighing(seen))(small.scene(small.expert("high"), small.expert("low")))
    sampler = comfy.samplers.KSAMPLER(writing)
    first = sampled(at, sampler=sampler)
    assert seen == [pytest.approx(0.1 * step) for step in range(8)]
    seen.clear()
    # Such calls are not replayed: their answers hang on what was written.
    assert torch.equal(sampled(at, sampler=sampler), first)
    assert len(seen) == 8


def test_a_wrapper_that_changes_its_result_does_not_reach_into_the_sampler() -> None:
    def spoil(executor: Any, *args: Any, **kwargs: Any) -> Any:
        return executor(*args, **kwargs).mul_(2)

    high = small.expert("high")
    wanted = sampled(small.scene(high, small.expert("low")), keep=False)
    high.add_wrapper_with_key(WrappersMP.SAMPLER_SAMPLE, "spoil", spoil)
    assert torch.equal(sampled(small.scene(high, small.expert("low")), keep=False), wanted)


@pytest.fixture
def at() -> Iterator[Scene]:
    yield Disturbed("").scene()


def in_place(name: str) -> Callable[[Scene], None]:
    def text(at: Scene) -> None:
        at.positive[0][0].add_(0.5)

    def image(at: Scene) -> None:
        at.positive[0][1]["concat_latent_image"].add_(0.5)

    def options(at: Scene) -> None:
        at.model_high.model_options["transformer_options"]["anything"] = {1, 2}

    return {"text": text, "image": image, "options": options}[name]


@pytest.mark.parametrize("name", ("text", "image", "options"))
def test_what_was_changed_in_place_runs_both(name: str, at: Scene) -> None:
    sampled(at)
    in_place(name)(at)
    assert torch.equal(sampled(at), sampled(at, keep=False))


def test_experts_with_shifts_of_their_own_are_never_replayed() -> None:
    at = Disturbed("").scene()
    at = replace(
        at, model_low=small.shifted(at.model_low, 8.0), model_high=small.shifted(at.model_high, 5.0)
    )
    plan = replace(PLAN, shift=0.0, sampler_name="sa_solver")
    texts = [dual_sample(at, plan, Way(denoise=0.7), small.SEED)[1] for _ in range(2)]
    assert not any("not run again" in text for text in texts)


def test_options_that_hold_themselves_can_be_sampled() -> None:
    at = Disturbed("").scene()
    circle: list[Any] = []
    circle.append(circle)
    at.positive[0][1]["circle"] = circle
    assert torch.equal(sampled(at), sampled(at, keep=False))


def test_recordings_go_with_their_models() -> None:
    kept = replay.Recordings()
    high = small.expert("high", copy=77)
    recording = replay.Recording("key", [high])
    recording.add(torch.zeros(4), torch.ones(1), torch.zeros(4))
    kept.keep(recording)
    assert kept.find("key") is recording
    assert not recording.is_gone()


def test_a_sampler_that_ends_early_is_told() -> None:
    def early(model: Any, x: torch.Tensor, sigmas: torch.Tensor, **extra: Any) -> torch.Tensor:
        out: torch.Tensor = model(x, sigmas[0] * x.new_ones([len(x)]), **extra["extra_args"])
        return out

    way = Way(sampler=comfy.samplers.KSAMPLER(early))
    text = dual_sample(Disturbed("").scene(), PLAN, way, small.SEED, keep=False)[1]
    assert "note: the sampler ended with high: no step of low." in text
