"""A LoRA file held against a model: which patches fit, and what of the file finds no place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import comfy.lora
import comfy.utils
from comfy.weight_adapter import LoRAAdapter

from ...catalog.doctor.examine import is_rs_lora, said_alpha
from ...catalog.stacks import Levels
from .files import LoraError, LoraFile
from .keys import is_of_image
from .report import FileReport
from .stack import fits, scale_of

# Beyond this a scale is no training setting but a broken file.
_largest_scale = 1000


@dataclass(frozen=True)
class Match:
    """The patches of a file that fit a model, by the key of the weight, and the report."""

    patches: Mapping[str, Any]
    report: FileReport


class Weights:
    """The weights of a model, by the names that LoRA files have for them."""

    def __init__(self, model: Any) -> None:
        self.model = model.model
        self.keys: dict[str, str] = comfy.lora.model_lora_keys_unet(self.model, {})
        self.known = self.model.state_dict().keys()
        self.config: Mapping[str, Any] = self.model.model_config.unet_config

    def shape(self, key: str) -> Sequence[int]:
        return tuple(comfy.utils.get_attr(self.model, key).shape)


def match(weights: Weights, role: str, file: LoraFile, levels: Levels, strict: bool) -> Match:
    """What of a file belongs to these weights.

    Raises LoraError for numbers that can not be meant, and, if `strict`, for a file of another
    family or size of model, or of which less than half has a place. Without `strict` what does not
    fit is left out, with a warning in the report.
    """
    patches = _patches(weights, file)
    sides = {weights.keys[name]: side for name, side in file.sides.items() if name in weights.keys}
    unfit = {k for k, p in patches.items() if not fits(p, weights.shape(k), sides.get(k))}
    kept = {key: patch for key, patch in patches.items() if key not in unfit}
    report = _report(weights, file, levels, kept, unfit)
    faults = [f"{file.name} {fault}" for fault in _faults(weights, role, file, report)]
    if faults and strict:
        raise LoraError(f"{faults[0]} To run all the same, switch strict off.")
    texts = (*(f"warning: {fault}" for fault in faults), *_doubts(weights, role, file, report))
    return Match(kept, replace(report, warnings=texts))


def _patches(weights: Weights, file: LoraFile) -> dict[str, Any]:
    try:
        # A copy: core renames keys in the dictionary that it is given.
        found = comfy.lora.load_lora(dict(file.state), weights.keys, log_missing=False)
    except (RuntimeError, ZeroDivisionError, KeyError, IndexError, ValueError) as error:
        raise LoraError(
            f"{file.name} is no LoRA that can be read ({error}). Get it again."
        ) from error
    patches = {key: patch for key, patch in found.items() if key in weights.known}
    scales = [scale_of(patch) for patch in patches.values() if isinstance(patch, LoRAAdapter)]
    if max(map(abs, scales), default=0) > _largest_scale:
        raise LoraError(
            f"{file.name} has a scale (alpha / rank) of {max(scales, key=abs):.3g}. No training "
            "sets that; the video would be noise. Get it again."
        )
    return patches


def _report(
    weights: Weights, file: LoraFile, levels: Levels, kept: Mapping[str, Any], unfit: set[str]
) -> FileReport:
    low_rank = [patch for patch in kept.values() if isinstance(patch, LoRAAdapter)]
    reached = {name for name in file.modules if _keys(weights, name) & kept.keys()}
    wrong = {name for name in file.modules - reached if _keys(weights, name) & unfit}
    missing = file.modules - reached - wrong
    expected = {name for name in missing if is_of_image(name)}
    return FileReport(
        file=file.name,
        strengths=levels,
        matched=len(reached),
        unmatched=len(missing - expected),
        expected=len(expected),
        unfit=len(wrong),
        idle=len(reached & file.idle),
        layout=" and ".join(file.told.layout),
        ranks=tuple(sorted({patch.weights[1].shape[0] for patch in low_rank})),
        scales=tuple(sorted({scale_of(patch) for patch in low_rank})),
    )


def _keys(weights: Weights, name: str) -> set[str]:
    """The weight and the bias of a module, as far as there are such keys."""
    key = weights.keys.get(name)
    return {key, f"{key.removesuffix('.weight')}.bias"} if key else set()


def _faults(weights: Weights, role: str, file: LoraFile, report: FileReport) -> Iterator[str]:
    """What makes a file the wrong one for this model, worst first."""
    model = f"the {role}-noise model"
    if not file.told.made_for:
        told = " ".join(file.told.problems)
        yield f"is put on {model}, and is not for Wan. {told} Choose a LoRA for this model."
    elif report.unfit:
        yield (
            f"is made for {file.told.made_for}. {report.unfit} of its modules do not fit {model}, "
            f"which is {weights.config.get('dim')} wide. Choose a LoRA for this model."
        )
    elif not report.matched:
        yield f"changes no weight of {model}. Is it a LoRA for this model?"
    elif report.matched < report.unmatched:
        count = report.matched + report.unmatched
        yield (
            f"finds a place for {report.matched} of its {count} modules in {model}. "
            "Is it a LoRA for this model?"
        )


def _doubts(weights: Weights, role: str, file: LoraFile, report: FileReport) -> Iterator[str]:
    """What to know of a file that runs."""
    said = file.told.role
    if {said, role} == {"high", "low"}:
        yield f"warning: its name says {said}, and it is on the {role} pass. Is that meant?"
    if report.idle and report.idle == report.matched:
        yield "warning: it changes nothing, its factors are zero. Get it again, or leave it out."
    if file.told.layout and file.told.layout[0].startswith("lora_unet") and not file.told.alphas:
        yield "warning: trainers with these names store alphas; here they are lost. Try strengths."
    alpha = said_alpha(file.metadata)
    if alpha and not file.told.alphas and not is_rs_lora(file.metadata):
        yield f"note: the alpha in its metadata, {alpha:g}, is not read by ComfyUI; the scale is 1."
    blocks = weights.config.get("num_layers", 0)
    covered = sum(block < blocks for block in file.told.modules_by_block)
    if 0 < covered < blocks:
        yield f"note: it covers {covered} of the model's {blocks} blocks."
