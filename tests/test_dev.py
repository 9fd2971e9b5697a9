"""The commands of dev.py as a developer gives them, in a process of their own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from rig.server import ROOT


def dev(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "dev.py"), *arguments]
    return subprocess.run(
        command, env={**os.environ, **env}, capture_output=True, text=True, timeout=1200
    )


def test_the_demo_ends_with_the_video_the_report_and_the_schedule() -> None:
    """On the user's own ComfyUI, which here is the one under test; nothing is made anew."""
    if "DUALPASS_COMFYUI" not in os.environ:
        pytest.skip("needs a real ComfyUI: run `python3 dev.py test`")
    done = dev("demo", COMFYUI_DIR=os.environ["DUALPASS_COMFYUI"])
    assert done.returncode == 0, done.stdout + done.stderr
    (video,) = re.findall(r"^video: (.+\.mp4)$", done.stdout, re.MULTILINE)
    assert Path(video).stat().st_size > 0
    progress, _, results = done.stdout.partition("video:")
    assert "SVIProDualSampler        [####################] 4/4" in progress
    assert results.count("20 of 20 modules") == 2
    assert "hand-over: sigma 0.9375 to 0.8333" in results
    assert re.search(r"all reused in .* s, done in .* s", results)
    Path(video).unlink()


def test_a_step_that_fails_says_which_and_what_to_do(tmp_path: Path) -> None:
    done = dev("setup", COMFYUI_DIR=str(tmp_path))
    assert done.returncode == 1
    assert f"COMFYUI_DIR={tmp_path} holds no main.py. Point it at" in done.stderr
    assert "Traceback" not in done.stderr
