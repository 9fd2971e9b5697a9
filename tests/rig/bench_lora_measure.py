"""Time by paired rounds, and what is counted instead of timed: kernels, bytes, memory."""

from __future__ import annotations

import operator
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from rig.bench_lora_figure import Times

ROUNDS, FEW_ROUNDS, WARM_UPS = 7, 3, 2
LONG = 2.0  # s; a round that takes longer is repeated less often
SHORT = 1e-6  # s; less is noise, as is less than nothing where a base is taken off
FLOAT32_MARKS = {1: 1.5, 2: 2.2, 4: 3.5}
UNITS = ("amx_bf16", "amx_tile", "avx512_bf16", "avx512f", "avx2")

Run = Callable[[], Any]


def seconds(run: Run) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def cpu_flags() -> list[str]:
    """Those of UNITS that this machine has, as far as Linux tells."""
    info = Path("/proc/cpuinfo")
    known = set(info.read_text().split()) if info.exists() else set()
    return [unit for unit in UNITS if unit in known]


def has_amx() -> bool:
    """Whether products of bfloat16 are much faster than those of float32, as on a GPU."""
    return "amx_bf16" in cpu_flags()


def mark_for(count: int, with_amx: float) -> float:
    """So many times as fast, with this many LoRAs; the marks of float32 for a CPU without AMX."""
    return with_amx if has_amx() else FLOAT32_MARKS[count]


def rounds(
    runs: Mapping[str, Run], timer: Callable[[Run], float] = seconds
) -> dict[str, list[float]]:
    """Seconds of each run in each round, all by turns so that other load falls on each."""
    for _ in range(WARM_UPS):
        spent = sum(timer(run) for run in runs.values())
    count = ROUNDS if spent <= LONG else FEW_ROUNDS
    table = [{name: timer(run) for name, run in runs.items()} for _ in range(count)]
    return {name: [row[name] for row in table] for name in runs}


def paired(
    name: str,
    ours: Run,
    peers: Mapping[str, tuple[Run, float | None]],
    timer: Callable[[Run], float] = seconds,
) -> Iterator[Times]:
    """A line of milliseconds beside each peer: name -> (run, at least so many times as fast)."""
    found = rounds({"": ours} | {peer: run for peer, (run, _) in peers.items()}, timer)
    for peer, (_, mark) in peers.items():
        yield beside(f"{name}, ms / {peer}", found[""], found[peer], mark)


def paired_over(
    base: Run, name: str, ours: Run, peers: Mapping[str, tuple[Run, float | None]]
) -> Iterator[Times]:
    """As `paired`, of what each takes longer than `base` in the same round."""
    found = rounds({" ": base, "": ours} | {peer: run for peer, (run, _) in peers.items()})
    bare = found.pop(" ")
    over = {one: list(map(operator.sub, times, bare)) for one, times in found.items()}
    for peer, (_, mark) in peers.items():
        yield beside(f"{name}, ms / {peer}", over[""], over[peer], mark)


def beside(name: str, here: list[float], there: list[float], mark: float | None) -> Times:
    """Medians of seconds as milliseconds, and the median of their ratios, round by round."""
    ratios = [theirs / max(ours, SHORT) for ours, theirs in zip(here, there, strict=True)]
    ours, theirs = (1000 * statistics.median(times) for times in (here, there))
    return Times(name, ours, theirs, statistics.median(ratios), mark)


class Trace(TorchDispatchMode):
    """Counts the kernels and the bytes they read and write; views are free.

    `large` are the bytes of those tensors only that have at least `size` elements.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.kernels = self.bytes = self.large = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not func.is_view and "empty" not in func.name():
            self.kernels += 1
            leaves = tree_leaves((args, kwargs or {}, result))
            touched = [one for one in leaves if isinstance(one, torch.Tensor)]
            self.bytes += sum(one.nbytes for one in touched)
            self.large += sum(one.nbytes for one in touched if one.numel() >= self.size)
        return result


def traced(run: Run, size: int = 0) -> Trace:
    with Trace(size) as trace:
        run()
    return trace


def peak_bytes(run: Run) -> int:
    """The most memory that a run holds at a time beyond what was there before."""
    with torch.autograd.profiler.profile(profile_memory=True) as profile:
        run()
    events = [one for one in profile.kineto_results.events() if one.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda one: one.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak
