"""What is told of a long video that has been made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from .long import Made
from .segments import frames_in


def report_of(
    made: Made, pairs: Mapping[str, Sequence[str]], stale: Sequence[str], file: Path
) -> list[str]:
    """The lines: settings and doubts, what is told of clips' own pairs, each clip, and the file.

    `pairs` are those that were put on the experts in this run, by their selection; `stale` names
    model files that may be newer than what was used of them.
    """
    of_pairs = (line for text, told in pairs.items() for line in _of_pairs(text, told))
    ending = f"{file.name}: {frames_in(file)} frames"
    return [*made.settings, *of_pairs, *map(_of_stale, stale), *made.lines, ending]


def _of_pairs(selection: str, told: Sequence[str]) -> Iterator[str]:
    if selection:  # the others have what their models came with
        yield f"pairs={selection}:"
        yield from told


def _of_stale(file: str) -> str:
    return (
        f"note: {file} was replaced after it was loaded, and ComfyUI may still use the old one. "
        "Restart ComfyUI for the new one."
    )
