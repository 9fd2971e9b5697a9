"""The route of compatible pairs, through a real aiohttp server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("aiohttp")

from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient, TestServer
from yarl import URL

from pack.catalog.disk import LoraFolders
from pack.catalog.jobs import Jobs
from pack.catalog.routes import PLANNED, Shelf, add_routes
from pack.catalog.stacks import Chosen
from pack.catalog.store import Store

ROUTE = "/admin/loras/compatible/"
PAIR = {"base_model": "wan-i2v-14b", "pair_id": "p", "pair_role": "high", "file": "h.sft"}
SHOWN = [{"pair_id": "p", "name": "Räin", "high": "h.sft", "low": None, "both": None}]


def planned(base_model: str, chosen: Sequence[Chosen]) -> dict[str, Any]:
    """A plan that shows which pairs it was asked about."""
    return dict.fromkeys(PLANNED) | {"steps": len(chosen), "sampler": base_model}


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    (tmp_path / "models.json").write_text(json.dumps({"loras": [PAIR | {"name": "Räin LoRA"}]}))
    (tmp_path / "loras.json").write_text("{}")
    ticks = iter(range(1000))
    store = Store(tmp_path, None, lambda: float(next(ticks)))
    return Shelf(store, LoraFolders.of(tmp_path / "loras"), tmp_path / "user", Jobs(), planned)


def ask(
    shelf: Shelf, path: str, check: Callable[[ClientResponse, bytes], None], method: str = "GET"
) -> None:
    async def run() -> None:
        table = web.RouteTableDef()
        add_routes(table, shelf)
        app = web.Application()
        app.add_routes(table)
        async with TestClient(TestServer(app)) as client:
            response = await client.request(method, URL(path, encoded=True))
            check(response, await response.read())

    asyncio.run(run())


@pytest.mark.parametrize(
    ("base_model", "shown"),
    [
        ("wan-i2v-14b", SHOWN),
        ("wan-i2v-14b?x=1", SHOWN),
        ("wan%2Di2v%2D14b", SHOWN),
        ("unknown", []),
        ("WAN-I2V-14B", []),
        ("x.png", []),
        ("x" * 128, []),
    ],
)
def test_an_id_is_answered_with_a_list(shelf: Shelf, base_model: str, shown: object) -> None:
    def check(response: ClientResponse, body: bytes) -> None:
        assert (response.status, json.loads(body)) == (200, shown)
        assert response.headers["Content-Type"] == "application/json"
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["X-Content-Type-Options"] == "nosniff"

    ask(shelf, ROUTE + base_model, check)


@pytest.mark.parametrize(
    "base_model",
    [
        *["%2e%2e%2f", "%2e%2e%2fetc%2fpasswd", "a%2Fb", "%252e", "%00", "%0d%0aX-Evil:1"],
        *["%FF%FE", "%E2%80%AE", "%3Cscript%3E", "%C3%A9", "a%20b", "-a", ".png", "%20"],
        *["x" * 129, "x" * 5000],
    ],
)
def test_what_is_no_id_is_refused_without_an_echo(shelf: Shelf, base_model: str) -> None:
    def check(response: ClientResponse, body: bytes) -> None:
        assert response.status == 400
        error = json.loads(body)["error"]
        assert (sorted(error), error["code"]) == (["code", "message"], "BASE_MODEL")
        assert response.headers["Content-Type"] == "application/json"
        assert response.headers["Cache-Control"] == "no-store"
        assert "X-Evil" not in response.headers
        assert body == refusal

    refusal = b""

    def remember(response: ClientResponse, body: bytes) -> None:
        nonlocal refusal
        refusal = body

    ask(shelf, ROUTE + "%21", remember)
    ask(shelf, ROUTE + base_model, check)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", ROUTE, 404),
        ("GET", ROUTE + "a/b", 404),
        ("GET", ROUTE + "wan-i2v-14b/", 404),
        ("GET", ROUTE + "x" * 9000, 400),
        ("HEAD", ROUTE + "wan-i2v-14b", 200),
        ("GET", ROUTE + "wan-i2v-14b?selection=%00&junk=" + "x" * 500, 200),
        *[(m, ROUTE + "x", 405) for m in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE")],
    ],
)
def test_other_requests_get_the_usual_answers(
    shelf: Shelf, method: str, path: str, status: int
) -> None:
    def check(response: ClientResponse, body: bytes) -> None:
        assert response.status == status

    ask(shelf, path, check, method)


def test_a_changed_catalog_is_answered_at_once(shelf: Shelf, tmp_path: Path) -> None:
    def check(response: ClientResponse, body: bytes) -> None:
        answers.append(json.loads(body))

    answers: list[object] = []
    ask(shelf, ROUTE + "wan-i2v-14b", check)
    (tmp_path / "models.json").write_text("{}")
    ask(shelf, ROUTE + "wan-i2v-14b", check)
    assert answers == [SHOWN, []]


def test_what_the_picker_asks_of_a_base_model(shelf: Shelf, tmp_path: Path) -> None:
    lora = tmp_path / "loras" / "wan" / "h.sft"
    lora.parent.mkdir(parents=True)
    lora.write_bytes(b"12345")
    (tmp_path / "loras" / "my_style_high_noise.sft").touch()
    (tmp_path / "loras" / "my_style_low_noise.sft").touch()

    def check(response: ClientResponse, body: bytes) -> None:
        told = json.loads(body)
        (pair,) = told["pairs"]
        high = {"file": "h.sft", "installed": True, "size": 5, "downloadable": False}
        assert (pair["high"], pair["low"], pair["both"]) == (high, None, None)
        assert (pair["installed"], pair["size"], pair["own"]) == (True, 5, False)
        assert pair["strength"] == {"high": 1, "low": None}
        assert "has no file for the low pass" in pair["warning"]
        (found,) = told["detected"]
        halves = ("my_style_high_noise.sft", "my_style_low_noise.sft")
        assert (found["high"], found["low"]) == halves
        assert told["problems"] == []

    ask(shelf, "/dualpass/pairs/wan-i2v-14b", check)


@pytest.mark.parametrize(
    ("selection", "steps", "problem", "warning"),
    [
        ("", 0, "", None),
        ("p", 1, "", "has no file for the low pass"),
        ("%20p@1", 1, "", "has no file for the low pass"),
        ("gone", None, "Pair 'gone' is not in your catalog", None),
        ("p@nan", None, "is not a number", None),
        ("@@%00", None, "does not begin with the id of a pair", None),
    ],
)
def test_a_plan_or_the_reason_why_there_is_none(
    shelf: Shelf, selection: str, steps: int | None, problem: str, warning: str | None
) -> None:
    def check(response: ClientResponse, body: bytes) -> None:
        told = json.loads(body)
        assert response.status == 200
        assert told.keys() == {*PLANNED, "warnings", "problem"}
        assert told["steps"] == steps
        assert problem in told["problem"] and bool(problem) == bool(told["problem"])
        assert [warning in text for text in told["warnings"]] == ([True] if warning else [])

    ask(shelf, "/dualpass/plan/wan-i2v-14b?selection=" + selection, check)


def test_what_is_found_is_offered_only_where_its_name_allows(shelf: Shelf, tmp_path: Path) -> None:
    (tmp_path / "loras").mkdir()
    for name in ("wan22_t2v_style", "other_style"):
        for role in ("high", "low"):
            (tmp_path / "loras" / f"{name}_{role}_noise.safetensors").touch()
    for base_model, offered in (("wan-t2v-14b", 2), ("wan-i2v-14b", 1)):

        def check(response: ClientResponse, body: bytes, offered: int = offered) -> None:
            assert len(json.loads(body)["detected"]) == offered

        ask(shelf, f"/dualpass/pairs/{base_model}", check)


def test_a_file_that_is_there_twice_is_a_problem(shelf: Shelf, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / "loras" / folder).mkdir(parents=True)
        (tmp_path / "loras" / folder / "h.sft").touch()

    def check(response: ClientResponse, body: bytes) -> None:
        (pair,) = json.loads(body)["pairs"]
        assert pair["problem"] == "h.sft is there 2 times. Keep one of them."

    ask(shelf, "/dualpass/pairs/wan-i2v-14b", check)


@pytest.mark.parametrize("route", ["pairs", "plan", "presets"])
def test_other_routes_refuse_what_is_no_base_model(shelf: Shelf, route: str) -> None:
    def check(response: ClientResponse, body: bytes) -> None:
        assert (response.status, json.loads(body)["error"]["code"]) == (400, "BASE_MODEL")

    ask(shelf, f"/dualpass/{route}/%2e%2e%2f", check)


def test_problems_have_their_place(shelf: Shelf, tmp_path: Path) -> None:
    (tmp_path / "loras.json").write_text('{"loras": [\n  5]}')

    def check(response: ClientResponse, body: bytes) -> None:
        (problem,) = json.loads(body)
        assert (problem["source"], problem["line"], problem["column"]) == (
            f"{tmp_path.name}/loras.json", 2, 3,
        )  # fmt: skip

    ask(shelf, "/dualpass/problems", check)


def test_a_broken_file_of_presets_is_a_problem_too(shelf: Shelf) -> None:
    shelf.user.mkdir()
    (shelf.user / "presets.json").write_text("{")

    def check(response: ClientResponse, body: bytes) -> None:
        (problem,) = json.loads(body)["problems"]
        assert "presets.json:1:" in problem

    ask(shelf, "/dualpass/pairs/wan-i2v-14b", check)
