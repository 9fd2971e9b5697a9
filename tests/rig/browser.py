"""A system Chromium on the real page of a running server, in either renderer."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rig.client import Server

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

RENDERERS = ("lite", "vue")
NAMES = (
    "chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    r"C:\Program Files\Google\Chrome\Application\chrome.exe",
)  # fmt: skip
MISSING = (
    "No Chromium found: install one (Debian, Ubuntu: `apt install chromium`; macOS: "
    "`brew install --cask chromium`; or Google Chrome) or name its program in CHROMIUM."
)
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
# The splash screen is gone and the first workflow is open: later than `app.graph` is there.
READY = """!document.querySelector("#splash-loader")
    && window.app?.extensionManager?.workflow?.activeWorkflow"""


def find_chromium() -> str | None:
    """The path of a browser that Playwright can drive: CHROMIUM, or one of the usual names."""
    names = (os.environ.get("CHROMIUM"), *NAMES)
    return next((path for name in names if name and (path := shutil.which(name))), None)


@contextmanager
def launched(program: str) -> Iterator[Browser]:
    """A headless browser until the block ends."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(browser: Browser, server: Server, renderer: str) -> Iterator[Page]:
    """ComfyUI's page with an empty profile, ready to use, in the renderer `lite` or `vue`."""
    server.post(
        "/settings",
        {
            "Comfy.Locale": "en",
            "Comfy.TutorialCompleted": True,
            "Comfy.VueNodes.Enabled": renderer == "vue",
        },
    )
    context = browser.new_context(viewport={"width": 1600, "height": 1000})
    try:
        page = context.new_page()
        page.route("**/releases**", lambda route: route.fulfill(json=[]))
        page.goto(server.url)
        page.wait_for_function(READY, timeout=60_000)
        yield page
    finally:
        context.close()
