"""Which files belong together: the LoRA pairs of one base model."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from .entries import Entry

Role = Literal["high", "low"]
ROLES: tuple[Role, ...] = ("high", "low")

_suffix = re.compile(r" (High Noise|Low Noise|LoRA|\(Kijai\)|\(WAN 2\.1 I2V 14B\))(?!\w)")


@dataclass(frozen=True)
class LoraPair:
    """One file for each pass, or one for both. With a `problem` it is shown but must not run."""

    base_model: str
    pair_id: str
    name: str
    high: Entry | None
    low: Entry | None
    both: Entry | None
    problem: str = ""

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The one or two files that the pair has, in the order high, low, both."""
        return tuple(entry for entry in (self.high, self.low, self.both) if entry)

    @property
    def kind(self) -> str:
        """What the pair is for, as its first entry that says so has it, or nothing."""
        return next((entry.kind for entry in self.entries if entry.kind), "")

    @property
    def warning(self) -> str:
        """What to know before running a pair that looks incomplete, or nothing."""
        if self.both:
            return ""
        if self.high and self.low:
            same = self.high.file == self.low.file
            return f"{self.name} uses {self.high.file} for high and low." if same else ""
        bare = "low" if self.high else "high"
        return f"{self.name} has no file for the {bare} pass, which runs without it."

    def entry_for(self, role: Role) -> Entry | None:
        """The entry that serves the high or the low pass: its own, or the one for both."""
        return (self.high if role == "high" else self.low) or self.both

    def as_json(self) -> dict[str, str | None]:
        """The five keys of the route's contract; files by name."""
        return {
            "pair_id": self.pair_id,
            "name": self.name,
            "high": self.high.file if self.high else None,
            "low": self.low.file if self.low else None,
            "both": self.both.file if self.both else None,
        }


def display_name(name: str, pair_id: str) -> str:
    """The name of a pair, made from its first entry's; the id where nothing is left of it."""
    shorter = _suffix.sub("", name)
    return display_name(shorter, pair_id) if shorter != name else name.strip() or pair_id


def find_pairs(entries: Iterable[Entry], base_model: str) -> tuple[LoraPair, ...]:
    """The pairs of exactly this base model, in the order of their first entries."""
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry.pair_id and entry.base_model == base_model:
            groups.setdefault(entry.pair_id, []).append(entry)
    return tuple(_pair(group) for group in groups.values())


def _pair(entries: list[Entry]) -> LoraPair:
    first, kept, problem = entries[0], dict[str, Entry](), ""
    for entry in entries:
        rival = _rival(kept, entry)
        if rival is None:
            kept[entry.pair_role] = entry
        elif (rival.file, rival.pair_role) != (entry.file, entry.pair_role):
            problem = problem or _conflict(rival, entry)
    return LoraPair(
        base_model=first.base_model,
        pair_id=first.pair_id,
        name=display_name(first.name, first.pair_id),
        high=kept.get("high"),
        low=kept.get("low"),
        both=kept.get("both"),
        problem=problem,
    )


def _rival(kept: dict[str, Entry], entry: Entry) -> Entry | None:
    roles = ("both", "high", "low") if entry.pair_role == "both" else (entry.pair_role, "both")
    return next((kept[role] for role in roles if role in kept), None)


def _conflict(first: Entry, second: Entry) -> str:
    return (
        f"The pair {first.pair_id} of {first.base_model} has {first.file} for {first.pair_role} "
        f"and also {second.file} for {second.pair_role}; remove one of them from your catalog. "
        "`python -m catalog check` lists all such places."
    )
