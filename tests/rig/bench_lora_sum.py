"""Whether unmerged LoRAs add up, and leave without a trace: on the tiny experts, in float32."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import comfy.sd
import comfy.utils
import folder_paths
import torch

from rig.bench_figure import Figure, at_most
from rig.bench_lora_figure import Line
from rig.bench_lora_live import called, loaded
from rig.bench_lora_models import ours
from rig.bench_lora_stacks import noise
from rig.tiny_models import PAIRS, name
from rig.tiny_recipes import DIM

LAYER = "diffusion_model.blocks.0.self_attn.q"
FILES = (PAIRS["svi-v2-pro"]["high"], PAIRS["seko-v1"]["high"])
BOTH = PAIRS["lightx2v-unified"]["both"]
ROUNDING = 1e-4  # of the change, in float32
FEW, MANY = 8, 2048  # tokens: beside the layer, and added to its weight

# (model, files, strengths) -> a patcher with them
Maker = Callable[[Any, Sequence[str], Sequence[float]], Any]


def adding_up() -> Iterator[Line]:
    """Each check beside core's own unmerged LoRAs."""
    high, low = expert("i2v_high"), expert("i2v_low")
    yield "unmerged LoRAs that add up"
    for count in (FEW, MANY):
        text = f"bypass_correct, error of two stacked, {count} tokens"
        yield at_most(ROUNDING, text, error_of_two(high, unmerged, count))
        yield Figure("  core's bypass", error_of_two(high, core_bypass, count))
    text = "bypass_correct, error of one file on both experts"
    yield at_most(ROUNDING, text, error_of_both(high, low, unmerged))
    yield Figure("  core's bypass", error_of_both(high, low, core_bypass))
    yield at_most(0, "bypass_correct, numbers changed after 3 rounds", left_behind(high))


def expert(handle: str) -> Any:
    path = folder_paths.get_full_path_or_raise("diffusion_models", name(handle))
    return comfy.sd.load_diffusion_model(path, {"dtype": torch.float32})


def unmerged(model: Any, files: Sequence[str], strengths: Sequence[float]) -> Any:
    return ours(model, files, "unmerged", strengths)


def core_bypass(model: Any, files: Sequence[str], strengths: Sequence[float]) -> Any:
    """A chain of core's LoraLoaderBypass."""
    for file, strength in zip(files, strengths, strict=True):
        path = folder_paths.get_full_path_or_raise("loras", file)
        state = comfy.utils.load_torch_file(path, safe_load=True)
        model, _ = comfy.sd.load_bypass_lora_for_models(model, None, state, strength, 0)
    return model


def output(patcher: Any, count: int = FEW) -> torch.Tensor:
    """What the layer gives for so many tokens, with the patcher loaded."""
    layer = comfy.utils.get_attr(patcher.model, LAYER)
    x = noise(1, count, DIM)
    loaded(patcher)
    return called(patcher, lambda *_: layer(x)).clone()


def error_of_two(model: Any, make: Maker, count: int) -> float:
    """How far a stack is from the sum of its two files, relative to what it changes."""
    bare = output(model, count)
    parts = [output(make(model, [file], [0.8]), count) - bare for file in FILES]
    both = output(make(model, FILES, [0.8, 0.8]), count) - bare
    output(model)
    return relative(both, sum(parts))


def error_of_both(high: Any, low: Any, make: Maker) -> float:
    """How far one file at 0.5 and 1 on two experts, loaded at a time, is from half and whole."""
    bare = [output(model) for model in (high, low)]
    whole = [output(make(model, [BOTH], [1.0])) for model in (high, low)]
    first, second = make(high, [BOTH], [0.5]), make(low, [BOTH], [1.0])
    loaded(first)
    loaded(second)
    half = output(first)
    errors = (
        relative(half - bare[0], (whole[0] - bare[0]) / 2),
        relative(output(second), whole[1]),
    )
    for model in (high, low):
        output(model)
    return max(errors)


def left_behind(model: Any) -> float:
    """How many numbers of the layer's output are others after LoRAs came and went three times."""
    bare = output(model)
    patcher = unmerged(model, FILES, [0.8, 0.8])
    for _ in range(3):
        output(patcher)
        after = output(model)
    return float((after != bare).sum())


def relative(found: torch.Tensor, expected: torch.Tensor | int) -> float:
    return float((found - expected).norm() / torch.as_tensor(expected).norm())
