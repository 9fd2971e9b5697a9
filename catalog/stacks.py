"""A selection of pairs with strengths, as the text that the picker holds and API clients write."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, combinations

from .entries import Entry
from .fields import is_id
from .pairs import ROLES, LoraPair, Role
from .store import Catalog

# One strength for all steps of an expert, or one for each; the last one holds.
Levels = tuple[float, ...]

_longest = 4096
_most = 32
_number = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_form = "Write pair_id, pair_id@strength or pair_id@high:low, with commas between pairs"


class SelectionError(ValueError):
    """A selection text that cannot be understood; the message quotes the piece at fault."""


@dataclass(frozen=True)
class Choice:
    """A chosen pair and its strengths, one for all steps or one for each.

    None for both passes leaves the catalog's recommendation in force.
    """

    pair_id: str
    high: Levels | None = None
    low: Levels | None = None


@dataclass(frozen=True)
class Chosen:
    """A pair of the catalog and its strengths; zero on a pass for which it has no file."""

    pair: LoraPair
    high: Levels
    low: Levels

    def levels(self, role: Role) -> Levels:
        """The strengths of a pass."""
        return self.high if role == "high" else self.low

    def entry_for(self, role: Role) -> Entry | None:
        """The entry that acts on a pass: none at strength 0, or without a file for it."""
        return self.pair.entry_for(role) if any(self.levels(role)) else None


def parse_selection(text: str) -> tuple[Choice, ...]:
    """The choices of `pair_id[@strength | @high:low], …`, in order. Raises SelectionError."""
    if len(text) > _longest:
        raise SelectionError(f"The selection {_quoted(text)} is longer than {_longest} characters.")
    pieces = text.split(",") if text.strip() else []
    if len(pieces) > _most:
        raise SelectionError(f"The selection {_quoted(text)} holds more than {_most} pairs.")
    choices = tuple(map(_choice, pieces))
    ids = [choice.pair_id for choice in choices]
    for pair_id in ids:
        if ids.count(pair_id) > 1:
            raise SelectionError(f"{_quoted(pair_id)} is chosen twice. Name each pair once.")
    return choices


def format_selection(choices: Iterable[Choice]) -> str:
    """The shortest text that `parse_selection` reads as these choices."""
    return ", ".join(map(_written, choices))


def choose(choices: Iterable[Choice], catalog: Catalog, base_model: str) -> tuple[Chosen, ...]:
    """Each choice with its pair, which is only ever looked up, and the strengths that count.

    Raises UnknownPairError, and SelectionError for a pair that must not run.
    """
    pairs = [(choice, catalog.get_pair(base_model, choice.pair_id)) for choice in choices]
    return tuple(_chosen(choice, pair) for choice, pair in pairs)


def warnings(chosen: Sequence[Chosen]) -> tuple[str, ...]:
    """What to know before running these together: half pairs, and what acts twice on a pass."""
    lacks = (choice.pair.warning for choice in chosen)
    doubts = (_doubt(first, second) for first, second in combinations(chosen, 2))
    return tuple(text for text in chain(lacks, doubts) if text)


def _doubt(first: Chosen, second: Chosen) -> str:
    names = f"{first.pair.name} and {second.pair.name}"
    acting = [(role, first.entry_for(role), second.entry_for(role)) for role in ROLES]
    shared = [(role, one, other) for role, one, other in acting if one and other]
    for role, one, other in shared:
        if _same_weights(one, other):
            return f"{names} hold the same weights: the {role} pass gets them twice. Keep one."
    if shared and first.pair.kind == second.pair.kind == "accelerator":
        return f"{names} both speed up the {shared[0][0]} pass; one of them is usually enough."
    return ""


def _same_weights(one: Entry, other: Entry) -> bool:
    if one.sha256 and other.sha256:
        return one.sha256 == other.sha256
    said = (one.same_as == other.pair_id, other.same_as == one.pair_id)
    return one.file == other.file or any(said)


def _chosen(choice: Choice, pair: LoraPair) -> Chosen:
    if pair.problem:
        raise SelectionError(pair.problem)
    high, low = pair.entry_for("high"), pair.entry_for("low")
    return Chosen(
        pair,
        (choice.high or high.strength[:1]) if high else (0.0,),
        (choice.low or low.strength[1:]) if low else (0.0,),
    )


def _choice(piece: str) -> Choice:
    pair_id, at, strengths = (part.strip() for part in piece.partition("@"))
    if not is_id(pair_id):
        raise SelectionError(f"{_quoted(piece)} does not begin with the id of a pair. {_form}.")
    if not at:
        return Choice(pair_id)
    high, colon, low = strengths.partition(":")
    return Choice(pair_id, _levels(high, piece), _levels(low if colon else high, piece))


def _levels(text: str, piece: str) -> Levels:
    numbers = [number.strip() for number in text.split(";")]
    if not all(map(_number.fullmatch, numbers)):
        raise SelectionError(f"The strength in {_quoted(piece)} is not a number. {_form}.")
    # Adding zero makes -0.0 the plain zero that it equals.
    levels = tuple(float(number) + 0.0 for number in numbers)
    if max(map(abs, levels)) > 10:
        raise SelectionError(f"A strength in {_quoted(piece)} is not between -10 and 10.")
    return levels


def _written(choice: Choice) -> str:
    if choice.high is None or choice.low is None:
        return choice.pair_id
    high, low = (
        ";".join(repr(float(level)).removesuffix(".0") for level in levels)
        for levels in (choice.high, choice.low)
    )
    return f"{choice.pair_id}@{high}" if high == low else f"{choice.pair_id}@{high}:{low}"


def _quoted(text: str) -> str:
    return repr(text.strip()[:80])
