"""Tiny experts in this process: loaded, called once, and what their LoRAs must give, in float64."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch

from rig.tiny_models import FILES

Weights = dict[str, torch.Tensor]


def load(handle: str, dtype: torch.dtype | None = torch.bfloat16) -> Any:
    """A tiny expert as its loader gives it; with weights of `dtype`, or with those of the file."""
    import comfy.sd

    path = Path(os.environ["DUALPASS_MODELS"], "models", FILES[handle])
    if path.suffix == ".gguf":
        return gguf_pack().UnetLoaderGGUF().load_unet(path.name)[0]
    options = {"dtype": dtype} if dtype else {}
    return comfy.sd.load_diffusion_model(str(path), model_options=options)


@cache
def gguf_pack() -> Any:
    """The nodes of ComfyUI-GGUF, from the checkout that COMFYUI_GGUF_DIR names."""
    folder = Path(os.environ["COMFYUI_GGUF_DIR"])
    spec = importlib.util.spec_from_file_location(
        "comfyui_gguf", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec and spec.loader
    sys.modules["comfyui_gguf"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules["comfyui_gguf"])
    return importlib.import_module("comfyui_gguf.nodes")


def call(
    model: Any, sigma: float = 0.9, sigmas: Sequence[float] = (1.0, 0.9, 0.5, 0.0), size: int = 8
) -> torch.Tensor:
    """One model call as a sampler makes it; `size` is height and width of the latent."""
    import comfy.model_management

    comfy.model_management.load_models_gpu([model, *model.get_nested_additional_models()])
    return called(model, sigma, sigmas, size)


def called(model: Any, sigma: float, sigmas: Sequence[float], size: int = 8) -> torch.Tensor:
    """The same on a model that is loaded."""
    noise = torch.Generator().manual_seed(7)
    channels = model.model.diffusion_model.patch_embedding.weight.shape[1]
    x = torch.randn(1, 16, 3, size, size, generator=noise)
    image = torch.randn(1, channels - 16, 3, size, size, generator=noise)
    text = torch.randn(1, 77, 768, generator=noise)
    options = {"wrappers": model.wrappers, "sample_sigmas": torch.tensor(sigmas)}
    with torch.inference_mode():
        out: torch.Tensor = model.model.apply_model(
            x,
            torch.tensor([sigma]),
            c_concat=image if channels > 16 else None,
            c_crossattn=text,
            transformer_options=options,
        )
    return out


def run(model: Any, sigmas: Sequence[float], size: int = 8) -> list[torch.Tensor]:
    """One call at each sigma but the last, as one sampler run."""
    import comfy.model_management

    comfy.model_management.load_models_gpu([model, *model.get_nested_additional_models()])
    model.pre_run()
    try:
        return [called(model, sigma, sigmas, size) for sigma in sigmas[:-1]]
    finally:
        model.cleanup()


def weights_of(model: Any) -> Weights:
    """A copy of every weight."""
    return {key: value.clone() for key, value in model.model.state_dict().items()}
