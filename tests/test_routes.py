"""The route of compatible pairs, through a real aiohttp server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("aiohttp")

from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient, TestServer
from yarl import URL

from pack.catalog.routes import add_routes
from pack.catalog.store import Store

ROUTE = "/admin/loras/compatible/"
PAIR = {"base_model": "wan-i2v-14b", "pair_id": "p", "pair_role": "high", "file": "h.sft"}
SHOWN = [{"pair_id": "p", "name": "Räin", "high": "h.sft", "low": None, "both": None}]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    (tmp_path / "models.json").write_text(json.dumps({"loras": [PAIR | {"name": "Räin LoRA"}]}))
    (tmp_path / "loras.json").write_text("{}")
    ticks = iter(range(1000))
    return Store(tmp_path, None, lambda: float(next(ticks)))


def ask(
    store: Store, path: str, check: Callable[[ClientResponse, bytes], None], method: str = "GET"
) -> None:
    async def run() -> None:
        table = web.RouteTableDef()
        add_routes(table, store)
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
def test_an_id_is_answered_with_a_list(store: Store, base_model: str, shown: object) -> None:
    def check(response: ClientResponse, body: bytes) -> None:
        assert (response.status, json.loads(body)) == (200, shown)
        assert response.headers["Content-Type"] == "application/json"
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["X-Content-Type-Options"] == "nosniff"

    ask(store, ROUTE + base_model, check)


@pytest.mark.parametrize(
    "base_model",
    [
        *["%2e%2e%2f", "%2e%2e%2fetc%2fpasswd", "a%2Fb", "%252e", "%00", "%0d%0aX-Evil:1"],
        *["%FF%FE", "%E2%80%AE", "%3Cscript%3E", "%C3%A9", "a%20b", "-a", ".png", "%20"],
        *["x" * 129, "x" * 5000],
    ],
)
def test_what_is_no_id_is_refused_without_an_echo(store: Store, base_model: str) -> None:
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

    ask(store, ROUTE + "%21", remember)
    ask(store, ROUTE + base_model, check)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", ROUTE, 404),
        ("GET", ROUTE + "a/b", 404),
        ("GET", ROUTE + "wan-i2v-14b/", 404),
        ("GET", ROUTE + "x" * 9000, 400),
        ("HEAD", ROUTE + "wan-i2v-14b", 200),
        *[(method, ROUTE + "x", 405) for method in ("POST", "PUT", "DELETE", "PATCH")],
    ],
)
def test_other_requests_get_the_usual_answers(
    store: Store, method: str, path: str, status: int
) -> None:
    def check(response: ClientResponse, body: bytes) -> None:
        assert response.status == status

    ask(store, path, check, method)


def test_a_changed_catalog_is_answered_at_once(store: Store, tmp_path: Path) -> None:
    def check(response: ClientResponse, body: bytes) -> None:
        answers.append(json.loads(body))

    answers: list[object] = []
    ask(store, ROUTE + "wan-i2v-14b", check)
    (tmp_path / "models.json").write_text("{}")
    ask(store, ROUTE + "wan-i2v-14b", check)
    assert answers == [SHOWN, []]
