"""One page for the tests of a renderer, with a new empty graph for each test."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rig.browser import RENDERERS, opened
from rig.client import Server

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

Shot = Callable[[str], None]


@pytest.fixture(scope="session", params=RENDERERS)
def opened_page(request: pytest.FixtureRequest, server: Server, browser: Browser) -> Iterator[Page]:
    """A page load costs seconds; pytest runs all tests of one renderer in a row."""
    from playwright.sync_api import expect

    expect.set_options(timeout=15_000)
    with opened(browser, server, request.param) as page:
        yield page


@pytest.fixture
def page(opened_page: Page) -> Iterator[Page]:
    """An empty graph; at the end no error may have been thrown in the page."""
    errors: list[str] = []

    def note(error: Exception) -> None:
        errors.append(str(error))

    opened_page.on("pageerror", note)
    opened_page.evaluate("app.extensionManager.command.execute('Comfy.NewBlankWorkflow')")
    opened_page.wait_for_function("app.graph.nodes.length === 0")
    yield opened_page
    opened_page.remove_listener("pageerror", note)
    opened_page.unroute_all()
    assert not errors


@pytest.fixture
def shot(page: Page, request: pytest.FixtureRequest, tmp_path: Path) -> Shot:
    """Keep a picture of the page to look at, in DUALPASS_SCREENSHOTS or pytest's own folder."""
    folder = Path(os.environ.get("DUALPASS_SCREENSHOTS") or tmp_path)
    renderer = request.node.callspec.params["opened_page"]

    def take(name: str) -> None:
        page.screenshot(path=folder / f"{name}-{renderer}.png")

    return take
