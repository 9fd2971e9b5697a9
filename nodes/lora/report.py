"""What of a LoRA file reached a model, as counts and as a line of text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class FileReport:
    """One file on one model: how many of its modules belong to a weight there.

    `unfit` have another size than the weight and are left out, `expected` are of Wan 2.1's image
    branch, `idle` change nothing. `strengths` are one, or one for each step of the expert.
    """

    file: str
    strengths: tuple[float, ...]
    matched: int
    unmatched: int = 0
    expected: int = 0
    unfit: int = 0
    idle: int = 0
    layout: str = ""
    ranks: tuple[int, ...] = ()
    scales: tuple[float, ...] = ()
    warnings: tuple[str, ...] = ()

    def __str__(self) -> str:
        """All in one line, for the log."""
        return f"{self.counts} ({self.about})" if self.about else self.counts

    @property
    def counts(self) -> str:
        """The counts first: in a narrow node the end of a long file name is out of sight."""
        modules = self.matched + self.unmatched + self.unfit + self.expected
        strength = "; ".join(f"{level:g}" for level in self.strengths)
        head = ", ".join((f"{self.matched} of {modules} modules", *self._misses()))
        return f"{head}, strength {strength}: {self.file}"

    @property
    def about(self) -> str:
        """Key layout, rank and scale."""
        numbers = (_span("rank", self.ranks), _span("scale", self.scales))
        return ", ".join(filter(None, (self.layout, *numbers)))

    def _misses(self) -> Iterator[str]:
        if self.unmatched:
            yield f"{self.unmatched} not in this model"
        if self.unfit:
            yield f"{self.unfit} of another size"
        if self.expected:
            yield f"{self.expected} of the Wan 2.1 image branch (normal)"
        if self.idle:
            yield f"{self.idle} change nothing"


def _span(name: str, values: Sequence[float]) -> str:
    """`rank 64`, or `rank 4 to 64`."""
    ends = dict.fromkeys(f"{end:.4g}" for end in (min(values), max(values))) if values else ()
    return f"{name} {' to '.join(ends)}" if ends else ""


def report_text(role: str, how: str, files: Sequence[FileReport]) -> str:
    """One pass: how it holds its LoRAs, then of each file the counts, what it is, and warnings."""
    if not files:
        return f"{role}: no LoRA"
    lines = [f"{role}, {how}:"]
    for file in files:
        more = (f"  {line}" for line in (file.about, *file.warnings) if line)
        lines += [file.counts, *more]
    return "\n  ".join(lines)
