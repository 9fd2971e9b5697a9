"""The number formats that experts are published in: fp16, scaled fp8, and GGUF's Q8_0 and Q4_K."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Kind
from gguf import quants
from safetensors.torch import load_file

State = dict[str, torch.Tensor]
FP8 = torch.float8_e4m3fn


def fp16(state: State) -> State:
    return {key: value.half() for key, value in state.items()}


def fp8_scaled(state: State) -> State:
    """The matrices of the blocks as fp8 with a scale each, as ComfyUI's quantised layers read them.

    Source: comfy/ops.py, _load_quantized_module.
    """
    marker = json.dumps({"format": "float8_e4m3fn"}).encode()
    scaled = dict(state)
    for key, value in state.items():
        if key.startswith("blocks.") and key.endswith(".weight") and value.ndim == 2:
            module = key.removesuffix(".weight")
            scale = value.abs().max().float() / torch.finfo(FP8).max
            scaled[key] = (value.float() / scale).to(FP8)
            scaled[f"{module}.weight_scale"] = scale
            scaled[f"{module}.comfy_quant"] = torch.tensor(list(marker), dtype=torch.uint8)
    return scaled


def write_gguf(state: State, path: Path, best: Kind = Kind.Q8_0) -> None:
    """A GGUF copy of an expert: matrices quantised, the rest in full precision.

    Q4_K takes 256 numbers of a row at once; matrices with other rows stay Q8_0.
    """
    writer = gguf.GGUFWriter(path, "wan")
    for key, value in state.items():
        array = value.float().numpy()
        if array.ndim == 2:
            kind = best if array.shape[1] % 256 == 0 else Kind.Q8_0
            data = q4_k(array) if kind == Kind.Q4_K else quants.quantize(array, kind)
            writer.add_tensor(key, data, raw_dtype=kind)
        elif array.ndim > 4:  # more than the format has; ComfyUI-GGUF reads the shape here
            writer.add_array(f"comfy.gguf.orig_shape.{key}", list(array.shape))
            writer.add_tensor(key, array.reshape(len(array), -1))
        else:
            writer.add_tensor(key, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def q4_k(matrix: np.ndarray) -> np.ndarray:
    """A float matrix (rows, columns) as Q4_K bytes (rows, columns / 256 * 144).

    A block is 8 groups of 32 numbers x = d * scale * q - dmin * low, with q of 4 bits, scale and
    low of 6. The gguf package only reads it. Source: llama.cpp, ggml-common.h, block_q4_K.
    """
    groups = matrix.reshape(-1, 8, 32)
    lows = np.maximum(-groups.min(-1), 0)
    steps = (groups.max(-1) + lows) / 15
    d, scale = sixths(steps)
    dmin, low = sixths(lows)
    step = (d.astype(np.float32) * scale)[..., None]
    start = (dmin.astype(np.float32) * low)[..., None]
    q = np.rint((groups + start) / np.where(step == 0, 1, step)).clip(0, 15).astype(np.uint8)
    pairs = q.reshape(-1, 4, 2, 32)
    numbers = (pairs[:, :, 0] | pairs[:, :, 1] << 4).reshape(-1, 128)
    blocks = [d.view(np.uint8), dmin.view(np.uint8), packed(scale, low), numbers]
    return np.concatenate(blocks, axis=1).reshape(len(matrix), -1)


def sixths(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values (blocks, 8), none negative, as a half (blocks, 1) times six bits (blocks, 8)."""
    unit = (values.max(-1, keepdims=True) / 63).astype(np.float16)
    count = values / np.where(unit == 0, 1, unit).astype(np.float32)
    return unit, np.rint(count).clip(0, 63).astype(np.uint8)


def packed(scale: np.ndarray, low: np.ndarray) -> np.ndarray:
    """Eight scales and eight lows of six bits in twelve bytes.

    The first four of each lie in the lower bits; of the last four, four bits each share a byte and
    the upper two fill what the first left free.
    """
    upper = [values[:, :4] | values[:, 4:] >> 4 << 6 for values in (scale, low)]
    shared = scale[:, 4:] & 15 | (low[:, 4:] & 15) << 4
    return np.concatenate([*upper, shared], axis=1)


def read_expert(path: Path) -> State:
    """The weights of an expert's file in float64, whichever format they are in."""
    if path.suffix == ".gguf":
        return read_gguf(path)
    raw = load_file(path)
    scales = {key: raw[key].double() for key in raw if key.endswith(".weight_scale")}
    return {
        key: value.double() * scales.get(f"{key}_scale", 1)
        for key, value in raw.items()
        if not key.endswith((".weight_scale", ".comfy_quant"))
    }


def read_gguf(path: Path) -> State:
    reader = gguf.GGUFReader(path)
    state = {}
    for tensor in reader.tensors:
        array = quants.dequantize(tensor.data, tensor.tensor_type)
        shape = original_shape(reader.fields, tensor.name) or tensor.shape.tolist()[::-1]
        state[tensor.name] = torch.from_numpy(array.copy()).double().reshape(shape)
    return state


def original_shape(fields: Mapping[str, gguf.ReaderField], name: str) -> list[int] | None:
    field = fields.get(f"comfy.gguf.orig_shape.{name}")
    return field.contents() if field else None
