"""Where a long video lies: the next free file name, and its clips beside it."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import folder_paths

from .folder import ClipFolder
from .segments import join_segments
from .whole import NameTaken, check_file, refusals_told


@dataclass(frozen=True)
class Place:
    """Where a video is saved, below ComfyUI's output folder, and the folder of its clips.

    `prefix` is the one that was asked for, with the date and size that it named.
    """

    prefix: str
    subfolder: str
    clips: ClipFolder
    clips_subfolder: str

    def free_file(self) -> Path:
        """The next name that no file has; ComfyUI's own count is none for a prefix like `x/`."""
        folder, name, counter, *_ = _save_path(self.prefix)
        files = (Path(folder, f"{name}_{number:05}_.mp4") for number in itertools.count(counter))
        return next(file for file in files if not os.path.lexists(file))

    def joined(self, segments: Sequence[Path], fps: float, metadata: Mapping[str, Any]) -> Path:
        """The segments as one video under that name; see `join_segments`."""
        while True:
            file = self.free_file()
            with suppress(NameTaken):  # by another ComfyUI that saves here
                join_segments(segments, file, fps, metadata, new=True)
                return file


def place_of(prefix: str, width: int, height: int) -> Place:
    """As ComfyUI's own nodes name what they save, and `<prefix>_clips` beside it.

    Raises what ComfyUI raises for a prefix outside the output folder; and FolderError, before a
    clip is sampled, for a place that can not be written.
    """
    folder, name, _, subfolder, prefix = _save_path(prefix, width, height)
    clips = f"{name}_clips"
    opened = ClipFolder.opened(Path(folder, clips))
    place = Place(prefix, subfolder, opened, os.path.join(subfolder, clips))
    check_file(place.free_file())
    return place


def _save_path(prefix: str, width: int = 0, height: int = 0) -> tuple[str, str, int, str, str]:
    output = folder_paths.get_output_directory()
    path: tuple[str, str, int, str, str]
    with refusals_told(Path(output, prefix)):
        path = folder_paths.get_save_image_path(prefix, output, width, height)
    return path
