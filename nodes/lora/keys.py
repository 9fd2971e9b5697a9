"""Every published key layout of LoRA files, as the names that ComfyUI's loader knows for Wan."""

from __future__ import annotations

import math

import torch

from ...catalog.doctor.layouts import read_key

# What ComfyUI calls each part behind the name of its module (comfy/weight_adapter).
_suffixes = {
    **{part: f".lora_{part}.weight" for part in ("down", "up", "mid")},
    **{part: f".{part}" for part in ("alpha", "diff", "diff_b", "w_norm", "b_norm", "rescale")},
    **{"set_weight": ".set_weight", "reshape_weight": ".reshape_weight"},
    **{"dora": ".dora_scale", "oft": ".oft_blocks", "diff_m": ".diff"},
}
_suffixes_of_kinds = {"LoHa": ".hada_{}", "LoKr": ".lokr_{}", "GLoRA": ".{}.weight"}


def split_key(key: str) -> tuple[str, str]:
    """Module and part of a key, which together are the name that ComfyUI knows.

    Such as `diffusion_model.blocks.0.ffn.2` and `.lora_up.weight`. A key that Wan has not is only
    taken apart. Layouts: ComfyUI, bare blocks, PEFT with and without the adapter's name, DiffSynth,
    diffusers, kohya with one and two underscores, LyCORIS; `.diff_m` is LightX2V's.
    """
    told = read_key(key)
    if not told.known or not told.part:
        return told.module, key[len(told.module) :]
    suffix = _suffixes.get(told.part) or _suffixes_of_kinds[told.kind].format(told.part)
    # The difference of a modulation, which is a parameter and no module.
    module = f"{told.module}.modulation" if told.part == "diff_m" else told.module
    return f"diffusion_model.{module}", suffix


def is_of_image(module: str) -> bool:
    """Whether a module is of the image branch, which Wan 2.2's experts have not."""
    return read_key(module).of_image


def rescaled(state: dict[str, torch.Tensor], said_alpha: float | None) -> dict[str, torch.Tensor]:
    """`state` of an rs-LoRA, with alphas by which alpha / rank is its scale, alpha / sqrt(rank).

    `said_alpha` is what the metadata say, for modules without an alpha. Source: Kalajdzievski 2023,
    https://arxiv.org/abs/2312.03732
    """
    scaled = dict(state)
    for name, down in state.items():
        module = name.removesuffix(".lora_down.weight")
        alpha = state.get(f"{module}.alpha", said_alpha)
        if module != name and alpha is not None:
            scaled[f"{module}.alpha"] = torch.tensor(float(alpha) * math.sqrt(down.shape[0]))
    return scaled
