"""The tiny experts in every number format: what readers make of them is what was meant."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from gguf import GGMLQuantizationType as Kind
from gguf import quants

from rig.client import Server
from rig.graphs import Graph, Link, compare, dual, expert, scene
from rig.tiny_models import FILES
from rig.tiny_quants import q4_k, read_expert
from rig.tiny_recipes import noise_of

# Format -> how far a weight may be from bfloat16's, relative to the whole of it.
FORMATS = {"fp16": 1e-6, "fp8": 0.03, "gguf": 0.01, "q4_k_gguf": 0.1}
NOISE = noise_of("matrices")
MATRICES = {
    "noise": NOISE(8, 512),
    "all positive": NOISE(4, 256).abs() + 1,
    "all negative": -NOISE(4, 256).abs() - 1,
    "zeros": torch.zeros(2, 256),
    "one outlier": torch.eye(4, 256),
}


def path_of(handle: str) -> Path:
    return Path(os.environ["DUALPASS_MODELS"], "models", FILES[handle])


@pytest.mark.parametrize("matrix", MATRICES.values(), ids=MATRICES)
def test_the_gguf_package_reads_our_q4_k_back(matrix: torch.Tensor) -> None:
    packed = q4_k(matrix.numpy())
    assert packed.shape == (len(matrix), matrix.shape[1] // 256 * 144)
    read = torch.from_numpy(quants.dequantize(packed, Kind.Q4_K))
    groups = matrix.reshape(-1, 32)
    # Half a step of four bits, and what six bits and a half leave of scale and start.
    span = groups.amax(1).clamp(min=0) - groups.amin(1).clamp(max=0)
    bound = span / 30 + matrix.abs().max() / 40
    assert ((read - matrix).reshape(-1, 32).abs().amax(1) <= bound).all()


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("role", ["high", "low"])
def test_each_format_holds_the_same_expert(role: str, format_: str) -> None:
    original = read_expert(path_of(f"i2v_{role}"))
    copy = read_expert(path_of(f"i2v_{role}_{format_}"))
    assert copy.keys() == original.keys()
    for key, weight in original.items():
        assert (copy[key] - weight).norm() <= FORMATS[format_] * weight.norm(), key


def test_comfyui_keeps_the_blocks_of_the_fp8_experts_quantised() -> None:
    import comfy.sd
    from comfy.quant_ops import QuantizedTensor

    for role in ("high", "low"):
        path = path_of(f"i2v_{role}_fp8")
        model = comfy.sd.load_diffusion_model(str(path)).model.diffusion_model
        meant = read_expert(path)
        quantised = {
            name: weight
            for name, weight in model.named_parameters()
            if isinstance(weight, QuantizedTensor)
        }
        assert len(quantised) == 20
        for name, weight in quantised.items():
            assert torch.allclose(weight.dequantize().double(), meant[name], rtol=1e-6)


@pytest.mark.parametrize("format_", FORMATS)
def test_each_format_makes_nearly_the_same_video(
    server: Server, request: pytest.FixtureRequest, format_: str
) -> None:
    if format_.endswith("gguf"):
        request.getfixturevalue("gguf")
    graph, at = scene()
    copies = {role: expert(graph, f"i2v_{role}_{format_}") for role in ("high", "low")}
    compare(graph, "difference", sampled(graph, at | copies), sampled(graph, at))
    told = server.run(graph)["outputs"]["difference"]
    assert told["finite"] == [True]
    assert told["relative"][0] < 0.1


def sampled(graph: Graph, at: dict[str, Link]) -> Link:
    return dual(graph, at, settings="manual", steps=2, cfg_high=1.0, cfg_low=1.0, shift=5.0)[0]
