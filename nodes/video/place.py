"""Where a long video lies: the next free file name, and its clips beside it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import folder_paths

from .folder import ClipFolder


@dataclass(frozen=True)
class Place:
    """The file to be written, the folder of its clips, and both below ComfyUI's output folder."""

    file: Path
    subfolder: str
    clips: ClipFolder
    clips_subfolder: str


def place_of(prefix: str, width: int, height: int) -> Place:
    """As ComfyUI's own nodes name what they save, and `<prefix>_clips` beside it.

    Raises what ComfyUI raises for a prefix outside the output folder, and FolderError.
    """
    folder, name, counter, subfolder, _ = folder_paths.get_save_image_path(
        prefix, folder_paths.get_output_directory(), width, height
    )
    clips = f"{name}_clips"
    return Place(
        Path(folder, f"{name}_{counter:05}_.mp4"),
        subfolder,
        ClipFolder.opened(Path(folder, clips)),
        os.path.join(subfolder, clips),
    )
