"""Stacks as LightX2V, ai-toolkit and lists with `applies_to` write them: read and written."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .matching import Item, matched
from .pairs import ROLES, LoraPair, Role
from .paths import is_hidden
from .stacks import Choice, Chosen, SelectionError, format_selection, parse_selection
from .strict_json import check, spelled

_longest = 4 * 1024 * 1024
_most = 64
# What Python writes and JSON does not have: a name for the whole, lines of comment.
_named = re.compile(r"\A\s*[A-Za-z_]\w*\s*=\s*(?=[\[{])")
_comment = re.compile(r"^[ \t]*#.*", re.MULTILINE)
# Texts are matched too, since a comma in one of them is none of the list.
_last_comma = re.compile(r'"(?:[^"\\\n]+|\\.)*"?|,(?=\s*[\]}])')
_link = re.compile(r"https://huggingface\.co/([^/]+/[^/]+)/(?:resolve|blob)/[^/]+/")


class ForeignError(ValueError):
    """A stack that cannot be read or written; the message names the item or the pair."""


@dataclass(frozen=True)
class Imported:
    """What a foreign stack chooses, in its order, and what the user should know about it."""

    choices: tuple[Choice, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Form:
    """The keys of an item in order, which of them say strength and pass, its word for a pass."""

    container: str
    keys: tuple[str, ...]
    strength: str
    role: str
    words: Mapping[str, str]
    largest: float = 10


_lightx2v = {"high": "high_noise_model", "low": "low_noise_model"}
_applies_to = {"high": "high_noise", "low": "low_noise", "both": "both"}
_forms = {
    # https://github.com/ModelTC/LightX2V: an item without a name serves every model.
    "lightx2v": _Form(
        "lora_configs", ("name", "path", "strength", "alpha"), "strength", "name", _lightx2v
    ),
    # https://github.com/runcomfy-com/ai-toolkit-inference refuses multipliers beyond -2 to 2.
    "ai-toolkit": _Form(
        "loras",
        ("path", "transformer", "network_multiplier"),
        "network_multiplier",
        "transformer",
        {"high": "high", "low": "low"},
        largest=2,
    ),
    "applies-to": _Form(
        "list", ("path", "name", "weight", "applies_to"), "weight", "applies_to", _applies_to
    ),
}
FORMS = tuple(_forms)


def read_foreign(text: str, pairs: Sequence[LoraPair]) -> Imported:
    """The choices that a stack in one of the three forms means, looked up among these pairs.

    What is in no pair is kept under an id of its own, with a note. Raises ForeignError.
    """
    form, listed = _recognised(text.removeprefix("\ufeff"))
    if not isinstance(listed, list) or len(listed) > _most:
        raise ForeignError(f"The {form.container} must be a list of at most {_most} items.")
    items = [_item(form, number, raw) for number, raw in enumerate(listed, 1)]
    choices, notes = matched(items, pairs)
    try:
        choices = parse_selection(format_selection(choices))
    except SelectionError as error:
        raise ForeignError(str(error)) from error
    return Imported(choices, (*notes, *_alphas(items, listed)))


def write_foreign(form: str, chosen: Sequence[Chosen]) -> str:
    """The stack as JSON of one of FORMS; a strength of 0 on a pass is no item for that pass.

    Raises ForeignError for a pair that this form cannot say.
    """
    if form not in _forms:
        raise ForeignError(f"{form[:80]!r} is no form; write one of {', '.join(FORMS)}.")
    items = [item for each in chosen for item in _written(form, each)]
    value = items if form == "applies-to" else {_forms[form].container: items}
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def _recognised(text: str) -> tuple[_Form, Any]:
    """The form of a text, and what it lists."""
    if len(text) > _longest:
        raise ForeignError(f"The text is longer than {_longest} characters.")
    text = _plain(text)
    if not text.strip():
        raise ForeignError("There is no stack in this text.")
    bare = text.lstrip().startswith("[")
    # The strict reader wants an object. On lines of its own the list keeps its columns.
    whole = f'{{"list":\n{text}\n}}' if bare else text
    try:
        check(whole)
    except json.JSONDecodeError as error:
        place = f"Line {max(error.lineno - bare, 1)}, column {error.colno}"
        raise ForeignError(f"{place}: {error.msg}") from error
    value = json.loads(whole)
    forms = [form for form in _forms.values() if form.container in value]
    if len(forms) != 1 or (bare and len(value) > 1):
        raise ForeignError(
            "This is none of the forms that can be read: an object with lora_configs (LightX2V) "
            "or with loras (ai-toolkit), or a list of items with applies_to."
        )
    return forms[0], value[forms[0].container]


def _plain(text: str) -> str:
    """The text without what only Python has; blanks in its stead keep lines and columns."""
    for pattern in (_comment, _named):
        text = pattern.sub(lambda found: re.sub(".", " ", found[0]), text)
    return _last_comma.sub(lambda found: " " if found[0] == "," else found[0], text)


def _item(form: _Form, number: int, raw: Any) -> Item:
    def said(field: str, types: tuple[type, ...], must: str, default: Any) -> Any:
        value = raw.get(field)
        if value is not None and type(value) not in types:
            raise ForeignError(f"Item {number}: {field} must be {must}; it is {spelled(value)}.")
        return default if value is None else value

    if not isinstance(raw, dict):
        raise ForeignError(f"Item {number} must be an object; it is {spelled(raw)}.")
    for key in raw.keys() - set(form.keys):
        raise ForeignError(f"Item {number} has {spelled(key)}; known are {', '.join(form.keys)}.")
    path = said("path", (str,), "a text", "")
    if not 0 < len(path) <= 500 or any(map(is_hidden, path)):
        raise ForeignError(f"Item {number}: path must be 1 to 500 characters, all visible.")
    strength = said(form.strength, (int, float), "a number from -10 to 10", 1.0)
    if abs(strength) > 10:
        raise ForeignError(f"Item {number}: {form.strength} is {strength}, not within -10 to 10.")
    said("alpha", (int, float), "a number or null", None)
    name = "" if form.role == "name" else said("name", (str,), "a text", "")
    roles = _roles(form, number, said(form.role, (str,), "a text", "both"))
    return Item(number, _link.sub(r"\1/", path.replace("\\", "/")), name, roles, strength + 0.0)


def _roles(form: _Form, number: int, word: str) -> tuple[Role, ...]:
    meanings = {word: (role,) for role in ROLES for word in (role, form.words[role])}
    if word != "both" and word not in meanings:
        words = ", ".join(form.words.values())
        raise ForeignError(
            f"Item {number}: {form.role} is {spelled(word)}; write one of {words}, or leave it out "
            "for both passes."
        )
    return meanings.get(word, ROLES)


def _alphas(items: Sequence[Item], listed: Sequence[dict[str, Any]]) -> list[str]:
    return [
        f"Item {item.number} ({item.path}) states alpha {raw['alpha']}, which is not carried: "
        "the alpha inside the file counts."
        for item, raw in zip(items, listed, strict=True)
        if raw.get("alpha") is not None
    ]


def _written(form: str, chosen: Chosen) -> list[dict[str, Any]]:
    """The one or two items of a pair."""
    shape, pair_id = _forms[form], chosen.pair.pair_id
    for level in chosen.high + chosen.low:
        if len(chosen.high) > 1 or len(chosen.low) > 1:
            raise ForeignError(f"{form} cannot say the strengths by step of {pair_id}.")
        if abs(level) > shape.largest or str(level) == "-0.0":
            span = f"{-shape.largest:g} to {shape.largest:g}, and no -0"
            raise ForeignError(f"{form} cannot say {level} of {pair_id}; it takes {span}.")
    acts = [(role, file.file) for role in ROLES if (file := chosen.entry_for(role))]
    if not acts:
        raise ForeignError(f"{form} cannot say {pair_id}, which acts on no pass. Leave it out.")
    same = len({(file, chosen.levels(role)[0]) for role, file in acts}) < len(acts)
    if same and "both" in shape.words:
        return [_said(shape, "both", acts[0][1], chosen.high[0], pair_id)]
    return [
        _said(shape, role, file, chosen.levels(role)[0], f"{pair_id}_{role}") for role, file in acts
    ]


def _said(form: _Form, role: str, file: str, strength: float, name: str) -> dict[str, Any]:
    # PEFT allows no dot in the name of an adapter.
    values: dict[str, Any] = {"name": name.replace(".", "_"), "path": file, "alpha": None}
    values |= {form.role: form.words[role], form.strength: strength}
    return {key: values[key] for key in form.keys}
