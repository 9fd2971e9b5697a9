"""LoRA files onto a clone of a model, merged or left unmerged."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Sequence
from typing import Any

import comfy.lora
import comfy.lora_convert
import comfy.utils
from comfy.weight_adapter import LoRAAdapter

from .files import LoraError, load_file
from .report import FileReport

log = logging.getLogger("dualpass")

# Wan 2.1 image-to-video LoRAs carry these; Wan 2.2 experts have no image branch.
IMAGE_BRANCH = ("k_img", "v_img", "img_emb")

# What the published layouts put behind a module's name; comfy/weight_adapter reads the same.
SUFFIX = re.compile(
    r"[._](lora(_\w+)?|alpha|diff(_\w)?|dora_scale|[wb]_norm|(set|reshape)_weight"
    r"|(hada|lokr|oft)_\w+|[ab][12])(\.[\w.]+)?$"
)


def keeps_unmerged(model: Any) -> bool:
    """Whether the model's own patcher leaves LoRAs beside its quantised weights, as GGUF does.

    GGUF loaders mark each weight with its quantisation in `tensor_type`.
    """
    return any(hasattr(weight, "tensor_type") for weight in model.model.parameters())


def mode_for(model: Any, mode: str) -> str:
    """`merged` or `unmerged`: what `mode` (auto | merged | unmerged) means for this model."""
    unmerged = keeps_unmerged(model)
    if mode == "merged" and unmerged:
        raise LoraError(
            "merged is not possible on a GGUF model: its weights stay quantised, and merging would "
            "round the LoRA away. Choose auto or unmerged."
        )
    if mode == "unmerged" and not unmerged:
        raise LoraError(
            "unmerged is only there for GGUF models in this version. Choose auto or merged."
        )
    return "unmerged" if unmerged else "merged"


def patched(
    model: Any, role: str, files: Sequence[tuple[str, float]]
) -> tuple[Any, list[FileReport]]:
    """A clone of `model` with each (file name, strength) added in order, and what reached it.

    The patcher decides how it holds them. No file to add: the model itself comes back.
    Raises LoraError for a file of which nothing matches the model, or that is of another size.
    """
    reports = []
    for name, strength in files:
        model = model.clone()
        reports.append(_added(model, role, name, strength))
        log.info("[DualPass] %s: %s", role, reports[-1])
    return model, reports


def _added(model: Any, role: str, name: str, strength: float) -> FileReport:
    state, metadata = load_file(name)
    state = comfy.lora_convert.convert_lora(state)
    key_map = comfy.lora.model_lora_keys_unet(model.model, {})
    patches = comfy.lora.load_lora(state, key_map, log_missing=False)
    known = model.model.state_dict().keys() & patches.keys()
    if not all(fits(patches[key], comfy.utils.get_attr(model.model, key).shape) for key in known):
        raise LoraError(
            f"{name} is made for a model of another size than the {role}-noise one: its matrices "
            "do not fit the weights. Choose a LoRA for this model."
        )
    added = set(model.add_patches(patches, strength))
    if not added:
        raise LoraError(
            f"{name} changes no weight of the {role}-noise model. Is it a LoRA for this model?"
        )
    if metadata:
        model.set_attachments("lora_metadata", metadata)
    reached = {module for module, key in key_map.items() if {key, _bias_of(key)} & added}
    return _report(name, strength, state, reached)


def fits(patch: Any, shape: Sequence[int]) -> bool:
    """Whether a plain LoRA or a difference is made for a weight of this shape.

    ComfyUI itself would only log that it is not, and leave the weight as it was. Other kinds of
    patches are taken as they are.
    """
    if isinstance(patch, LoRAAdapter):
        up, down, _, mid, _, reshape = patch.weights
        made_for = (up.shape[0], down.flatten(1).shape[1])
        return bool(mid is not None or reshape or made_for == (shape[0], math.prod(shape[1:])))
    if isinstance(patch, tuple) and patch[0] == "diff":
        return bool(patch[1][0].shape == shape)
    return True


def _bias_of(key: str) -> str:
    return f"{key.removesuffix('.weight')}.bias"


def _report(name: str, strength: float, state: dict[str, Any], reached: set[str]) -> FileReport:
    modules = {SUFFIX.sub("", key) for key in state}
    missing = modules - reached
    expected = {module for module in missing if any(part in module for part in IMAGE_BRANCH)}
    counts = (len(modules & reached), len(missing - expected), len(expected))
    return FileReport(name, strength, *counts)
