"""Unmerged LoRAs on some blocks of an expert that is on the card: what they add to a forward."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from rig.bench_figure import at_most
from rig.bench_gpu_layers import (
    bare,
    by_choice,
    forward,
    low_vram,
    made,
    only_at_use,
    only_beside,
    parameter,
    peft,
)
from rig.bench_gpu_size import Run, Size, peak
from rig.bench_gpu_weights import layers
from rig.bench_lora_figure import Line
from rig.bench_lora_forward import layer as plain_layer
from rig.bench_lora_forward import with_bypass
from rig.bench_lora_measure import beside, paired_over, rounds

COUNTS = (1, 2, 4)
# Predicted, for 1, 2 and 4 LoRAs, beside core's bypass.
BYPASS = {1: 2.0, 2: 4.0, 4: 8.0}
MANY = 4096  # tokens from which at use must win
CURVE = (256, 1024, 2048, 4096, 8192, 32_760)

Row = tuple[str, Callable[[], Iterator[Line]]]


def rows(size: Size, _: str) -> Iterator[Row]:
    yield "bypass14b", lambda: bypass(size)
    yield "atuse_vs_bypass14b", lambda: curve(size)
    yield "peak_vram", lambda: memory(size)


def bypass(size: Size) -> Iterator[Line]:
    """Beside the layers only, as over quantised products, and by choice."""
    some = layers(size, size.some_blocks)
    for tokens in size.video:
        base = forward(size, some, bare(some), tokens)
        for count in COUNTS:
            runs = [
                forward(size, some, made(some, count, make), tokens)
                for make in (only_beside, with_bypass, peft, low_vram)
            ]
            mine, core, loop, lowvram = runs
            peers: dict[str, tuple[Run, float | None]] = {
                "core's bypass": (core, BYPASS[count]),
                "PEFT, LightX2V": (loop, None),
                "low VRAM": (lowvram, None),
            }
            name = f"bypass14b[N={count}, {tokens} tokens]"
            yield from paired_over(base, name, mine, peers)


def curve(size: Size) -> Iterator[Line]:
    """At use beside `beside` on a square layer; then what is chosen beside the better of both."""
    some = layers(size, 1)[:1]
    weight, pairs = parameter(some[0].weight), some[0].pairs[:2]
    for tokens in CURVE if size.device.type == "cuda" else size.tokens:
        ways = (only_at_use, only_beside, by_choice)
        runs = [make(weight, pairs) for make in ways]
        calls = [forward(size, some, [run], tokens) for run in (*runs, plain_layer(weight))]
        names = ("at use", "beside", "chosen", "bare")
        found = rounds(dict(zip(names, calls, strict=True)))
        over = {
            name: [time - base for time, base in zip(found[name], found["bare"], strict=True)]
            for name in names[:2]
        }
        mark = 1.0 if tokens >= 1.2 * MANY else None
        name = f"atuse_vs_bypass14b[N=2, {tokens} tokens]"
        yield beside(f"{name}, ms / beside", over["at use"], over["beside"], mark)
        better = min(("at use", "beside"), key=lambda way: sorted(found[way])[len(found[way]) // 2])
        yield beside(f"{name}, chosen, ms / {better}", found["chosen"], found[better], 1.0)


def memory(size: Size) -> Iterator[Line]:
    """What a layer holds for a moment, beyond the bare layer, in weights: the one from FFN."""
    (wide,) = (one for one in layers(size, 1) if one.key.endswith("ffn.0.weight"))
    weight = parameter(wide.weight)
    base = peak(forward(size, [wide], bare([wide]), size.tokens[0]), size.device)
    for count in (1, 4):
        pairs = wide.pairs[:count]
        held = []
        for make in (only_at_use, low_vram, with_bypass):
            run = forward(size, [wide], [make(weight, pairs)], size.tokens[0])
            run()
            held.append((peak(run, size.device) - base) / wide.weight.nbytes)
        # Factors in float32, in halves, and twice where they are split.
        factors = sum(4 * one.numel() for pair in pairs for one in pair) * 2
        name = f"peak_vram, a layer at use[N={count}], weights"
        limit = 1 + factors / wide.weight.nbytes
        yield at_most(limit, f"{name} / low VRAM", held[0], held[1] or None)
        yield at_most(limit, f"{name} / core's bypass", held[0], held[2] or None)
