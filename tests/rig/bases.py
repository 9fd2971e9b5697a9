"""A quantised tiny expert written out in plain numbers: what its LoRAs are merged into exactly."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file

from rig.tiny_models import FILES
from rig.tiny_quants import read_expert
from rig.tiny_recipes import CONFIG


def write_dequantised(models: Path, handle: str, name: str) -> None:
    """Write the weights that this expert stands for as `name` in float32."""
    folder = models / "diffusion_models"
    state = read_expert(models / FILES[handle])
    save_file(
        {key: value.to(torch.float32).contiguous() for key, value in state.items()},
        folder / f"{name}.safetensors",
        CONFIG,
    )
