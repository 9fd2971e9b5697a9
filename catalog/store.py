"""The shipped catalog and the user's, merged and kept as one snapshot, read again on change."""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from types import MappingProxyType

from .entries import CatalogError, Entry, Problem, read_entries
from .pairs import LoraPair, find_pairs

_log = logging.getLogger("dualpass")
_names = ("models.json", "loras.json")
_patience = 1.0
_most_named = 20


class UnknownPairError(ValueError):
    """A pair id that the catalog does not have for a base model; the message lists those it has."""


@dataclass(frozen=True, eq=False)
class Catalog:
    """All that was known at one moment. It never changes; a later moment is another object."""

    entries: tuple[Entry, ...]
    pairs: Mapping[str, tuple[LoraPair, ...]]
    problems: tuple[Problem, ...]
    revision: str
    own: frozenset[tuple[str, str]] = frozenset()

    @property
    def base_models(self) -> tuple[str, ...]:
        """The base models that have pairs, sorted."""
        return tuple(self.pairs)

    def find_pairs(self, base_model: str) -> tuple[LoraPair, ...]:
        """The pairs of a base model in catalog order; none for one that is not known."""
        return self.pairs.get(base_model, ())

    def get_pair(self, base_model: str, pair_id: str) -> LoraPair:
        """The pair of that id, or UnknownPairError with the ids there are."""
        for pair in self.find_pairs(base_model):
            if pair.pair_id == pair_id:
                return pair
        raise UnknownPairError(self._unknown(base_model, pair_id))

    def _unknown(self, base_model: str, pair_id: str) -> str:
        known = [pair.pair_id for pair in self.find_pairs(base_model)]
        more = f" and {len(known) - _most_named} more" if len(known) > _most_named else ""
        listed = ", ".join(known[:_most_named]) + more or "none"
        others = [
            other for other, pairs in self.pairs.items() if pair_id in {p.pair_id for p in pairs}
        ]
        add = f"python -m catalog add --base-model {base_model[:80]} --id {pair_id[:80]} FILES"
        remedy = (
            f"It belongs to {', '.join(others)}."
            if others
            else (f"Untick it, or add it with `{add}` in the folder of DualPass.")
        )
        return (
            f"Pair {pair_id[:80]!r} is not in your catalog "
            f"(known for {base_model[:80]}: {listed}). {remedy}"
        )


@dataclass(frozen=True)
class _File:
    signature: tuple[int, ...] | None = None
    entries: tuple[Entry, ...] = ()
    problems: tuple[Problem, ...] = ()


class Store:
    """The catalog as it is on disk, looked at no more than once a second of `clock`.

    With `wait`, in seconds, a look is taken by a thread and waited for no longer than that, so that
    an event loop does not stall; what the thread finds counts when it has found it.
    """

    def __init__(
        self,
        shipped: Path,
        user: Path | None,
        clock: Callable[[], float] = time.monotonic,
        wait: float | None = None,
    ) -> None:
        self._shipped = [shipped / name for name in _names]
        self._own = [user / name for name in _names] if user else []
        self._files = dict.fromkeys(self._shipped + self._own, _File())
        self._catalog = _snapshot((), (), ())
        self._clock = clock
        self._wait = wait
        self._due = clock()
        self._looking = threading.Lock()

    def catalog(self) -> Catalog:
        """The current snapshot. A file that is broken now counts as it last was when readable."""
        if self._clock() >= self._due:
            if self._wait is None:
                return self.read()
            if not self._looking.locked():
                self._due = self._clock() + _patience  # or the next caller begins one too
                look = threading.Thread(target=self.read, name="dualpass-catalog", daemon=True)
                look.start()
                look.join(self._wait)
        return self._catalog

    def read(self) -> Catalog:
        """The snapshot of this very moment, however long it takes to read."""
        with self._looking:
            try:
                self._look()
            finally:
                self._due = self._clock() + _patience
            return self._catalog

    def _look(self) -> None:
        seen = {path: _signature(path) for path in self._files}
        changed = [path for path in seen if seen[path] != self._files[path].signature]
        for path in changed:
            self._files[path] = self._load(path, seen[path])
        if changed:
            shipped, own = self._entries(self._shipped), self._entries(self._own)
            problems = chain.from_iterable(file.problems for file in self._files.values())
            self._catalog = _snapshot(shipped, own, problems)

    def _entries(self, paths: Iterable[Path]) -> list[Entry]:
        return [entry for path in paths for entry in self._files[path].entries]

    def _load(self, path: Path, signature: tuple[int, ...]) -> _File:
        if not signature and path in self._own:
            return _File(signature)
        try:
            entries, problems = read_entries(path)
        except CatalogError as error:
            entries, problems = self._files[path].entries, (error.problem,)
        if problems:
            _log.warning("%s (%d such in this file)", problems[0], len(problems))
        return _File(signature, entries, problems)


def _signature(path: Path) -> tuple[int, ...]:
    """What differs when a file was written anew; empty if there is none."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return ()
    except OSError as error:
        return (error.errno or 0,)
    # The time of the last status change tells when a file has become readable.
    return status.st_mtime_ns, status.st_size, status.st_ino, status.st_ctime_ns


def _merged(shipped: Iterable[Entry], own: Iterable[Entry]) -> Iterable[Entry]:
    """The shipped pairs, those that the user has too replaced whole, then the user's others."""
    return chain.from_iterable((_grouped(shipped) | _grouped(own)).values())


def _grouped(entries: Iterable[Entry]) -> dict[tuple[str, ...], list[Entry]]:
    groups: dict[tuple[str, ...], list[Entry]] = {}
    for entry in entries:
        key = (entry.base_model, entry.pair_id or entry.file)
        groups.setdefault(key, []).append(entry)
    return groups


def _snapshot(
    shipped: Iterable[Entry], own: Iterable[Entry], problems: Iterable[Problem]
) -> Catalog:
    own, problems = tuple(own), tuple(problems)
    entries = tuple(_merged(shipped, own))
    base_models = sorted({entry.base_model for entry in entries if entry.pair_id})
    pairs = {base_model: find_pairs(entries, base_model) for base_model in base_models}
    revision = hashlib.sha256(repr((entries, problems)).encode()).hexdigest()[:12]
    keys = frozenset((entry.base_model, entry.pair_id) for entry in own if entry.pair_id)
    return Catalog(entries, MappingProxyType(pairs), problems, revision, keys)
