"""What a file of the catalog may be called: the same safe name on every system."""

from __future__ import annotations

import re
import unicodedata

_reserved = re.compile(r"(con|prn|aux|nul|com[1-9]|lpt[1-9]) *(\.|$)", re.IGNORECASE)


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


def _check_segment(segment: str) -> None:
    if segment[:1] in ("", ".") or segment[-1] in ". ":
        raise ValueError("must be relative, without .., and no part may begin or end with a dot")
    if len(segment.encode()) > 200:
        raise ValueError("has a part longer than 200 bytes")
    if _reserved.match(segment):
        raise ValueError("has a part that Windows keeps for a device, such as con or nul")
