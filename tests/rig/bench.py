"""What `dev.py bench` runs: each figure beside its peer, and whether it is good enough."""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from rig.client import ServerError, tail
from rig.server import launch, make_base, own_packs

RUNS = 3


class Figure(NamedTuple):
    """One measurement; good while figure / peer stays at or below `limit`."""

    name: str
    figure: float
    peer: float
    limit: float


def start_up() -> Iterator[Figure]:
    """Seconds to import the pack, as ComfyUI logs them, beside its whole start."""
    imports, starts = zip(*(timed_start() for _ in range(RUNS)), strict=True)
    yield Figure("import of the pack / start of ComfyUI, s", min(imports), min(starts), 0.02)


def timed_start() -> tuple[float, float]:
    """(seconds for the pack, seconds in all) of one start that ends by itself."""
    with tempfile.TemporaryDirectory(prefix="dualpass-") as folder:
        base, log = Path(folder, "base"), Path(folder, "log")
        make_base(base, own_packs())
        started = time.monotonic()
        with log.open("wb") as file:
            launch(base, 0, ["--quick-test-for-ci"], file).wait(timeout=180)
        seconds = time.monotonic() - started
        found = re.search(r"([\d.]+) seconds: .*custom_nodes.dualpass", log.read_text())
        if not found:
            raise ServerError(f"The pack was not imported.\n{tail(log)}")
        return float(found[1]), seconds


BENCHES = (start_up,)


def main() -> None:
    print(f"{'name':<42}{'figure':>8}{'peer':>8}{'ratio':>8}  mark")
    for bench in BENCHES:
        for name, figure, peer, limit in bench():
            mark = "ok" if figure <= limit * peer else f"over {limit}"
            print(f"{name:<42}{figure:>8.2f}{peer:>8.2f}{figure / peer:>8.3f}  {mark}", flush=True)


if __name__ == "__main__":
    main()
