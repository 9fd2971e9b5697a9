"""LoRA files: found by unique name in ComfyUI's loras folders, and read."""

from __future__ import annotations

import os
from typing import Any

import comfy.utils
import folder_paths
from safetensors import SafetensorError

from ...catalog.entries import Entry


class LoraError(ValueError):
    """A LoRA file that is missing, or that can not do what was asked."""


def find_file(entry: Entry) -> str:
    """The name of the entry's file as ComfyUI lists it, such as `wan/x.safetensors`.

    Looks in every loras folder and its subfolders. Raises LoraError when there is no such file,
    or several in different subfolders.
    """
    names = {name.replace("\\", "/"): name for name in folder_paths.get_filename_list("loras")}
    # The file where the catalog says counts before its namesakes elsewhere.
    below = "/" + entry.file.rpartition("/")[2]
    listed = [name for posix, name in names.items() if posix == entry.file]
    alike = listed or [name for posix, name in names.items() if f"/{posix}".endswith(below)]
    # One file may be reached by several links, and a link may lead nowhere.
    found = {os.path.realpath(path): name for name in alike if (path := _path(name))}
    if not found:
        raise LoraError(f"{entry.file} is in none of {_folders()}. {_source(entry)}")
    if len(found) > 1:
        places = ", ".join(sorted(found.values())[:3])
        raise LoraError(f"{entry.file} is there {len(found)} times: {places}. Keep one of them.")
    return next(iter(found.values()))


def _path(name: str) -> str | None:
    return folder_paths.get_full_path("loras", name)


def _folders() -> str:
    return ", ".join(folder_paths.get_folder_paths("loras"))


def _source(entry: Entry) -> str:
    if not entry.hf_repo:
        return "Its catalog entry names no place to get it from."
    return f"Get it from https://huggingface.co/{entry.hf_repo} ({entry.hf_file or entry.file})."


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
