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
_moved = "Move the folder of the clips along, and name it as the video with _clips: they are found."
_reasons = {
    errno.ENOSPC: ("the disk is full", "Free some space", _kept),
    errno.EFBIG: ("the disk takes no file of that size", "Choose a place on another disk", _moved),
    errno.EROFS: ("the disk can only be read", "Choose a place that can be written", _moved),
    errno.EACCES: ("it may not be written", "Allow it", _kept),
    errno.ENOENT: ("the folder is gone", "See that its disk is there", _kept),
    errno.ENOTDIR: ("a file stands where its folder would be", "Choose another name", _moved),
    errno.EEXIST: ("a file has that name", "Choose another name", _moved),
    errno.ENAMETOOLONG: ("the name is too long", "Choose a shorter one", _moved),
}
_reasons[errno.EPERM] = _reasons[errno.EACCES]
if hasattr(errno, "EDQUOT"):
    _reasons[errno.EDQUOT] = ("your share of the disk is used up", "Free some space", _kept)


class FolderError(ValueError):
    """What can not be written or read; one sentence why, and what to do."""


class NameTaken(Exception):
    """Another program has written a file of that name meanwhile."""


def make_folder(path: Path, ours: re.Pattern[str]) -> None:
    """Make a folder to write in, without what a killed run left half written of names like `ours`.

    Raises FolderError when it can not be made, or not be written: before a clip is sampled.
    """
    with refusals_told(path):
        path.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path, ours)
    check_file(path / f"clip_0000_{'0' * 12}.mp4")


def check_file(path: Path) -> None:
    """Raise FolderError where a file could not be written as `written_whole` does it."""
    part = _part_of(path)
    with refusals_told(path):
        part.touch()
        part.unlink()


@contextmanager
def written_whole(path: Path, new: bool = False) -> Iterator[Path]:
    """A new name beside `path`; what is written there takes the place of `path` in one step.

    After an error `path` is as it was. Raises FolderError for what the disk refuses; with `new`
    also NameTaken, and then nothing is replaced.
    """
    part = _part_of(path)
    with refusals_told(path):
        try:
            _remove_abandoned(path.parent, re.compile(re.escape(path.name)))
            yield part
            with part.open("r+b") as file:  # Windows syncs only what is open for writing
                os.fsync(file.fileno())
            (_claim if new else replace_file)(part, path)
        finally:
            _remove(part)
        sync_folder(path.parent)


def _claim(part: Path, path: Path) -> None:
    """Give a file a name that no other has. Raises NameTaken."""
    try:
        # Windows renames to no name that is taken.
        (os.rename if os.name == "nt" else os.link)(part, path)
    except OSError as error:
        if path.exists():
            raise NameTaken(path) from error
        replace_file(part, path)  # not every disk lets a file have two names


def _part_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}.part{path.suffix}")


def _remove_abandoned(folder: Path, ours: re.Pattern[str]) -> None:
    """Remove what killed runs left of files of such names; others may write there as well."""
    for part in folder.iterdir():
        found = _part.fullmatch(part.name)
        if found and ours.fullmatch(found[1]) and _is_abandoned(part):
            _remove(part)


def _is_abandoned(part: Path) -> bool:
    with suppress(OSError):
        return time.time() - part.stat().st_mtime > _abandoned
    return False


def _remove(part: Path) -> None:
    with suppress(OSError):
        part.unlink()


@contextmanager
def refusals_told(path: Path) -> Iterator[None]:
    """Whatever the disk refuses, as one sentence about `path`."""
    try:
        yield
    except OSError as error:
        unknown = (error.strerror or str(error), "Check the disk", _kept)
        why, what, then = _reasons.get(error.errno or 0, unknown)
        text = f"{path} can not be written: {why}. {what}, and run again. {then}"
        raise FolderError(text) from error
