"""Two experts that sample by turns with core's own sampler, timed step by step."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import comfy.sample
import psutil  # type: ignore[import-untyped]
import torch

from pack.nodes.sampling.memory import reset_as_after_a_node  # type: ignore[import-not-found]
from rig.bench_gpu_size import Size, Watch, emptied, sync, uploaded
from rig.bench_gpu_weights import Levels

STEPS = 4  # of a schedule, half for each expert
TEXT = 4096  # width of the text's embedding

# (model, files, strengths, mode) -> a patcher with them
Maker = Callable[[Any, Sequence[str], Sequence[Levels], str], Any]


@dataclass(frozen=True)
class Session:
    """What one way to hold LoRAs takes, in seconds and GB.

    `total` is of a first run of both experts, weights still in RAM; `step` is the median of the
    steps after a first. `back` is to the first step of the high expert after the low one. `change`
    is from another strength to the end of the first step, `moved` the bytes that cross the bus in
    it (None: not to be seen), both with the expert in use as far as it fits.
    """

    total: float
    step: float
    back: float
    change: float
    moved: float | None
    held: float
    ram: float


def steps(model: Any, size: Size, first: int, last: int, text: Any = None) -> list[float]:
    """Seconds from the beginning to the end of each step of `first` to `last`."""
    frames, height, width = size.latent
    latent = torch.zeros(1, 16, frames, height, width)
    positive = text or conditioning(size)
    ends, began = [], time.perf_counter()

    def after_step(*_: Any) -> None:
        sync(size.device)
        ends.append(time.perf_counter() - began)

    comfy.sample.sample(
        model, torch.randn(latent.shape), STEPS, 1.0, "euler", "simple", positive, positive,
        latent, start_step=first, last_step=last, callback=after_step, disable_pbar=True, seed=0,
    )  # fmt: skip
    reset_as_after_a_node()
    return ends


def conditioning(size: Size) -> Any:
    return [[torch.randn(1, size.text, TEXT) / 10, {}]]


def session(
    experts: Sequence[Any], make: Maker, files: Sequence[str], mode: str, size: Size
) -> Session:
    """Both experts in turn, the high one again, then with two other strengths."""
    emptied()
    half = STEPS // 2
    high, low = (make(model, files, levels(0.8), mode) for model in experts)
    with Watch(size.device) as watch:
        began = time.perf_counter()
        ran = [steps(high, size, 0, half), steps(low, size, half, STEPS)]
        total = time.perf_counter() - began
        (back,) = steps(high, size, 0, 1)
        began = time.perf_counter()
        steps(make(experts[0], files, levels(0.6), mode), size, 0, 1)
        change = time.perf_counter() - began
    other = make(experts[0], files, levels(0.7), mode)
    return Session(
        total=total,
        step=statistics.median(times[1] - times[0] for times in ran),
        back=back,
        change=change,
        moved=moved(partial(steps, other, size, 0, 1), size),
        held=watch.most / 1e9,
        ram=psutil.Process().memory_info().rss / 1e9,
    )


def levels(strength: float) -> list[Levels]:
    """Of two files, of which the first changes."""
    return [(strength,), (1.0,)]


def moved(run: Callable[[], Any], size: Size) -> float | None:
    """GB from RAM to the card."""
    try:
        return uploaded(run, size.device) / 1e9
    except RuntimeError as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        return None
