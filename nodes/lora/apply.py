"""LoRA files onto a clone of a model, merged into its weights or beside them."""

from __future__ import annotations

import logging
import uuid
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import comfy.utils
from comfy.patcher_extension import CallbacksMP, WrappersMP
from comfy.quant_ops import QuantizedTensor

from ...catalog.stacks import Levels
from .files import LoraError, LoraFile
from .injected import KEY, Seat, UnmergedStack
from .match import Match, Weights, match
from .report import report_text
from .stack import stacked
from .strengths import ByStep

log = logging.getLogger("dualpass")
_T = TypeVar("_T")

# Patches of one weight, in the order of the files: (which file, patch).
Patches = Mapping[str, Sequence[tuple[int, Any]]]


@dataclass
class _Kept:
    """What is kept of a model while the model itself is there, so that nothing is done twice."""

    uuids: dict[Hashable, uuid.UUID] = field(default_factory=dict)
    stacks: dict[Hashable, UnmergedStack] = field(default_factory=dict)
    files: dict[str, tuple[LoraFile, ...]] = field(default_factory=dict)
    seats: dict[str, Seat] = field(default_factory=dict)


# By the patcher that came in. None of the values may lead back to it, or it would stay for ever.
_kept: WeakKeyDictionary[Any, _Kept] = WeakKeyDictionary()
# How many stacks of a model are kept; their factors count as models, which ComfyUI evicts.
_stacks = 2
_uuids = 64


def base_of(model: Any) -> tuple[str, bool]:
    """What most of a model's weights are stored as, and whether that is a quantised form."""
    sizes = Counter[tuple[str, bool]]()
    for weight in model.model.parameters():
        sizes[_form(weight)] += weight.numel()
    return sizes.most_common(1)[0][0]


def _form(weight: Any) -> tuple[str, bool]:
    if is_gguf(weight):
        return f"GGUF {getattr(weight.tensor_type, 'name', '')}".rstrip(), True
    if isinstance(weight, QuantizedTensor):
        return "quantised", True
    return str(weight.dtype).removeprefix("torch."), weight.element_size() == 1


def is_gguf(weight: Any) -> bool:
    """Whether ComfyUI-GGUF keeps a weight quantised: it marks each with its `tensor_type`."""
    # F32 and F16 are the two forms that it takes for plain tensors.
    return getattr(weight, "tensor_type", None) not in (None, 0, 1)


def mode_for(model: Any, mode: str, by_step: bool) -> tuple[str, str]:
    """`merged` or `unmerged`: what `mode` (auto | merged | unmerged) means here, and why."""
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
        return "unmerged", f"unmerged over {form} weights{why}"
    return "merged", f"merged into {form} weights"


def patched(
    model: Any,
    role: str,
    files: Sequence[tuple[LoraFile, Levels]],
    mode: str = "auto",
    strict: bool = True,
) -> tuple[Any, str]:
    """A clone of `model` with each file at its strengths, in order, and the report of the pass.

    The same files and strengths on the same model give the same `patches_uuid`, so that ComfyUI
    moves no weight; unmerged, whatever the strengths. No file: the model itself comes back. Raises
    LoraError as `mode_for` and `match` do.
    """
    if not files:
        return model, report_text(role, "", [])
    by_step = any(len(levels) > 1 for _, levels in files)
    merged, how = mode_for(model, mode, by_step)
    weights = Weights(model, role)
    matches = [match(weights, file, levels, strict) for file, levels in files]
    _log(role, matches)
    report = report_text(role, how, [each.report for each in matches])
    if not any(each.patches for each in matches):
        return model, report
    kept = _kept.setdefault(model, _Kept())
    kept.files[role] = tuple(file for file, _ in files)
    clone = model.clone()
    clone.set_attachments("dualpass_files", tuple(str(file.path) for file, _ in files))
    if merged == "merged":
        _merge(clone, kept, files, _by_key(matches))
        return clone, report
    fixed = _leave_unmerged(clone, kept, role, files, _by_key(matches))
    if fixed and by_step:
        report += (
            f"\n    note: {fixed} weights can not change by step, and keep the first strength."
        )
    return clone, report


def _log(role: str, matches: Sequence[Match]) -> None:
    for each in matches:
        log.info("[DualPass] %s: %s", role, each.report)
        for text in each.report.warnings:
            log.warning("[DualPass] %s: %s: %s", role, each.report.file, text)


def _by_key(matches: Sequence[Match]) -> dict[str, list[tuple[int, Any]]]:
    by_key: dict[str, list[tuple[int, Any]]] = {}
    for index, each in enumerate(matches):
        for key, patch in each.patches.items():
            by_key.setdefault(key, []).append((index, patch))
    return by_key


def _merge(
    clone: Any, kept: _Kept, files: Sequence[tuple[LoraFile, Levels]], patches: Patches
) -> None:
    _add_merged(clone, files, patches)
    identity = ("merged", *((file.stamp, levels) for file, levels in files))
    clone.patches_uuid = _remembered(kept.uuids, _uuids, identity, uuid.uuid4)


def _add_merged(clone: Any, files: Sequence[tuple[LoraFile, Levels]], patches: Patches) -> None:
    """Give the clone the patches of each weight in order, as few calls as that allows."""
    rounds: dict[tuple[int, float], dict[str, Any]] = {}
    for key, each in patches.items():
        shape = comfy.utils.get_attr(clone.model, key).shape
        with_strengths = [(files[index][1][0], patch) for index, patch in each]
        for position, (strength, patch) in enumerate(stacked(with_strengths, shape)):
            rounds.setdefault((position, strength), {})[key] = patch
    for (_, strength), adding in sorted(rounds.items(), key=lambda each: each[0][0]):
        clone.add_patches(adding, strength)


def _leave_unmerged(
    clone: Any, kept: _Kept, role: str, files: Sequence[tuple[LoraFile, Levels]], patches: Patches
) -> int:
    """How many weights it had to merge all the same: their layers take no functions."""
    if not kept.seats:
        kept.seats |= {key: Seat(set(), []) for key in _gguf_keys(clone)}
    live = {key: each for key, each in patches.items() if _can_live(clone, key, kept.seats)}
    fixed = {key: each for key, each in patches.items() if key not in live}
    stamps = tuple(file.stamp for file, _ in files)
    if kept.seats or fixed:
        clone.add_patches(kept.seats)
        _add_merged(clone, files, fixed)
        strengths = tuple(levels[0] for _, levels in files) if fixed else ()
        identity = ("unmerged", *(stamps if fixed else ()), *strengths)
        clone.patches_uuid = _remembered(kept.uuids, _uuids, identity, uuid.uuid4)
    stack = _remembered(
        kept.stacks,
        _stacks,
        stamps,
        lambda: UnmergedStack(clone, live, len(files), kept.seats),
    )
    stack.add_to(clone)
    by_step = ByStep(stack.live, [levels for _, levels in files], lambda: stack.check(role))
    clone.add_wrapper_with_key(WrappersMP.APPLY_MODEL, KEY, by_step)
    clone.add_callback_with_key(CallbacksMP.ON_PRE_RUN, KEY, by_step.restart)
    return len(fixed)


def _gguf_keys(model: Any) -> list[str]:
    return [key for key, weight in model.model.named_parameters() if is_gguf(weight)]


def _can_live(model: Any, key: str, seats: Mapping[str, Seat]) -> bool:
    """Whether a patch of this weight can be applied where the weight is used."""
    if seats:
        return key in seats
    path, _, name = key.rpartition(".")
    module = comfy.utils.get_attr(model.model, path)
    # A function on the bias would cost a quantised layer its quantised product.
    if name == "bias" and isinstance(getattr(module, "weight", None), QuantizedTensor):
        return False
    return name in ("weight", "bias") and hasattr(module, f"{name}_function")


def _remembered(kept: dict[Hashable, _T], most: int, key: Hashable, make: Callable[[], _T]) -> _T:
    """What is kept under a key, made where there is nothing; beyond `most` the oldest goes."""
    value = kept.pop(key) if key in kept else make()
    kept[key] = value
    if len(kept) > most:
        del kept[next(iter(kept))]
    return value
