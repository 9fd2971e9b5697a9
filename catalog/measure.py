"""An entry as the file on disk has it: its size and its sha256."""

from __future__ import annotations

from dataclasses import replace

from .disk import Listing, ambiguous
from .entries import Entry
from .files import sha256
from .header import read_header


class MeasureError(ValueError):
    """A file that is not there, or there several times; the message says so."""


def measured(entry: Entry, listing: Listing, base_model: str) -> Entry:
    """The entry for a base model, with the size in bytes and the sha256 of its file on disk.

    Raises MeasureError when the file is not there, or several times, and HeaderError when it is no
    sound safetensors file.
    """
    found = tuple(listing.find(entry.file))
    if not found:
        raise MeasureError(f"{entry.file} is in none of your loras folders.")
    if len(found) > 1:
        raise MeasureError(ambiguous(entry.file, found))
    size = read_header(found[0]).size
    size_gb = round(size / 1e9, 3) or None
    digest = sha256(found[0])
    return replace(entry, base_model=base_model, size=size, size_gb=size_gb, sha256=digest)
