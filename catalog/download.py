"""Fetch the files of a pair: made beside the loras folder, verified, and moved in whole."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from . import files
from .entries import Entry
from .header import HeaderError, read_header
from .hub import Cancelled as Cancelled
from .hub import DownloadError as DownloadError
from .hub import Record, Watch, disk_error, find_record, transfer
from .pairs import LoraPair
from .paths import PathError, safe_dest
from .workshop import BusyError, tidy, workshop

_largest = 16 * 2**30
_spare = 512 * 2**20


@dataclass(frozen=True)
class _Order:
    """One file to fetch: its place, sha256 and size in bytes. No record: it is there already."""

    entry: Entry
    dest: Path
    sha256: str
    size: int
    record: Record | None = None


def fetch_file(entry: Entry, folder: Path, watch: Watch, replace: bool = False) -> Path:
    """Download the file of an entry to its place below a loras folder, if it is not there.

    Blocks. A file of other contents gives way only with `replace`, and not before the new one is
    verified. Raises DownloadError, and then everything is as it was.
    """
    return _fetch([entry], folder, watch, replace, None)[0]


def fetch_pair(
    pair: LoraPair,
    folder: Path,
    watch: Watch,
    replace: bool = False,
    begin: Callable[[str], object] | None = None,
) -> tuple[Path, ...]:
    """The same for the files of a pair, watched as one; `begin` is told the name of each.

    What arrived before another file failed stays.
    """
    if pair.problem:
        raise DownloadError("CONFLICT", why=pair.problem)
    entries = {entry.file: entry for entry in pair.entries}
    return _fetch(list(entries.values()), folder, watch, replace, begin)


def shortage(free: int, size: int) -> int:
    """Bytes that a disk lacks to take `size` bytes and keep 512 MiB, or 2 % of them, free."""
    return max(0, size + max(_spare, size // 50) - free)


def _fetch(
    entries: Sequence[Entry],
    folder: Path,
    watch: Watch,
    replace: bool,
    begin: Callable[[str], object] | None,
) -> tuple[Path, ...]:
    orders = []
    for entry in entries:
        with _told(entry):
            orders.append(_order(entry, folder, watch, replace))
    _check_room(orders, folder)
    size, before = sum(order.size for order in orders), 0
    for order in orders:
        if begin:
            begin(order.dest.name)
        watch(before, size)
        with _told(order.entry):
            if order.record:
                _carry_out(order, order.record, folder, _shifted(watch, before, size), replace)
            else:
                tidy(folder, order.dest)
        before += order.size
    return tuple(order.dest for order in orders)


@contextmanager
def _told(entry: Entry) -> Iterator[None]:
    try:
        yield
    except BusyError:
        raise DownloadError("BUSY", entry) from None
    except OSError as error:
        raise disk_error(error, entry) from error


def _shifted(watch: Watch, before: int, size: int) -> Watch:
    """A watch of one file that tells of all."""
    return lambda done, _: watch(before + done, size)


def _order(entry: Entry, folder: Path, watch: Watch, replace: bool) -> _Order:
    """What there is to do for an entry. The Hub is not asked when the disk is answer enough."""
    dest = _dest(entry, folder)
    order = None if entry.sha256 else _asked(entry, dest, watch)
    if dest.exists():
        sha256, want = (order.sha256, order.size) if order else (entry.sha256, entry.size)
        size = dest.stat().st_size
        if size == (want or size) and files.sha256(dest, lambda: watch(0, 0)) == sha256:
            return _Order(entry, dest, sha256, size)
        if not replace:
            raise DownloadError("EXISTS_DIFFERENT", entry)
    return order or _asked(entry, dest, watch)


def _dest(entry: Entry, folder: Path) -> Path:
    if not folder.is_dir():
        raise DownloadError("FOLDER", why="it does not exist")
    try:
        return safe_dest(folder, entry.file)
    except PathError as error:
        # A page may show this, so it does not say where the folder is.
        why = str(error).replace(f"{os.path.abspath(folder)}{os.sep}", "")
        raise DownloadError("NAME", why=why) from error


def _asked(entry: Entry, dest: Path, watch: Watch) -> _Order:
    """The order as the Hub's record completes it. What contradicts the catalog is refused here."""
    record = find_record(entry, lambda: watch(0, 0))
    for want, got in ((entry.sha256, record.sha256), (entry.size, record.size)):
        if want and got and want != got:
            raise DownloadError("HASH.repo", entry, got=got, want=want)
    sha256, size = entry.sha256 or record.sha256, record.size or entry.size
    if not sha256:
        raise DownloadError("NO_HASH", entry)
    if not size:
        raise DownloadError("NO_SIZE", entry)
    if size > _largest:
        raise DownloadError("TOO_LARGE", entry, why=_amount(size))
    return _Order(entry, dest, sha256, size, record)


def _check_room(orders: Sequence[_Order], folder: Path) -> None:
    missing = [order for order in orders if order.record]
    size, free = sum(order.size for order in missing), shutil.disk_usage(folder).free
    if missing and (lack := shortage(free, size)):
        entry = missing[0].entry
        raise DownloadError("DISK_FULL", entry, want=_amount(free + lack), got=_amount(free))


def _amount(size: int) -> str:
    return f"{size / 1e9:.2f} GB"


def _carry_out(order: _Order, record: Record, folder: Path, watch: Watch, replace: bool) -> None:
    with workshop(folder, order.dest) as work:
        # Not under its own name: ComfyUI lists whatever is called .safetensors.
        part = work / "part"
        transfer(order.entry, record, part, order.size, watch)
        _verify(order, part, lambda: watch(order.size, order.size))
        _install(order, part, replace)


def _verify(order: _Order, part: Path, step: Callable[[], object]) -> None:
    got = files.sha256(part, step)
    if got != order.sha256:
        raise DownloadError("HASH", order.entry, got=got, want=order.sha256)
    try:
        read_header(part)
    except HeaderError as error:
        why = str(error).replace(part.name, order.dest.name, 1)
        raise DownloadError("FILE", order.entry, why=why) from error


def _install(order: _Order, part: Path, replace: bool) -> None:
    """Move a verified file to its place, where until this instant the old one is."""
    order.dest.parent.mkdir(parents=True, exist_ok=True)
    if order.dest.exists() and not replace:
        raise DownloadError("EXISTS_DIFFERENT", order.entry)
    try:
        files.replace_file(part, order.dest)
    except PermissionError as error:
        if order.dest.exists():
            raise DownloadError("IN_USE", order.entry) from error
        raise
    files.sync_folder(order.dest.parent)
