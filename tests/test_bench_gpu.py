"""The GPU benchmark: every row runs, tiny and on the CPU, and says so where there is no card."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping

import pytest

from rig.bench_gpu import DEVICE, PARTS
from rig.server import ROOT

if not os.environ.get("DUALPASS_COMFYUI"):
    pytest.skip("needs a real ComfyUI: run `python3 dev.py test`", allow_module_level=True)

import torch
from comfyui_version import __version__

from rig.bench_gpu_size import upload_bytes
from rig.bench_trajectory import interval


def bench(env: Mapping[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "rig.bench", "--gpu"],
        cwd=ROOT / "tests", env={**os.environ, **env}, capture_output=True, text=True, timeout=3600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a card")
def test_without_a_card_every_row_is_skipped_by_name() -> None:
    said = bench({DEVICE: ""})
    for name, part in PARTS.items():
        assert f"GPU, {name}: skipped, torch finds no CUDA device here: {part.rows[0]}" in said
        assert all(row in said for row in part.rows)


@pytest.mark.skipif(__version__.startswith("0.18"), reason="the peers are those of 0.30")
def test_every_row_runs_tiny_on_the_cpu() -> None:
    has_gguf = bool(os.environ.get("COMFYUI_GGUF_DIR"))
    said = bench({DEVICE: "cpu"})
    skipped = [line for line in said.splitlines() if "skipped" in line or "ended early" in line]
    assert all("COMFYUI_GGUF_DIR" in line for line in skipped), skipped
    assert len(skipped) == (0 if has_gguf else 3)
    for row in {row for part in PARTS.values() for row in part.rows}:
        assert row in said


def test_bytes_uploaded_are_those_of_copies_from_the_host() -> None:
    events = (
        {"name": "Memcpy HtoD (Pinned -> Device)", "args": {"bytes": 4096}},
        {"name": "Memcpy HtoD (Pageable -> Device)", "args": {"bytes": 100}},
        {"name": "Memcpy DtoH (Device -> Pinned)", "args": {"bytes": 7}},
        {"name": "process_name", "ph": "M"},
    )
    assert upload_bytes(events) == 4196


@pytest.mark.parametrize("count, left_out", ((1, 0), (6, 0), (8, 0), (9, 1), (12, 2), (20, 5)))
def test_an_interval_leaves_out_what_is_rare_at_either_end(count: int, left_out: int) -> None:
    """As tables of the sign test have it, at 5 in 100."""
    assert interval(range(count)) == (left_out, count - 1 - left_out)
