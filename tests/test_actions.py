"""The routes that change something, through a real aiohttp server."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("aiohttp")

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from pack.catalog.actions import add_actions
from pack.catalog.disk import LoraFolders
from pack.catalog.jobs import Jobs
from pack.catalog.routes import PLANNED, Shelf, add_routes
from pack.catalog.store import Store

SHIPPED = Path(__file__).parents[1] / "catalog"
HEADERS = {"X-DualPass": "1"}
BASE = "wan-i2v-14b"
PAIR = {"base_model": BASE, "pair_id": "lightx2v-4step"}

Ask = Callable[..., tuple[int, Any]]


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    (tmp_path / "loras").mkdir()
    store = Store(SHIPPED, tmp_path / "user")
    loras = LoraFolders.of(tmp_path / "loras")
    planned = dict.fromkeys(PLANNED)
    return Shelf(store, loras, tmp_path / "user", Jobs(), lambda base_model, chosen: planned)


@pytest.fixture
def post(shelf: Shelf) -> Ask:
    def ask(path: str, body: Any, headers: dict[str, str] = HEADERS) -> tuple[int, Any]:
        async def run() -> tuple[int, Any]:
            table, app = web.RouteTableDef(), web.Application()
            add_routes(table, shelf)
            add_actions(table, shelf)
            app.add_routes(table)
            async with TestClient(TestServer(app)) as client:
                method = client.get if body is None else client.post
                response = await method(f"/dualpass/{path}", json=body, headers=headers)
                return response.status, await response.json()

        return asyncio.run(run())

    return ask


ACTIONS: dict[str, dict[str, Any]] = {
    "fetch": PAIR,
    "cancel": {"job": "0" * 32},
    "adopt": PAIR,
    "presets": {"base_model": BASE, "name": "x", "selection": ""},
    "import": {"base_model": BASE, "text": "[]"},
    "export": {"base_model": BASE, "selection": "", "form": "lightx2v"},
}


@pytest.mark.parametrize("action", ACTIONS)
def test_every_action_is_guarded(shelf: Shelf, post: Ask, action: str) -> None:
    body = ACTIONS[action]
    assert post(action, body, {})[0] == 403
    assert post(action, body, HEADERS | {"Sec-Fetch-Site": "cross-site"})[0] == 403
    assert post(action, body | {"url": "https://evil.example/x"})[0] == 400
    assert post(action, {key: [value] for key, value in body.items()})[0] == 400
    assert not (shelf.user / "loras.json").exists() and not shelf.jobs.all()


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (PAIR | {"pair_id": "gone"}, 404),
        (PAIR | {"base_model": "wan-t2v-14b"}, 404),
        (PAIR | {"pair_id": "../x"}, 400),
        (PAIR | {"pair_id": "x\0"}, 400),
        (PAIR | {"pair_id": "x" * 200}, 400),
        (PAIR | {"pair_id": None}, 400),
    ],
)
def test_only_pairs_of_the_catalog_are_downloaded(
    shelf: Shelf, post: Ask, body: dict[str, Any], status: int
) -> None:
    assert post("fetch", body)[0] == status
    assert not shelf.jobs.all()


def test_a_download_is_followed_by_its_id(
    shelf: Shelf, post: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The library's own switch: no network is asked, and the job says so.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    status, job = post("fetch", PAIR)
    assert (status, job["pair_id"]) == (202, "lightx2v-4step")
    deadline = time.monotonic() + 30
    while (now := post("jobs", None)[1][0])["state"] in ("waiting", "running"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert (now["id"], now["state"], now["error"]["code"]) == (job["id"], "failed", "OFFLINE")
    assert post("cancel", {"job": job["id"]}) == (200, now)
    assert post("cancel", {"job": "0" * 32})[0] == 404


def test_a_found_pair_is_adopted_into_the_users_catalog(shelf: Shelf, post: Ask) -> None:
    save_file = pytest.importorskip("safetensors.numpy").save_file
    numpy = pytest.importorskip("numpy")
    folder = Path(shelf.loras.folders()[0])
    paths = [folder / f"my_style_{role}_noise.safetensors" for role in ("high", "low")]
    for path in paths:
        save_file({"blocks.0.self_attn.q.lora_A.weight": numpy.zeros((1, 8))}, path)
    _, told = post(f"pairs/{BASE}", None)
    (found,) = told["detected"]
    body = {"base_model": BASE, "pair_id": found["pair_id"]}
    assert post("adopt", body) == (200, {"pair_id": found["pair_id"]})
    _, told = post(f"pairs/{BASE}", None)
    (pair,) = (pair for pair in told["pairs"] if pair["own"])
    assert (pair["pair_id"], pair["installed"], told["detected"]) == (found["pair_id"], True, [])
    own = json.loads((shelf.user / "loras.json").read_text())
    assert [entry["size"] for entry in own["loras"]] == [path.stat().st_size for path in paths]
    hashes = [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]
    assert [entry["sha256"] for entry in own["loras"]] == hashes
    assert post("adopt", body)[0] == 404


def test_presets_are_kept_and_forgotten(post: Ask) -> None:
    mine = {"base_model": BASE, "name": "Mine", "selection": "svi-v2-pro@0.6:1"}
    status, listed = post("presets", mine)
    shown = {"name": "Mine", "selection": "svi-v2-pro@0.6:1", "notes": "", "own": True}
    assert status == 200 and shown in listed
    assert post(f"presets/{BASE}", None) == (200, listed)
    assert shown not in post("presets", mine | {"selection": None})[1]
    assert post("presets", mine | {"selection": "@@"})[0] == 409
    assert post("presets", mine | {"name": ""})[0] == 409


def test_a_foreign_stack_goes_in_and_out(post: Ask) -> None:
    selection = {"base_model": BASE, "selection": "lightx2v-4step@0.6:1"}
    status, told = post("export", selection | {"form": "lightx2v"})
    assert status == 200
    status, back = post("import", {"base_model": BASE, "text": told["text"]})
    assert (status, back) == (200, {"selection": "lightx2v-4step@0.6:1", "notes": []})
    assert post("import", {"base_model": BASE, "text": "{"})[0] == 409
    assert post("import", {"base_model": BASE, "text": "x" * 70_000})[0] == 413
    assert post("export", selection | {"form": "other"})[0] == 400
    assert post("export", selection | {"form": "lightx2v", "selection": "gone"})[0] == 404
