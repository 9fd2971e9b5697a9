"""Adds a pair of the user's own to the catalog: from files, or one that was found on disk."""

from __future__ import annotations

import os
import re
import shlex
from argparse import Namespace
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path, PurePosixPath

from ..detect import detect, detected_pairs
from ..disk import Listing
from ..entries import Entry
from ..measure import measured
from ..overview import find_detected
from ..pairs import LoraPair
from ..paths import checked_file
from ..store import Catalog, Store
from ..user import add_entries
from .console import say, tell
from .desk import SHIPPED, CommandError, Desk, UsageError, every_pair

FIELDS = ("kind", "strength", "trigger", "steps", "cfg", "shift", "notes")
_suffix = {"high": " High Noise", "low": " Low Noise", "both": ""}


def add(args: Namespace, desk: Desk) -> int:
    """Write a pair into the user's loras.json, with the size and the sha256 of its files."""
    _check_ways(args)
    user, _ = desk.get_user(), desk.get_folders()
    listing = desk.loras.listing()
    files = _files(args, desk, listing)
    pair = _suggested(files.values())
    base_model = args.base_model or (pair.base_model if pair else "")
    known = _known(files, desk.store.catalog(), base_model)
    if known and args.id in (None, known.pair_id):
        pair, base_model = known, known.base_model
    if not base_model:
        raise UsageError("Say which model it is for, such as --base-model wan-i2v-14b.")
    entries = [measured(entry, listing, base_model) for entry in _entries(args, files, pair)]
    changed = add_entries(user, entries, date.today().isoformat())
    _report(desk, entries, changed)
    return 0


def _check_ways(args: Namespace) -> None:
    ways = (args.files, args.high or args.low, args.both, args.detected)
    if sum(map(bool, ways)) != 1:
        raise UsageError("Name files, or --high and --low, or --both, or --detected PAIR.")


def _files(args: Namespace, desk: Desk, listing: Listing) -> dict[str, str]:
    """Role -> file as the catalog is to name it."""
    named = {role: getattr(args, role) for role in _suffix if getattr(args, role)}
    if args.detected:
        return _of_detected(args.detected, args.base_model, desk, listing)
    if named:
        files = {role: _listed(file, listing) for role, file in named.items()}
        for role, file in files.items():
            said = detect([file])[0].role
            if said not in ("unknown", role):
                tell(f"The name of {file} says {said}, and it is added for {role} as you said.")
        return files
    return _of_names([_listed(file, listing) for file in args.files])


def _of_names(files: list[str]) -> dict[str, str]:
    """The roles as the names have them; no guess where they leave doubt."""
    told = detect(files)
    for each in told:
        if each.role == "unknown":
            raise CommandError(
                f"The name of {each.file} does not say which pass it is for. "
                "Write --high FILE --low FILE, or --both FILE for one that serves both."
            )
    roles = {each.role: each.file for each in told}
    if len(told) > 2 or len(roles) < len(told) or ("both" in roles and len(roles) > 1):
        said = ", ".join(f"{each.file} is {each.role}" for each in told)
        raise CommandError(f"These are not a high and a low file: {said}. Add one pair at a time.")
    if len(told) == 2 and told[0].partner != told[1].file:
        both = " ".join(f"--{role} {shlex.quote(roles[role])}" for role in ("high", "low"))
        raise CommandError(f"Their names do not match. If they belong together, write {both}.")
    return {role: roles[role] for role in _suffix if role in roles}


def _of_detected(
    pair_id: str, base_model: str | None, desk: Desk, listing: Listing
) -> dict[str, str]:
    catalog = desk.store.catalog()
    bases = dict.fromkeys(("", base_model or "", *catalog.base_models))
    every = (pair for base in bases for pair in find_detected(catalog, listing, base))
    found = {pair.pair_id: pair for pair in every}
    if pair_id not in found:
        known = ", ".join(found) or "none"
        raise CommandError(f"No pair {pair_id[:80]!r} was found on disk; those found are: {known}.")
    return {entry.pair_role: entry.file for entry in found[pair_id].entries}


def _listed(file: str, listing: Listing) -> str:
    """A file as ComfyUI lists it: below a loras folder, with / between folders."""
    try:
        return checked_file(_below(file, listing))
    except CommandError:
        raise
    except ValueError as error:
        raise CommandError(f"{file} cannot be in the catalog: its name {error}.") from error


def _below(file: str, listing: Listing) -> str:
    path, folders = os.path.abspath(file), ", ".join(listing.folders)
    if os.path.isfile(path):
        for folder in listing.folders:
            for seen in (os.path.abspath, os.path.realpath):
                if Path(seen(path)).is_relative_to(seen(folder)):
                    return Path(os.path.relpath(seen(path), seen(folder))).as_posix()
        raise CommandError(f"{file} lies in none of the loras folders ({folders}). Move it there.")
    found = tuple(listing.find(file.replace("\\", "/")).values())
    if len(found) > 1:
        raise CommandError(f"{file} is there {len(found)} times: {', '.join(sorted(found))}.")
    if not found:
        raise CommandError(f"There is no file {file}, here or in {folders}.")
    return found[0].replace("\\", "/")


def _suggested(files: Iterable[str]) -> LoraPair | None:
    """What the names alone would make of the files, if they make one pair of them."""
    pairs = detected_pairs(files, ())
    return pairs[0] if len(pairs) == 1 else None


def _known(files: Mapping[str, str], catalog: Catalog, base_model: str) -> LoraPair | None:
    """The pair of the user's that has the files, or that lacks the half that they are."""
    own = [
        pair
        for pair in every_pair(catalog)
        if (pair.base_model, pair.pair_id) in catalog.own and base_model in ("", pair.base_model)
    ]
    for pair in own:
        there = {entry.pair_role: entry.file for entry in pair.entries}
        if there.items() & files.items() and there | dict(files) == dict(files) | there:
            return pair
    halves = {pair.entries[0].file: pair for pair in own if len(pair.entries) == 1}
    told = detect([*files.values(), *halves])[0]
    is_half = len(files) == 1 and files.get(told.role) == told.file
    return halves.get(told.partner or "") if is_half else None


def _entries(args: Namespace, files: Mapping[str, str], pair: LoraPair | None) -> tuple[Entry, ...]:
    stem = PurePosixPath(next(iter(files.values()))).stem
    pair_id = args.id or (pair.pair_id if pair else _slug(stem))
    name = args.name or (pair.name if pair else stem)
    said = {key: getattr(args, key) for key in FIELDS if getattr(args, key) is not None}
    kind = pair.kind if pair else ""
    # A name that is in the user's catalog stays until they give another.
    kept = {} if args.name or not pair else {each.file: each.name for each in pair.entries}
    return tuple(
        Entry(
            **{"kind": kind} | said,
            name=kept.get(file) or f"{name}{_suffix[role]}",
            file=file,
            base_model="",
            pair_id=pair_id,
            pair_role=role,
        )
        for role, file in files.items()
    )


def _slug(stem: str) -> str:
    return re.sub("[^A-Za-z0-9.]+", "-", stem).strip("-.")[:100].lower() or "pair"


def _report(desk: Desk, entries: Sequence[Entry], changed: bool) -> None:
    base_model, pair_id = entries[0].base_model, entries[0].pair_id
    pair = desk.store.read().get_pair(base_model, pair_id)
    files = ", ".join(f"{entry.pair_role} {entry.file}" for entry in pair.entries)
    same = "" if changed else " is already there, unchanged"
    say(f"{pair.name} ({pair_id} of {base_model}){same}: {files}")
    if pair.warning:
        tell(pair.warning)
    shipped = Store(SHIPPED, None).catalog()
    if any(each.pair_id == pair_id for each in shipped.find_pairs(base_model)):
        tell(f"From now on it stands in the place of the shipped pair {pair_id}.")
    names = {entry.file.rpartition("/")[2]: entry for entry in shipped.entries}
    for entry in entries:
        other = names.get(entry.file.rpartition("/")[2])
        if other and other.pair_id != pair_id:
            tell(f"{entry.file} is also in the pair {other.pair_id} of {other.base_model}.")
