"""The clips of a long video, as the lines of a text say them. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ...catalog.stacks import SelectionError, format_selection, parse_selection

_newline = re.compile(r"\r\n|\r|\n")
_name = re.compile(r"\w+")
# What is meant as an option, with a colon or with signs of another width.
_meant = re.compile(r"[|｜]\s*(?:seed|length|pairs)\s*[=:＝：].*", re.IGNORECASE)
_number = re.compile(r"[0-9]{1,20}")
_seeds = 2**64
_longest = 16381
_options = "Options are seed=7, length=49 and pairs=style@0.8"


class ClipError(ValueError):
    """A line that gives no clip; the message names the line and says what to do."""


@dataclass(frozen=True)
class Clip:
    """One clip: `length` in frames, `pairs` a selection text, empty for those of the node."""

    prompt: str
    seed: int
    length: int
    pairs: str


def parse_clips(text: str, seed: int, length: int, new_seeds: bool) -> tuple[Clip, ...]:
    """A clip of each line, `A fox runs | seed=7 | length=49 | pairs=style@0.8`.

    `seed` and `length` are for lines that say none; with `new_seeds` clip k, counted from 0, has
    seed + k. A `|` without an option behind it belongs to the prompt. Raises ClipError.
    """
    lines = [(at, line) for at, line in enumerate(_newline.split(text), 1) if line.strip()]
    if not lines:
        raise ClipError("There is no prompt. Write one for each clip, a line each.")
    return tuple(
        _clip(at, line, (seed + index * new_seeds) % _seeds, length)
        for index, (at, line) in enumerate(lines)
    )


def _clip(at: int, line: str, seed: int, length: int) -> Clip:
    try:
        prompt, options = _parted(line)
        length = _count("length", options["length"]) if "length" in options else length
        if length % 4 != 1 or not 5 <= length <= _longest:
            raise ClipError(
                f"length is {length}; it must be 5, 9, 13 or so on, to {_longest}, as 81 is."
            )
        seed = _count("seed", options["seed"]) if "seed" in options else seed
        return Clip(prompt, seed, length, _pairs(options["pairs"]) if "pairs" in options else "")
    except (ClipError, SelectionError) as error:
        raise ClipError(f"Line {at} of the prompts: {error}") from None


def _parted(line: str) -> tuple[str, dict[str, str]]:
    """The prompt, and the options behind it by name."""
    pieces = line.split("|")
    first = next((at for at, each in enumerate(pieces) if at and _option(each)), len(pieces))
    prompt = "|".join(pieces[:first]).strip()
    if meant := _meant.search(prompt):
        raise ClipError(
            f"{_shown(meant[0])} is no option as it stands. {_options}; or leave out the bar."
        )
    options: dict[str, str] = {}
    for piece in filter(str.strip, pieces[first:]):
        if not (option := _option(piece)):
            raise ClipError(f"{_shown(piece)} stands behind an option. Write the prompt first.")
        name, value = option
        if name not in ("seed", "length", "pairs"):
            raise ClipError(f"There is no option {_shown(name)}. {_options}.")
        if name in options:
            raise ClipError(f"{name} is said twice. Say it once.")
        options[name] = value
    if not prompt:
        raise ClipError("There are options without a prompt. Write one before the first |.")
    return prompt, options


def _option(piece: str) -> tuple[str, str] | None:
    """Name and value of a piece between two bars that is an option."""
    name, sign, value = piece.partition("=")
    name = name.strip()
    return (name, value.strip()) if sign and _name.fullmatch(name) else None


def _count(name: str, value: str) -> int:
    if not _number.fullmatch(value) or int(value) >= _seeds:
        raise ClipError(f"{name} is {_shown(value)}; it must be a whole number from 0 to 2^64 - 1.")
    return int(value)


def _pairs(value: str) -> str:
    """A selection in the one form that it is written in, so that spaces change no clip."""
    if choices := parse_selection(value):
        return format_selection(choices)
    raise ClipError("pairs is empty. Name a pair, or leave it out for those of the node.")


def _shown(text: str) -> str:
    return repr(text.strip()[:40])
