"""Named selections: the shipped ones, the user's own, and one JSON file to share them."""

from __future__ import annotations

import json
import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .entries import CatalogError, Problem, load_text
from .fields import is_id
from .paths import is_hidden
from .stacks import SelectionError, parse_selection
from .strict_json import check, children, spelled
from .user import locked, write_json

_file = "presets.json"
_fields = ("name", "base_model", "selection", "notes")
_largest = 4 * 1024 * 1024
_most = 200


@dataclass(frozen=True)
class Preset:
    """A selection text under a name; `own` tells the user's from the shipped ones."""

    name: str
    base_model: str
    selection: str
    notes: str = ""
    own: bool = False


@dataclass(frozen=True)
class Merged:
    """What an import changed, and which presets it left out because others have their names."""

    added: tuple[Preset, ...]
    replaced: tuple[Preset, ...]
    left_out: tuple[Preset, ...]


class PresetError(ValueError):
    """Presets that cannot be read or saved; `problem` says where and why."""

    def __init__(self, problem: Problem, text: str = "") -> None:
        super().__init__(text or str(problem))
        self.problem = problem


def read_presets(path: Path) -> tuple[Preset, ...]:
    """The presets of one file in order. Raises PresetError, which knows line and column."""
    return _read(path, own=False)


def own_presets(user: Path) -> tuple[Preset, ...]:
    """The user's presets in order; none where there is no file. Raises PresetError."""
    path = user / _file
    return _read(path, own=True) if os.path.lexists(path) else ()


def find_presets(shipped: Path, user: Path | None, base_model: str) -> tuple[Preset, ...]:
    """The presets of a base model from two folders; of one name the user's counts.

    Of a file of the user's that cannot be read there are none; `preset_problem` tells it.
    """
    own: tuple[Preset, ...] = ()
    with suppress(PresetError):
        own = own_presets(user) if user else ()
    every = (*read_presets(shipped / _file), *own)
    return tuple({each.name: each for each in every if each.base_model == base_model}.values())


def preset_problem(user: Path) -> Problem | None:
    """What is wrong with the file of the user's presets, if it cannot be read."""
    try:
        own_presets(user)
    except PresetError as error:
        return error.problem
    return None


def save_preset(user: Path, preset: Preset) -> None:
    """Keep a preset in the user's folder, in the place of one of that name if there is one.

    The notes of that one stay where the new one has none.
    Raises PresetError, also when the present file cannot be read: it is not written over.
    """
    with locked(user):
        kept = _keyed(own_presets(user))
        old = kept.get((preset.base_model, preset.name), preset)
        _write(user, kept | _keyed([replace(preset, notes=preset.notes or old.notes)]))


def forget_preset(user: Path, base_model: str, name: str) -> None:
    """Remove a preset of the user's, if there is one. Raises PresetError."""
    with locked(user):
        kept = _keyed(own_presets(user))
        if kept.pop((base_model, name), None):
            _write(user, kept)


def export_presets(presets: Iterable[Preset]) -> str:
    """The text of a file that holds these presets in this order."""
    return json.dumps(_document(presets), indent=2, ensure_ascii=False) + "\n"


def import_presets(
    user: Path, text: str, *, source: str = "import", replace: bool = False
) -> Merged:
    """Add the presets of a shared file's text to the user's; errors call it `source`.

    Where the user has another preset of a name, it stays unless `replace`. Raises PresetError.
    """
    shared = _keyed(_parsed(text.removeprefix("\ufeff"), source, own=True))
    with locked(user):
        kept = _keyed(own_presets(user))
        added = {key: preset for key, preset in shared.items() if key not in kept}
        other = {key: preset for key, preset in shared.items() if kept.get(key, preset) != preset}
        changed = added | other if replace else added
        if changed:
            _write(user, kept | changed)
    others = tuple(other.values())
    return Merged(tuple(added.values()), *((others, ()) if replace else ((), others)))


def _read(path: Path, own: bool) -> tuple[Preset, ...]:
    source = f"{path.parent.name}/{path.name}"
    try:
        return _parsed(load_text(path, source), source, own)
    except CatalogError as error:
        raise PresetError(error.problem) from error


def _keyed(presets: Iterable[Preset]) -> dict[tuple[str, str], Preset]:
    return {(each.base_model, each.name): each for each in presets}


def _write(user: Path, presets: Mapping[tuple[str, str], Preset]) -> None:
    try:
        _parsed(export_presets(presets.values()), _file, own=True)
    except PresetError as error:
        # Its place is one in a file that nobody will see.
        raise PresetError(error.problem, error.problem.text) from error
    write_json(user / _file, _document(presets.values()))


def _document(presets: Iterable[Preset]) -> dict[str, list[dict[str, str]]]:
    return {"presets": [{field: getattr(each, field) for field in _fields} for each in presets]}


def _parsed(text: str, source: str, own: bool) -> tuple[Preset, ...]:
    try:
        if len(text.encode(errors="replace")) > _largest:
            raise json.JSONDecodeError("The presets take more than 4 MiB. Remove some.", "", 0)
        check(text)
        return tuple(_listed(text, own))
    except json.JSONDecodeError as error:
        raise PresetError(Problem(source, error.lineno, error.colno, "", error.msg)) from error


def _listed(text: str, own: bool) -> Iterator[Preset]:
    top = list(children(text, text.index("{")))
    if [key for _, key in top[::2]] != ["presets"] or not isinstance(top[1][1], list):
        raise json.JSONDecodeError('Write {"presets": [ … ]} and nothing beside it.', text, 0)
    keys: set[tuple[str, str]] = set()
    count: Counter[str] = Counter()
    for place, raw in children(text, top[1][0]):
        for field, slip in _slips(raw):
            at = {key: at for at, key in list(children(text, place))[::2]} if field else {}
            raise json.JSONDecodeError(slip, text, at.get(field, place))
        preset = Preset(**raw, own=own)
        key = (preset.base_model, preset.name)
        if key in keys:
            raise json.JSONDecodeError(f"{preset.name!r} is there twice. Rename one.", text, place)
        keys.add(key)
        count[preset.base_model] += 1
        if count[preset.base_model] > _most:
            slip = f"{preset.base_model} has more than {_most} presets. Remove some."
            raise json.JSONDecodeError(slip, text, place)
        yield preset


def _slips(raw: Any) -> Iterator[tuple[str, str]]:
    """What is wrong with a preset, as (field, text)."""
    if not isinstance(raw, dict):
        yield "", "A preset must be an object in curly brackets."
        return
    for field in _fields[:3]:
        if field not in raw:
            yield "", f"{field} is missing from this preset."
            return
    for field, value in raw.items():
        if field not in _fields:
            yield field, f"{field!r:.80} is no field of a preset; known are {', '.join(_fields)}."
        elif not isinstance(value, str):
            yield field, f"{field} must be a text in double quotes; it is {spelled(value)}."
    # Nothing below is asked for when a field is no text.
    name, notes = raw["name"], raw.get("notes", "")
    if not 0 < len(name) <= 80 or name != name.strip() or _is_odd(name):
        yield "name", "name must be 1 to 80 visible characters, without blanks at its ends."
    if len(notes) > 500 or _is_odd(notes):
        yield "notes", "notes must be one paragraph of at most 500 visible characters."
    if not is_id(raw["base_model"]):
        yield "base_model", f"{raw['base_model']!r:.80} cannot be the id of a base model."
    try:
        parse_selection(raw["selection"])
    except SelectionError as error:
        yield "selection", str(error)


def _is_odd(text: str) -> bool:
    return any(map(is_hidden, text)) or not unicodedata.is_normalized("NFC", text)
