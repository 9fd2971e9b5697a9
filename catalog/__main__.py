"""The command line: `python -m catalog`, run from the pack's folder."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from .command import commands
from .command.adding import FIELDS, add
from .command.checkup import check
from .command.console import set_streams, shut_up, tell
from .command.desk import UsageError, find_desk
from .fields import kinds, readers
from .foreign import FORMS

_places = (
    "Without --loras and --user the ComfyUI around this pack is used: the pack lies in its "
    "custom_nodes, the LoRAs in its models/loras, what is yours in its user/__dualpass. "
    "extra_model_paths.yaml is not read: name its folders with --loras."
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. 0 it is done, 1 it failed, 2 it was not understood, 130 interrupted."""
    set_streams()
    parser = _parser()
    try:
        args = parser.parse_args(argv)
        _listen(quiet=args.run is check)
        makes = args.run in (add, commands.import_shared_presets)
        status = args.run(args, find_desk(args.loras, args.user, makes=makes))
        sys.stdout.flush()
        return status
    except UsageError as error:
        parser.error(str(error))
    except KeyboardInterrupt:
        tell("Cancelled.")
        return 130
    except BrokenPipeError:
        shut_up()
        return 141
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        tell(f"error: {where}{error.strerror or error}")
    except ValueError as error:
        tell(f"error: {error}")
    return 1


def _listen(quiet: bool) -> None:
    """Show what the catalog logs, but where a command tells all of it itself."""
    log = logging.getLogger("dualpass")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("warning: %(message)s"))
    log.addHandler(logging.NullHandler() if quiet else handler)
    log.propagate = False


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m catalog", description="The catalog of LoRA pairs.", epilog=_places
    )
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_looking(subparsers)
    _add_changing(subparsers)
    _add_sharing(subparsers)
    return parser


def _command(subparsers: Any, name: str, run: Callable[..., int], text: str) -> Any:
    command = subparsers.add_parser(
        name,
        help=text,
        description=f"{text[0].upper()}{text[1:]}.",
        epilog=_places,
        allow_abbrev=False,
    )
    command.set_defaults(run=run)
    command.add_argument(
        "--loras",
        metavar="DIR",
        type=Path,
        action="append",
        default=[],
        help="a folder with LoRAs, may be repeated; the first takes downloads",
    )
    command.add_argument("--user", metavar="DIR", type=Path, help="the folder of what is yours")
    return command


def _base_model(command: Any, required: bool = False) -> None:
    text = "such as wan-i2v-14b"
    command.add_argument(
        "--base-model", metavar="M", type=_field("base_model"), required=required, help=text
    )


def _json(command: Any) -> None:
    command.add_argument("--json", action="store_true", help="print JSON")


def _add_looking(subparsers: Any) -> None:
    command = _command(subparsers, "check", check, "tell all that is wrong or doubtful")
    _json(command)
    command = _command(subparsers, "list", commands.list_pairs, "list the pairs")
    _base_model(command)
    _json(command)
    text = "tell role and partner of files from their names, as JSON"
    command = _command(subparsers, "detect", commands.detect_files, text)
    command.add_argument(
        "files", metavar="FILE", nargs="+", help="a name; - reads names, one a line"
    )
    text = "examine LoRA files by their headers"
    command = _command(subparsers, "doctor", commands.doctor, text)
    command.add_argument("files", metavar="FILE", nargs="+")
    _json(command)


def _add_changing(subparsers: Any) -> None:
    command = _command(subparsers, "add", add, "add a pair to your catalog")
    command.add_argument(
        "files", metavar="FILE", nargs="*", help="files whose names say their roles"
    )
    for role in ("high", "low", "both"):
        command.add_argument(f"--{role}", metavar="FILE", help=f"the file for {role}")
    command.add_argument(
        "--detected", metavar="PAIR", help="a pair of `list` that was found on disk"
    )
    _base_model(command)
    command.add_argument("--id", type=_field("pair_id"), help="the id of the pair")
    command.add_argument("--name", type=_field("name"), help="its name, for eyes")
    helps = {"kind": ", ".join(kinds), "strength": "for both passes, or high:low such as 1:0.8"}
    for name in FIELDS:
        reader = _field(name, _converts.get(name, str))
        command.add_argument(f"--{name}", type=reader, help=helps.get(name))
    text = "download the files of a pair"
    command = _command(subparsers, "fetch", commands.fetch, text)
    command.add_argument("pair", metavar="PAIR")
    _base_model(command)
    command.add_argument("--replace", action="store_true", help="also in the place of other files")


def _add_sharing(subparsers: Any) -> None:
    presets = subparsers.add_parser("presets", help="list, export and import presets")
    three = presets.add_subparsers(required=True, metavar="COMMAND")
    command = _command(three, "list", commands.list_presets, "list the presets")
    _base_model(command)
    text = "write your presets into a file"
    command = _command(three, "export", commands.export_own_presets, text)
    command.add_argument("file", metavar="FILE")
    command.add_argument("--replace", action="store_true", help="also in the place of any file")
    text = "add the presets of a file to yours"
    command = _command(three, "import", commands.import_shared_presets, text)
    command.add_argument("file", metavar="FILE")
    command.add_argument("--replace", action="store_true", help="also in the place of yours")
    text = "print a stack of LightX2V, ai-toolkit or with applies_to as a selection"
    command = _command(subparsers, "import", commands.import_stack, text)
    command.add_argument("file", metavar="FILE", help="a file, or - for the standard input")
    _base_model(command, required=True)
    text = "print a selection as a stack of another program"
    command = _command(subparsers, "export", commands.export_stack, text)
    command.add_argument("selection", metavar="SELECTION", help="such as lightx2v-4step@0.6:1")
    _base_model(command, required=True)
    command.add_argument("--form", choices=FORMS, required=True)


def _field(name: str, convert: Callable[[str], Any] = str) -> Callable[[str], Any]:
    """A reader of an option that follows the catalog's rule for this field."""

    def read(text: str) -> Any:
        try:
            return readers[name](convert(text))
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return read


def _number(text: str) -> int | float | str:
    """The number that a text is, or the text, of which the catalog's rule says what it lacks."""
    for convert in (int, float):
        with suppress(ValueError):
            return convert(text)
    return text


def _levels(text: str) -> Any:
    levels = list(map(_number, text.split(":")))
    return levels[0] if len(levels) == 1 else levels


_converts: dict[str, Callable[[str], Any]] = {
    "strength": _levels,
    "steps": _number,
    "cfg": _number,
    "shift": _number,
}

if __name__ == "__main__":
    sys.exit(main())
