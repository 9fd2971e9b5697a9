"""What the disk is asked for in one way only: a new file in an old one's place, and its sha256."""

from __future__ import annotations

import errno
import hashlib
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_block = 4 * 2**20


def replace_file(new: Path, target: Path) -> None:
    """Give a file the place of another in one step. Raises OSError when the system does not."""
    # Windows refuses for the moment in which a reader or a virus scanner has one of them open.
    for _ in range(20 if os.name == "nt" else 0):
        with suppress(PermissionError):
            os.replace(new, target)
            return
        time.sleep(0.1)
    os.replace(new, target)


def sync_folder(folder: Path) -> None:
    """Have the new name of a file survive a power cut, where folders can be opened for that."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        except OSError as error:  # some network disks sync no folders, and say so in two ways
            if error.errno not in (errno.EINVAL, errno.EBADF):
                raise
        finally:
            os.close(descriptor)


def sha256(path: Path, step: Callable[[], object] = lambda: None) -> str:
    """The sha256 of a file in lower case; `step` is called after every 4 MiB, and may raise."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_block):
            digest.update(block)
            step()
    return digest.hexdigest()
