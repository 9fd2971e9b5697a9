"""A long video in the real page: its clips can be watched while it is made, and what is left."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from browser.canvas import load, reload, saved, soon

from rig.client import Server, holding
from rig.films import add_film, studio

if TYPE_CHECKING:
    from browser.conftest import Shot
    from playwright.sync_api import Locator, Page

expect = pytest.importorskip("playwright.sync_api", reason="run `python3 dev.py test`").expect

# How often the video and the text of our report share a place.
OVERLAPS = """() => {
    const shown = [...document.querySelectorAll("video, .dualpass-text")]
        .filter((element) => element.checkVisibility({ visibilityProperty: true }));
    const rects = shown.map((element) => element.getBoundingClientRect());
    return rects.flatMap((one, at) => rects.slice(at + 1).filter((other) =>
        one.left < other.right && other.left < one.right
        && one.top < other.bottom - 1 && other.top < one.bottom - 1)).length;
}"""
# What the page shows of the progress texts, if there is a line.
LINE = """app.graph.nodes.flatMap(({ widgets }) => widgets ?? [])
    .find(({ name }) => name === "$$node-text-preview")?.value"""
# The canvas makes the video when it draws: with the next step, which a held model does not make.
SHOWN = """name => {
    app.canvas.setDirty(true, true);
    return [...document.querySelectorAll("video")].some((video) =>
        video.currentSrc.includes(name) && video.readyState > 1 && video.videoWidth);
}"""
PLAYED = """async () => {
    const video = document.querySelector("video");
    video.muted = true;
    await video.play();
    const played = video.duration;
    video.pause();
    return played;
}"""


@pytest.fixture
def idle(site: Server) -> Iterator[None]:
    """Whatever is left of a test's runs ends with it."""
    yield
    site.post("/queue", {"clear": True})
    site.post("/interrupt", {})


def opened(page: Page, prompts: str, **settings: Any) -> str:
    """A graph with a long video in the middle, as if the user had loaded it; the node's id."""
    graph, at = studio()
    at["high"] = graph.add("ProbeHold", model=at["high"])[0]
    add_film(graph, at, prompts, width=64, height=64, **settings)
    page.evaluate("prompt => app.loadApiJson(prompt, 'film')", numbered(graph))
    node: str = page.evaluate(
        """() => {
            const [node] = app.graph.nodes.filter(({ type }) => type === "SVIProLongVideo");
            const control = node.widgets.find(({ name }) => name === "control_after_generate");
            if (control.value !== "fixed") throw new Error("the next run would not resume");
            node.pos = [300, 50];
            for (const other of app.graph.nodes) if (other !== node) other.pos = [-900, 50];
            return String(node.id);
        }"""
    )
    load(page, saved(page))
    page.evaluate(
        """() => {
            Object.assign(app.canvas.ds, { scale: 0.6, offset: [0, 0] });
            app.canvas.setDirty(true, true);
        }"""
    )
    return node


def numbered(graph: dict[str, Any]) -> dict[str, Any]:
    """With numbers in place of names, as the page takes it."""
    ids = {key: str(number) for number, key in enumerate(graph, 1)}
    return {
        ids[key]: {**node, "inputs": dict(_numbered(node["inputs"], ids))}
        for key, node in graph.items()
    }


def _numbered(inputs: dict[str, Any], ids: dict[str, str]) -> Iterator[tuple[str, Any]]:
    for name, value in inputs.items():
        yield name, [ids[value[0]], value[1]] if isinstance(value, list) else value


def report(page: Page) -> Locator:
    return page.get_by_label("report", exact=True)


@pytest.mark.usefixtures("idle")
def test_clips_are_watched_while_the_next_one_is_made(
    page: Page, site: Server, shot: Shot
) -> None:
    opened(page, "a fox runs\na fox jumps\na fox sleeps", split="step", switch_step=1)
    shot("film-before")
    with holding(site, 1) as held:
        page.evaluate("app.queuePrompt(0)")
        page.wait_for_function(SHOWN, arg="clip_0001", polling=200)
        assert page.evaluate(PLAYED) > 0
        assert report(page).count() == 0
        page.wait_for_function(f"() => ({LINE}) === 'clip 2 of 3, sampling'")
        shot("film-clip-1")
        held.write_text("2")
        page.wait_for_function(SHOWN, arg="clip_0002", polling=200)
    expect(report(page)).to_have_value(re.compile(r"clip 1: .*frames$", re.S))
    page.wait_for_function(SHOWN, arg="_00001_.mp4", polling=200)
    expect(page.locator("video")).to_have_count(1)
    page.wait_for_function(f"() => ({LINE}) === undefined")
    shot("film-made")
    assert soon(page, OVERLAPS) == 0
    text = report(page).input_value()
    reload(page)
    expect(report(page)).to_have_value(text)
    shot("film-reloaded")


@pytest.mark.usefixtures("idle")
def test_a_stopped_run_leaves_no_line(page: Page, site: Server) -> None:
    opened(page, "a fox runs\na fox jumps", steps=200)
    with holding(site, 3):
        page.evaluate("app.queuePrompt(0)")
        page.wait_for_function(f"() => ({LINE})?.startsWith('clip 1 of 2')")
        site.post("/interrupt", {})
    page.wait_for_function(f"() => ({LINE}) === undefined")
