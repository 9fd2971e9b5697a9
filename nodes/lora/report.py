"""What of a LoRA file reached a model, as counts and as a line of text."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FileReport:
    """One file on one pass: how many of its modules patch a weight of the model."""

    role: str
    file: str
    strength: float
    matched: int
    unmatched: int
    expected: int

    def line(self) -> str:
        modules = self.matched + self.unmatched + self.expected
        notes = f", {self.unmatched} not in this model" if self.unmatched else ""
        if self.expected:
            notes += f", {self.expected} of the Wan 2.1 image branch (normal)"
        return (
            f"{self.role}: {self.file} at {self.strength:g}, "
            f"{self.matched} of {modules} modules{notes}"
        )


def report_text(mode_high: str, mode_low: str, files: list[FileReport]) -> str:
    """One line a file; a pass without any says so, and how each pass holds its LoRAs."""
    lines = []
    for role, mode in (("high", mode_high), ("low", mode_low)):
        own = [report.line() for report in files if report.role == role]
        lines += own or [f"{role}: no LoRA"]
        lines += [f"{role}: {mode}"] if own else []
    return "\n".join(lines)
