"""A system Chromium on the real page of a running server: both renderers, both frontends."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rig import setup
from rig.client import Json, Server

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

RENDERERS = ("lite", "vue")
FRONTENDS = ("pinned", "newest")
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
PATIENCE = 240_000  # ms; only what never comes takes so long
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


def frontend_flags(frontend: str) -> list[str]:
    """What ComfyUI is started with to serve the page that it pins, or the newest."""
    return [f"--front-end-root={setup.frontend()}"] if frontend == "newest" else []


@contextmanager
def opened(
    browser: Browser, server: Server, renderer: str, language: str = "en-US", **settings: Json
) -> Iterator[Page]:
    """ComfyUI's page with an empty profile, ready to use, in the renderer `lite` or `vue`.

    `language` is the browser's own, as a tag; `settings` are the page's, `_` for each dot.
    """
    wanted = {name.replace("_", "."): value for name, value in settings.items()}
    wanted = {**settings_for(renderer), **wanted}
    earlier = server.get("/settings").json()
    server.post("/settings", wanted)
    context = browser.new_context(viewport={"width": 1600, "height": 1000}, locale=language)
    context.set_default_timeout(PATIENCE)
    try:
        page = context.new_page()
        page.route("**/releases**", lambda route: route.fulfill(json=[]))
        page.goto(server.url)
        page.wait_for_function(READY)
        yield page
    finally:
        context.close()
        # Another page of this server may be loaded anew.
        server.post("/settings", {name: earlier[name] for name in wanted if name in earlier})


def settings_for(renderer: str) -> dict[str, Json]:
    """The page's settings that a test starts from."""
    return {
        "Comfy.ColorPalette": "dark",
        "Comfy.Locale": "en",
        "Comfy.TutorialCompleted": True,
        "Comfy.VueNodes.Enabled": renderer == "vue",
    }
