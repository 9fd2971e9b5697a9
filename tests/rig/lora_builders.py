"""Builds LoRA files of one change: the names, the kinds of factors, the differences."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import torch

from rig.lora_canonical import Canonical, State, changes
from rig.tiny_recipes import BLOCKS, IMAGE_EMBEDDING, IMAGE_PARTS, linears, noise_of

File = tuple[State, dict[str, str]]  # tensors and metadata
# What diffusers calls them: src/diffusers/models/transformers/transformer_wan.py
DIFFUSERS_PARTS = {
    **{f"self_attn.{part}": f"attn1.to_{part}" for part in "qkv"},
    **{f"cross_attn.{part}": f"attn2.to_{part}" for part in "qkv"},
    **{"self_attn.o": "attn1.to_out.0", "cross_attn.o": "attn2.to_out.0"},
    **{"ffn.0": "ffn.net.0.proj", "ffn.2": "ffn.net.2"},
}
DIFFUSERS_OUTER = {
    "text_embedding.0": "condition_embedder.text_embedder.linear_1",
    "text_embedding.2": "condition_embedder.text_embedder.linear_2",
    "time_embedding.0": "condition_embedder.time_embedder.linear_1",
    "time_embedding.2": "condition_embedder.time_embedder.linear_2",
    "time_projection.1": "condition_embedder.time_proj",
    "head.head": "proj_out",
}
OUTER = tuple(DIFFUSERS_OUTER)  # linears outside of the blocks, which few files change
PEFT: dict[str, Any] = {"down": ".lora_A.weight", "up": ".lora_B.weight"}
NAMED_PEFT: dict[str, Any] = {"down": ".lora_A.default.weight", "up": ".lora_B.default.weight"}


def dotted(prefix: str, module: str) -> str:
    return f"{prefix}{module}"


def flat(prefix: str, module: str) -> str:
    return f"{prefix}{module.replace('.', '_')}"


def diffusers(prefix: str, module: str) -> str:
    if module in DIFFUSERS_OUTER:
        return prefix + DIFFUSERS_OUTER[module]
    blocks, block, part = module.split(".", 2)
    return f"{prefix}{blocks}.{block}.{DIFFUSERS_PARTS[part]}"


def plain(
    told: Canonical,
    prefix: str = "diffusion_model.",
    name: Callable[[str, str], str] = dotted,
    down: str = ".lora_down.weight",
    up: str = ".lora_up.weight",
    alpha: torch.Tensor | None = None,
    scale: float = 1.0,
    dtype: torch.dtype = torch.float32,
    metadata: dict[str, str] | None = None,
) -> File:
    """Two factors a module. `scale` is what a loader must come to; up is smaller by it."""
    state = {}
    for module, factors in told.factors.items():
        stem = name(prefix, module)
        state[stem + down] = factors.down.to(dtype)
        state[stem + up] = (factors.up / scale).to(dtype)
        if alpha is not None:
            state[f"{stem}.alpha"] = alpha.clone()
    return state, metadata or {}


def peft_config(prefix: str, **settings: float | bool) -> dict[str, str]:
    """What diffusers writes, which PEFT calls LoraConfig: loaders/lora_base.py."""
    return {"lora_adapter_metadata": json.dumps({prefix + k: v for k, v in settings.items()})}


def loha(told: Canonical) -> File:
    state = {}
    for module, each in told.factors.items():
        rows, columns = len(each.inner[0]), each.inner[1].shape[1]
        stem = f"diffusion_model.{module}"
        state[f"{stem}.hada_w1_a"] = each.outer[0].repeat_interleave(rows, 0) * 2
        state[f"{stem}.hada_w1_b"] = each.outer[1].repeat_interleave(columns, 1)
        state[f"{stem}.hada_w2_a"] = each.inner[0].repeat(2, 1)
        state[f"{stem}.hada_w2_b"] = each.inner[1].repeat(1, 2)
        state[f"{stem}.alpha"] = torch.tensor(1.0)  # of rank 2: half
    return state, {}


def lokr(
    told: Canonical,
    *,
    whole: tuple[str, ...] = (),
    prefix: str = "diffusion_model.",
    name: Callable[[str, str], str] = dotted,
) -> File:
    """`whole` are the sides, w1 and w2, that stand as one matrix each.

    Where both do, the alpha is there and means nothing: lycoris/modules/lokr.py.
    """
    state: State = {}
    for module, each in told.factors.items():
        scale = 1.0 if len(whole) == 2 else 0.5
        outer = (each.outer[0] / scale, each.outer[1])
        for side, (a, b) in (("w1", outer), ("w2", each.inner)):
            key = f"{name(prefix, module)}.lokr_{side}"
            state |= {key: a @ b} if side in whole else {f"{key}_a": a.clone(), f"{key}_b": b}
        state[f"{name(prefix, module)}.alpha"] = torch.tensor(1.0)
    return state, {}


def whole_differences(told: Canonical) -> File:
    return {f"diffusion_model.{key}.diff": value for key, value in changes(told)}, {}


def with_image_branch(told: Canonical) -> File:
    """As Wan 2.1's I2V files: what more they hold belongs to no weight of a 2.2 expert."""
    state, _ = plain(told, dtype=torch.bfloat16)
    noise = noise_of("image branch")
    for module in linears(IMAGE_PARTS) + IMAGE_EMBEDDING:
        stem = f"diffusion_model.{module}"
        rows = columns = told.base["blocks.0.self_attn.q.weight"].shape[0]
        state[f"{stem}.lora_down.weight"] = noise(4, columns).bfloat16()
        state[f"{stem}.lora_up.weight"] = noise(rows, 4).bfloat16()
        state[f"{stem}.diff_b"] = noise(rows).bfloat16()
    for block in range(BLOCKS):
        state[f"diffusion_model.blocks.{block}.cross_attn.norm_k_img.diff"] = noise(rows).bfloat16()
    return state, {}


def with_differences(told: Canonical, picked: Callable[[str], bool], names: dict[str, str]) -> File:
    """The factors, and the differences of the picked parameters. `names` turn their last names."""
    state, _ = plain(told, dtype=torch.bfloat16)
    for key, value in told.differences.items():
        module, _, kind = key.rpartition(".")
        if picked(key):
            state[f"diffusion_model.{module}.{names[kind]}"] = value.bfloat16()
    return state, {}


def dora(told: Canonical, axis: int) -> File:
    """`axis` is the one that the magnitudes run along: 0 for the outputs, 1 for the inputs."""
    state, _ = plain(told)
    for module, change in changes(told):
        magnitudes = norms(told.base[f"{module}.weight"], change, axis) * stretch(module, axis)
        state[f"diffusion_model.{module}.dora_scale"] = magnitudes.float()
    return state, {}


def norms(weight: torch.Tensor, change: torch.Tensor, axis: int) -> torch.Tensor:
    """What ComfyUI divides by, (out, 1) or (1, in): comfy/weight_adapter/base.py."""
    weight = weight.double()
    return (weight + change if axis else weight).norm(dim=1 - axis, keepdim=True)


def stretch(module: str, axis: int) -> float:
    """How many times longer the rows or columns become; more than 1, or DoRA would not show."""
    return 1.125 + axis / 4 + len(module) / 64


def is_bias(key: str) -> bool:
    return key.endswith(".bias") and "norm" not in key


def is_norm(key: str) -> bool:
    return "norm" in key


def is_modulation(key: str) -> bool:
    return key.endswith("modulation")
