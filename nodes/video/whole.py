"""Files that are written whole or not at all, and what the disk refuses as one sentence."""

from __future__ import annotations

import errno
import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ...catalog.files import replace_file, sync_folder

# A file that is being written: hidden, and with the extension that says what it is.
_part = re.compile(r"\.(.+)\.[0-9a-f]{16}\.part\.(mp4|safetensors)")
# Longer than any write of a living one goes without a byte, in seconds.
_abandoned = 60
_kept = "Finished clips are kept, and the run goes on at the next one."
_reasons = {
    errno.ENOSPC: ("the disk is full", "Free some space"),
    errno.EFBIG: ("the disk takes no file of that size", "Choose a folder on another disk"),
    errno.EROFS: ("the disk can only be read", "Choose a folder that can be written"),
    errno.EACCES: ("it may not be written", "Allow it, or choose another folder"),
    errno.ENOENT: ("the folder is gone", "See that its disk is there"),
    errno.ENOTDIR: ("its folder is none", "Choose another name"),
    errno.ENAMETOOLONG: ("the name is too long", "Choose a shorter one"),
}
_reasons[errno.EPERM] = _reasons[errno.EACCES]
if hasattr(errno, "EDQUOT"):
    _reasons[errno.EDQUOT] = ("your share of the disk is used up", "Free some space")


class FolderError(ValueError):
    """What can not be written or read; one sentence why, and what to do."""


def make_folder(path: Path, ours: re.Pattern[str]) -> None:
    """Make a folder to write in, without what a killed run left half written of names like `ours`.

    Raises FolderError when it can not be made, or not be written: before a clip is sampled.
    """
    with _told(path):
        path.mkdir(parents=True, exist_ok=True)
        probe = _part_of(path / f"clip_0000_{'0' * 12}.mp4")
        probe.touch()
        probe.unlink()
        for part in path.iterdir():
            found = _part.fullmatch(part.name)
            if found and ours.fullmatch(found[1]) and _is_abandoned(part):
                _remove(part)


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A new name beside `path`; what is written there takes the place of `path` in one step.

    After an error `path` is as it was. Raises FolderError for what the disk refuses.
    """
    part = _part_of(path)
    with _told(path):
        try:
            _remove_parts_of(path)
            yield part
            with part.open("r+b") as file:  # Windows syncs only what is open for writing
                os.fsync(file.fileno())
            replace_file(part, path)
        finally:
            _remove(part)
        sync_folder(path.parent)


def _part_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}.part{path.suffix}")


def _remove_parts_of(path: Path) -> None:
    """Remove what killed runs left of the same file, which nobody else is making."""
    for part in path.parent.iterdir():
        found = _part.fullmatch(part.name)
        if found and found[1] == path.name:
            _remove(part)


def _is_abandoned(part: Path) -> bool:
    """Whether nobody writes it any more: another ComfyUI may use the same folder."""
    with suppress(OSError):
        return time.time() - part.stat().st_mtime > _abandoned
    return False


def _remove(part: Path) -> None:
    with suppress(OSError):
        part.unlink()


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Whatever the disk refuses, as one sentence about `path`."""
    try:
        yield
    except OSError as error:
        unknown = (error.strerror or str(error), "Check the disk")
        why, what = _reasons.get(error.errno or 0, unknown)
        text = f"{path} can not be written: {why}. {what}, and run again. {_kept}"
        raise FolderError(text) from error
