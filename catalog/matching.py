"""Which pairs the files of a foreign stack are, and what becomes of a file in no pair."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

from .entries import Entry
from .pairs import ROLES, LoraPair, Role
from .stacks import Choice

# What means the same inside double quotes to every shell.
_quotable = re.compile(r"[\w./(\[][\w ./:+()\[\],=@-]*")


@dataclass(frozen=True)
class Item:
    """A file or repository of a foreign stack, its strength, and the passes that it is for."""

    number: int
    path: str
    name: str
    roles: tuple[Role, ...]
    strength: float


_Fit = Mapping[Role, Sequence[LoraPair]]
_Use = tuple[str, Role, float]


def matched(
    items: Sequence[Item], pairs: Sequence[LoraPair]
) -> tuple[tuple[Choice, ...], tuple[str, ...]]:
    """One choice for each pair that an item means, in order, and notes on what is not plain.

    A file is known by its path, its place at its source or its last part; a repository, whole or
    cut short with three dots, where it can mean one file only. The rest gets ids of its own.
    """
    fits = [{role: _candidates(item.path, role, pairs) for role in ROLES} for item in items]
    asked = [fit[role] for item, fit in zip(items, fits, strict=True) for role in item.roles]
    sure = {found[0].pair_id for found in asked if len(found) == 1}
    stack: dict[str, dict[Role, float]] = {}
    strangers: dict[tuple[str, str], str] = {}
    notes: list[str] = []
    for item, fit in zip(items, fits, strict=True):
        uses, note = _uses(item, fit, sure)
        if not uses:
            new = _free_id(item, {*strangers.values(), *(pair.pair_id for pair in pairs)})
            pair_id = strangers.setdefault((item.path, item.name), new)
            note = _stranger(item, pair_id, fit, pairs) if pair_id == new else ""
            uses = [(pair_id, role, item.strength) for role in item.roles]
        found = [note, _add(stack, uses)]
        notes += [f"Item {item.number} ({item.path}) {each}" for each in found if each]
    choices = (
        Choice(pair_id, (levels.get("high", 0.0),), (levels.get("low", 0.0),))
        for pair_id, levels in stack.items()
    )
    return tuple(choices), tuple(notes)


def _candidates(path: str, role: Role, pairs: Sequence[LoraPair]) -> list[LoraPair]:
    """The pairs whose file for a pass fits a path best."""
    fits = [(_fit(path, entry), pair) for pair in pairs if (entry := pair.entry_for(role))]
    best = max((fit for fit, _ in fits), default=0)
    return [pair for fit, pair in fits if fit == best > 0]


def _fit(path: str, entry: Entry) -> int:
    """How well a path names the file of an entry: whole, as at its source, by its last part."""
    source = f"{entry.hf_repo}/{entry.hf_file}" if entry.hf_repo else ""
    if path == entry.file:
        return 3
    if _is_file(path):
        if source and f"/{path}".endswith(f"/{source}"):
            return 2
        return int(path.rpartition("/")[2].lower() == entry.file.rpartition("/")[2].lower())
    # A repository or a folder of it, or what stands of either before three dots.
    return int("/" in path and source.startswith(path.removesuffix("...").rstrip("/") + "/"))


def _is_file(path: str) -> bool:
    return path.lower().endswith((".safetensors", ".sft"))


def _uses(item: Item, fit: _Fit, sure: Collection[str]) -> tuple[list[_Use], str]:
    """Which pair takes the item on which pass, and a note; nothing if that is not certain."""
    meant = {role: pair for role in ROLES if (pair := _meant(fit[role], role, sure))}
    uses = [(meant[role].pair_id, role, item.strength) for role in item.roles if role in meant]
    unclear = not uses and any(fit[role] for role in item.roles)
    if not meant or unclear or len(uses) == len(item.roles):
        return uses, ""
    own, pair = next(iter(meant.items()))
    note = f"is the {own} file of {pair.pair_id} and is left out on the other pass."
    return uses or [(pair.pair_id, own, 0.0)], note


def _meant(pairs: Sequence[LoraPair], role: Role, sure: Collection[str]) -> LoraPair | None:
    """The one pair; where several share its file, the one that is certain or the first."""
    if len({entry.file for pair in pairs if (entry := pair.entry_for(role))}) != 1:
        return None
    return next((pair for pair in pairs if pair.pair_id in sure), pairs[0])


def _free_id(item: Item, taken: Collection[str]) -> str:
    """An id made of the item's name or of the last part of its path."""
    last = item.path.removesuffix("...").rstrip("/").rpartition("/")[2]
    text = item.name or (last.rpartition(".")[0] if _is_file(last) else last)
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    slug = re.sub("[^A-Za-z0-9._+-]+", "-", plain).strip("._+-")[:100] or "lora"
    tries = (f"{slug}-{n}" if n > 1 else slug for n in count(1))
    return next(each for each in tries if each not in taken)


def _stranger(item: Item, pair_id: str, fit: _Fit, pairs: Sequence[LoraPair]) -> str:
    several = sorted({pair.pair_id for role in item.roles for pair in fit[role]})
    if several:
        return f"may mean {', '.join(several)}: choose one of them in place of {pair_id}."
    plain = _is_file(item.path) and _quotable.fullmatch(item.path)
    base_model = pairs[0].base_model if pairs else "BASE_MODEL"
    return (
        f"is in no pair of the catalog and is kept as {pair_id}. To add it: python -m catalog add "
        f"--base-model {base_model} " + (f'"{item.path}"' if plain else "FILE")
    )


def _add(stack: dict[str, dict[Role, float]], uses: Sequence[_Use]) -> str:
    """Add to the strengths in place; a note if a pass had one before."""
    again = []
    for pair_id, role, strength in uses:
        levels = stack.setdefault(pair_id, {})
        before = levels.get(role, 0.0)
        levels[role] = before + strength
        if before and strength:
            levels[role] = round(before + strength, 6)
            again.append(f"{levels[role]:g} on {role}")
    return f"is there more than once and adds up to {', '.join(again)}." if again else ""
