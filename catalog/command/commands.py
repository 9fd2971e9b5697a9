"""What the commands do: each takes what was asked and the desk, and returns the exit status."""

from __future__ import annotations

import json
import shlex
import sys
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..detect import detect
from ..disk import Listing
from ..doctor.examine import examine
from ..download import DownloadError, fetch_pair
from ..foreign import read_foreign, write_foreign
from ..overview import overview
from ..presets import (
    PresetError,
    export_presets,
    find_presets,
    import_presets,
    own_presets,
    preset_problem,
    read_presets,
)
from ..stacks import choose, format_selection, parse_selection
from .console import Progress, bytes_text, load_text, say, say_json, tell
from .desk import SHIPPED, CommandError, Desk


def list_pairs(args: Namespace, desk: Desk) -> int:
    """The pairs, those of one base model or all, and whether their files are there."""
    catalog = desk.store.catalog()
    base_models = [args.base_model] if args.base_model else catalog.base_models
    listing = desk.loras.listing()
    shelves = {base_model: overview(catalog, listing, base_model) for base_model in base_models}
    if args.json:
        say_json([_row(pair, name, desk) for name in shelves for pair in shelves[name]["pairs"]])
        return 0
    for base_model, shelf in shelves.items():
        say(base_model)
        for pair in shelf["pairs"]:
            say(f"  {_line(pair, desk)}")
        if not shelf["pairs"]:
            say(f"  no pairs; there are some for {', '.join(catalog.base_models)}")
    found = {pair["pair_id"]: pair for shelf in shelves.values() for pair in shelf["detected"]}
    if found:
        say("found on disk, in no catalog; `python -m catalog add --detected PAIR` adds one")
    for pair in found.values():
        say(f"  {pair['pair_id']:36} {_letters(pair):4}  {pair['name']}")
    if not desk.folders:
        tell("Which files are there is not known. Say where your LoRAs lie with --loras DIR.")
    return 0


def detect_files(args: Namespace, desk: Desk) -> int:
    """Role and partner of each name; `-` stands for names on the standard input, one a line."""
    files = [name for file in args.files for name in (_lines() if file == "-" else [file])]
    keys = ("file", "role", "partner")
    say_json([{key: getattr(each, key) for key in keys} for each in detect(files)])
    return 0


def fetch(args: Namespace, desk: Desk) -> int:
    """Download the files of a pair into the first loras folder."""
    pair, folder = desk.get_pair(args.pair, args.base_model), desk.get_folders()[0]
    wanted = desk.loras.wanting(pair)
    for entry in pair.entries:
        if entry not in wanted.entries:
            tell(
                f"{entry.file} is there already: {', '.join(map(str, desk.loras.find(entry.file)))}"
            )
    if not folder.exists() and folder.parent.is_dir():
        folder.mkdir()
    progress = Progress(sys.stderr)

    def begin(file: str) -> None:
        progress.close()
        tell(file)

    try:
        paths = fetch_pair(wanted, folder, progress, replace=args.replace, begin=begin)
    except DownloadError as error:
        if error.code != "NO_LIBRARY":
            raise
        pip = f"{shlex.quote(sys.executable)} -m pip install huggingface_hub"
        raise CommandError(f"{error} Or install it: {pip}") from error
    finally:
        progress.close()
    for path in paths:
        say(str(path))
    return 0


def doctor(args: Namespace, desk: Desk) -> int:
    """What each file is; 1 if one of them is of no use on Wan."""
    listing = desk.loras.listing() if desk.folders else None
    found = [examine(_path(file, listing)) for file in args.files]
    if args.json:
        say_json([diagnosis.as_json() for diagnosis in found])
    else:
        say("\n\n".join(map(str, found)))
    return int(any(diagnosis.problems for diagnosis in found))


def list_presets(args: Namespace, desk: Desk) -> int:
    """The shipped presets and the user's."""
    bases = [args.base_model] if args.base_model else desk.store.catalog().base_models
    for preset in (each for base in bases for each in find_presets(SHIPPED, desk.user, base)):
        own = " (yours)" if preset.own else ""
        say(f"{preset.base_model:18} {preset.name}{own}: {preset.selection or 'no LoRA'}")
    problem = preset_problem(desk.user) if desk.user else None
    if problem:
        tell(f"warning: {problem} None of yours is listed.")
    return 0


def export_own_presets(args: Namespace, desk: Desk) -> int:
    """Write the user's presets into one file that others can import."""
    presets = own_presets(desk.get_user())
    if not presets:
        raise CommandError(f"There are no presets of yours in {desk.get_user()}.")
    text = export_presets(presets)
    if args.file == "-":
        say_json(json.loads(text))
    else:
        path = Path(args.file)
        if path.exists() and not args.replace:
            _check_presets(path)
        path.write_bytes(text.encode())
        tell(f"Presets written into {args.file}: {len(presets)}.")
    return 0


def _check_presets(path: Path) -> None:
    try:
        read_presets(path)
    except PresetError as error:
        raise CommandError(
            f"{path} is there, and is no file of presets. Name another, or write over it "
            "with --replace."
        ) from error


def import_shared_presets(args: Namespace, desk: Desk) -> int:
    """Add the presets of a file to the user's."""
    text = load_text(args.file)
    source = "the input" if args.file == "-" else Path(args.file).name
    merged = import_presets(desk.get_user(), text, source=source, replace=args.replace)
    tell(f"Presets added: {len(merged.added)}, replaced: {len(merged.replaced)}.")
    for preset in merged.left_out:
        tell(f"{preset.name} is there already, and other. --replace takes the new one.")
    return 0


def import_stack(args: Namespace, desk: Desk) -> int:
    """Print a foreign stack as selection text, and what to know about it beside."""
    pairs = desk.store.catalog().find_pairs(args.base_model)
    imported = read_foreign(load_text(args.file), pairs)
    say(format_selection(imported.choices))
    for note in imported.notes:
        tell(note)
    return 0


def export_stack(args: Namespace, desk: Desk) -> int:
    """Print a selection text as a foreign stack."""
    chosen = choose(parse_selection(args.selection), desk.store.catalog(), args.base_model)
    say_json(json.loads(write_foreign(args.form, chosen)))
    return 0


def _row(pair: dict[str, Any], base_model: str, desk: Desk) -> dict[str, Any]:
    known = {} if desk.folders else {"installed": None}
    return {"base_model": base_model} | pair | known


def _line(pair: dict[str, Any], desk: Desk) -> str:
    there = ("there" if pair["installed"] else "missing") if desk.folders else ""
    size = bytes_text(pair["size"]) if pair["size"] else ""
    what = f"{pair['kind']:11} {_letters(pair):4} {there:7} {size:>8}"
    trouble = f"  PROBLEM: {pair['problem']}" if pair["problem"] else ""
    return f"{pair['pair_id']:36} {what}  {pair['name']}{' (yours)' * pair['own']}{trouble}"


def _letters(pair: dict[str, Any]) -> str:
    return (
        "both"
        if pair["both"]
        else "".join(role[0].upper() for role in ("high", "low") if pair[role])
    )


def _lines() -> Iterator[str]:
    return (line for line in load_text("-").splitlines() if line.strip())


def _path(file: str, listing: Listing | None) -> Path:
    """The file itself, or the one of that name among the LoRAs."""
    path = Path(file)
    found = tuple(listing.find(file)) if listing and not path.exists() else ()
    return found[0] if len(found) == 1 else path
