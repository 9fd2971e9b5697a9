"""Two experts with two LoRAs each, with a whole card and with less of it, beside core's LoRAs."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import comfy.hooks

from rig.bench_figure import Figure, at_most
from rig.bench_gpu_sampled import STEPS, Session, conditioning, session, steps
from rig.bench_gpu_size import Size, capped, emptied
from rig.bench_gpu_weights import (
    GGUF,
    Levels,
    State,
    expert,
    lora_file,
    ops,
    ours,
    read_state,
    stock,
)
from rig.bench_lora_figure import Line, compared

# Predicted: a run over ComfyUI-GGUF, a change of strength, the way back, a list of strengths.
E2E, CHANGE, BACK, SCHEDULE = {"q4_k": 1.07}, 100.0, 1.0, 50.0
RESTRENGTH = 1.1  # predicted for a bf16 run with another strength
LEAST = 0.005  # s; less than that of a step is noise

Row = tuple[str, Callable[[], Iterator[Line]]]


class Pair:
    """Two experts and two LoRA files, made when they are first needed."""

    def __init__(self, size: Size, base: str) -> None:
        self.size, self.base = size, base
        self._experts: list[Any] = []

    @property
    def experts(self) -> list[Any]:
        if not self._experts:
            self._experts = [expert(self.size, self.base, self.size.blocks) for _ in range(2)]
            emptied()
        return self._experts

    @property
    def files(self) -> list[str]:
        names = ("first", "second")
        return [
            lora_file(self.size, name, rank, self.size.blocks)
            for name, rank in zip(names, self.size.ranks, strict=True)
        ]

    @property
    def states(self) -> list[State]:
        return [read_state(file) for file in self.files]


def rows(size: Size, part: str) -> Iterator[Row]:
    base = part.removesuffix("_legacy")
    if base == "q4_k" and not ops():
        yield "q4_k", lambda: iter([f"{base}: skipped, {GGUF} names no checkout of ComfyUI-GGUF"])
        return
    pair = Pair(size, base)
    if part == "bf16_legacy":
        yield "strength14b[bf16, full load]", lambda: dual(pair, None, "bf16, full load")
        yield "schedule[bf16, full load]", lambda: schedule(pair, core_hooks(pair))
        return
    for cap in size.caps:
        title = f"{base}, {f'{cap} GB' if cap else 'whole card'}"
        yield f"e2e_dual[{title}]", partial(dual, pair, cap, title)
    yield f"schedule[{base}]", lambda: schedule(pair, None)


def dual(pair: Pair, cap: int | None, title: str) -> Iterator[Line]:
    """Ours unmerged and, where that is the rule, merged, beside core's chain of loaders."""
    peer = "ComfyUI-GGUF" if pair.base == "q4_k" else "core"
    with capped(pair.size.device, cap):
        theirs = session(pair.experts, stock(pair.states), pair.files, "", pair.size)
        modes = ("unmerged", "merged") if pair.base == "bf16" else ("unmerged",)
        for mode in modes:
            here = session(pair.experts, ours, pair.files, mode, pair.size)
            yield from figures(f"{title}, {mode}", here, theirs, peer, pair.base)


def figures(title: str, here: Session, there: Session, peer: str, base: str) -> Iterator[Line]:
    """Each of a session's numbers beside the peer's."""
    live = "unmerged" in title
    yield compared(f"e2e_dual[{title}], s / {peer}", here.total, there.total, E2E.get(base))
    yield Figure(f"e2e_dual[{title}], steps/s / {peer}", 1 / here.step, 1 / there.step)
    yield compared(f"pair_switch[{title}], s / {peer}", here.back, there.back, BACK)
    first = f"strength14b[{title}], s to the first step / {peer}"
    mark = RESTRENGTH if live and base == "bf16" else None
    yield compared(first, here.change, there.change, mark)
    mine, theirs = (max(one.change - one.step, LEAST) for one in (here, there))
    mark = CHANGE if live else None
    yield compared(f"strength14b[{title}], s beyond a step / {peer}", mine, theirs, mark)
    name = f"strength14b[{title}], GB uploaded / {peer}"
    if here.moved is None or there.moved is None:
        yield f"{name}: skipped, the driver's profiler shows no copies here"
    else:
        # What does not fit a smaller card goes up in every step.
        whole = live and "whole card" in title
        line = Figure(name, here.moved, there.moved or None)
        yield at_most(0.001, *line[:3]) if whole else line
    yield Figure(f"peak_vram[{title}], GB held / {peer}", here.held, there.held or None)
    yield Figure(f"peak_vram[{title}], GB of RAM / {peer}", here.ram, there.ram)


# (patcher, conditioning) for a strength that holds, and for one that changes with the steps
Two = tuple[tuple[Any, Any], tuple[Any, Any]]


def schedule(pair: Pair, peer: Callable[[], Two] | None) -> Iterator[Line]:
    """What a list of strengths adds to a run, unmerged, beside core's hooks."""
    name = f"schedule[{pair.base}], s that a list adds"

    def listed(first: Levels) -> Any:
        return ours(pair.experts[0], pair.files, [first, (1.0,)], "unmerged")

    text = conditioning(pair.size)
    mine = added(((listed((0.8,)), text), (listed((0.8, 0.5, 0.3, 0.1)), text)), pair.size)
    yield Figure(name, mine)
    if peer:
        theirs = added(peer(), pair.size)
        yield compared(f"{name} / core's hooks", max(mine, LEAST), theirs, SCHEDULE)


def added(two: Two, size: Size) -> float:
    """Seconds that the second of both takes longer, in runs by turns."""
    found: list[list[float]] = [[], []]
    for _ in range(3):
        for times, (model, text) in zip(found, two, strict=True):
            began = time.perf_counter()
            steps(model, size, 0, STEPS, text)
            times.append(time.perf_counter() - began)
    # The first of each brings the weights.
    still, moving = (statistics.median(times[1:]) for times in found)
    return moving - still


def core_hooks(pair: Pair) -> Callable[[], Two]:
    """The strength in the conditioning, as core's Create Hook LoRA and its keyframes put it."""

    def made() -> Two:
        (still, moving) = (hooked(pair, strengths) for strengths in ((0.8,), (0.8, 0.5, 0.3, 0.1)))
        return (pair.experts[0], still), (pair.experts[0], moving)

    return made


def hooked(pair: Pair, strengths: Sequence[float]) -> Any:
    frames = comfy.hooks.HookKeyframeGroup()
    for at, strength in enumerate(strengths):
        frames.add(comfy.hooks.HookKeyframe(strength, at / len(strengths)))
    hooks = comfy.hooks.create_hook_lora(pair.states[0], 1.0, 0.0)
    hooks.set_keyframes_on_hooks(frames)
    return comfy.hooks.set_hooks_for_conditioning(conditioning(pair.size), hooks)
