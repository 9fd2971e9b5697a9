"""JSON read strictly: what a lenient reader would guess away is refused where it stands."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

_deepest = 8
_too_deep = "Brackets are nested too deep. Lists of plain entries are enough."
_empty = "The file is empty."
_usual_slips = (
    "The usual slips are a comma before a closing bracket, a // comment and single quotes."
)


def _integer(literal: str) -> float:
    return int(literal) if len(literal.lstrip("-")) < 20 else math.inf


_decoder = json.JSONDecoder(parse_int=_integer)


def check(text: str) -> None:
    """Refuse text that is not one JSON object, or that says a thing twice or without a number.

    Raises json.JSONDecodeError, which knows line and column.
    """
    if not text.strip():
        raise json.JSONDecodeError(_empty, text, 0)
    try:
        value = _decoder.decode(text)
    except RecursionError as error:
        raise json.JSONDecodeError(_too_deep, text, 0) from error
    except json.JSONDecodeError as error:
        slip = f"{error.msg}. {_usual_slips}{_reading(error)}"
        raise json.JSONDecodeError(slip, text, error.pos) from error
    if not isinstance(value, dict):
        raise json.JSONDecodeError("Put all in one object, in curly brackets.", text, 0)
    for place, slip in _slips(text, text.index("{"), 1):
        found = json.JSONDecodeError(slip, text, place)
        raise json.JSONDecodeError(f"{slip}{_reading(found)}", text, place)


def spelled(value: Any) -> str:
    """A value as JSON writes it, in at most 80 characters that all can be seen."""
    return _visible(json.dumps(value, ensure_ascii=False)[:80])


def children(text: str, index: int) -> Iterator[tuple[int, Any]]:
    """The values inside the bracket at `index`, each after its place; a key is a value too."""
    index = _skip(text, index + 1)
    while text[index] not in "]}":
        value, end = _decoder.raw_decode(text, index)
        yield index, value
        index = _skip(text, end)


def _reading(error: json.JSONDecodeError) -> str:
    """What stands in the line of an error: as much as is easy to recognise."""
    line = error.doc.split("\n")[error.lineno - 1]
    begin = max(0, min(error.colno - 41, len(line) - 80))
    text = _visible(line[begin : begin + 80].strip())
    return f" It reads: {text}" if text else ""


def _visible(text: str) -> str:
    return "".join(
        each if each.isprintable() else each.encode("ascii", "backslashreplace").decode()
        for each in text
    )


def _skip(text: str, index: int) -> int:
    # The text has been checked, so that commas and colons say no more than blanks.
    while text[index] in " \t\r\n,:":
        index += 1
    return index


def _slips(text: str, index: int, depth: int) -> Iterator[tuple[int, str]]:
    keys: set[str] = set()
    for number, (place, value) in enumerate(children(text, index)):
        if text[index] == "{" and number % 2 == 0:
            if value in keys:
                yield place, f"The key {value[:80]!r} stands twice in one object. Remove one."
            keys.add(value)
        elif isinstance(value, float) and not math.isfinite(value):
            yield place, "This number is not finite or has more than 19 digits. Correct it."
        elif isinstance(value, (dict, list)) and depth == _deepest:
            yield place, _too_deep
        elif isinstance(value, (dict, list)):
            yield from _slips(text, place, depth + 1)
