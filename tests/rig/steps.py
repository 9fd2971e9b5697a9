"""Steps of the setup: one line when a step starts, signs of life, its seconds when it is done."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

WIDTH = 79


class StepFailed(Exception):
    """What failed, why, and what to do about it."""


def run_step(
    title: str,
    command: Sequence[str | Path],
    advice: str,
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    limit: float = 3600,
) -> None:
    """Run `command` to its end, at most `limit` seconds. Raises StepFailed with its last lines."""
    print(f"{title} ...", flush=True)
    started = time.monotonic()
    process = subprocess.Popen(
        command, cwd=cwd, env=env, text=True, errors="replace",
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    lines: deque[str] = deque(maxlen=15)
    reader = threading.Thread(target=lambda: lines.extend(process.stdout or ()), daemon=True)
    reader.start()
    try:
        code = watch(process, lines, started, limit)
    finally:
        process.kill()
        process.wait()
        reader.join(5)
    if code != 0:
        why = "".join(lines).strip() or f"exit status {code}"
        raise StepFailed(f"{title}: failed.\n{why}\n\nWhat to do: {advice}")
    done = f"{title}: done in {time.monotonic() - started:.1f} s"
    print(f"{done:<{WIDTH}}", flush=True)  # over the last sign of life


def watch(process: subprocess.Popen[str], lines: deque[str], started: float, limit: float) -> int:
    """Wait for the process while showing its last line; its exit status, or 124 past `limit`."""
    pause = 0.5 if sys.stdout.isatty() else 10
    while (seconds := time.monotonic() - started) < limit:
        try:
            return process.wait(timeout=pause)
        except subprocess.TimeoutExpired:
            show(f"  {seconds:.0f} s  {lines[-1].strip() if lines else ''}")
    lines.append(f"stopped after {limit:.0f} s")
    return 124


def show(text: str) -> None:
    """A sign of life: a line that the next one replaces on a terminal, a new line elsewhere."""
    line = text[:WIDTH]
    if sys.stdout.isatty():
        print(f"{line:<{WIDTH}}", end="\r", flush=True)
    else:
        print(line, flush=True)


@contextmanager
def locked(path: Path, limit: float = 3600) -> Iterator[None]:
    """Hold the lock file; the system lets go of it when the process ends, however it ends."""
    with path.open("a+") as file:
        started = time.monotonic()
        while not try_lock(file):
            if time.monotonic() - started > limit:
                raise StepFailed(f"Another setup has held {path} for {limit:.0f} s. End it first.")
            print("  waiting for another setup to finish ...", flush=True)
            time.sleep(5)
        yield


def try_lock(file: IO[str]) -> bool:
    """Whether the exclusive lock on this open file is ours now."""
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
