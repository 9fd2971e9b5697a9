"""What `dev.py lint` runs: ruff, the type check, and the direction of the imports."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from rig.server import ROOT, link

CHECKS = {
    "ruff check": ["ruff", "check", "."],
    "mypy dev.py and the rig": ["mypy", "dev.py", "tests/rig"],
    "layers": ["pytest", "-q", "tests/test_layers.py"],
}


def failures() -> Iterator[str]:
    """The name of each check that does not pass."""
    for name, command in CHECKS.items():
        print(f"\n== {name}", flush=True)
        if subprocess.call([sys.executable, "-m", *command], cwd=ROOT):
            yield name
    print("\n== mypy the pack", flush=True)
    if check_pack_types():
        yield "mypy the pack"


def check_pack_types() -> int:
    """mypy on the checkout under the name `pack`: the folder's own may be no package name."""
    with tempfile.TemporaryDirectory() as folder:
        link(ROOT, Path(folder) / "pack")
        config = f"--config-file={ROOT / 'pyproject.toml'}"
        return subprocess.call(
            [sys.executable, "-m", "mypy", config, "-p", "pack.catalog", "-p", "pack.nodes"],
            cwd=folder,
            env={**os.environ, "MYPYPATH": folder},
        )


def main() -> None:
    if failed := list(failures()):
        sys.exit(f"\nlint failed: {', '.join(failed)}")
    print("\nlint: all good")


if __name__ == "__main__":
    main()
