"""A run with both experts beside two of core's sampler nodes: model calls, loads and time."""

from __future__ import annotations

import gc
import itertools
import math
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import nodes
import torch
from comfy.patcher_extension import CallbacksMP, WrappersMP

from pack.nodes.sampling.memory import reset_as_after_a_node  # type: ignore[import-not-found]
from pack.nodes.sampling.order import Scene  # type: ignore[import-not-found]
from pack.nodes.sampling.run import Way, dual_sample  # type: ignore[import-not-found]
from pack.nodes.sampling.schedule import Plan  # type: ignore[import-not-found]
from rig import experts, small
from rig.bench_figure import Figure, at_most
from rig.bench_gpu_size import emptied
from rig.bench_lora_figure import Line
from rig.bench_lora_measure import beside
from rig.tally import Tally

PEER = "two KSamplerAdvanced"
LONGER = 1.01  # times as long, at most
ROUNDS, FEW_ROUNDS = 12, 6
ROLES = ("high", "low")
CALL = WrappersMP.APPLY_MODEL

Run = Callable[[Scene], Any]


def trajectory() -> Iterator[Line]:
    """With one thread, also in time of the CPU, which other processes take nothing of."""
    with contextmanager(small.as_a_node_runs)():
        tiny, larger = small.scene(small.expert("high"), small.expert("low")), medium()
        yield "both experts in one run, one thread"
        for name, at, mark in (("tiny", tiny, None), ("medium", larger, LONGER)):
            yield from beside_core(name, at, mark)
        yield "a run that differs from the one before on the low side only, one thread"
        yield from low_side_only(larger)
        # Last: where other processes want the cores, threads wait for each other.
        torch.set_num_threads(os.cpu_count() or 1)
        yield f"both experts in one run, {torch.get_num_threads()} threads"
        times = by_turns(larger, both(small.plan()), FEW_ROUNDS)
        yield from paired_times("trajectory[medium, 8 steps]", times, LONGER)


def medium() -> Scene:
    """The tiny models of the tests on 1728 tokens: 100 ms and more for a call."""
    words = [[torch.randn(1, 77, 768), {}]]
    latent = {"samples": torch.zeros(1, 16, 3, 48, 48)}
    high, low = (experts.load(f"t2v_{role}", torch.float32) for role in ROLES)
    return Scene(high, low, words, words, latent)


def ours(at: Scene, plan: Plan, step: int) -> None:
    """Our node, and what ComfyUI does after it."""
    dual_sample(at, plan, Way(step=step), small.SEED, keep=False)
    reset_as_after_a_node()


def cores(at: Scene, plan: Plan, step: int) -> None:
    """Core's two nodes, which change at `step`, and what ComfyUI does after each."""
    latent = at.latent
    for model, cfg, start, end in (
        (at.model_high, plan.cfg_high, 0, step),
        (at.model_low, plan.cfg_low, step, plan.steps),
    ):
        (latent,) = nodes.KSamplerAdvanced().sample(
            small.shifted(model, plan.shift), "disable" if start else "enable", small.SEED,
            plan.steps, cfg, plan.sampler_name, plan.scheduler, at.positive, at.negative, latent,
            start, end, "enable" if end < plan.steps else "disable",
        )  # fmt: skip
        reset_as_after_a_node()


def both(plan: Plan) -> dict[str, Run]:
    """Our run and core's, which change in the middle."""
    half = plan.steps // 2
    return {"": partial(ours, plan=plan, step=half), PEER: partial(cores, plan=plan, step=half)}


def beside_core(name: str, at: Scene, mark: float | None) -> Iterator[Figure]:
    runs, name = both(small.plan()), f"trajectory[{name}, 8 steps]"
    yield from counts(name, at, runs)
    yield from paired_times(name, by_turns(at, runs, ROUNDS), mark)
    times = by_turns(at, runs, ROUNDS, clock=time.process_time)
    yield from paired_times(f"{name}, of the CPU", times, mark)


def counts(
    name: str, at: Scene, runs: Mapping[str, Run], before: Callable[[], Any] = emptied
) -> Iterator[Figure]:
    """Model calls and loads of each run; met where each expert has the same."""
    found = []
    for run in runs.values():
        tally, counted = counting(at)
        before()
        run(counted)
        found.append(tally.calls)
    for what, kind in (("model calls", CALL), ("loads", CallbacksMP.ON_LOAD)):
        mine, theirs = ([calls[role, kind] for role in ROLES] for calls in found)
        same = mine == theirs
        yield Figure(f"{name}, {what} / {PEER}", sum(mine), sum(theirs) or None, "the same", same)


def counting(at: Scene) -> tuple[Tally, Scene]:
    """The scene with experts that count, and their counts."""
    tally = Tally()
    high, low = tally.on(at.model_high, "high"), tally.on(at.model_low, "low")
    return tally, replace(at, model_high=high, model_low=low)


def by_turns(
    at: Scene,
    runs: Mapping[str, Run],
    rounds: int,
    before: Callable[[], Any] = gc.collect,
    clock: Callable[[], float] = time.perf_counter,
) -> list[list[float]]:
    """Seconds of each run in each round; who is first changes from round to round."""
    found: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run(at)
    for turn in range(rounds):
        for name in list(runs)[:: -1 if turn % 2 else 1]:
            before()
            started = clock()
            runs[name](at)
            found[name].append(clock() - started)
    return list(found.values())


def paired_times(
    name: str, times: Sequence[Sequence[float]], mark: float | None, peer: str = PEER
) -> Iterator[Figure]:
    """Medians in ms, and the median of the ratios with its interval of 95 %, which it names."""
    here, there = times
    ratios = [mine / theirs for mine, theirs in zip(here, there, strict=True)]
    least, most = interval(ratios)
    middle, peers = (1000 * statistics.median(each) for each in times)
    yield Figure(f"{name}, ms / {peer}", middle, peers)
    name, ratio = f"{name}, times as long ({least:.3f} to {most:.3f})", statistics.median(ratios)
    yield at_most(mark, name, ratio) if mark else Figure(name, ratio)


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Where the median lies in 95 of 100 such samples, or more; needs 6 values for that.

    It is missed where fewer than k values fall on one side of it, as likely as with a coin.
    """
    ordered, count, left_out = sorted(values), len(values), 0
    while 2 * sum(math.comb(count, k) for k in range(left_out + 2)) <= 0.05 * 2**count:
        left_out += 1
    return ordered[left_out], ordered[-1 - left_out]


def low_side_only(at: Scene) -> Iterator[Line]:
    """Another cfg of the low expert each time, beside the same run of which nothing is kept."""
    plan, peer, cfgs = small.plan(steps=20), "a full run", itertools.count(2)

    def sample(at: Scene, keep: bool) -> None:
        changed = replace(plan, cfg_low=float(next(cfgs)))
        dual_sample(at, changed, Way(), small.SEED, keep=keep)

    runs: dict[str, Run] = {"": partial(sample, keep=True), peer: partial(sample, keep=False)}
    name = f"low side only[20 steps, {small.high_steps(plan)} of them high]"
    calls = []
    for run in runs.values():
        tally, counted = counting(at)
        run(counted)
        tally.calls.clear()
        run(counted)
        calls.append(sum(tally.calls[role, CALL] for role in ROLES))
    yield Figure(f"{name}, model calls / {peer}", calls[0], calls[1])
    here, there = by_turns(at, runs, FEW_ROUNDS)
    yield beside(f"{name}, ms / {peer}", here, there, None)
