"""The routes that take a body: each is guarded, and names pairs by id only."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import date
from typing import TYPE_CHECKING, Any

from .fields import is_id
from .foreign import FORMS, read_foreign, write_foreign
from .guard import Refused, guarded
from .jobs import TooMany
from .measure import measured
from .overview import find_detected
from .presets import Preset, forget_preset, save_preset
from .routes import Shelf, answer, presets, refusal
from .stacks import choose, format_selection, parse_selection
from .store import UnknownPairError
from .user import add_entries

if TYPE_CHECKING:
    from aiohttp import web

    Body = Mapping[str, Any]
    Act = Callable[[Shelf, Body], web.Response]


def add_actions(table: web.RouteTableDef, shelf: Shelf) -> None:
    """Register all that changes something, and the way in and out for foreign stacks.

    None deletes a file, takes a path or an address.
    """
    pair = {"base_model": _is_id, "pair_id": _is_id}
    chosen = {"base_model": _is_id, "selection": _is_text}
    table.post("/dualpass/fetch")(_guarded(shelf, pair, _fetch))
    table.post("/dualpass/cancel")(_guarded(shelf, {"job": _is_text}, _cancel))
    table.post("/dualpass/adopt")(_guarded(shelf, pair, _adopt))
    kept = {"base_model": _is_id, "name": _is_text, "selection": _is_text_or_none}
    table.post("/dualpass/presets")(_guarded(shelf, kept, _keep))
    foreign = {"base_model": _is_id, "text": _is_text}
    table.post("/dualpass/import")(_guarded(shelf, foreign, _import, most=65_536, local=False))
    form = {"form": FORMS.__contains__}
    table.post("/dualpass/export")(_guarded(shelf, chosen | form, _export, local=False))


def _is_id(value: Any) -> bool:
    return isinstance(value, str) and is_id(value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_text_or_none(value: Any) -> bool:
    return value is None or isinstance(value, str)


def _guarded(
    shelf: Shelf,
    keys: Mapping[str, Callable[[Any], bool]],
    act: Act,
    most: int = 4096,
    local: bool = True,
) -> Callable[[web.Request], Any]:
    """A handler that acts off the event loop once every guard has let the request through."""

    async def handle(request: web.Request) -> web.Response:
        try:
            body = await guarded(request, shelf.user, keys=keys, most=most, local=local)
            return await asyncio.to_thread(act, shelf, body)
        except Refused as error:
            return refusal(error.status, error.code, str(error))
        except TooMany as error:
            return refusal(429, "TOO_MANY", str(error))
        except UnknownPairError as error:
            return refusal(404, "PAIR", str(error))
        # What reading, choosing and writing raise for what a person can mend.
        except ValueError as error:
            return refusal(409, "REFUSED", str(error))

    return handle


def _fetch(shelf: Shelf, body: Body) -> web.Response:
    pair = shelf.store.catalog().get_pair(body["base_model"], body["pair_id"])
    known = {job.id for job in shelf.jobs.all()}
    job = shelf.jobs.start(shelf.loras.wanting(pair), shelf.loras.first())
    return answer(job.as_json(), 200 if job.id in known else 202)


def _cancel(shelf: Shelf, body: Body) -> web.Response:
    job = shelf.jobs.cancel(body["job"])
    return answer(job.as_json()) if job else refusal(404, "JOB", "There is no such download.")


def _adopt(shelf: Shelf, body: Body) -> web.Response:
    """A pair that was found on disk becomes one of the user's catalog."""
    catalog, listing = shelf.store.catalog(), shelf.loras.listing()
    detected = find_detected(catalog, listing, body["base_model"])
    for pair in detected:
        if pair.pair_id == body["pair_id"]:
            entries = [measured(entry, listing, body["base_model"]) for entry in pair.entries]
            add_entries(shelf.user, entries, date.today().isoformat())
            shelf.store.read()
            return answer({"pair_id": pair.pair_id})
    return refusal(404, "PAIR", "No such pair was found on disk. Refresh the list.")


def _keep(shelf: Shelf, body: Body) -> web.Response:
    base_model, name, selection = body["base_model"], body["name"], body["selection"]
    if selection is None:
        forget_preset(shelf.user, base_model, name)
    else:
        save_preset(shelf.user, Preset(name, base_model, selection, own=True))
    return answer(presets(shelf, base_model))


def _import(shelf: Shelf, body: Body) -> web.Response:
    pairs = shelf.store.catalog().find_pairs(body["base_model"])
    imported = read_foreign(body["text"], pairs)
    return answer({"selection": format_selection(imported.choices), "notes": imported.notes})


def _export(shelf: Shelf, body: Body) -> web.Response:
    catalog, choices = shelf.store.catalog(), parse_selection(body["selection"])
    chosen = choose(choices, catalog, body["base_model"])
    return answer({"text": write_foreign(body["form"], chosen)})
