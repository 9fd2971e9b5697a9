"""The GPU benchmark: two experts of 14B, made on the card, ours beside core's and GGUF's.

It is for one card with 80 GB or more. The marks of LoRAs are predicted from counted bytes (they say
so) until a run on a card has replaced them.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from rig.bench_lora_figure import PREFIX, Line, read

# Set to `cpu`, everything runs there at a tiny size, to try the code; the figures mean nothing.
DEVICE = "DUALPASS_BENCH_DEVICE"


class Part(NamedTuple):
    """What one process measures: its rows, by name, and the seconds it may take at most."""

    rows: tuple[str, ...]
    seconds: int


_LAYERS = ("bypass14b", "atuse_vs_bypass14b", "peak_vram", "gguf14b_forward", "fp8_14b")
_PAIR = ("e2e_dual", "strength14b", "pair_switch", "peak_vram", "schedule")
PARTS = {
    "merging": Part(("merge14b_dynamic", "merge14b_legacy", "factor_h2d"), 70),
    "forward": Part((*_LAYERS, "compile14b"), 110),
    "q4_k": Part(_PAIR, 100),
    "fp8": Part(_PAIR, 100),
    "bf16": Part(_PAIR, 170),
    "bf16_legacy": Part(("strength14b", "schedule"), 80),
    "trajectory": Part(("trajectory14b",), 480),
}


def gpu(names: Sequence[str] = ()) -> Iterator[Line]:
    """These parts or all, each in a process of its own, so that none keeps memory from the next."""
    why, parts = reason_to_skip(), {name: PARTS[name] for name in names or PARTS}
    if why:
        for name, part in parts.items():
            yield f"GPU, {name}: skipped, {why}: {', '.join(part.rows)}"
        return
    where = "tiny, on the CPU: no figure counts" if os.environ.get(DEVICE) else "GPU"
    yield f"{where}; the marks of LoRAs are predicted:"
    with tempfile.TemporaryDirectory(prefix="dualpass-", ignore_cleanup_errors=True) as folder:
        for name, part in parts.items():
            yield from measured(name, part, folder)


def reason_to_skip() -> str:
    """Why nothing can be measured here, if so."""
    if os.environ.get(DEVICE) == "cpu":
        return ""
    import torch

    if not torch.cuda.is_available():
        return "torch finds no CUDA device here"
    total = torch.cuda.get_device_properties(0).total_memory / 2**30
    return "" if total > 70 else f"the card has {total:.0f} GiB, it needs 80"


def measured(name: str, part: Part, folder: str) -> Iterator[Line]:
    """The lines of a part; a row that none of them is about is named with the reason."""
    said: list[str] = []
    # Tried on a CPU, it takes as long as that machine needs.
    seconds = 3600 if os.environ.get(DEVICE) else part.seconds
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "rig.bench_gpu_child", name, str(seconds), folder],
            cwd=Path(__file__).parents[1],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True,
        )  # fmt: skip
        watch = threading.Timer(seconds, process.kill)
        watch.start()
        try:
            assert process.stdout
            for text in process.stdout:
                if text.startswith(PREFIX):
                    line = read(text.removeprefix(PREFIX))
                    said.append(str(line))
                    yield line
            code = process.wait()
        finally:
            watch.cancel()
            process.kill()
            process.wait()
        missing = [row for row in part.rows if not any(row in line for line in said)]
        if code:
            log.seek(0)
            last = "\n".join(log.read().decode(errors="replace").strip().splitlines()[-3:])
            yield f"GPU, {name}: ended early (exit status {code}), without {missing}.\n{last}"
