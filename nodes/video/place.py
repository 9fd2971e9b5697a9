"""Where a long video lies: the next free file name, and its clips beside it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import folder_paths

from .folder import ClipFolder
from .segments import join_segments
from .whole import NameTaken, check_file, told


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
        """The next name that no file has."""
        folder, name, counter, *_ = _named(self.prefix)
        return Path(folder, f"{name}_{counter:05}_.mp4")

    def joined(self, segments: Sequence[Path], fps: float, metadata: Mapping[str, Any]) -> Path:
        """The segments as one video under that name; see `join_segments`."""
        while True:
            file = self.free_file()
            with suppress(NameTaken):  # by another ComfyUI that saves here
                join_segments(segments, file, fps, metadata, new=True)
                return file


def place_of(prefix: str, width: int, height: int) -> Place:
    """As ComfyUI's own nodes name what they save, and `<prefix>_clips` beside it.

    Raises what ComfyUI raises for a prefix outside the output folder; and FolderError, before
    anything is made, for a place that can not be written.
    """
    folder, name, _, subfolder, prefix = _named(prefix, width, height)
    clips = f"{name}_clips"
    opened = ClipFolder.opened(Path(folder, clips))
    place = Place(prefix, subfolder, opened, os.path.join(subfolder, clips))
    check_file(place.free_file())
    return place


def _named(prefix: str, width: int = 0, height: int = 0) -> tuple[str, str, int, str, str]:
    output = folder_paths.get_output_directory()
    named: tuple[str, str, int, str, str]
    with told(Path(output, prefix)):
        named = folder_paths.get_save_image_path(prefix, output, width, height)
    return named
