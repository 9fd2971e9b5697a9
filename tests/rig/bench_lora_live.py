"""Unmerged LoRAs on a block of Wan's width: what a change of strength or of a file costs."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import comfy.model_management
import comfy.utils
import torch
from comfy.model_patcher import LowVramPatch
from comfy.patcher_extension import WrapperExecutor, WrappersMP

from pack.nodes.lora.apply import patched  # type: ignore[import-not-found]
from pack.nodes.lora.files import open_file  # type: ignore[import-not-found]
from rig.bench_figure import at_least, at_most
from rig.bench_lora_figure import Line
from rig.bench_lora_forward import with_bypass, with_functions
from rig.bench_lora_measure import paired, traced
from rig.bench_lora_models import ROLE, lora_file, one_block, ours, stock
from rig.bench_lora_stacks import KEY, WIDTH, core_patches, factors, noise, weight

LAYER = "diffusion_model.blocks.0.self_attn.q"
STRENGTH_CHANGE = 500  # times as fast
STRENGTHS = (1.0, 0.5, 0.8, 0.3, 0.9)


def live() -> Iterator[Line]:
    """Changes, then zero strength and compiled code; core on a model of its own."""
    model, other = one_block(), one_block()
    files = [lora_file(f"bench_{at}", 1, seed=at) for at in range(5)]
    yield "unmerged LoRAs on one block of Wan 14B"
    yield from strength_change(model, other, files[:1])
    yield from stack_edit_one(model, other, files)
    yield from zero_strength(model, files[0])
    yield from recompiles(model, files[:1])


def strength_change(model: Any, other: Any, files: list[str]) -> Iterator[Line]:
    """From another strength to the model call: loaded, its run begun, the strength in force."""
    mine = [ours(model, files, "unmerged", [strength]) for strength in STRENGTHS[:2]]
    theirs = [stock(other, files, [strength]) for strength in STRENGTHS[:2]]
    turns, their_turns = itertools.cycle(mine), itertools.cycle(theirs)
    yield from paired(
        "strength_change",
        lambda: next(turns),
        {"core": (lambda: next(their_turns), STRENGTH_CHANGE)},
        timer=lambda turn: until_called(turn()),
    )
    same = mine[0].patches_uuid == mine[1].patches_uuid
    yield at_least(1, "strength_change, patches_uuid stays (1: yes)", float(same))
    moved = (megabytes(next(turns)), megabytes(next(their_turns)))
    yield at_most(0, "strength_change, MB of weights touched / core", *moved)


def stack_edit_one(model: Any, other: Any, files: list[str]) -> Iterator[Line]:
    """One LoRA of four becomes another one."""
    edited = [*files[:3], files[4]]
    loaded(ours(model, files[:4], "unmerged"))
    loaded(stock(other, files[:4]))
    moved = (megabytes(ours(model, edited, "unmerged")), megabytes(stock(other, edited)))
    yield at_most(0, "stack_edit_one, MB of weights touched / core", *moved)


def zero_strength(model: Any, file: str) -> Iterator[Line]:
    """Kernels of a layer whose only LoRA has come to strength 0, beyond those of the layer."""
    layer, x = comfy.utils.get_attr(model.model, LAYER), tokens()
    at_zero, _ = patched(model, ROLE, [(open_file(file), (0.0,))], "unmerged")
    counts = []
    for patcher in (at_zero, model):
        loaded(patcher)
        counts.append(called(patcher, lambda *_: traced(lambda: layer(x)).kernels))
    yield at_most(0, "zero_strength, unmerged: kernels", counts[0] - counts[1])


def recompiles(model: Any, files: list[str]) -> Iterator[Line]:
    """Graphs that torch.compile makes of a layer over five strengths, each loaded anew."""
    layer, x = comfy.utils.get_attr(model.model, LAYER), tokens()
    counter = Graphs(layer)
    for strength in STRENGTHS:
        patcher = ours(model, files, "unmerged", [strength])
        patcher.model_options["torch_compile_kwargs"] = {}  # as TorchCompileModel leaves
        loaded(patcher)
        called(patcher, lambda *_: counter.compiled(x))
    base, pairs = torch.nn.Parameter(weight(), requires_grad=False), factors(1)
    lowvram, bypass = with_functions(base), with_bypass(base, pairs)
    peers = {"low VRAM": Graphs(lowvram), "core's bypass": Graphs(bypass)}
    for strength in STRENGTHS:
        patches = [(strength, *patch[1:]) for patch in core_patches(pairs)]
        lowvram.weight_function = [LowVramPatch(KEY, {KEY: patches})]
        bypass.forward.__self__.adapter.multiplier = strength
        for peer in peers.values():
            peer.compiled(x)
    for name, peer in peers.items():
        yield at_most(1, f"recompiles: graphs / {name}", counter.graphs, peer.graphs)


class Graphs:
    """Compiles a layer, and counts the graphs; each runs as it was traced."""

    def __init__(self, layer: Any) -> None:
        torch._dynamo.reset()
        self.graphs = 0
        self.compiled = torch.compile(layer, backend=self._count)

    def _count(self, graph: Any, _: Any) -> Callable[..., Any]:
        self.graphs += 1
        return graph.forward


def tokens() -> torch.Tensor:
    return noise(1, 64, WIDTH).bfloat16()


def loaded(patcher: Any) -> None:
    """As the samplers do before a run."""
    models = [patcher, *patcher.get_nested_additional_models()]
    comfy.model_management.load_models_gpu(models)
    patcher.pre_run()


def called(patcher: Any, model_call: Callable[..., Any]) -> Any:
    """What `model_call` gives as the model's own call, inside the wrappers of the patcher."""
    wrappers = patcher.get_all_wrappers(WrappersMP.APPLY_MODEL)
    executor = WrapperExecutor.new_executor(model_call, wrappers)
    return executor.execute(tokens(), torch.ones(1), None, None, None, {})


def until_called(patcher: Any) -> float:
    """Seconds until the model itself is called; that call, of one layer, is not in them."""
    layer, x, began = comfy.utils.get_attr(patcher.model, LAYER), tokens(), time.perf_counter()

    def model_call(*_: Any) -> float:
        ready = time.perf_counter()
        layer(x)
        return ready - began

    loaded(patcher)
    return called(patcher, model_call)


def megabytes(patcher: Any) -> float:
    """What is read and written of tensors as large as a weight until the patcher is loaded."""
    return traced(partial(loaded, patcher), WIDTH * WIDTH).large / 1e6
