"""Two experts of 14B in one run, beside two of core's sampler nodes: bytes, memory and time."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import product
from typing import Any

import torch

from pack.nodes.sampling.order import Scene  # type: ignore[import-not-found]
from pack.nodes.sampling.schedule import Plan  # type: ignore[import-not-found]
from rig.bench_figure import Figure
from rig.bench_gpu_pair import Pair
from rig.bench_gpu_sampled import conditioning, moved
from rig.bench_gpu_size import Size, Watch, capped, emptied
from rig.bench_lora_figure import Line
from rig.bench_trajectory import LONGER, PEER, Run, both, by_turns, counts, paired_times

ROUNDS = 6  # the least that give an interval of 95 %
FRAMES = 5  # of the latent: so short that what is not the models' work shows
# Steps, and whether the experts are in RAM at the beginning.
BEGINNINGS = {4: "cold", 8: "warm"}
# Times the peer's, at most: what a driver's profiler, and a look each 20 ms, leave open.
BYTES, MEMORY = 1.001, 1.01

Row = tuple[str, Callable[[], Iterator[Line]]]


def rows(size: Size, _: str) -> Iterator[Row]:
    pair = Pair(size, "fp8")
    for cap, steps in product(size.caps, BEGINNINGS):
        where = f"{cap} GB" if cap else "whole card"
        title = f"trajectory14b[{where}, {steps} steps, {BEGINNINGS[steps]}]"
        yield title, partial(row, pair, cap, steps, title)


def row(pair: Pair, cap: int | None, steps: int, title: str) -> Iterator[Line]:
    """Calls, loads and bytes of one run of each, then the time of some by turns."""
    size, (_, height, width) = pair.size, pair.size.latent
    words, latent = conditioning(size), torch.zeros(1, 16, FRAMES, height, width)
    at = Scene(*pair.experts, words, words, {"samples": latent})
    runs = both(Plan(steps, 1.0, 1.0, "euler", "simple", 5.0, 0.9))
    cold = BEGINNINGS[steps] == "cold"
    before: Callable[[], Any] = emptied if cold else gc.collect
    with capped(size.device, cap):
        runs[PEER](at)
        yield from counts(title, at, runs, before)
        yield uploads(title, at, runs, before, size)
        if cold:
            here, there = (most_held(partial(run, at), size) / 1e9 for run in runs.values())
            yield no_more(MEMORY, f"{title}, GB held / {PEER}", here, there)
        rounds = ROUNDS if size.device.type == "cuda" else 1
        yield from paired_times(title, by_turns(at, runs, rounds, before), LONGER)


def uploads(
    title: str, at: Scene, runs: Mapping[str, Run], before: Callable[[], Any], size: Size
) -> Line:
    """GB from RAM to the card in one run of each."""
    found = []
    for run in runs.values():
        before()
        found.append(moved(partial(run, at), size))
    here, there = found
    if here is None or there is None:
        return f"{title}, GB uploaded: skipped, the driver's profiler shows no copies here"
    return no_more(BYTES, f"{title}, GB uploaded / {PEER}", here, there)


def most_held(run: Callable[[], Any], size: Size) -> int:
    """Bytes of the card, in a run that finds it empty and in one that comes after."""
    emptied()
    with Watch(size.device) as watch:
        run()
        run()
    return watch.most


def no_more(limit: float, name: str, figure: float, peer: float) -> Figure:
    """Counted, and at most so many times the peer's."""
    return Figure(name, figure, peer or None, f"<= {limit:g}x", figure <= limit * peer)
