"""LoRA files that are faulty in one way each, and whether that is to stop a run."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch

from rig.lora_builders import PEFT, File, flat, plain, with_image_branch
from rig.lora_canonical import Canonical, Factors, State, canonical
from rig.tiny_recipes import BLOCKS, noise_of

PARTS = ("self_attn.q", "cross_attn.k", "ffn.0", "ffn.2")
MODULES = tuple(f"blocks.{block}.{part}" for block in range(BLOCKS) for part in PARTS)
FIRST = "diffusion_model.blocks.0.self_attn.q"
UP, DOWN, ALPHA = f"{FIRST}.lora_up.weight", f"{FIRST}.lora_down.weight", f"{FIRST}.alpha"
Level = str  # "refused", "announced" or "fine"


@dataclass(frozen=True)
class Fault:
    """`make` gives the file; its message, in lower case, is to hold `word`."""

    make: Callable[[Canonical], File]
    level: Level
    word: str
    strength: float = 1.0


def sound(base: State) -> Canonical:
    """What all of them are made from: eight modules, of four parts in two blocks."""
    return canonical(base, "faults", MODULES)


def good(told: Canonical) -> File:
    return plain(told, alpha=torch.tensor(4.0))


def changed(told: Canonical, **tensors: torch.Tensor | None) -> File:
    """A good file with its first module's up, down, alpha or another part set, or left out."""
    state, metadata = good(told)
    names = {"up": UP, "down": DOWN}
    parts = {names.get(part, f"{FIRST}.{part}"): value for part, value in tensors.items()}
    kept = {key: value for key, value in (state | parts).items() if value is not None}
    return kept, metadata


def every(told: Canonical, part: str, value: torch.Tensor) -> File:
    """A good file with this part the same in all modules."""
    state, metadata = good(told)
    return {k: value.clone() if k.endswith(part) else v for k, v in state.items()}, metadata


def spoilt(told: Canonical, value: float) -> File:
    """One number of one tensor is this one."""
    up = good(told)[0][UP]
    up[3, 2] = value
    return changed(told, up=up)


def zero_up(told: Canonical) -> File:
    state, metadata = good(told)
    return {k: v * 0 if "lora_up" in k else v for k, v in state.items()}, metadata


def flux(told: Canonical) -> File:
    noise = noise_of("flux")
    state = {}
    for block in (0, 1):
        stem = f"transformer.single_transformer_blocks.{block}.attn.to_q"
        state[f"{stem}.lora_A.weight"] = noise(4, 3072)
        state[f"{stem}.lora_B.weight"] = noise(3072, 4)
    return state, {}


def full_checkpoint(told: Canonical) -> File:
    return {f"model.diffusion_model.{key}": value.clone() for key, value in told.base.items()}, {}


def wider(told: Canonical) -> File:
    """Made for a model that is twice as wide."""
    wide = {
        module: Factors(each.outer, (each.inner[0].repeat(2, 1), each.inner[1].repeat(1, 2)))
        for module, each in told.factors.items()
    }
    return good(replace(told, factors=wide))


def more_blocks(told: Canonical, times: int) -> File:
    """Made for a model that has some times the blocks."""
    state, metadata = good(told)
    for key, value in list(state.items()):
        for more in range(1, times):
            _, _, block, rest = key.split(".", 3)
            state[f"diffusion_model.blocks.{int(block) + BLOCKS * more}.{rest}"] = value.clone()
    return state, metadata


def half_of_the_blocks(told: Canonical) -> File:
    state, metadata = good(told)
    return {key: value for key, value in state.items() if ".blocks.0." in key}, metadata


def swapped(told: Canonical) -> File:
    """The feed-forward's factors swapped and transposed: as many numbers as the weight has."""
    state, metadata = good(told)
    for module in (module for module in told.factors if "ffn" in module):
        up, down = (f"diffusion_model.{module}.lora_{side}.weight" for side in ("up", "down"))
        state[up], state[down] = state[down].T, state[up].T
    return state, metadata


FAULTY = {
    "good": Fault(good, "fine", "8 of 8"),
    "good lora_A": Fault(partial(plain, **PEFT), "fine", "8 of 8"),
    "good lora_unet_": Fault(
        partial(plain, prefix="lora_unet_", name=flat, alpha=torch.tensor(4.0)), "fine", "8 of 8"
    ),
    "bare keys": Fault(partial(plain, prefix=""), "fine", "8 of 8"),
    "transformer. before Wan's names": Fault(
        partial(plain, prefix="transformer.", **PEFT), "fine", "8 of 8"
    ),
    "another family": Fault(flux, "refused", "flux"),
    "full checkpoint": Fault(full_checkpoint, "refused", "not a lora"),
    "wider model": Fault(wider, "refused", "not fit"),
    "twice the blocks": Fault(partial(more_blocks, times=2), "announced", "not in this model"),
    "five times the blocks": Fault(partial(more_blocks, times=5), "refused", "8 of its 40"),
    "half of the blocks": Fault(half_of_the_blocks, "announced", "block"),
    "no alpha": Fault(plain, "fine", "8 of 8"),
    "no alpha in kohya's names": Fault(
        partial(plain, prefix="lora_unet_", name=flat), "announced", "alpha"
    ),
    "alpha 0": Fault(
        partial(every, part=".alpha", value=torch.tensor(0.0)), "announced", "nothing"
    ),
    "alpha NaN": Fault(partial(changed, alpha=torch.tensor(math.nan)), "refused", "finite"),
    "alpha infinite": Fault(partial(changed, alpha=torch.tensor(math.inf)), "refused", "finite"),
    "alpha 1e30": Fault(partial(changed, alpha=torch.tensor(1e30)), "refused", "alpha"),
    "strength 1e9": Fault(good, "refused", "strength", 1e9),
    "strength NaN": Fault(good, "refused", "strength", math.nan),
    "one NaN": Fault(partial(spoilt, value=math.nan), "refused", "finite"),
    "one infinite": Fault(partial(spoilt, value=math.inf), "refused", "finite"),
    "up of zeros": Fault(zero_up, "announced", "nothing"),
    "swapped and transposed": Fault(swapped, "refused", "width"),
    "two ranks in a module": Fault(partial(changed, down=torch.ones(8, 128)), "refused", "rank"),
    "up of int8": Fault(partial(changed, up=torch.ones(128, 4, dtype=torch.int8)), "refused", "i8"),
    "no up": Fault(partial(changed, up=None), "refused", "without up"),
    "no down": Fault(partial(changed, down=None), "refused", "without down"),
    "alpha of two numbers": Fault(partial(changed, alpha=torch.ones(2)), "refused", "alpha"),
    "rank 0": Fault(
        partial(changed, up=torch.ones(128, 0), down=torch.ones(0, 128)), "refused", "rank 0"
    ),
    "set_weight of another size": Fault(
        partial(changed, set_weight=torch.ones(3, 5)), "refused", "not fit"
    ),
    "reshape_weight of 40 GB": Fault(
        partial(changed, reshape_weight=torch.tensor([100_000, 100_000])), "refused", "i64"
    ),
    "no tensors": Fault(lambda told: ({}, {}), "refused", "0 tensors"),
    "image branch": Fault(with_image_branch, "fine", "normal"),
}
