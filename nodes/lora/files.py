"""LoRA files: found by unique name in ComfyUI's loras folders, and read."""

from __future__ import annotations

import os
from typing import Any

import comfy.utils
import folder_paths
from safetensors import SafetensorError

from ...catalog.disk import LoraFolders
from ...catalog.entries import Entry


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


def load_file(name: str) -> tuple[dict[str, Any], dict[str, str] | None]:
    """The state dict and the metadata of a file that `find_file` named. Raises LoraError."""
    path = folder_paths.get_full_path_or_raise("loras", name)
    try:
        return comfy.utils.load_torch_file(path, safe_load=True, return_metadata=True)
    # What ComfyUI's two readers raise for a file that is damaged, or gone by now.
    except (SafetensorError, OSError, ValueError, TypeError, KeyError) as error:
        raise LoraError(
            f"{path} can not be read as safetensors ({error}). Get it again."
        ) from error


def stamp(name: str) -> tuple[str, int, int, int]:
    """What changes when a file is replaced: its name, size, time and inode."""
    stat = os.stat(folder_paths.get_full_path_or_raise("loras", name))
    return name, stat.st_size, stat.st_mtime_ns, stat.st_ino
