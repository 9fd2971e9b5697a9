"""Errors, interrupts, out-of-memory at any point of a run: told as they are, and nothing left."""

from __future__ import annotations

import gc
import os
import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

if not os.environ.get("DUALPASS_COMFYUI"):
    pytest.skip("needs a real ComfyUI: run `python3 dev.py test`", allow_module_level=True)

import comfy.model_management
import comfy.samplers
import torch
from comfy.model_management import OOM_EXCEPTION, InterruptProcessingException
from comfy.patcher_extension import CallbacksMP, WrappersMP

from pack.nodes.sampling.order import Scene
from pack.nodes.sampling.run import Way, dual_sample
from pack.nodes.sampling.schedule import First
from rig import changes, small
from rig.leftovers import nothing_left

HIGH, STEPS = 3, 8
PLAN = small.plan("dpmpp_2m", "simple", STEPS)
CALLS = [("high", call) for call in range(HIGH)] + [("low", call) for call in range(STEPS - HIGH)]

pytestmark = pytest.mark.usefixtures("as_a_node_runs")
as_a_node_runs = pytest.fixture(small.as_a_node_runs)


class Trouble(Exception):
    """What a test raises in a run."""


def scene(**hung: Callable[[Any], None]) -> Scene:
    """Two experts with what the test hangs on one, and with what core must take off again."""
    at = small.scene(small.expert("high"), small.expert("low"))
    for role, hang in hung.items():
        hang(getattr(at, f"model_{role}"))
    return changes.texts(changes.hooked)(at)


def wrapped(kind: str, act: Callable[[], None], before: int = 0) -> Callable[[Any], None]:
    """A wrapper that acts once, after so many calls."""
    count = iter(range(10**6))

    def wrapper(executor: Any, *args: Any, **kwargs: Any) -> Any:
        if next(count) == before:
            act()
        return executor(*args, **kwargs)

    return lambda model: model.add_wrapper_with_key(kind, "test", wrapper)


def called_back(kind: str, act: Callable[[], None]) -> Callable[[Any], None]:
    return lambda model: model.add_callback_with_key(kind, "test", lambda *_: act())


def trouble(error: type[BaseException] = Trouble) -> Callable[[], None]:
    def act() -> None:
        raise error  # made here: a kept one would keep all models of its traceback

    return act


def interrupt() -> None:
    comfy.model_management.interrupt_current_processing()


def sampled(at: Scene, **more: Any) -> None:
    dual_sample(at, PLAN, Way(), small.SEED, **more)


@pytest.mark.parametrize("step", range(1, STEPS + 1))
def test_an_error_in_the_callback_of_a_step(step: int) -> None:
    """Of whoever watches: progress, preview."""

    def watch(done: int, *_: Any) -> None:
        if done == step:
            raise Trouble

    at = scene()
    with nothing_left(at, Trouble):
        sampled(at, watch=watch)


BEFORE = (
    WrappersMP.OUTER_SAMPLE,
    WrappersMP.PREPARE_SAMPLING,
    WrappersMP.SAMPLER_SAMPLE,
    WrappersMP.PREDICT_NOISE,
    WrappersMP.CALC_COND_BATCH,
)
CALLBACKS = (CallbacksMP.ON_LOAD, CallbacksMP.ON_PRE_RUN, CallbacksMP.ON_CLEANUP)


@pytest.mark.parametrize("shift", (0.0, 5.0))
@pytest.mark.parametrize("role", ("high", "low"))
@pytest.mark.parametrize("place", BEFORE)
def test_an_error_in_a_wrapper_before_the_first_call(place: str, role: str, shift: float) -> None:
    """On the model that came through the socket, and on a clone with another shift."""
    at = scene(**{role: wrapped(place, trouble())})
    with nothing_left(at, Trouble):
        dual_sample(at, replace(PLAN, shift=shift), Way(), small.SEED)


@pytest.mark.parametrize("role", ("high", "low"))
@pytest.mark.parametrize("place", CALLBACKS)
def test_an_error_while_an_expert_is_loaded_or_left(place: str, role: str) -> None:
    at = scene(**{role: called_back(place, trouble())})
    with nothing_left(at, Trouble, ejected=place != CallbacksMP.ON_LOAD):
        sampled(at)


def test_core_forgets_what_it_injected_where_loading_fails() -> None:
    at = scene(high=called_back(CallbacksMP.ON_LOAD, trouble()))
    with nothing_left(at, Trouble, ejected=False):
        small.one(at, PLAN)


@pytest.mark.parametrize("role, call", CALLS)
@pytest.mark.parametrize("error", (Trouble, OOM_EXCEPTION, KeyboardInterrupt))
def test_an_error_in_a_model_call(error: Any, role: str, call: int) -> None:
    """Out of memory twice: the retry does not help either."""
    hang = wrapped(WrappersMP.APPLY_MODEL, trouble(error), call)
    at = scene(**{role: hang})
    if error is OOM_EXCEPTION:
        wrapped(WrappersMP.APPLY_MODEL, trouble(error), call)(getattr(at, f"model_{role}"))
    with nothing_left(at, error):
        sampled(at)


@pytest.mark.parametrize("role, call", CALLS)
def test_out_of_memory_once_costs_one_call(role: str, call: int) -> None:
    """What was sampled before it is not lost."""
    hang = wrapped(WrappersMP.APPLY_MODEL, trouble(OOM_EXCEPTION), call)
    comfy.model_management.unload_all_models()
    made, wanted = small.dual(scene(**{role: hang}), PLAN), small.dual(scene(), PLAN)
    assert torch.equal(made, wanted)


@pytest.mark.parametrize("step", (1, HIGH, STEPS))
def test_out_of_memory_once_in_a_callback(step: int) -> None:
    """Such as a preview's decoder."""
    errors = iter((trouble(OOM_EXCEPTION),))

    def watch(done: int, *_: Any) -> None:
        if done == step:
            next(errors, lambda: None)()

    made, _ = dual_sample(scene(), PLAN, Way(), small.SEED, watch=watch, keep=False)
    assert torch.equal(made["samples"], small.dual(scene(), PLAN))


@pytest.mark.parametrize("role", ("high", "low"))
def test_out_of_memory_once_while_loading_costs_nothing(role: str) -> None:
    errors = iter((trouble(OOM_EXCEPTION),))
    at = scene(**{role: called_back(CallbacksMP.ON_LOAD, lambda: next(errors, lambda: None)())})
    comfy.model_management.unload_all_models()
    assert torch.equal(small.dual(at, PLAN), small.dual(scene(), PLAN))


@pytest.mark.parametrize("role, call", CALLS)
def test_an_interrupt_at_each_step(role: str, call: int) -> None:
    at = scene(**{role: wrapped(WrappersMP.APPLY_MODEL, interrupt, call)})
    with nothing_left(at, InterruptProcessingException):
        sampled(at)


def test_an_interrupt_between_the_experts_loads_nothing_more() -> None:
    loaded = []
    at = scene(
        high=called_back(CallbacksMP.ON_CLEANUP, interrupt),
        low=called_back(CallbacksMP.ON_LOAD, lambda: loaded.append("low")),
    )
    with nothing_left(at, InterruptProcessingException):
        sampled(at)
    assert not loaded


@pytest.mark.parametrize("call", (0, 1, HIGH, STEPS - 1))
def test_an_error_in_the_sampler_itself(call: int) -> None:
    def failing(model: Any, x: torch.Tensor, sigmas: torch.Tensor, **options: Any) -> torch.Tensor:
        for sigma in sigmas[:call]:
            x = model(x, sigma * x.new_ones(1), **options["extra_args"])
        raise Trouble

    at = scene()
    with nothing_left(at, Trouble):
        dual_sample(at, PLAN, Way(sampler=comfy.samplers.KSAMPLER(failing)), small.SEED)


@pytest.mark.parametrize("role", ("high", "low", ""))
def test_no_tensor_of_a_run_outlives_it(role: str) -> None:
    """After an error in either expert, and after none."""
    seen: list[weakref.ref[torch.Tensor]] = []

    def watching(executor: Any, x: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        out = executor(x, *args, **kwargs)
        seen.extend(map(weakref.ref, (x, out)))
        return out

    at = scene(**({role: wrapped(WrappersMP.APPLY_MODEL, trouble(), 2)} if role else {}))
    for model in (at.model_high, at.model_low):
        model.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "watching", watching)
    at = replace(at, latent={"samples": torch.zeros_like(at.latent["samples"])})
    seen.append(weakref.ref(at.latent["samples"]))
    if role:
        with pytest.raises(Trouble):
            sampled(at)
    else:
        sampled(at)
    del at
    gc.collect()
    assert len(seen) > 3
    assert not [each for each in seen if each() is not None]


def test_a_wrapper_that_samples_again_is_told_that_it_can_not() -> None:
    def twice(executor: Any, *args: Any, **kwargs: Any) -> Any:
        executor(*args, **kwargs)
        return executor(*args, **kwargs)

    at = scene(low=lambda model: model.add_wrapper(WrappersMP.SAMPLER_SAMPLE, twice))
    with nothing_left(at, RuntimeError):
        sampled(at)


@pytest.mark.parametrize("name", ("latent", "positive", "negative"))
def test_what_comes_in_not_finite_is_told_before_anything_is_loaded(name: str) -> None:
    at = scene(**{role: called_back(CallbacksMP.ON_LOAD, trouble()) for role in ("high", "low")})
    broken = torch.full_like(at.latent["samples"], torch.nan)
    words = [[torch.full((1, 4, small.TEXT), torch.inf), dict(at.positive[0][1])]]
    given = {"latent": {"samples": broken}, "positive": words, "negative": words}
    with pytest.raises(ValueError, match=f"^{name} holds numbers that are not finite"):
        sampled(replace(at, **{name: given[name]}))


def test_a_schedule_that_gives_no_sigmas_is_told() -> None:
    with pytest.raises(ValueError, match="kl_optimal gives no sigmas for 1 steps. Use more"):
        small.dual(scene(), small.plan("euler", "kl_optimal", 1))


@pytest.mark.parametrize("sampler", ("dpm_fast", "dpm_adaptive"))
def test_a_sampler_with_steps_of_its_own_is_told_of(sampler: str) -> None:
    _, text = dual_sample(scene(), small.plan(sampler), Way(), small.SEED)
    assert f"note: {sampler} takes steps of its own" in text


def spoil(model: Any) -> None:
    model.set_model_sampler_post_cfg_function(lambda args: args["denoised"] * float("nan"))


def test_the_expert_of_the_first_steps_is_named() -> None:
    at = replace(scene(), model_first=scene(high=spoil).model_high)
    with pytest.raises(ValueError, match="The expert of the first steps left 64 of 64"):
        dual_sample(at, PLAN, Way(first=First(1, 2.0)), small.SEED, keep=False)


@pytest.mark.parametrize("two_passes", (False, True))
@pytest.mark.parametrize("role", ("high", "low"))
def test_numbers_that_are_not_finite_are_told_with_their_pass(role: str, two_passes: bool) -> None:
    at = scene(**{role: spoil})
    with pytest.raises(ValueError, match=rf"The {role}-noise expert left 64 of 64 numbers"):
        dual_sample(at, PLAN, Way(step=3, two_passes=two_passes), small.SEED, keep=False)
