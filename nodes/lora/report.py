"""What of a LoRA file reached a model, as counts and as a line of text."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FileReport:
    """One file on one model: how many of its modules belong to a weight there."""

    file: str
    strength: float
    matched: int
    unmatched: int
    expected: int

    def __str__(self) -> str:
        """The counts first: in a narrow node the end of a long file name is out of sight."""
        modules = self.matched + self.unmatched + self.expected
        notes = f", {self.unmatched} not in this model" if self.unmatched else ""
        if self.expected:
            notes += f", {self.expected} of the Wan 2.1 image branch (normal)"
        counts = f"{self.matched} of {modules} modules{notes}"
        return f"{counts}, strength {self.strength:g}: {self.file}"


def report_text(role: str, mode: str, files: list[FileReport]) -> str:
    """One pass: how it holds its LoRAs, then a line for each file."""
    if not files:
        return f"{role}: no LoRA"
    return "\n  ".join([f"{role}, {mode}:", *map(str, files)])
