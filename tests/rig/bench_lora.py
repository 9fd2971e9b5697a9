"""The benchmark of LoRAs: counted first, then timed, each measure beside its peer's real code."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rig.bench_lora_figure import PREFIX, Line, read
from rig.server import ROOT

PARTS = ("merging", "gguf", "loading", "forward", "live", "adding_up")
LIMIT = 240  # s for a part


def loras() -> Iterator[Line]:
    """Each part in a process that holds ComfyUI on the CPU, so that one can fail alone."""
    for part in PARTS:
        yield from measured(part)


def measured(part: str) -> Iterator[Line]:
    """The lines of a part, and why there are no more of them."""
    with tempfile.TemporaryFile() as log, running(part, log.fileno()) as process:
        assert process.stdout
        for text in process.stdout:
            if text.startswith(PREFIX):
                yield read(text.removeprefix(PREFIX))
        if code := process.wait():
            log.seek(0)
            said = log.read().decode(errors="replace").strip().splitlines()[-3:]
            yield f"{part}: not measured to the end (exit status {code}).\n" + "\n".join(said)


@contextmanager
def running(part: str, log: int) -> Iterator[subprocess.Popen[str]]:
    """The process of a part, which does not outlive the block or LIMIT."""
    process = subprocess.Popen(
        [sys.executable, "-m", "rig.bench_lora_child", part],
        cwd=ROOT / "tests",
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True,
    )  # fmt: skip
    watch = threading.Timer(LIMIT, process.kill)
    watch.start()
    try:
        yield process
    finally:
        watch.cancel()
        process.kill()
        process.wait()
