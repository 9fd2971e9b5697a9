"""Experts as wide as Wan 14B's, and LoRA files for them, in the folders of this process."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import comfy.ldm.wan.model
import comfy.ops
import comfy.sd
import folder_paths
import nodes
import torch
from comfy import model_detection
from comfy.model_patcher import ModelPatcher
from safetensors.torch import save_file

from pack.nodes.lora.apply import patched  # type: ignore[import-not-found]
from pack.nodes.lora.files import open_file  # type: ignore[import-not-found]
from rig.bench_lora_stacks import FFN, RANK, STRENGTHS, WEIGHT_STD, WIDTH, noise
from rig.tiny_recipes import PARTS, State

CPU = torch.device("cpu")
ROLE = "high"


def shapes(blocks: int) -> State:
    """The weights of a Wan 2.2 14B expert with so many blocks, without their data."""
    with torch.device("meta"):
        model = comfy.ldm.wan.model.WanModel(
            model_type="t2v", dim=WIDTH, ffn_dim=FFN, num_heads=40, in_dim=36, out_dim=16,
            num_layers=blocks, dtype=torch.bfloat16, operations=comfy.ops.disable_weight_init,
        )  # fmt: skip
    return dict(model.state_dict())


def one_block() -> Any:
    """A loader's patcher of one block: 1.2 GB in bfloat16. The same noise is everywhere."""
    pattern = (noise(1 << 20) * WEIGHT_STD).bfloat16()
    state = {key: filled(like.shape, pattern) for key, like in shapes(1).items()}
    return comfy.sd.load_diffusion_model_state_dict(state, {"dtype": torch.bfloat16})


def filled(shape: Sequence[int], pattern: torch.Tensor) -> torch.Tensor:
    count = torch.Size(shape).numel()
    return pattern.repeat(-(-count // len(pattern)))[:count].reshape(shape)


def whole_tree() -> Any:
    """The patcher of an expert with all its 40 blocks, and no data."""
    state = shapes(40)
    config = model_detection.model_config_from_unet(state, "")
    config.set_inference_dtype(torch.bfloat16, torch.bfloat16)
    return ModelPatcher(config.get_model(state, "", device="meta"), CPU, CPU)


def lora_file(name: str, blocks: int, seed: int = 0, parts: Sequence[str] = PARTS) -> str:
    """Write a LoRA for these linears of each block, all by default, under ComfyUI's names."""
    every = shapes(1)
    state: State = {}
    for block in range(blocks):
        for at, part in enumerate(parts):
            rows, columns = every[f"blocks.0.{part}.weight"].shape
            key, changes = f"diffusion_model.blocks.{block}.{part}", seed * 100 + at
            pattern = noise(RANK * 999, seed=changes).bfloat16() / 100
            state[f"{key}.lora_up.weight"] = filled((rows, RANK), pattern)
            state[f"{key}.lora_down.weight"] = filled((RANK, columns), pattern.flip(0))
    file = f"{name}.safetensors"
    save_file(state, Path(folder_paths.get_folder_paths("loras")[0], file))
    return file


def ours(
    model: Any, files: Sequence[str], mode: str, strengths: Sequence[float] = STRENGTHS
) -> Any:
    """The model with these files, as the router hands it on, which leaves out strength 0."""
    acting = [
        (file, strength) for file, strength in zip(files, strengths, strict=False) if strength
    ]
    opened = [(open_file(file), (strength,)) for file, strength in acting]
    return patched(model, ROLE, opened, mode)[0]


def stock(model: Any, files: Sequence[str], strengths: Sequence[float] = STRENGTHS) -> Any:
    """The model behind a chain of core's loaders."""
    for file, strength in zip(files, strengths, strict=False):
        (model,) = nodes.LoraLoaderModelOnly().load_lora_model_only(model, file, strength)
    return model
