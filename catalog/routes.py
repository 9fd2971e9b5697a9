"""The routes that only read: the pairs that fit a base model, and what the picker asks besides."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .disk import LoraFolders
from .entries import Problem
from .fields import is_id
from .jobs import Jobs
from .overview import overview
from .presets import find_presets, preset_problem
from .stacks import Chosen, choose, parse_selection, warnings
from .store import Catalog, Store

if TYPE_CHECKING:
    from aiohttp import web

    Handler = Callable[[web.Request], Awaitable[web.Response]]

HERE = Path(__file__).parent
PLANNED = (
    "steps", "cfg_high", "cfg_low", "shift", "boundary", "switch_step", "sampler", "scheduler",
)  # fmt: skip
_headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
_no_id = "A base model id is 1 to 128 letters, digits or . _ + - and begins with a letter or digit."


@dataclass(frozen=True)
class Shelf:
    """What the routes are about.

    `preview` tells what is PLANNED for chosen pairs of a base model, or raises ValueError.
    """

    store: Store
    loras: LoraFolders
    user: Path
    jobs: Jobs
    preview: Callable[[str, Sequence[Chosen]], dict[str, Any]]


def add_routes(table: web.RouteTableDef, shelf: Shelf) -> None:
    """Register all that reads. ComfyUI adds the same paths below /api by itself.

    catalog/openapi.json describes each route.
    """
    table.get("/admin/loras/compatible/{base_model}")(_compatible(shelf.store))
    table.get("/dualpass/pairs/{base_model}")(_of_base_model(shelf, _pairs))
    table.get("/dualpass/plan/{base_model}")(_of_base_model(shelf, _plan))
    table.get("/dualpass/presets/{base_model}")(_of_base_model(shelf, presets))
    table.get("/dualpass/problems")(_plain(lambda: _problems(shelf)))
    table.get("/dualpass/jobs")(_plain(lambda: [job.as_json() for job in shelf.jobs.all()]))
    table.get("/dualpass/openapi.json")(_plain(_openapi))


def answer(body: Any, status: int = 200) -> web.Response:
    """JSON that no cache keeps; `body` may be bytes that are JSON already."""
    from aiohttp import web

    body = body if isinstance(body, bytes) else as_bytes(body)
    return web.Response(status=status, body=body, content_type="application/json", headers=_headers)


def as_bytes(value: Any) -> bytes:
    """Strict JSON."""
    return json.dumps(value, allow_nan=False).encode()


def refusal(status: int, code: str, message: str) -> web.Response:
    """An error as every route answers it."""
    return answer({"error": {"code": code, "message": message}}, status)


def _compatible(store: Store) -> Handler:
    made: dict[Catalog, dict[str, bytes]] = {}

    async def compatible(request: web.Request) -> web.Response:
        base_model = request.match_info["base_model"]
        if not is_id(base_model):
            return refusal(400, "BASE_MODEL", _no_id)
        catalog = store.catalog()
        if catalog not in made:
            fresh = await asyncio.to_thread(_bodies, catalog)
            made.clear()
            made[catalog] = fresh
        return answer(made[catalog].get(base_model, b"[]"))

    return compatible


def _bodies(catalog: Catalog) -> dict[str, bytes]:
    """The answer for each base model of a snapshot, made once."""
    return {
        base_model: as_bytes([pair.as_json() for pair in pairs])
        for base_model, pairs in catalog.pairs.items()
    }


def _of_base_model(shelf: Shelf, tell: Callable[[Shelf, str, str], Any]) -> Handler:
    """A handler that tells something of a base model, off the event loop since it reads files."""

    async def handle(request: web.Request) -> web.Response:
        base_model = request.match_info["base_model"]
        if not is_id(base_model):
            return refusal(400, "BASE_MODEL", _no_id)
        selection = request.query.get("selection", "")
        return answer(await _apart(lambda: tell(shelf, base_model, selection)))

    return handle


def _pairs(shelf: Shelf, base_model: str, _: str) -> dict[str, Any]:
    told = overview(shelf.store.catalog(), shelf.loras.listing(), base_model)
    return told | {"problems": [str(problem) for problem in _slips(shelf)]}


def _plan(shelf: Shelf, base_model: str, selection: str) -> dict[str, Any]:
    """What a selection would run; a reason why it would not is an answer too, not an error."""
    try:
        chosen = choose(parse_selection(selection), shelf.store.catalog(), base_model)
        plan = shelf.preview(base_model, chosen)
    except ValueError as error:
        return dict.fromkeys(PLANNED) | {"warnings": [], "problem": str(error)}
    return plan | {"warnings": warnings(chosen), "problem": ""}


def presets(shelf: Shelf, base_model: str, _: str = "") -> list[dict[str, Any]]:
    """The presets of a base model as the picker lists them."""
    found = find_presets(HERE, shelf.user, base_model)
    return [{key: value for key, value in asdict(p).items() if key != "base_model"} for p in found]


async def _apart(tell: Callable[[], Any]) -> bytes:
    """What is told, made and written in a thread: long lists would hold the event loop up."""

    def make() -> bytes:
        told = tell()
        return told if isinstance(told, bytes) else as_bytes(told)

    return await asyncio.to_thread(make)


def _plain(tell: Callable[[], Any]) -> Handler:
    async def handle(request: web.Request) -> web.Response:
        return answer(await _apart(tell))

    return handle


def _problems(shelf: Shelf) -> list[dict[str, Any]]:
    return [asdict(problem) for problem in _slips(shelf)]


def _slips(shelf: Shelf) -> list[Problem]:
    of_presets = preset_problem(shelf.user)
    return [*shelf.store.catalog().problems, *([of_presets] if of_presets else [])]


def _openapi() -> bytes:
    return (HERE / "openapi.json").read_bytes()
