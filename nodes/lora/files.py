"""LoRA files: found by unique name in ComfyUI's loras folders, and read."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakValueDictionary

import comfy.utils
import folder_paths
import torch
from safetensors import SafetensorError

from ...catalog.disk import LoraFolders
from ...catalog.doctor.anatomy import find_modules
from ...catalog.doctor.diagnosis import Diagnosis
from ...catalog.doctor.examine import diagnose, is_rs_lora, said_alpha
from ...catalog.doctor.layouts import Key
from ...catalog.entries import Entry
from ...catalog.header import HeaderError, read_header
from .keys import rescaled, split_key

Stamp = tuple[str, int, int, int]

# Parts of which a module is the product: one of zeros makes all of it zero.
_factors = (".lora_", ".hada_", ".lokr_")


class LoraError(ValueError):
    """A LoRA file that is missing, or that can not do what was asked."""


LORAS = LoraFolders(
    lambda: folder_paths.get_folder_paths("loras"),
    lambda: folder_paths.get_filename_list("loras"),
)


def find_file(entry: Entry) -> str:
    """The name of the entry's file as ComfyUI lists it, such as `wan/x.safetensors`.

    Looks in every loras folder and its subfolders. Raises LoraError when there is no such file,
    or several in different subfolders.
    """
    found = LORAS.listing().find(entry.file)
    if not found:
        folders = ", ".join(LORAS.folders())
        raise LoraError(f"{entry.file} is in none of {folders}. {_remedy(entry)}")
    if len(found) > 1:
        places = ", ".join(sorted(found.values())[:3])
        raise LoraError(f"{entry.file} is there {len(found)} times: {places}. Keep one of them.")
    return next(iter(found.values()))


def _remedy(entry: Entry) -> str:
    if not entry.hf_repo:
        return "Its catalog entry names no place to get it from."
    command = f"python -m catalog fetch {entry.pair_id} --base-model {entry.base_model}"
    return (
        f"Press its download button in LoRA Pairs (Catalog), run `{command}` in the folder of "
        f"DualPass, or get it from https://huggingface.co/{entry.hf_repo} "
        f"({entry.hf_file or entry.file})."
    )


def stamp(name: str) -> Stamp:
    """What changes when a file is replaced: its real path, size, time and inode."""
    return _stamp(Path(folder_paths.get_full_path_or_raise("loras", name)))


def _stamp(path: Path) -> Stamp:
    stat = path.stat()
    return os.path.realpath(path), stat.st_size, stat.st_mtime_ns, stat.st_ino


@dataclass(frozen=True, eq=False)
class LoraFile:
    """One file, read: its tensors under ComfyUI's names, and what they say.

    `modules` are the names of all modules, `idle` those that change nothing, `sides` what a module
    gives and takes where the file tells. `stamp` changes when the file is replaced.
    """

    name: str
    path: Path
    stamp: Stamp
    state: Mapping[str, torch.Tensor]
    metadata: Mapping[str, str]
    modules: frozenset[str]
    idle: frozenset[str]
    sides: Mapping[str, tuple[int, int]]
    told: Diagnosis


# While anything holds a file, it is not opened again: a file for both passes is read once.
_open: WeakValueDictionary[tuple[str, Stamp], LoraFile] = WeakValueDictionary()


def open_file(name: str) -> LoraFile:
    """The file that `find_file` named, checked before ComfyUI's reader sees it. Raises LoraError.

    A damaged file, a number that is not finite, and a part without its other half are errors.
    """
    path = Path(folder_paths.get_full_path_or_raise("loras", name))
    try:
        seen = _stamp(path)
        file = _open.get((name, seen)) or _read(name, path, seen)
        if _stamp(path) != seen:
            raise LoraError(f"{path} was replaced while it was read. Run again.")
    except HeaderError as error:
        raise LoraError(f"{error} It lies in {path.parent}.") from error
    # What ComfyUI's two readers raise for a file that is damaged, or gone by now.
    except (SafetensorError, OSError, TypeError, KeyError) as error:
        raise LoraError(
            f"{path} can not be read as safetensors ({error}). Get it again."
        ) from error
    _open[name, seen] = file
    return file


def _read(name: str, path: Path, seen: Stamp) -> LoraFile:
    header = read_header(path)
    found = find_modules(header)
    told = diagnose(path, header, found)
    if told.made_for and told.problems:
        raise LoraError(f"{name} can not be used. {' '.join(told.problems)} Get it again.")
    raw = comfy.utils.load_torch_file(str(path), safe_load=True)
    keys = {key: split_key(key) for key in raw}
    state = {module + part: raw[key] for key, (module, part) in keys.items()}
    if len(state) < len(raw):
        twice = next(name for name, n in Counter(m + p for m, p in keys.values()).items() if n > 1)
        raise LoraError(f"{name} holds {twice} twice, in two layouts. Get it again.")
    peaks = {key: _peak(tensor) for key, tensor in raw.items()}
    if broken := [key for key, peak in peaks.items() if not math.isfinite(peak)]:
        raise LoraError(
            f"{name} holds numbers that are not finite in {len(broken)} of {len(raw)} tensors, "
            f"such as {broken[0]}. The video would be black. Get it again."
        )
    if is_rs_lora(header.metadata):
        state = rescaled(state, said_alpha(header.metadata))
    return LoraFile(
        name=name,
        path=path,
        stamp=seen,
        state=state,
        metadata=header.metadata,
        modules=frozenset(module for module, _ in keys.values()),
        idle=_idle((*keys[key], peak) for key, peak in peaks.items()),
        sides={_module(each.key): each.sides for each in found if each.sides},
        told=told,
    )


def _module(key: Key) -> str:
    return f"diffusion_model.{key.module}" if key.known else key.module


def _peak(tensor: torch.Tensor) -> float:
    """The largest absolute value; NaN or infinite where one value is."""
    if not tensor.numel():
        return 0.0
    # torch finds extremes of common floats only.
    common = tensor.is_floating_point() and tensor.element_size() > 1
    low, high = torch.aminmax(tensor if common else tensor.float())
    return max(abs(float(low)), abs(float(high))) if low == low else math.nan


def _idle(peaks: Iterable[tuple[str, str, float]]) -> frozenset[str]:
    """The modules that change nothing, told from (module, part, largest value)."""
    by_module: dict[str, dict[str, float]] = {}
    for module, part, peak in peaks:
        by_module.setdefault(module, {})[part] = peak
    return frozenset(module for module, parts in by_module.items() if not _acts(parts))


def _acts(parts: Mapping[str, float]) -> bool:
    factors = [peak for part, peak in parts.items() if part.startswith(_factors)]
    others = [peak for part, peak in parts.items() if not part.startswith((*_factors, ".alpha"))]
    return any(others) or (all(factors) and bool(factors) and parts.get(".alpha") != 0)
