"""What `dev.py bench` runs: each figure beside its peer, and whether it is good enough."""

from __future__ import annotations

import argparse
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from rig.bench_figure import HEADER, Figure, at_most
from rig.bench_gpu import PARTS, gpu
from rig.bench_load import route_load
from rig.bench_lora import loras, measured
from rig.bench_lora_figure import Line
from rig.bench_lora_report import write_plot, write_table
from rig.bench_picker import picker_list
from rig.client import ServerError, tail
from rig.server import launch, make_base, own_packs

RUNS = 3


def start_up() -> Iterator[Figure]:
    """Seconds to import the pack, as ComfyUI logs them, beside its whole start."""
    imports, starts = zip(*(timed_start() for _ in range(RUNS)), strict=True)
    share = min(imports) / min(starts)
    yield Figure("import of the pack / start of ComfyUI, s", min(imports), min(starts))
    yield at_most(0.02, "  the part of it", share)


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


def trajectory() -> Iterator[Line]:
    """Both experts in one run, beside core's two sampler nodes and those of other packs."""
    yield from measured("trajectory")
    yield from measured("samplers")


BENCHES: tuple[Callable[[], Iterator[Line]], ...] = (
    start_up,
    route_load,
    picker_list,
    loras,
    trajectory,
)


def main() -> None:
    """Print what each finds; what can not be measured here says so, and the others go on."""
    asked, started = arguments(), time.monotonic()
    print(f"{loads()}\n{HEADER}", flush=True)
    lines: list[Line] = []
    benches = {bench.__name__: bench() for bench in BENCHES if asked.only in (None, bench.__name__)}
    for name, found in benches.items() if asked.gpu is None else [("gpu", gpu(asked.gpu))]:
        lines.extend(printed(name, found))
    print(f"{loads()}, {time.monotonic() - started:.0f} s in all")
    if asked.table:
        write_table(asked.table, lines)
    if asked.plot:
        write_plot(asked.plot, lines)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="dev.py bench")
    parser.add_argument(
        "--gpu", nargs="*", choices=PARTS, help="only 14B on a card of 80 GB; all, or these parts"
    )
    parser.add_argument("--only", choices=[bench.__name__ for bench in BENCHES])
    parser.add_argument("--table", type=Path, help="write all figures as Markdown")
    parser.add_argument("--plot", type=Path, help="write the ratios to the peers as SVG")
    return parser.parse_args()


def printed(name: str, lines: Iterator[Line]) -> Iterator[Line]:
    """What a benchmark finds, each line printed as it comes."""
    try:
        for line in lines:
            print(line, flush=True)
            yield line
    except ServerError as error:
        print(f"{name}: not measured. {error}", flush=True)


def loads() -> str:
    """How much this machine has to do, as it counts it, ours included."""
    if not hasattr(os, "getloadavg"):
        return "load average unknown"
    return f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"


if __name__ == "__main__":
    main()
