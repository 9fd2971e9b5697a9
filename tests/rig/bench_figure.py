"""One line of the benchmark: a figure beside its peer, and whether it is as good as it must be."""

from __future__ import annotations

from typing import NamedTuple

HEADER = f"{'name':<66}{'figure':>9}{'peer':>9}{'ratio':>8}  mark"


class Figure(NamedTuple):
    """A measurement, and the same of a peer where there is one; without `mark` it is to compare."""

    name: str
    figure: float
    peer: float | None = None
    mark: str = ""
    met: bool = True

    def __str__(self) -> str:
        peer = f"{'':>17}"
        if self.peer is not None:
            peer = f"{short(self.peer):>9}{short(self.figure / self.peer):>8}"
        verdict = f"  {self.mark}: {'met' if self.met else 'NOT MET'}" if self.mark else ""
        return f"{self.name:<66}{short(self.figure):>9}{peer}{verdict}"


def at_most(limit: float, name: str, figure: float, peer: float | None = None) -> Figure:
    """A figure that must not be above the limit."""
    return Figure(name, figure, peer, f"<= {short(limit)}", figure <= limit)


def at_least(limit: float, name: str, figure: float, peer: float | None = None) -> Figure:
    """A figure that must not be below the limit."""
    return Figure(name, figure, peer, f">= {short(limit)}", figure >= limit)


def short(number: float) -> str:
    """With three digits that count, or all those of a whole number."""
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.3g}"
