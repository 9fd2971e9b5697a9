"""What a file of the catalog may be called, and the one way to a path that is written."""

from __future__ import annotations

import os
import re
import stat
import unicodedata
from pathlib import Path

# Windows opens these as devices, whatever extension follows.
_reserved = re.compile(
    r"(con|prn|aux|nul|conin\$|conout\$|com[1-9¹²³]|lpt[1-9¹²³]) *(\.|$)", re.IGNORECASE
)


class PathError(ValueError):
    """A file that must not be written where its name leads; the message says why."""


def is_hidden(character: str) -> bool:
    """Whether a character shows nothing: control, bidirectional, zero width, lone surrogate."""
    return unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"}


def checked_file(file: object) -> str:
    """The relative path of a LoRA, unchanged. ValueError says why it could leave its folder."""
    if not isinstance(file, str) or not 0 < len(file) <= 240:
        raise ValueError("must be a file name of 1 to 240 characters")
    if any(map(is_hidden, file)) or not unicodedata.is_normalized("NFC", file):
        raise ValueError("holds invisible or decomposed characters; type the name anew")
    if set(file) & set('\\:*?"<>|'):
        raise ValueError('must not hold any of \\ : * ? " < > |; folders are parted by /')
    if not file.lower().endswith((".safetensors", ".sft")):
        raise ValueError("must end in .safetensors or .sft")
    for segment in file.split("/"):
        _check_segment(segment)
    return file


def safe_dest(folder: Path, file: str) -> Path:
    """Where a file of the catalog is written: always below the folder. Raises PathError.

    Folders that are links are followed, they are the user's layout. A link in the place of the
    file is not: the path is the link's own, which os.replace replaces.
    """
    try:
        segments = checked_file(file).split("/")
    except ValueError as error:
        raise PathError(f"{file!r:.80} {error}.") from None
    root = os.path.abspath(folder)
    dest = os.path.abspath(os.path.join(root, *segments))
    if os.path.commonpath([root, dest]) != root or dest == root:
        raise PathError(f"{file!r:.80} leads out of {root}.")
    try:
        _check_disk(Path(root), segments)
    except OSError as error:
        raise PathError(f"{dest} cannot be looked at ({error.strerror}).") from error
    return Path(dest)


def _check_segment(segment: str) -> None:
    if segment[:1] in ("", ".") or segment[-1] in ". ":
        raise ValueError("must be relative, without .., and no part may begin or end with a dot")
    if len(segment.encode()) > 200:
        raise ValueError("has a part longer than 200 bytes")
    if _reserved.match(segment):
        raise ValueError("has a part that Windows keeps for a device, such as con or nul")


def _check_disk(place: Path, segments: list[str]) -> None:
    """PathError if what stands on disk is in the way of a folder, or of the file at the end."""
    for segment in segments[:-1]:
        _check_twins(place, segment, or_itself=True)
        place /= segment
        if os.path.lexists(place) and not place.is_dir():
            raise PathError(f"{place} is no folder. Move it away.")
    _check_twins(place, segments[-1], or_itself=False)
    place /= segments[-1]
    # lstat: a link counts as itself, wherever it leads and even if it leads nowhere.
    if os.path.lexists(place) and not _is_plain(place.lstat().st_mode):
        raise PathError(f"{place} is no file. Move it away.")


def _check_twins(folder: Path, name: str, or_itself: bool) -> None:
    """Windows and macOS would write over a name that differs only in its case."""
    names = os.listdir(folder) if folder.is_dir() else []
    # macOS lists decomposed what was written composed.
    composed = {unicodedata.normalize("NFC", each) for each in names}
    twins = {each for each in composed - {name} if each.casefold() == name.casefold()}
    if twins and not (or_itself and name in composed):
        raise PathError(f"{folder / min(twins)} is in the way of {name}. Rename one of them.")


def _is_plain(mode: int) -> bool:
    return stat.S_ISREG(mode) or stat.S_ISLNK(mode)
