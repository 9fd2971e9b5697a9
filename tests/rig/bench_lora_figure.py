"""How many times faster, or less, than a peer: a line of the benchmark of LoRAs."""

from __future__ import annotations

import json
from typing import NamedTuple

from rig.bench_figure import Figure, short

TOLERANCE = 0.8  # of a mark, on a machine that has other things to do
PREFIX = "bench: "  # of what `written` gives, among what else a process says


class Times(NamedTuple):
    """What it takes here and at a peer, and how many times more the peer takes.

    `times` is the median of the ratios of rounds, which is not that of the medians. Without a
    `mark` it is to compare.
    """

    name: str
    figure: float
    peer: float
    times: float
    mark: float | None = None

    def __str__(self) -> str:
        numbers = f"{short(self.figure):>9}{short(self.peer):>9}{short(self.times) + 'x':>8}"
        return f"{self.name:<66}{numbers}{self.verdict}"

    @property
    def verdict(self) -> str:
        if self.mark is None:
            return ""
        return f"  >= {short(self.mark)}x: {self.reached}"

    @property
    def reached(self) -> str:
        """Met, nearly met (TOLERANCE), or not."""
        if self.mark is None or self.times >= self.mark:
            return "met"
        return "within a fifth" if self.times >= TOLERANCE * self.mark else "NOT MET"


Line = Times | Figure | str


def compared(name: str, figure: float, peer: float, mark: float | None = None) -> Times:
    """Of what is counted and not timed."""
    return Times(name, figure, peer, peer / figure if figure else float("inf"), mark)


def written(line: Line) -> str:
    """A line as text of one line, for another process."""
    if isinstance(line, str):
        return json.dumps(["text", line])
    return json.dumps([type(line).__name__, *line])


def read(text: str) -> Line:
    """What `written` wrote."""
    kind, *fields = json.loads(text)
    if kind == "text":
        return str(fields[0])
    return Times(*fields) if kind == "Times" else Figure(*fields)
