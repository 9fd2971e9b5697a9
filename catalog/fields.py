"""What each field of an entry may hold, and the value that is made of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from .paths import checked_file, is_hidden

kinds = ("accelerator", "continuity", "style", "character", "motion", "reward", "quality")
roles = ("high", "low", "both")

_id = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,127}")
_repo = re.compile(r"(?!.*(\.\.|--))[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
_sha256 = re.compile("[0-9a-f]{64}")


def is_id(text: str) -> bool:
    """Whether a text can be the id of a pair or of a base model."""
    return _id.fullmatch(text) is not None


def _plain(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("must be a text in double quotes")
    return "".join(character for character in value if not is_hidden(character))[:200]


def _tags(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ValueError("must be a list of texts")
    return tuple(map(_plain, value))


def _matching(pattern: re.Pattern[str], form: str) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise ValueError(f"must be {form}")
        return value

    return read


def _one_of(words: tuple[str, ...]) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        word = value.strip().lower() if isinstance(value, str) else ""
        if word not in words:
            raise ValueError(f"must be one of {', '.join(words)}")
        return word

    return read


def _number(below: float) -> Callable[[Any], float]:
    def read(value: Any) -> float:
        if not _is_number(value) or not 0 < value < below:
            raise ValueError(f"must be a number above 0 and below {below:g}")
        return float(value)

    return read


def _whole(most: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        if type(value) is not int or not 1 <= value <= most:
            raise ValueError(f"must be a whole number from 1 to {most}")
        return value

    return read


def _strength(value: Any) -> tuple[float, float]:
    pair = value if isinstance(value, list) else [value, value]
    if len(pair) != 2 or not all(_is_number(each) and abs(each) <= 10 for each in pair):
        raise ValueError("must be a number from -10 to 10, or a list of two: high and low")
    return float(pair[0]), float(pair[1])


def _is_number(value: Any) -> bool:
    # A bool would pass isinstance as an int.
    return type(value) in (int, float)


_identifier = _matching(_id, "1 to 128 letters, digits or . _ + - and begin with a letter or digit")

readers: dict[str, Callable[[Any], Any]] = {
    "name": _plain,
    "file": checked_file,
    "dest": _identifier,
    "source": _identifier,
    "size_gb": _number(100),
    "base_model": _identifier,
    "tags": _tags,
    "pair_id": _identifier,
    "pair_role": _one_of(roles),
    "hf_repo": _matching(_repo, "a repository as owner/name"),
    "hf_file": checked_file,
    "sha256": _matching(_sha256, "64 hexadecimal digits in lower case"),
    "size": _whole(2**40),
    "revision": _identifier,
    "kind": _one_of(kinds),
    "strength": _strength,
    "steps": _whole(1000),
    "cfg": _number(100),
    "shift": _number(100),
    "sampler": _identifier,
    "scheduler": _identifier,
    "trigger": _plain,
    "same_as": _identifier,
    "notes": _plain,
}
