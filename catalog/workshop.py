"""A folder of our own beside the loras folder, in which a file waits until it is whole."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

_name = ".dualpass"
_lock = re.compile(r"[0-9a-f]{16}\.lock")
_stale = 24 * 3600


class BusyError(Exception):
    """Somebody else, in this program or another, is making the same file."""


@contextmanager
def workshop(folder: Path, dest: Path) -> Iterator[Path]:
    """An empty folder from which os.replace reaches `dest`, a path below `folder`; gone at the end.

    It lies in .dualpass beside `folder`, or inside where the parent is on another volume or not
    writable. What a killed download of the same file left is removed now, what others left after
    a day. Raises BusyError, and OSError when no folder can be made.
    """
    home = _home(dest)
    beside, inside = _sheds(folder, home)
    with ExitStack() as stack:
        try:
            work = stack.enter_context(_bench(beside, dest, home))
        except OSError:
            work = stack.enter_context(_bench(inside, dest, home))
        yield work


def tidy(folder: Path, dest: Path) -> None:
    """Remove what is left of a download that was killed after `dest` had its place."""
    for shed in _sheds(folder, _home(dest)):
        if (shed / _lock_name(dest)).exists():
            with suppress(BusyError, OSError), _bench(shed, dest, _home(dest)):
                pass
        with suppress(OSError):
            shed.rmdir()


def _home(dest: Path) -> Path:
    """The folder that `dest` lies in, or will when its folders are made."""
    return next(place for place in dest.parents if place.is_dir())


def _sheds(folder: Path, home: Path) -> tuple[Path, Path]:
    return Path(os.path.realpath(folder)).parent / _name, home / _name


def _lock_name(dest: Path) -> str:
    return hashlib.sha256(os.fsencode(os.path.normcase(dest))).hexdigest()[:16] + ".lock"


@contextmanager
def _bench(shed: Path, dest: Path, home: Path) -> Iterator[Path]:
    lock = shed / _lock_name(dest)
    try:
        shed.mkdir(exist_ok=True)
        with _locked(lock):
            _clear(lock)
            _sweep(shed)
            # Nobody else's even where locks do not work, as on some network drives.
            work = shed / f"{lock.stem}.{secrets.token_hex(8)}"
            work.mkdir()
            try:
                _check_reach(work, home / f"{_name}-{lock.stem}")
                yield work
            finally:
                shutil.rmtree(work, ignore_errors=True)
    finally:
        with suppress(OSError):
            shed.rmdir()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """To the one who has this file, which is gone at the end. The system frees a dead one's."""
    from filelock import FileLock, Timeout

    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise BusyError from None
    try:
        yield
    finally:
        # Never the next one's: POSIX can remove what we still have open, Windows only what nobody
        # has open.
        with suppress(OSError):
            path.unlink()
        lock.release()
        with suppress(OSError):
            if os.name == "nt":
                path.unlink()


def _check_reach(work: Path, probe: Path) -> None:
    """OSError unless a file moves from one place to the other in one step.

    Two mounts of one volume, which containers have, look the same to everything but a move.
    """
    with suppress(OSError):
        probe.rmdir()
    os.rename(work, probe)
    os.rename(probe, work)


def _sweep(shed: Path) -> None:
    """Remove what was left long ago by downloads that were killed and never asked for again."""
    for lock in filter(_is_stale, shed.glob("*.lock")):
        with suppress(OSError, BusyError), _locked(lock):
            _clear(lock)


def _is_stale(lock: Path) -> bool:
    with suppress(OSError):
        return bool(_lock.fullmatch(lock.name)) and time.time() - lock.stat().st_mtime > _stale
    return False


def _clear(lock: Path) -> None:
    """Remove the folders that downloads of one file left; whoever calls has its lock."""
    for left in lock.parent.glob(f"{lock.stem}.{'[0-9a-f]' * 16}"):
        shutil.rmtree(left, ignore_errors=True)
