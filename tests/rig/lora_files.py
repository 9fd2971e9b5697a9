"""LoRA files for the tiny experts: one change in every published layout, and what it makes."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from rig.lora_builders import (
    NAMED_PEFT,
    PEFT,
    File,
    diffusers,
    dora,
    flat,
    is_bias,
    is_modulation,
    is_norm,
    loha,
    lokr,
    norms,
    peft_config,
    plain,
    stretch,
    whole_differences,
    with_differences,
    with_image_branch,
)
from rig.lora_canonical import Canonical, State, changes

Layout = Callable[[Canonical], File]
FLOAT_ALPHA: dict[str, Any] = {"alpha": torch.tensor(2.0), "scale": 0.5}
RS_CONFIG: dict[str, Any] = {
    "r": 4,
    "lora_alpha": 8,
    "use_rslora": True,
}  # 8 / sqrt(4): a scale of 4
LYCORIS_RS = {"ss_network_args": json.dumps({"algo": "lora", "rs_lora": "True"})}
# All of these make the same weights.
SAME: dict[str, Layout] = {
    "lora_down": plain,
    "lora_A": partial(plain, **PEFT),
    "bare lora_A.default": partial(plain, prefix="", **NAMED_PEFT),
    "bare lora_A": partial(plain, prefix="", **PEFT),
    "base_model.model": partial(plain, prefix="base_model.model.", **PEFT),
    "pipe.dit": partial(plain, prefix="pipe.dit.", **NAMED_PEFT),
    "diffusers": partial(plain, prefix="transformer.", name=diffusers, **PEFT),
    "diffusers, second expert": partial(plain, prefix="transformer_2.", name=diffusers, **PEFT),
    "lora_unet_": partial(plain, prefix="lora_unet_", name=flat, **FLOAT_ALPHA),
    "lora_unet__": partial(plain, prefix="lora_unet__", name=flat, **FLOAT_ALPHA),
    "lycoris_": partial(plain, prefix="lycoris_", name=flat, **FLOAT_ALPHA),
    "_lora.down": partial(plain, down="_lora.down.weight", up="_lora.up.weight"),
    "lora.down": partial(plain, down=".lora.down.weight", up=".lora.up.weight"),
    "lora_A without weight": partial(plain, down=".lora_A", up=".lora_B"),
    "lora_A.default": partial(plain, **NAMED_PEFT),
    "lora_linear_layer": partial(
        plain, down=".lora_linear_layer.down.weight", up=".lora_linear_layer.up.weight"
    ),
    "float alpha": partial(plain, **FLOAT_ALPHA),
    "half alpha": partial(plain, alpha=torch.tensor(2.0).half(), scale=0.5),
    "int64 alpha": partial(plain, alpha=torch.tensor(2), scale=0.5),
    "alpha of one element": partial(plain, alpha=torch.tensor([2.0]), scale=0.5),
    "rs-LoRA of diffusers": partial(
        plain, prefix="transformer.", name=diffusers, **PEFT, scale=4.0,
        metadata=peft_config("transformer.", **RS_CONFIG),
    ),
    "rs-LoRA of PEFT": partial(
        plain, prefix="base_model.model.", **PEFT, scale=4.0, metadata=peft_config("", **RS_CONFIG)
    ),
    # LyCORIS stores an alpha by which alpha / rank is right: lycoris/modules/locon.py, r_factor.
    "rs-LoRA of LyCORIS": partial(
        plain, prefix="lycoris_", name=flat, alpha=torch.tensor(8.0), scale=2.0, metadata=LYCORIS_RS
    ),
    "bfloat16": partial(plain, dtype=torch.bfloat16),
    "float16": partial(plain, **PEFT, dtype=torch.float16),
    "diff": whole_differences,
    "LoHa": loha,
    "LoKr": lokr,
    "LoKr, one side whole": partial(lokr, whole=("w1",)),
    "LoKr, both sides whole": partial(lokr, whole=("w1", "w2")),
    "LoKr of LyCORIS": partial(lokr, prefix="lycoris_", name=flat),
    "image branch": with_image_branch,
}  # fmt: skip
LIGHTX2V = {"weight": "diff", "bias": "diff_b", "modulation": "diff_m"}
WRITTEN_OUT = {"weight": "w_norm", "bias": "b_norm", "modulation": "modulation.diff"}
# The same LoRA with differences of some parameters: which, and under which names.
WITH_DIFFERENCES: dict[str, tuple[Callable[[str], bool], dict[str, str]]] = {
    "diff_b": (is_bias, LIGHTX2V),
    "diff_m": (is_modulation, LIGHTX2V),
    "modulation.diff": (is_modulation, WRITTEN_OUT),
    "diff of norms": (is_norm, LIGHTX2V),
    "w_norm": (is_norm, WRITTEN_OUT),
    "all of LightX2V's": (bool, LIGHTX2V),
}
# The same factors with magnitudes along an axis.
DORA = {"DoRA of outputs": 0, "DoRA of inputs": 1}
LAYOUTS: dict[str, Layout] = {
    **SAME,
    **{
        layout: partial(with_differences, picked=picked, names=names)
        for layout, (picked, names) in WITH_DIFFERENCES.items()
    },
    **{layout: partial(dora, axis=axis) for layout, axis in DORA.items()},
}


def expected(layout: str, told: Canonical, strength: float = 1.0) -> State:
    """The weights that a layout changes, by name of parameter, in float64 and not rounded."""
    picked, _ = WITH_DIFFERENCES.get(layout, (None, None))
    change = {
        key: value.double() for key, value in told.differences.items() if picked and picked(key)
    }
    for module, product in changes(told):
        key = f"{module}.weight"
        change[key] = product.double()
        if layout in DORA:
            change[key] = dora_change(module, told.base[key], change[key], DORA[layout])
    return {key: told.base[key].double() + strength * value for key, value in change.items()}


def dora_change(module: str, weight: torch.Tensor, change: torch.Tensor, axis: int) -> torch.Tensor:
    """The change where W' = (W + change) * magnitudes / norms, as ComfyUI has it."""
    magnitudes = norms(weight, change, axis) * stretch(module, axis)
    weight = weight.double()
    return (weight + change) * magnitudes.float().double() / norms(weight, change, axis) - weight


def write(path: Path, file: File) -> None:
    """Save what a layout gave."""
    state, metadata = file
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({key: value.contiguous() for key, value in state.items()}, path, metadata or None)
