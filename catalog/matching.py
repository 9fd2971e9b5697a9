"""Which pairs the files of a foreign stack are, and what becomes of a file in no pair."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from os.path import commonprefix

from .detect import detect, detected_pairs
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


@dataclass(frozen=True)
class _Stranger:
    """A pair that the catalog lacks: the item for each pass, or for `both` where it is one file."""

    pair_id: str
    items: Mapping[str, Item]


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
    known = [_uses(item, fit, sure) for item, fit in zip(items, fits, strict=True)]
    unknown = [item for item, (uses, _) in zip(items, known, strict=True) if not uses]
    strangers = _strangers(unknown, {pair.pair_id for pair in pairs})
    stack: dict[str, dict[Role, float]] = {}
    notes: list[str] = []
    for item, (uses, note) in zip(items, known, strict=True):
        if not uses:
            stranger = strangers[_file(item)]
            note = "" if stranger.pair_id in stack else _introduced(stranger, item, pairs)
            uses = [(stranger.pair_id, role, item.strength) for role in item.roles]
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
        return int(_is_namesake(path, entry) and not _is_elsewhere(path, entry))
    # A repository or a folder of it, or what stands of either before three dots.
    return int("/" in path and source.startswith(path.removesuffix("...").rstrip("/") + "/"))


def _is_namesake(path: str, entry: Entry) -> bool:
    return path.rpartition("/")[2].lower() == entry.file.rpartition("/")[2].lower()


def _is_elsewhere(path: str, entry: Entry) -> bool:
    """Whether both name folders, and neither's are the last of the other's."""
    one, other = f"/{path.lower()}", f"/{entry.file.lower()}"
    return "/" in path and "/" in entry.file and not (one.endswith(other) or other.endswith(one))


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


def _file(item: Item) -> str:
    """The file of an item; of a repository, one that is called as the item is."""
    return item.path if _is_file(item.path) else f"{item.path}/{item.name}.safetensors"


def _strangers(items: Sequence[Item], taken: Collection[str]) -> dict[str, _Stranger]:
    """The pair of each file, which for two halves is one."""
    passes: dict[str, dict[Role, Item]] = {}
    for item in items:
        own = passes.setdefault(_file(item), {})
        passes[_file(item)] = dict.fromkeys(item.roles, item) | own
    partners = _partners(passes)
    strangers: dict[str, _Stranger] = {}
    for file, own in passes.items():
        if file in strangers:
            continue
        group = [file, partners[file]] if file in partners else [file]
        parts: dict[str, Item] = {r: passes[f][r] for r in ROLES for f in group if r in passes[f]}
        words = _shared(group, list(parts.values()))
        if len(own) == 2:
            parts = {"both": min(own.values(), key=lambda item: item.number)}
        used = {*taken, *(each.pair_id for each in strangers.values())}
        strangers |= dict.fromkeys(group, _Stranger(_free_id(words, used), parts))
    return strangers


def _partners(passes: Mapping[str, Mapping[Role, Item]]) -> dict[str, str]:
    """The other half of a file: where names and passes agree, or the passes in one repository."""
    told = {each.file: each for each in detect(passes)}
    agreed = {file for file, each in told.items() if list(passes[file]) == [each.role]}
    partners = {file: told[file].partner or "" for file in agreed if told[file].partner in agreed}
    shelves: dict[str, list[str]] = {}
    for file, own in passes.items():
        path = next(iter(own.values())).path
        shelves.setdefault(path, []).append(file)
    for two in shelves.values():
        if sorted(map(list, map(passes.__getitem__, two))) == [["high"], ["low"]]:
            partners |= zip(two, two[::-1], strict=True)
    return partners


def _shared(group: Sequence[str], items: Sequence[Item]) -> str:
    """What an id is made of: what two halves have in common, else a name or the end of a path."""
    pairs = detected_pairs([file.rpartition("/")[2] for file in group], ())
    if len(group) == 2 and len(pairs) == 1:
        return pairs[0].pair_id
    last = items[0].path.removesuffix("...").rstrip("/").rpartition("/")[2]
    stem = last.rpartition(".")[0] if _is_file(last) else last
    names = [item.name for item in items if item.name]
    return commonprefix(names).strip("._+- ") or names[0] if names else stem


def _free_id(text: str, taken: Collection[str]) -> str:
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    slug = re.sub("[^A-Za-z0-9._+-]+", "-", plain).strip("._+-")[:100] or "lora"
    tries = (f"{slug}-{n}" if n > 1 else slug for n in count(1))
    return next(each for each in tries if each not in taken)


def _introduced(stranger: _Stranger, item: Item, pairs: Sequence[LoraPair]) -> str:
    """The note on the first item of a stranger: which pairs it may mean, or how to add it."""
    several = {
        pair.pair_id
        for each in stranger.items.values()
        for role in each.roles
        for pair in _candidates(each.path, role, pairs) or _namesakes(each.path, role, pairs)
    }
    if several:
        choose = "choose one of them" if len(several) > 1 else "choose it"
        return f"may mean {', '.join(sorted(several))}: {choose} in place of {stranger.pair_id}."
    others = [f" with item {each.number}" for each in stranger.items.values() if each != item]
    base_model = pairs[0].base_model if pairs else "BASE_MODEL"
    files = (f" --{role} {_quoted(each.path)}" for role, each in stranger.items.items())
    return (
        f"is in no pair of the catalog and is kept{''.join(others)} as {stranger.pair_id}. To add "
        "it, in the folder of DualPass: python -m catalog add "
        f"--base-model {base_model} --id {stranger.pair_id}{''.join(files)}"
    )


def _namesakes(path: str, role: Role, pairs: Sequence[LoraPair]) -> list[LoraPair]:
    """The pairs with a file of that name in another folder."""
    files = ((pair.entry_for(role), pair) for pair in pairs)
    return [pair for entry, pair in files if entry and _is_namesake(path, entry)]


def _quoted(path: str) -> str:
    return f'"{path}"' if _is_file(path) and _quotable.fullmatch(path) else "FILE"


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
