"""LoRA files onto a clone of a model, merged into its weights or beside them."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import comfy.lora
import comfy.utils
import torch
from comfy.quant_ops import QuantizedTensor

from ...catalog.stacks import Levels
from .files import LoraFile, Stamp
from .injected import Placed, Seat, UnmergedStack
from .match import Match, Weights, match
from .mode import is_gguf, mode_for
from .report import report_text
from .stack import stacked

log = logging.getLogger("dualpass")

Files = Sequence[tuple[LoraFile, Levels]]
# Patches of one weight, in the order of the files: (which file, patch).
Patches = Mapping[str, Sequence[tuple[int, Any]]]


@dataclass
class _Kept:
    """What is kept of a model while the model itself is there; stacks and files are by role."""

    uuids: dict[Hashable, uuid.UUID] = field(default_factory=dict)
    stacks: dict[str, tuple[tuple[Stamp, ...], Placed]] = field(default_factory=dict)
    files: dict[str, tuple[LoraFile, ...]] = field(default_factory=dict)
    seats: dict[str, Seat] = field(default_factory=dict)
    objects: dict[str, tuple[Hashable, dict[str, Any]]] = field(default_factory=dict)

    def uuid_of(self, content: Hashable) -> uuid.UUID:
        """The same for the same content, for the last 64 of them."""
        self.uuids[content] = found = self.uuids.pop(content, None) or uuid.uuid4()
        if len(self.uuids) > 64:
            del self.uuids[next(iter(self.uuids))]
        return found


# By the patcher that came in. None of the values may lead back to it, or it would stay for ever.
_kept: WeakKeyDictionary[Any, _Kept] = WeakKeyDictionary()


def patched(
    model: Any,
    role: str,
    files: Files,
    mode: str = "auto",
    strict: bool = True,
    logged: bool = True,
) -> tuple[Any, str]:
    """A clone of `model` with each file at its strengths, in order, and the report of the pass.

    The same files and strengths on the same model give the same `patches_uuid`, so that ComfyUI
    moves no weight; unmerged, whatever the strengths. No file: the model itself comes back. Raises
    LoraError as `mode_for` and `match` do.
    """
    by_step = any(len(levels) > 1 for _, levels in files)
    merged, how = mode_for(model, mode, by_step) if files else (True, "")
    kept = _kept.setdefault(model, _Kept())
    kept.files[role] = tuple(file for file, _ in files)
    if merged:
        kept.stacks.pop(role, None)
    if not files:
        kept.objects.pop(role, None)
        return model, report_text(role, how, [])
    weights = Weights(model)
    matches = [match(weights, role, file, levels, strict) for file, levels in files]
    if logged:
        _log(role, matches)
    report = report_text(role, how, [each.report for each in matches])
    if not any(each.patches for each in matches):
        return model, report
    clone = model.clone()
    before = model.get_attachment("dualpass_files") or ()
    clone.set_attachments("dualpass_files", (*before, *(str(file.path) for file, _ in files)))
    levels = model.get_attachment("dualpass_levels") or ()
    clone.set_attachments("dualpass_levels", (*levels, *(each for _, each in files)))
    fixed = _put(clone, kept, role, files, _by_key(matches), merged)
    if fixed and by_step:
        report += (
            f"\n    note: {fixed} weights can not change by step, and keep the first strength."
        )
    return clone, report


def _log(role: str, matches: Iterable[Match]) -> None:
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


def _put(clone: Any, kept: _Kept, role: str, files: Files, patches: Patches, merged: bool) -> int:
    """Put the patches on a clone; how many weights hold them at a strength that is fixed."""
    if not merged and not kept.seats:
        kept.seats |= {k: Seat(set(), []) for k, w in clone.model.named_parameters() if is_gguf(w)}
    seats = {} if merged else kept.seats
    objects = {key for key in patches if _is_object(clone, key, seats)}
    live = {key for key in patches.keys() - objects if not merged and _can_live(clone, key, seats)}
    fixed = patches.keys() - objects - live
    _set_objects(clone, kept, role, files, {key: patches[key] for key in objects})
    if seats or fixed:
        acting = sorted({index for key in fixed for index, _ in patches[key]})
        content = ((files[index][0].stamp, files[index][1]) for index in acting)
        content_id = (clone.patches_uuid, merged, bool(seats), *content)
        clone.add_patches(seats)
        _add_merged(clone, files, {key: patches[key] for key in fixed})
        clone.patches_uuid = kept.uuid_of(content_id)
    if live:
        _add_live(clone, kept, role, files, {key: patches[key] for key in live})
    return len(objects) + len(fixed)


def _is_object(model: Any, key: str, seats: Mapping[str, Seat]) -> bool:
    """Whether a weight can only be replaced: core's loading passes over what is in no leaf module.

    Such are Wan's modulations. ComfyUI-GGUF's plain vectors are replaced too: as patches they
    would have the quantised weights moved for each new strength.
    """
    path, _, _ = key.rpartition(".")
    inner = any(True for _ in comfy.utils.get_attr(model.model, path).children())
    return inner or (bool(seats) and comfy.utils.get_attr(model.model, key).ndim == 1)


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


def _set_objects(clone: Any, kept: _Kept, role: str, files: Files, patches: Patches) -> None:
    # The same objects for the same files: by them the sampler sees that a model is as it was.
    content = (*patches, *((file.stamp, levels[0]) for file, levels in files))
    before, objects = kept.objects.get(role, ((), {}))
    if before != content:
        objects = {key: _replaced(clone, files, key, each) for key, each in patches.items()}
        kept.objects[role] = (content, objects)
    for key, value in objects.items():
        clone.add_object_patch(key, value)


def _replaced(clone: Any, files: Files, key: str, each: Sequence[tuple[int, Any]]) -> Any:
    """A weight with its patches, as an object that stands in its place."""
    old = _unpatched(clone, key)
    value = torch.empty(old.shape, dtype=torch.float32, device=clone.load_device).copy_(old)
    adding = [(files[index][1][0], patch, 1.0, None, None) for index, patch in each]
    value = comfy.lora.calculate_weight(adding, value, key)
    return torch.nn.Parameter(value.to(old.dtype), requires_grad=False)


def _unpatched(model: Any, key: str) -> torch.Tensor:
    """A weight as it is for this patcher, whatever clone of it is loaded now."""
    if key in model.backup and key not in {*model.object_patches, *model.object_patches_backup}:
        return torch.as_tensor(model.backup[key].weight)
    return torch.as_tensor(model.get_model_object(key))


def _add_merged(clone: Any, files: Files, patches: Patches) -> None:
    """Give the clone the patches of each weight in order, in as few calls as that allows."""
    rounds: dict[tuple[int, float], dict[str, Any]] = {}
    for key, each in patches.items():
        shape = comfy.utils.get_attr(clone.model, key).shape
        with_strengths = [(files[index][1][0], patch) for index, patch in each]
        for position, (strength, patch) in enumerate(stacked(with_strengths, shape)):
            rounds.setdefault((position, strength), {})[key] = patch
    for (_, strength), adding in sorted(rounds.items(), key=lambda each: each[0][0]):
        clone.add_patches(adding, strength)


def _add_live(clone: Any, kept: _Kept, role: str, files: Files, patches: Patches) -> None:
    stamps = tuple(file.stamp for file, _ in files)
    before, placed = kept.stacks.get(role, ((), None))
    if placed is None or before != stamps:
        placed = Placed(UnmergedStack(clone, role, patches, len(files), kept.seats))
        kept.stacks[role] = (stamps, placed)
    placed.add_to(clone, tuple(levels for _, levels in files))
