"""The description of the routes: complete, and kept by the running server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("aiohttp")

from aiohttp import web

from pack.catalog.actions import add_actions
from pack.catalog.disk import LoraFolders
from pack.catalog.jobs import Jobs
from pack.catalog.routes import Shelf, add_routes
from pack.catalog.store import Store
from rig import server as rig
from rig.client import Server

SPEC = Path(__file__).parents[1] / "catalog" / "openapi.json"
# Not unsupported_method: to a GET that no route answers, ComfyUI answers 404 for all paths.
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,"
    "response_schema_conformance,negative_data_rejection,missing_required_header"
)


@pytest.fixture(scope="module")
def offline_server() -> Iterator[Server]:
    """A real ComfyUI that downloads nothing, whatever it is asked."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        if "DUALPASS_COMFYUI" not in os.environ:
            pytest.skip("needs a real ComfyUI: run `python3 dev.py test`")
        with rig.start() as running:
            yield running


def test_each_route_is_described_and_nothing_else(tmp_path: Path) -> None:
    table = web.RouteTableDef()
    store = Store(SPEC.parent, None)
    shelf = Shelf(store, LoraFolders.of(tmp_path), tmp_path, Jobs(), lambda *_: {})
    add_routes(table, shelf)
    add_actions(table, shelf)
    routes = {
        (route.method.lower(), route.path) for route in table if isinstance(route, web.RouteDef)
    }
    paths = json.loads(SPEC.read_text())["paths"]
    assert routes == {(method, path) for path, methods in paths.items() for method in methods}


def test_the_server_does_what_the_description_says(offline_server: Server, tmp_path: Path) -> None:
    pytest.importorskip("schemathesis")
    where = ["--url", offline_server.url, "--report-dir", str(tmp_path)]
    how = ["--phases", "examples,coverage,fuzzing", "-n", "60", "--max-failures", "5"]
    how += ["--seed", "1"]  # the same inputs each time
    program = str(Path(sys.executable).with_name("schemathesis"))
    command = [program, "run", str(SPEC), *where, *how, "--checks", CHECKS, "--no-color"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=1800)
    assert run.returncode == 0, run.stdout[-6000:]
