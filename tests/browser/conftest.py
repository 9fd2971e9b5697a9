"""One page for the tests of a renderer and a frontend, with a new empty graph for each test."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rig import server as rig
from rig import setup
from rig.browser import FRONTENDS, PATIENCE, RENDERERS, frontend_flags, opened
from rig.client import Server

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

Shot = Callable[[str], None]
# Let pickers ask for their pairs anew: an earlier test may have answered for the server.
FORGET = """app.extensions.find(({ name }) => name === "DualPass.PairPicker")
    .refreshComboInNodes()"""


@pytest.fixture(scope="session", params=FRONTENDS)
def site(request: pytest.FixtureRequest, server: Server) -> Iterator[Server]:
    """The server of the page: ComfyUI with the page it pins, or another with the newest."""
    if request.param == "pinned":
        yield server
        return
    if not setup.frontend().exists():
        pytest.skip("needs the newest page: run `python3 dev.py setup`")
    with rig.start(packs=rig.probed_packs(), flags=frontend_flags(request.param)) as running:
        yield running


@pytest.fixture(scope="session", params=RENDERERS)
def opened_page(request: pytest.FixtureRequest, site: Server, browser: Browser) -> Iterator[Page]:
    """A page load costs seconds; pytest runs all tests of one page in a row."""
    from playwright.sync_api import expect

    expect.set_options(timeout=PATIENCE / 2)
    with opened(browser, site, request.param) as page:
        yield page


@pytest.fixture
def page(opened_page: Page, site: Server) -> Iterator[Page]:
    """An empty graph; at the end no error may have been thrown in the page."""
    # What an earlier test still runs would be shown by nodes of this one that have the same ids.
    while any(site.get("/queue").json().values()):
        site.check_alive()
        opened_page.wait_for_timeout(100)
    errors: list[str] = []

    def note(error: Exception) -> None:
        errors.append(str(error))

    opened_page.on("pageerror", note)
    opened_page.evaluate("app.extensionManager.command.execute('Comfy.NewBlankWorkflow')")
    opened_page.wait_for_function("app.graph.nodes.length === 0")
    opened_page.evaluate(FORGET)
    yield opened_page
    opened_page.remove_listener("pageerror", note)
    opened_page.unroute_all()
    assert not errors


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Where pictures are kept to be looked at: DUALPASS_SCREENSHOTS, or pytest's own folder."""
    return Path(os.environ.get("DUALPASS_SCREENSHOTS") or tmp_path)


@pytest.fixture
def shot(page: Page, request: pytest.FixtureRequest, pictures: Path) -> Shot:
    """Keep a picture of the page."""
    params = request.node.callspec.params
    suffix = f"{params['opened_page']}-{params['site']}"

    def take(name: str) -> None:
        page.screenshot(path=pictures / f"{name}-{suffix}.png")

    return take
