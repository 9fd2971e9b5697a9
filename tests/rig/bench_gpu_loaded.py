"""Some blocks of an expert as core loads them: LoRAs over fp8 weights, and under torch.compile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import comfy.utils
import torch
from comfy.model_patcher import LowVramPatch

from rig.bench_figure import Figure, at_most
from rig.bench_gpu_layers import parameter
from rig.bench_gpu_size import Run, Size, synced
from rig.bench_gpu_weights import expert, factors, lora_file, noise, ours, read_state, stock
from rig.bench_lora_figure import Line, compared
from rig.bench_lora_forward import with_bypass, with_functions
from rig.bench_lora_live import Graphs, called, loaded
from rig.bench_lora_measure import rounds
from rig.bench_lora_stacks import KEY, core_patches

LAYER = "diffusion_model.blocks.0.self_attn.q"
SMALL = 0.01  # a change so small beside the weights that fp8 loses it
SNR = 10.0  # predicted
SLOWER = 1.01  # predicted, with a LoRA / without
STRENGTHS = (1.0, 0.5, 0.8, 0.3, 0.9)

Row = tuple[str, Callable[[], Iterator[Line]]]


def rows(size: Size, _: str) -> Iterator[Row]:
    yield "fp8_14b", lambda: fp8(size)
    yield "compile14b", lambda: compiled(size)


def fp8(size: Size) -> Iterator[Line]:
    """The error of a small change, and the time of a layer, beside core's merge into fp8."""
    file = lora_file(size, "small", 64, size.some_blocks, SMALL)
    state = read_state(file)
    model = expert(size, "fp8", size.some_blocks)
    x = noise(size, 1, size.tokens[-1], size.dim) * 50  # as after a norm
    up, down = (
        state[f"{LAYER}.lora_{part}.weight"].to(size.device).float() for part in ("up", "down")
    )
    exact = x.float() @ down.t() @ up.t()
    outputs, times = {}, {}
    levels = [(1.0,)]
    makers: dict[str, Callable[[], Any]] = {
        "bare": lambda: model,
        "ours": lambda: ours(model, [file], levels, "unmerged"),
        "merged": lambda: stock([state])(model, [file], levels, ""),
    }
    for name, make in makers.items():
        outputs[name], times[name] = output(make(), x, size)
    errors = {
        name: float(((outputs[name] - outputs["bare"]) - exact).norm() / exact.norm())
        for name in ("ours", "merged")
    }
    name = "fp8_14b, error of a change of 1 %"
    yield compared(f"{name}, relative / core's merge", errors["ours"], errors["merged"], SNR)
    for kind in ("ours", "merged"):
        name = f"fp8_14b, a layer, {size.tokens[-1]} tokens, {kind} / without a LoRA"
        ratio = times[kind] / times["bare"]
        yield at_most(SLOWER, name, ratio) if kind == "ours" else Figure(name, ratio)


def output(patcher: Any, x: torch.Tensor, size: Size) -> tuple[torch.Tensor, float]:
    """What a layer gives in float32, with the patcher loaded, and its seconds at best."""
    layer = comfy.utils.get_attr(patcher.model, LAYER)
    loaded(patcher)

    def model_call(*_: Any) -> tuple[torch.Tensor, float]:
        result = layer(x).float()
        return result, min(rounds({"": synced(lambda: layer(x), size.device)})[""])

    return called(patcher, model_call)


def compiled(size: Size) -> Iterator[Line]:
    """Graphs of a layer over five strengths, and a compiled call beside one that is not."""
    file = lora_file(size, "small", 64, size.some_blocks, SMALL)
    model = expert(size, "bf16", size.some_blocks)
    x = noise(size, 1, size.tokens[0], size.dim)
    layer = comfy.utils.get_attr(model.model, LAYER)
    counter = Graphs(layer)
    for strength in STRENGTHS:
        patcher = ours(model, [file], [(strength,)], "unmerged")
        patcher.model_options["torch_compile_kwargs"] = {}  # as TorchCompileModel leaves
        loaded(patcher)
        called(patcher, lambda *_: counter.compiled(x))
    weight, pairs = parameter(noise(size, size.dim, size.dim)), [factors(size, size.dim, size.dim)]
    lowvram, bypass = with_functions(weight), with_bypass(weight, pairs)
    peers = {"low VRAM": Graphs(lowvram), "core's bypass": Graphs(bypass)}
    for strength in STRENGTHS:
        patches = [(strength, *patch[1:]) for patch in core_patches(pairs)]
        lowvram.weight_function = [LowVramPatch(KEY, {KEY: patches})]
        bypass.forward.__self__.adapter.multiplier = strength
        for peer in peers.values():
            peer.compiled(x)
    for name, peer in peers.items():
        yield at_most(1, f"compile14b: graphs / {name}", counter.graphs, peer.graphs)
    runs: dict[str, Run] = {
        "compiled": synced(lambda: counter.compiled(x), size.device),
        "not": synced(lambda: layer(x), size.device),
    }
    found = called(patcher, lambda *_: rounds(runs))
    seconds = [min(found[name]) for name in runs]
    yield compared("compile14b: ms of a call / not compiled", *(1000 * one for one in seconds))
