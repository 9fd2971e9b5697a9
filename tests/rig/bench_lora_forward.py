"""One layer of Wan 14B with unmerged LoRAs: what they add to a forward, by both ways."""

from __future__ import annotations

import operator
import statistics
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import comfy.ops
import torch
from comfy.model_patcher import LowVramPatch
from comfy.weight_adapter.bypass import BypassForwardHook

from pack.nodes.lora.strengths import Live  # type: ignore[import-not-found]
from pack.nodes.lora.unmerged import UnmergedWeight  # type: ignore[import-not-found]
from rig.bench_figure import at_most
from rig.bench_lora_figure import Line
from rig.bench_lora_measure import Run, beside, mark_for, paired_over, rounds
from rig.bench_lora_stacks import (
    KEY,
    STRENGTHS,
    WIDTH,
    Factors,
    adapters,
    core_patches,
    factors,
    noise,
    weight,
    wrapper_formula,
)

# Marks for 1 and 4 LoRAs: beside low VRAM, and beside core's bypass.
AT_USE, BESIDE = {1: 4, 4: 14}, {1: 2, 4: 5}
CHOOSER_WIDTH = 2048  # a narrower layer, which changes its way at fewer tokens
TOKENS = (128, 1024, 4096)
CHOICE = 1.2  # of the time of the better way


def forward() -> Iterator[Line]:
    """Each way beside the peers', then the choice between them."""
    base = torch.nn.Parameter(weight(), requires_grad=False)
    yield "one layer of 5120 x 5120: what its LoRAs add to a forward"
    for count, mark in AT_USE.items():
        yield from at_use(base, count, mark)
    for count, mark in BESIDE.items():
        yield from bypass(base, count, mark)
    narrow = torch.nn.Parameter(weight(CHOOSER_WIDTH, CHOOSER_WIDTH), requires_grad=False)
    for tokens in TOKENS:
        yield chooser(narrow, tokens)


def layer(base: torch.nn.Parameter) -> Any:
    """A layer of core's with this weight."""
    rows, columns = base.shape
    with torch.device("meta"):
        made = comfy.ops.disable_weight_init.Linear(columns, rows, bias=False, dtype=base.dtype)
    made.weight = base
    return made


def inputs(tokens: int, width: int = WIDTH) -> torch.Tensor:
    return noise(1, tokens, width, seed=99).bfloat16()


def unmerged(pairs: Sequence[Factors]) -> UnmergedWeight:
    """Ours, with its strengths set."""
    live = Live(len(pairs), torch.device("cpu"))
    live.set(STRENGTHS[: len(pairs)])
    patches = [(at, adapter) for at, (_, adapter) in enumerate(adapters(pairs))]
    return UnmergedWeight(KEY, patches, (len(pairs[0][0]), pairs[0][1].shape[1]), live)


def with_functions(base: torch.nn.Parameter, *functions: Callable[..., Any]) -> Any:
    made = layer(base)
    made.weight_function = list(functions)
    return made


def with_hooks(base: torch.nn.Parameter, pairs: Sequence[Factors], always: bool) -> Any:
    """Ours with its choice, or `always` beside."""
    made = layer(base)
    unmerged(pairs).attach(made, always_beside=always)
    return made


def with_bypass(base: torch.nn.Parameter, pairs: Sequence[Factors]) -> Any:
    """Core's own hooks, one over the other: its loader would keep the last only."""
    made = layer(base)
    for strength, adapter in adapters(pairs):
        BypassForwardHook(made, adapter, strength).inject()
    return made


def at_use(base: torch.nn.Parameter, count: int, mark: float) -> Iterator[Line]:
    """Added to a copy of the weight: the same for any number of tokens."""
    pairs, x = factors(count), inputs(256)
    core = core_patches(pairs)
    linear = torch.nn.functional.linear
    plain, ours = layer(base), with_functions(base, unmerged(pairs))
    lowvram = with_functions(base, LowVramPatch(KEY, {KEY: core}))
    peers: dict[str, tuple[Run, float | None]] = {
        "low VRAM": (lambda: lowvram(x), mark_for(count, mark)),
        "WanVideoWrapper": (lambda: linear(x, wrapper_formula(pairs, base)), None),
    }
    name = f"fwd_at_use[N={count}]"
    yield from paired_over(lambda: plain(x), name, lambda: ours(x), peers)


def bypass(base: torch.nn.Parameter, count: int, mark: float) -> Iterator[Line]:
    """Added to the layer's output: as over quantised weights, then by choice over these."""
    pairs, x = factors(count), inputs(1024)
    layers = {
        "base": layer(base),
        "": with_hooks(base, pairs, always=True),
        ", by choice": with_hooks(base, pairs, always=False),
        "core": with_bypass(base, pairs),
    }
    found = rounds({name: partial(made, x) for name, made in layers.items()})
    bare = found.pop("base")
    over = {name: list(map(operator.sub, times, bare)) for name, times in found.items()}
    core = over.pop("core")
    for how, times in over.items():
        name = f"fwd_bypass[N={count}, 1024 tokens]{how}, ms / core's bypass"
        yield beside(name, times, core, None if how else mark_for(count, mark))


def chooser(base: torch.nn.Parameter, tokens: int) -> Line:
    """The whole forward by the way that is chosen, beside the faster of the two."""
    pairs, x = factors(2, *base.shape), inputs(tokens, base.shape[1])
    ways = {
        "chosen": with_hooks(base, pairs, False),
        "at use": with_functions(base, unmerged(pairs)),
        "beside": with_hooks(base, pairs, True),
    }
    found = rounds({name: partial(made, x) for name, made in ways.items()})
    chosen, *others = (1000 * statistics.median(times) for times in found.values())
    name = f"chooser[N=2, {tokens} tokens]: time / the better way"
    return at_most(CHOICE, name, chosen / min(others))
