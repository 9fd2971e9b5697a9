"""Everything that is wrong or doubtful in the catalog, the presets, and the files on disk."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..disk import Listing, ambiguous
from ..pairs import LoraPair
from ..presets import Preset, PresetError, own_presets, read_presets
from ..stacks import choose, parse_selection
from ..store import Catalog
from .console import say, say_json
from .desk import SHIPPED, Desk, every_pair


@dataclass(frozen=True)
class Finding:
    """One thing to know; an error keeps something from running."""

    level: str
    text: str


def check(args: Namespace, desk: Desk) -> int:
    """Print all findings and a summary; 1 if there are errors."""
    catalog = desk.store.catalog()
    findings = tuple(dict.fromkeys(_findings(catalog, desk)))
    errors = sum(each.level == "error" for each in findings)
    if args.json:
        say_json([{"level": each.level, "text": each.text} for each in findings])
    else:
        for each in findings:
            say(f"{each.level}: {each.text}")
        say(f"{_summary(catalog, desk)}; errors: {errors}, warnings: {len(findings) - errors}")
    return int(errors > 0)


def _findings(catalog: Catalog, desk: Desk) -> Iterator[Finding]:
    for problem in catalog.problems:
        # What costs no entry is harmless.
        harmless = problem.text.endswith("is ignored.")
        yield Finding("warning" if harmless else "error", str(problem))
    ids = {pair.pair_id for pair in every_pair(catalog)}
    listing = desk.loras.listing() if desk.folders else None
    for pair in every_pair(catalog):
        yield from _of_pair(pair, ids)
        own = (pair.base_model, pair.pair_id) in catalog.own
        yield from _of_files(pair, listing, own) if listing else ()
    yield from _of_presets(desk, catalog)
    yield from _of_links(desk.user) if desk.user else ()


def _of_pair(pair: LoraPair, ids: set[str]) -> Iterator[Finding]:
    if pair.problem:
        yield Finding("error", pair.problem)
    if pair.warning:
        yield Finding("warning", f"{pair.base_model}: {pair.warning}")
    for entry in pair.entries:
        if entry.same_as and entry.same_as not in ids:
            yield Finding(
                "warning", f"{_title(pair)} is the same as {entry.same_as}: no such pair."
            )


def _of_files(pair: LoraPair, listing: Listing, own: bool) -> Iterator[Finding]:
    """Files that are there several times, with another size, or that should be there and are not.

    Of a shipped pair that is all those where the other file is there.
    """
    found = {entry: tuple(listing.find(entry.file)) for entry in pair.entries}
    for entry, paths in found.items():
        if len(paths) > 1:
            yield Finding("error", ambiguous(entry.file, paths))
        elif paths and entry.size and paths[0].stat().st_size != entry.size:
            size = paths[0].stat().st_size
            text = f"{entry.file} has {size:,} bytes, and the catalog says {entry.size:,}."
            yield Finding("warning", f"{text} `{_fetch(pair)} --replace` gets it anew.")
        elif not paths and (own or any(found.values())):
            remedy = f"`{_fetch(pair)}` gets it." if entry.hf_repo else "Nobody says where it is."
            yield Finding("warning", f"{_title(pair)} lacks {entry.file}. {remedy}")


def _of_presets(desk: Desk, catalog: Catalog) -> Iterator[Finding]:
    own: tuple[Preset, ...] = ()
    try:
        # The shipped ones name pairs that a user may have, so it is enough that they can be read.
        read_presets(SHIPPED / "presets.json")
        own = own_presets(desk.user) if desk.user else ()
    except PresetError as error:
        yield Finding("error", str(error))
    for preset in own:
        try:
            choose(parse_selection(preset.selection), catalog, preset.base_model)
        except ValueError as error:
            text = f"The preset {preset.name} of {preset.base_model} does not run: {error}"
            yield Finding("warning", text)


def _of_links(user: Path) -> Iterator[Finding]:
    """A catalog of the user's that is not there any more, which the store takes for none at all."""
    for name in ("models.json", "loras.json"):
        path = user / name
        if path.is_symlink() and not path.exists():
            text = f"{user.name}/{name} is a link that leads nowhere. Mend or remove it."
            yield Finding("error", text)


def _summary(catalog: Catalog, desk: Desk) -> str:
    pairs = tuple(every_pair(catalog))
    text = f"{len(pairs)} pairs of {len(catalog.base_models)} base models"
    if not desk.folders:
        return f"{text} (which files are there is not known; see --loras)"
    listing = desk.loras.listing()
    there = sum(all(listing.find(entry.file) for entry in pair.entries) for pair in pairs)
    return f"{text}, {there} with all files there"


def _title(pair: LoraPair) -> str:
    return f"{pair.pair_id} of {pair.base_model}"


def _fetch(pair: LoraPair) -> str:
    return f"python -m catalog fetch {pair.pair_id} --base-model {pair.base_model}"
