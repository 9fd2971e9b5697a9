"""Processes that are killed where they are sure to be in the middle of something."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any


def die_before(function: Any) -> None:
    """Have this process killed when it is about to call a function that is not Python's own."""

    def note(_frame: Any, event: str, called: Any) -> None:
        if event == "c_call" and called is function:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(note)


def grown_old(folder: Path) -> None:
    """What is half written there is as if nobody had written it for long."""
    for path in folder.rglob(".*.part.*"):
        os.utime(path, (1, 1))
