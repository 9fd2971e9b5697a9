"""Merged or unmerged: what a choice of mode means for a model."""

from __future__ import annotations

from collections import Counter
from typing import Any

from comfy.quant_ops import QuantizedTensor

from .files import LoraError


def mode_for(model: Any, mode: str, by_step: bool) -> tuple[bool, str]:
    """Whether `mode` (auto | merged | unmerged) means merging into this model, and how to say it.

    Raises LoraError for what can not be merged: GGUF weights, and strengths by step.
    """
    form, quantised = base_of(model)
    if mode == "merged" and form.startswith("GGUF"):
        raise LoraError(
            "merged is not possible on a GGUF model: its weights stay quantised, and merging would "
            "round the LoRA away. Choose auto or unmerged."
        )
    if mode == "merged" and by_step:
        raise LoraError("Strengths by step need LoRAs that stay unmerged. Choose auto or unmerged.")
    if mode == "unmerged" or (mode == "auto" and (quantised or by_step)):
        why = ", for strengths by step" if by_step and not quantised else ""
        return False, f"unmerged over {form} weights{why}"
    return True, f"merged into {form} weights"


def base_of(model: Any) -> tuple[str, bool]:
    """What most of a model's weights are stored as, and whether that is a quantised form."""
    sizes = Counter[tuple[str, bool]]()
    for weight in model.model.parameters():
        sizes[_form(weight)] += weight.numel()
    return sizes.most_common(1)[0][0]


def is_gguf(weight: Any) -> bool:
    """Whether ComfyUI-GGUF keeps a weight quantised: it marks each with its `tensor_type`."""
    # F32 and F16 are the two forms that it takes for plain tensors.
    return getattr(weight, "tensor_type", None) not in (None, 0, 1)


def _form(weight: Any) -> tuple[str, bool]:
    if is_gguf(weight):
        return f"GGUF {getattr(weight.tensor_type, 'name', '')}".rstrip(), True
    if isinstance(weight, QuantizedTensor):
        return "quantised", True
    return str(weight.dtype).removeprefix("torch."), weight.element_size() == 1
