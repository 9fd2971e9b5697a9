"""Text on the terminal, in whatever encoding it has, and the progress of a download."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from ..jobs import Pace

_largest = 4 * 2**20


def set_streams() -> None:
    """Let every character be written somehow: one that the console lacks as its number."""
    for stream in (sys.stdout, sys.stderr):
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors="backslashreplace")


def say(text: str) -> None:
    """A result, on a line of its own."""
    sys.stdout.write(f"{text}\n")


def say_json(value: Any) -> None:
    """A result for machines, in ASCII so that no encoding harms it."""
    say(json.dumps(value, indent=2, allow_nan=False))


def tell(text: str) -> None:
    """A remark beside the result."""
    sys.stderr.write(f"{text}\n")


def load_text(file: str) -> str:
    """The text of a file, or of the standard input for `-`. Raises ValueError and OSError."""
    if file == "-":
        raw = sys.stdin.buffer.read(_largest + 1)
    else:
        with Path(file).open("rb") as opened:
            raw = opened.read(_largest + 1)
    if len(raw) > _largest:
        raise ValueError(f"{file} has more than 4 MiB. That is none of the texts that belong here.")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is not UTF-8 at byte {error.start}. Save it as UTF-8.") from error


def shut_up() -> None:
    """After the reader of a pipe has gone: write what is left to nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def bytes_text(count: float) -> str:
    """Bytes for eyes, in units of 1000 as download pages have them."""
    if count < 1e6:
        return f"{count / 1e3:.0f} kB"
    return f"{count / 1e6:.1f} MB" if count < 1e9 else f"{count / 1e9:.2f} GB"


class Progress:
    """The progress of a download: one line that changes on a terminal, elsewhere one now and then.

    Called with the bytes that have arrived and those there will be, 0 while that is not known.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._live = stream.isatty()
        self._pause = 0.2 if self._live else 10.0
        self._due = clock()
        self._pace = Pace()
        self._width = 0

    def __call__(self, done: int, size: int) -> None:
        now = self._clock()
        self._pace.note(now, done)
        if now >= self._due or done == size:
            self._due = now + self._pause
            self._show(self._text(now, done, size))

    def close(self) -> None:
        """Leave the line that changes as it is, and begin another."""
        if self._width:
            self._stream.write("\n")
            self._width = 0

    def _text(self, now: float, done: int, size: int) -> str:
        speed, left = self._pace.speed(now), round(self._pace.left(now, size) or 0)
        text = bytes_text(done) + (f" of {bytes_text(size)}" if size else "")
        text += f", {bytes_text(speed)}/s" if speed else ""
        return f"{text}, {left // 60}:{left % 60:02} left" if left else text

    def _show(self, text: str) -> None:
        if self._live:
            self._stream.write(f"\r{text:{self._width}}")
            self._width = len(text)
        else:
            self._stream.write(f"{text}\n")
        self._stream.flush()
