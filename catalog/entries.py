"""One file of the catalog, read strictly: every complaint has a line, a column and a remedy."""

from __future__ import annotations

import json
import re
import stat
from bisect import bisect
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .fields import readers
from .strict_json import check, children, spelled

_largest = 4 * 1024 * 1024
_most = 5000
_not_categories = {"version", "date", "$schema"}
# A slip in one of these costs the field, in any other the entry.
_forgiven = {"name", "size_gb", "tags", "hf_repo", "hf_file", "trigger", "notes"}


@dataclass(frozen=True)
class Problem:
    """What is wrong at one place of one catalog file, and what to do about it."""

    source: str
    line: int
    column: int
    field: str
    text: str

    def __str__(self) -> str:
        return f"{self.source}:{self.line}:{self.column}: {self.text}"


class CatalogError(ValueError):
    """A catalog file of which nothing can be used; `problem` says where and why."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One file: which pass of which model it serves, where it comes from, how it likes to run.

    `size` is in bytes, `strength` is (high, low); empty and None mean that nobody said.
    """

    name: str = ""
    file: str
    dest: str = "loras"
    source: str = ""
    size_gb: float | None = None
    base_model: str
    tags: tuple[str, ...] = ()
    pair_id: str = ""
    pair_role: str = ""
    hf_repo: str = ""
    hf_file: str = ""
    sha256: str = ""
    size: int | None = None
    revision: str = ""
    kind: str = ""
    strength: tuple[float, float] = (1.0, 1.0)
    steps: int | None = None
    cfg: float | None = None
    shift: float | None = None
    sampler: str = ""
    scheduler: str = ""
    trigger: str = ""
    same_as: str = ""
    notes: str = ""


def read_entries(path: Path) -> tuple[tuple[Entry, ...], tuple[Problem, ...]]:
    """The usable entries of one file in order, and a problem for all that is not usable.

    Raises CatalogError if the file as a whole cannot be read or is not strict JSON.
    """
    source = f"{path.parent.name}/{path.name}"
    text = load_text(path, source)
    entries: list[Entry] = []
    problems: list[Problem] = []
    try:
        check(text)
        starts = [0] + [newline.end() for newline in re.finditer("\n", text)]
        for place, entry, slips in _listed(text):
            entries += [entry] if entry else []
            problems += _problems(source, text, starts, place, slips) if slips else []
    except json.JSONDecodeError as error:
        raise CatalogError(Problem(source, error.lineno, error.colno, "", error.msg)) from error
    return tuple(entries), tuple(problems)


def load_text(path: Path, source: str) -> str:
    """The text of a file of at most 4 MiB. Raises CatalogError, which calls it `source`."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > _largest:
            raise OSError("not a regular file of at most 4 MiB")
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        column = error.start - error.object.rfind(b"\n", 0, error.start)
        slip = "This byte is not UTF-8. Save the file as UTF-8."
        raise CatalogError(Problem(source, line, column, "", slip)) from error
    except OSError as error:
        slip = f"The file cannot be read ({error.strerror or error}). Replace or remove it."
        raise CatalogError(Problem(source, 1, 1, "", slip)) from error


def _listed(text: str) -> Iterator[tuple[int, Entry | None, list[tuple[str, str]]]]:
    """The place of each entry, what came of it, and each complaint as (field, text)."""
    top = list(children(text, text.index("{")))
    count = 0
    for (_, category), (place, value) in zip(top[::2], top[1::2], strict=True):
        if category in _not_categories:
            continue
        if not isinstance(value, list):
            yield place, None, [("", f"{category!r:.80} is no list of entries. It is ignored.")]
            continue
        count += len(value)
        if count > _most:
            raise json.JSONDecodeError(f"More than {_most} entries; remove some.", text, place)
        for at, raw in children(text, place):
            yield at, *_parsed(raw)


def _problems(
    source: str, text: str, starts: list[int], place: int, slips: list[tuple[str, str]]
) -> Iterator[Problem]:
    keys = {key: at for at, key in list(children(text, place))[::2]} if text[place] == "{" else {}
    for field, slip in slips:
        at = keys.get(field, place)
        line = bisect(starts, at)
        yield Problem(source, line, at - starts[line - 1] + 1, field, slip)


def _parsed(raw: Any) -> tuple[Entry | None, list[tuple[str, str]]]:
    """The entry unless it is unusable, and what is wrong."""
    if not isinstance(raw, dict):
        return None, [("", "An entry must be an object in curly brackets. It is left out.")]
    values: dict[str, Any] = {}
    slips: list[tuple[str, str]] = []
    for field, value in raw.items():
        if value is None or value == "":
            continue
        if field not in readers:
            slips.append((field, f"{field!r:.80} is no field of an entry. It is ignored."))
            continue
        try:
            values[field] = readers[field](value)
        except ValueError as error:
            cost = "field is ignored" if field in _forgiven else "entry is left out"
            slips.append((field, f"{field} {error}; it is {spelled(value)}. The {cost}."))
    slips += _gaps(raw, values)
    fatal = {field for field, _ in slips} & (readers.keys() - _forgiven)
    return None if fatal else Entry(**values), slips


def _gaps(raw: dict[str, Any], values: dict[str, Any]) -> list[tuple[str, str]]:
    needed = ["file", "base_model"] + ["pair_role"] * ("pair_id" in values)
    missing = [field for field in needed if raw.get(field) in (None, "")]
    slips = [(field, f"{field} is missing. The entry is left out.") for field in missing]
    if "pair_id" in values and values.get("dest", "loras") != "loras":
        slips.append(("dest", "dest must be loras for a file of a pair. The entry is left out."))
    return slips
