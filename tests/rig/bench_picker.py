"""How fast the picker's list is on screen, and follows typing, beside the lists of other packs."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rig.bench_figure import Figure, at_most
from rig.bench_library import BIG, library
from rig.bench_peers import MANAGER, RGTHREE, peer_packs, ready, skipped
from rig.browser import MISSING, find_chromium, launched, opened
from rig.client import Server, ServerError
from rig.server import ROOT, start

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

RUNS = 5
PAINT, WAIT = 150, 50  # ms, at most
WORD, PAUSE = "high", 80  # what is typed, and ms from key to key

ADD = """type => {
    const node = LiteGraph.createNode(type);
    node.pos = [300, 200];
    app.canvas.ds.reset();
    app.graph.add(node);
}"""
SEEN = "selector => [...document.querySelectorAll(selector)].some((one) => one.checkVisibility())"
# From now on, or from the next event of that name: when is what the selector finds on screen?
EXPECT = f"""([selector, event]) => {{
    const seen = {SEEN};
    performance.clearResourceTimings();
    window.began = event ? null : performance.now();
    const begin = ({{ timeStamp }}) => (window.began = timeStamp);
    if (event) addEventListener(event, begin, {{ capture: true, once: true }});
    window.painted = new Promise((resolve) => {{
        const end = () => resolve(performance.now());
        const look = () => requestAnimationFrame(
            seen(selector) ? () => requestAnimationFrame(end) : look
        );
        look();
    }});
}}"""
# ms from the beginning, and from the end of the last answer to such a URL or the beginning.
TIMES = """async (url) => {
    const end = await window.painted;
    const all = performance.getEntriesByType("resource");
    const answers = all.filter(({ name }) => name.includes(url)).map((one) => one.responseEnd);
    const answered = Math.max(window.began, ...answers);
    return [end - window.began, end - answered];
}"""
# Where the middle of the last widget of the only node is on screen; null before it is drawn.
LAST_WIDGET = """() => {
    const [node] = app.graph.nodes;
    const top = node.widgets.at(-1).last_y;
    const canvas = app.canvas.canvas.getBoundingClientRect();
    const [x, y] = [node.pos[0] + node.size[0] / 2, node.pos[1] + top + 10];
    const { scale, offset } = app.canvas.ds;
    return top && [canvas.left + (x + offset[0]) * scale, canvas.top + (y + offset[1]) * scale];
}"""
# Keeps each wait from an input to the next frame, and each task over 50 ms, in ms.
WATCH = """() => {
    const waits = [];
    const note = (list) => waits.push(...list.getEntries().map((entry) => entry.duration));
    const observers = ["event", "longtask"].map((type) => {
        const observer = new PerformanceObserver(note);
        observer.observe({ type, durationThreshold: 16 });
        return observer;
    });
    window.longestWait = () => {
        for (const observer of observers) note({ getEntries: () => observer.takeRecords() });
        for (const observer of observers) observer.disconnect();
        return Math.max(16, ...waits); // what is shorter is not reported
    };
}"""


class Times(NamedTuple):
    """In ms: asked for to painted, its data there to painted, the longest wait while typing."""

    asked: float
    drawn: float
    wait: float


def picker_list() -> Iterator[Figure | str]:
    """The picker in both renderers, and those of the peers that are there."""
    program = find_chromium()
    if not program or not find_spec("playwright"):
        yield f"picker: skipped. {MISSING if not program else 'Playwright is missing.'}"
        return
    from playwright.sync_api import Error

    yield from skipped()
    try:
        with running(program) as (server, browser, peers):
            yield from compared(server, browser, peers)
    except Error as error:
        raise ServerError(f"The page did not do what was asked: {error}") from error


@contextmanager
def running(program: str) -> Iterator[tuple[Server, Browser, Mapping[str, Path]]]:
    """ComfyUI with the library and the peers, and a browser."""
    with library() as (folder, flags), peer_packs(folder) as peers:
        packs = {"dualpass": ROOT} | peers
        with start(packs=packs, flags=flags) as server, launched(program) as browser:
            ready(server, peers)
            yield server, browser, peers


def compared(server: Server, browser: Browser, peers: Mapping[str, Path]) -> Iterator[Figure | str]:
    """Figures of the canvas beside each peer's, then of Nodes 2.0, which not all peers support."""
    with opened(browser, server, "lite") as page:
        first = ours(page)
        listed = server.get(f"/dualpass/pairs/{BIG}").json()
        pairs, found = len(listed["pairs"]), len(listed["detected"])
        yield f"picker with {pairs} pairs, and {found} found on disk, on ComfyUI's canvas:"
        yield Figure(
            "  the very first time: asked for -> data there, ms", first.asked - first.drawn
        )
        yield Figure("  the very first time: data there -> list painted, ms", first.drawn)
        mine = medians(ours, page)
        theirs = {name: medians(run, page) for name, run in LISTS.items() if name in peers}
    yield from figures(mine, theirs)
    with opened(browser, server, "vue") as page:
        yield "the same in Nodes 2.0:"
        yield from figures(medians(ours, page), {})


def figures(mine: Times, theirs: Mapping[str, Times]) -> Iterator[Figure]:
    """Each measurement beside each peer's, or alone where there is none."""
    beside: dict[str, Times | None] = {f" / {name}": times for name, times in theirs.items()}
    for name, peer in (beside or {"": None}).items():
        asked, drawn, wait = peer or (None, None, None)
        yield at_most(PAINT, f"  data there -> list painted, ms{name}", mine.drawn, drawn)
        yield at_most(PAINT, f"  asked for -> list painted, ms{name}", mine.asked, asked)
        yield at_most(WAIT, f"  longest wait while typing, ms{name}", mine.wait, wait)


def medians(run: Callable[[Page], Times], page: Page) -> Times:
    return Times(*map(statistics.median, zip(*(run(page) for _ in range(RUNS)), strict=True)))


def ours(page: Page) -> Times:
    """A new picker that asks the server anew, and its search field."""
    blank(page)
    page.evaluate("import('/extensions/dualpass/js/lib/pairs.js').then((one) => one.forgetPairs())")
    expect(page, ".dualpass-pairs .dualpass-row")
    page.evaluate(ADD, "CatalogLoraPairPicker")
    asked, drawn = page.evaluate(TIMES, "/dualpass/pairs/")
    page.locator(".dualpass-pairs input[type=search]").click()
    return Times(asked, drawn, typed(page))


def rgthree(page: Page) -> Times:
    """The menu behind `Add Lora` of a Power Lora Loader, and its filter; with its request."""
    blank(page)
    page.evaluate(ADD, "Power Lora Loader (rgthree)")
    request = page.evaluate(
        """async () => {
            const { rgthreeApi } = await import("/rgthree/common/rgthree_api.js");
            const start = performance.now();
            await rgthreeApi.getLoras(true);
            return performance.now() - start;
        }"""
    )
    place = page.wait_for_function(LAST_WIDGET).json_value()
    expect(page, ".litecontextmenu .litemenu-entry", "pointerup")
    page.mouse.click(*place)
    asked, drawn = page.evaluate(TIMES, "/rgthree/api/loras")
    times = Times(request + asked, drawn, typed(page))
    page.keyboard.press("Escape")
    return times


def manager(page: Page) -> Times:
    """What Lora-Manager's loader suggests after one letter, 200 ms of waiting for more included."""
    blank(page)
    page.evaluate(ADD, "Lora Loader (LoraManager)")
    page.get_by_placeholder("Search LoRAs to add...").click()
    expect(page, ".comfy-autocomplete-item", "keydown")
    page.keyboard.press(WORD[0])
    asked, drawn = page.evaluate(TIMES, "/lm/loras/relative-paths")
    page.keyboard.press("Backspace")
    return Times(asked, drawn, typed(page))


LISTS = {RGTHREE: rgthree, MANAGER: manager}


def blank(page: Page) -> None:
    """An empty graph, nothing of the last one on screen."""
    page.evaluate("app.extensionManager.command.execute('Comfy.NewBlankWorkflow')")
    page.wait_for_function("app.graph.nodes.length === 0")
    page.wait_for_timeout(400)


def expect(page: Page, selector: str, event: str = "") -> None:
    """Take the time from this event, or from now, until what the selector finds is on screen."""
    if page.evaluate(SEEN, selector):
        raise ServerError(f"{selector} is on screen already.")
    page.evaluate(EXPECT, [selector, event])


def typed(page: Page) -> float:
    """Type into what has the focus, delete it again: the longest wait for a frame, in ms."""
    page.wait_for_timeout(300)  # what opened the list is over
    page.evaluate(WATCH)
    page.keyboard.type(WORD, delay=PAUSE)
    if page.evaluate("document.activeElement.value") != WORD:
        raise ServerError("What was typed did not come to the field.")
    for _ in WORD:
        page.wait_for_timeout(PAUSE)
        page.keyboard.press("Backspace")
    page.wait_for_timeout(500)
    return page.evaluate("longestWait()")
