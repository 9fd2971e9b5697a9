"""All that is written below the user's folder: whole or not at all, one writer at a time."""

from __future__ import annotations

import json
import os
import re
import secrets
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import fields
from pathlib import Path
from typing import IO, Any

from .entries import CatalogError, Entry, read_entries
from .files import replace_file, sync_folder
from .pairs import find_pairs

_names = ("models.json", "loras.json")
_own = _names[1]
_counted = re.compile(r"((?:\d{1,9}\.)*)(\d{1,9})", re.ASCII)
_patience = 10.0
_stale = 600.0


class UserError(ValueError):
    """Something in the user's folder that cannot be written; the message says why."""


def write_json(
    path: Path, data: Mapping[str, Any], check: Callable[[Path], object] | None = None
) -> None:
    """Put data in a file of the user's in one step: a reader sees the old text or the new.

    A link is kept, and what it leads to is replaced. `check` may look at the new file, and raise,
    before the old one is gone. Raises UserError when the disk does not take it.
    """
    # What backslashes stand for here are lone surrogates, which JSON can hold only like that.
    text = json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    with _told(path.name):
        _write(Path(os.path.realpath(path)), text.encode(errors="backslashreplace"), check)


@contextmanager
def locked(user: Path) -> Iterator[None]:
    """Whoever reads a file of the user's folder and writes it anew does both inside of this.

    Raises UserError when another thread or process is at it for 10 seconds.
    """
    with _told("Your folder"):
        user.mkdir(parents=True, exist_ok=True)
        file = (user / ".lock").open("ab")
    # The system lets go of the lock when the file is closed or its holder dies.
    with file:
        due = time.monotonic() + _patience
        while not _is_ours(file):
            if time.monotonic() > due:
                raise UserError("Another program writes into your folder. Try again in a moment.")
            time.sleep(0.02)
        _sweep(user)
        yield


def add_entries(user: Path, entries: Sequence[Entry], today: str) -> bool:
    """Add entries to the user's loras.json; `today` is a date such as 2026-11-21.

    What is there stays, known fields or not. An entry that is there already keeps its place and
    takes what the new one says of it. Whether that changed anything is returned. Raises UserError
    when a pair is there with other files, and CatalogError, which knows line and column, when a
    file of the user's is not strict JSON. Nothing is written then.
    """
    with locked(user):
        own = {name: {_key(entry): entry for entry in _read(user / name)} for name in _names}
        there = [entry for known in own.values() for entry in known.values()]
        new = [entry for entry in entries if not any(_key(entry) in own[name] for name in own)]
        _check_conflicts([*there, *new], new)
        changed = {}
        for name, known in own.items():
            data, added = _load(user / name), new if name == _own else []
            if _renew(data, known, entries) or added:
                _grow(data, added, today)
                changed[user / name] = data
        for path, data in changed.items():
            write_json(path, data, _checked)
        return bool(changed)


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Names what the system did not do, without saying where it lies: pages show this."""
    try:
        yield
    except OSError as error:
        why = error.strerror or error
        text = f"{what} cannot be written ({why}). See that it is yours and the disk has room."
        raise UserError(text) from error


def _write(target: Path, text: bytes, check: Callable[[Path], object] | None) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if check:
            check(temporary)
        with suppress(FileNotFoundError):
            temporary.chmod(target.stat().st_mode & 0o777)
        replace_file(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(target.parent)


if sys.platform == "win32":
    import msvcrt

    def _is_ours(file: IO[bytes]) -> bool:
        with suppress(OSError):
            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            return True
        return False

else:
    import fcntl

    def _is_ours(file: IO[bytes]) -> bool:
        with suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        return False


def _sweep(user: Path) -> None:
    """Remove what a writer left that was killed."""
    for left in user.glob(".*.json.*.tmp"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > _stale:
                left.unlink()


def _read(path: Path) -> tuple[Entry, ...]:
    return read_entries(path)[0] if os.path.lexists(path) else ()


def _load(path: Path) -> dict[str, Any]:
    """A file that has been checked, as it stands; no file is an empty one."""
    return json.loads(path.read_bytes().decode("utf-8-sig")) if os.path.lexists(path) else {}


def _key(entry: Entry) -> tuple[str, ...]:
    return entry.base_model, entry.pair_id, entry.pair_role, entry.file


def _check_conflicts(entries: Sequence[Entry], new: Sequence[Entry]) -> None:
    changed = {(entry.base_model, entry.pair_id) for entry in new if entry.pair_id}
    for base_model in sorted({base_model for base_model, _ in changed}):
        for pair in find_pairs(entries, base_model):
            if pair.problem and (base_model, pair.pair_id) in changed:
                raise UserError(f"Your catalog would contradict itself. {pair.problem}")


def _renew(
    data: dict[str, Any], known: Mapping[tuple[str, ...], Entry], entries: Iterable[Entry]
) -> bool:
    """Write into a file's data, in place, what entries say anew; whether there was anything."""
    news: dict[tuple[str, ...], dict[str, Any]] = {}
    for entry in entries:
        old, said = known.get(_key(entry)), _as_json(entry)
        if old:
            news[_key(entry)] = {
                field: value
                for field, value in said.items()
                if getattr(old, field) != getattr(entry, field)
            }
    lists = (value for value in data.values() if isinstance(value, list))
    for raw in (raw for each in lists for raw in each if isinstance(raw, dict)):
        raw |= news.get(_raw_key(raw), {})
    return any(news.values())


def _raw_key(raw: Mapping[str, Any]) -> tuple[str, ...]:
    """The key of an entry as its file has it, where case and blanks of the role do not count."""
    base_model, pair_id, role, file = map(raw.get, ("base_model", "pair_id", "pair_role", "file"))
    return str(base_model), str(pair_id or ""), str(role or "").strip().lower(), str(file)


def _grow(data: dict[str, Any], entries: Sequence[Entry], today: str) -> None:
    head = {"version": _next(data.get("version")), "date": today}
    rest = {key: value for key, value in data.items() if key not in head}
    data.clear()
    data |= head | rest
    if entries and not isinstance(data.setdefault("loras", []), list):
        raise UserError(f"loras in your {_own} is no list. Correct that first.")
    if entries:
        data["loras"].extend(map(_as_json, entries))


def _next(version: object) -> str:
    """The version after this one: its last number one higher."""
    counted = _counted.fullmatch(version) if isinstance(version, str) else None
    return f"{counted[1]}{int(counted[2]) + 1}" if counted else "1"


def _as_json(entry: Entry) -> dict[str, Any]:
    """An entry as a file has it, without what nobody said."""
    values = {field.name: (getattr(entry, field.name), field.default) for field in fields(Entry)}
    said = {name: value for name, (value, unsaid) in values.items() if value != unsaid}
    return {name: _plain(value) for name, value in ({"dest": entry.dest} | said).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(map(_plain, value))
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _checked(path: Path) -> None:
    try:
        read_entries(path)
    except CatalogError as error:
        raise UserError(f"Your catalog cannot take more: {error.problem.text}") from error
