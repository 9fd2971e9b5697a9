"""All that the picker shows about the pairs of one base model, as plain data."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from .detect import detected_pairs
from .disk import Listing, ambiguous
from .entries import Entry
from .pairs import ROLES, LoraPair
from .store import Catalog


def overview(catalog: Catalog, listing: Listing, base_model: str) -> dict[str, Any]:
    """The pairs of a base model with what is known of each, and those found on disk besides."""
    pairs = catalog.find_pairs(base_model)
    found = find_detected(catalog, listing, base_model)
    return {
        "revision": catalog.revision,
        "pairs": [_shown(pair, catalog, listing) for pair in pairs],
        "detected": [_found(pair) for pair in found],
    }


def find_detected(catalog: Catalog, listing: Listing, base_model: str) -> tuple[LoraPair, ...]:
    """The pairs on disk that no catalog names and whose names allow this base model."""
    declared = frozenset(entry.file for entry in catalog.entries)
    detected = _detected(tuple(listing.names), declared)
    return tuple(pair for pair in detected if pair.base_model in ("", base_model))


@lru_cache(maxsize=2)
def _detected(names: tuple[str, ...], declared: frozenset[str]) -> tuple[LoraPair, ...]:
    return detected_pairs(names, declared)


def _shown(pair: LoraPair, catalog: Catalog, listing: Listing) -> dict[str, Any]:
    files = {role: _file(entry, listing) for role, entry in _by_role(pair)}
    problems = [pair.problem, *(file.pop("problem") for file in files.values() if file)]
    sizes = [file["size"] for file in files.values() if file]
    return {
        "pair_id": pair.pair_id,
        "name": pair.name,
        "kind": pair.kind,
        **files,
        "installed": all(file["installed"] for file in files.values() if file),
        "size": sum(sizes) if None not in sizes else None,
        "strength": _strengths(pair),
        "trigger": _first(entry.trigger for entry in pair.entries),
        "same_as": sorted({entry.same_as for entry in pair.entries if entry.same_as}),
        "notes": _first(entry.notes for entry in pair.entries),
        "warning": pair.warning,
        "problem": _first(problems),
        "own": (pair.base_model, pair.pair_id) in catalog.own,
    }


def _by_role(pair: LoraPair) -> Sequence[tuple[str, Entry | None]]:
    return ("high", pair.high), ("low", pair.low), ("both", pair.both)


def _file(entry: Entry | None, listing: Listing) -> dict[str, Any] | None:
    if entry is None:
        return None
    found = listing.find(entry.file)
    return {
        "file": entry.file,
        "installed": bool(found),
        "size": _size(min(found)) if found else _said_size(entry),
        "downloadable": bool(entry.hf_repo and entry.source == "huggingface"),
        "problem": ambiguous(entry.file, found) if len(found) > 1 else "",
    }


def _size(path: Path) -> int | None:
    with suppress(OSError):  # it may be gone by now
        return path.stat().st_size
    return None


def _said_size(entry: Entry) -> int | None:
    """In bytes, as the catalog says, in gigabytes of 10^9 bytes where it knows no better."""
    return entry.size or (round(entry.size_gb * 1e9) if entry.size_gb else None)


def _strengths(pair: LoraPair) -> dict[str, float | None]:
    entries = [pair.entry_for(role) for role in ROLES]
    return {
        role: entry.strength[index] if entry else None
        for index, (role, entry) in enumerate(zip(ROLES, entries, strict=True))
    }


def _first(texts: Any) -> str:
    return next(filter(None, texts), "")


def _found(pair: LoraPair) -> dict[str, Any]:
    unsure = "" if pair.base_model else "The name does not say which base model it is for."
    return pair.as_json() | {
        "base_model": pair.base_model,
        "note": " ".join(filter(None, (pair.warning, unsure))),
    }
