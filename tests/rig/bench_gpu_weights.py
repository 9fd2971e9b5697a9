"""Experts of noise in each base type, made on the device, and LoRAs for them."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import comfy.ldm.wan.model
import comfy.lora
import comfy.ops
import comfy.sd
import comfy.utils
import folder_paths
import torch
from safetensors.torch import save_file

from pack.nodes.lora.apply import patched  # type: ignore[import-not-found]
from pack.nodes.lora.files import open_file  # type: ignore[import-not-found]
from rig.bench_gpu_size import Size
from rig.bench_lora_stacks import CHANGE, WEIGHT_STD, Factors

HALF = torch.bfloat16
GGUF = "COMFYUI_GGUF_DIR"
# Kind -> values in a block, its bytes, and the float16 fields it begins with.
BLOCKS = {"Q4_K": (256, 144, 2), "Q8_0": (32, 34, 1)}
GGUF_SCALE = 1e-3

State = dict[str, torch.Tensor]
Levels = tuple[float, ...]


@dataclass(frozen=True)
class Layer:
    """A weight on the device, what LoRAs add to it, and whether it sees the text's tokens."""

    key: str
    weight: torch.Tensor
    pairs: list[Factors]
    sees_text: bool


def noise(size: Size, *shape: int) -> torch.Tensor:
    """Of the size of weights."""
    return torch.randn(shape, device=size.device, dtype=HALF) * WEIGHT_STD


def factors(size: Size, rows: int, columns: int, rank: int = 64, change: float = CHANGE) -> Factors:
    """up (rows, rank) and down (rank, columns) that change the weight by that part of it."""
    up = noise(size, rows, rank) * (change * (columns / rank) ** 0.5)
    return up, noise(size, rank, columns) * (1 / (WEIGHT_STD * columns**0.5))


def layers(size: Size, blocks: int, count: int = 4) -> list[Layer]:
    """The linears of so many blocks, each with so many LoRAs."""
    return [
        Layer(
            f"diffusion_model.blocks.{block}.{shape.name}.weight",
            noise(size, shape.rows, shape.columns),
            [factors(size, shape.rows, shape.columns) for _ in range(count)],
            shape.sees_text,
        )
        for block in range(blocks)
        for shape in size.linears()
    ]


def ops() -> ModuleType | None:
    """ComfyUI-GGUF's ops.py, where COMFYUI_GGUF_DIR names a checkout."""
    folder = os.environ.get(GGUF)
    if not folder:
        return None
    from rig.bench_lora_gguf import load_ops

    return load_ops(folder)


def packed(size: Size, shape: Sequence[int], kind: str) -> torch.Tensor:
    """Random bytes of that GGUF type whose scales are GGUF_SCALE."""
    values, length, scales = BLOCKS[kind]
    rows, columns = shape
    blocks = (rows * columns // values, length)
    data = torch.randint(0, 256, blocks, device=size.device, dtype=torch.uint8)
    scale = torch.full((scales,), GGUF_SCALE, dtype=torch.float16).view(torch.uint8)
    data[:, : 2 * scales] = scale.to(size.device)
    return data.reshape(rows, -1)


def quantised(pack: ModuleType, data: torch.Tensor, shape: Sequence[int], kind: str) -> Any:
    """As ComfyUI-GGUF's loader makes it."""
    from gguf import GGMLQuantizationType

    return pack.GGMLTensor(
        data, tensor_type=GGMLQuantizationType[kind], tensor_shape=torch.Size(shape)
    )


def expert(size: Size, base: str, blocks: int) -> Any:
    """A loader's patcher of an expert in bf16, fp8 or q4_k; its weights are in RAM."""
    make = {"bf16": _plain, "fp8": _fp8, "q4_k": _q4_k}[base]
    state: State = {}
    for key, like in _shapes(size, blocks).items():
        made = make(size, key, like) if _is_matrix(key, like) else _plain(size, key, like)
        state |= {name: value.cpu() for name, value in made.items()}
    if base != "q4_k":
        return comfy.sd.load_diffusion_model_state_dict(state, {"dtype": HALF})
    return _gguf_patcher(state)


def _shapes(size: Size, blocks: int) -> State:
    with torch.device("meta"):
        model = comfy.ldm.wan.model.WanModel(
            model_type="t2v", dim=size.dim, ffn_dim=size.ffn, num_heads=size.dim // 128,
            in_dim=16, out_dim=16, num_layers=blocks, dtype=HALF,
            operations=comfy.ops.disable_weight_init,
        )  # fmt: skip
    return dict(model.state_dict())


def _is_matrix(key: str, like: torch.Tensor) -> bool:
    return key.startswith("blocks.") and key.endswith(".weight") and like.ndim == 2


def _plain(size: Size, key: str, like: torch.Tensor) -> State:
    return {key: noise(size, *like.shape)}


def _fp8(size: Size, key: str, like: torch.Tensor) -> State:
    from rig.tiny_quants import fp8_scaled

    return fp8_scaled(_plain(size, key, like))


def _q4_k(size: Size, key: str, like: torch.Tensor) -> State:
    pack = ops()
    assert pack
    return {key: quantised(pack, packed(size, like.shape, "Q4_K"), like.shape, "Q4_K")}


def _gguf_patcher(state: State) -> Any:
    """As its UnetLoaderGGUF, which reads a file."""
    pack = ops()
    assert pack
    largest = max(state, key=lambda key: state[key].numel())
    state[largest].is_largest_weight = True
    plain = {key: value for key, value in state.items() if not hasattr(value, "tensor_type")}
    for key, value in plain.items():
        state[key] = quantised(pack, value.float(), value.shape, "F32")
    model = comfy.sd.load_diffusion_model_state_dict(
        state, {"custom_operations": pack.GGMLOps()}, disable_dynamic=True
    )
    patcher = importlib.import_module("comfyui_gguf.nodes").GGUFModelPatcher
    return patcher.clone(model)


def lora_file(size: Size, name: str, rank: int, blocks: int, change: float = CHANGE) -> str:
    """A LoRA for every linear of the blocks, in a loras folder of this run; made once."""
    file = f"{name}_{blocks}.safetensors"
    path = Path(folder_paths.get_folder_paths("loras")[0], file)
    if path.exists():
        return file
    state: State = {}
    for block in range(blocks):
        for shape in size.linears():
            key = f"diffusion_model.blocks.{block}.{shape.name}"
            up, down = factors(size, shape.rows, shape.columns, rank, change)
            state |= {f"{key}.lora_up.weight": up.cpu(), f"{key}.lora_down.weight": down.cpu()}
    save_file(state, path)
    return file


def ours(model: Any, files: Sequence[str], levels: Sequence[Levels], mode: str) -> Any:
    """The model with these files, as the router hands it on."""
    opened = [(open_file(file), each) for file, each in zip(files, levels, strict=True)]
    return patched(model, "high", opened, mode)[0]


def stock(states: Sequence[State]) -> Callable[[Any, Sequence[str], Sequence[Levels], str], Any]:
    """Core's chain of loaders, which keep what they read."""

    def chain(model: Any, files: Sequence[str], levels: Sequence[Levels], mode: str) -> Any:
        for state, (strength, *_) in zip(states, levels, strict=True):
            model, _ = comfy.sd.load_lora_for_models(model, None, dict(state), strength, 0)
        return model

    return chain


def read_state(file: str) -> State:
    path = folder_paths.get_full_path_or_raise("loras", file)
    return comfy.utils.load_torch_file(path, safe_load=True)
