"""What users do with the picker around its own controls: files, clipboard, themes, subgraphs."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from browser.canvas import (
    CONTRASTS,
    OVERFLOWS,
    PICKER,
    add,
    box,
    boxes,
    choose,
    choose_setting,
    chosen,
    held_route,
    link,
    load,
    prompt,
    reload,
    run_command,
    saved,
    soon,
    widgets,
)

from rig.browser import READY
from rig.client import Server

if TYPE_CHECKING:
    from browser.conftest import Shot
    from playwright.sync_api import Page, Route

expect = pytest.importorskip("playwright.sync_api", reason="run `python3 dev.py test`").expect

PAIRS = "**/dualpass/pairs/"
TEXT = "svi-v2-pro@0.6:1, gone-pair@2"


def picker(page: Page, text: str = TEXT) -> str:
    """A picker with this selection, its pairs loaded; its id."""
    node_id = add(page, PICKER)
    choose(page, node_id, "pairs", text)
    expect(box(page, "Seko-V1")).to_be_attached()
    return node_id


def status(page: Page) -> Any:
    return page.locator(".dualpass-pairs").get_by_role("status")


def test_a_slow_answer_costs_no_choice(page: Page) -> None:
    picker(page)
    box(page, "Seko-V1").click()
    held: list[Route] = []
    page.route(PAIRS + "*", lambda route: held.append(route))
    reload(page)
    expect(status(page)).to_contain_text("Loading")
    expect(boxes(page, checked=True)).to_have_count(3)
    box(page, "gone-pair").click()
    held_route(page, held).continue_()
    expect(box(page, "SVI v2 PRO")).to_be_checked()
    expect(status(page)).to_have_text("")
    assert chosen(page) == "svi-v2-pro@0.6:1, seko-v1"


def test_a_late_answer_for_another_base_model_is_not_shown(page: Page) -> None:
    node_id = picker(page)
    held: list[Route] = []
    page.route(PAIRS + "slow", lambda route: held.append(route))
    choose(page, node_id, "base_model", "slow")
    expect(status(page)).to_contain_text("Loading")
    choose(page, node_id, "base_model", "wan-i2v-14b")
    expect(box(page, "SVI v2 PRO")).to_be_checked()
    route = held_route(page, held)
    with page.expect_response(PAIRS + "slow"):
        route.fulfill(json={"revision": "", "pairs": [], "detected": [], "problems": []})
    expect(box(page, "SVI v2 PRO")).to_be_checked()
    expect(status(page)).to_have_text("")
    assert chosen(page) == TEXT


def test_an_api_prompt_is_imported_with_its_selection(page: Page) -> None:
    """Through the page's own file field; the selection as text, and wrapped as lists must be."""
    for value, text in ((TEXT, TEXT), ({"__value__": ["seko-v1", "a@1:0"]}, "seko-v1, a@1:0")):
        inputs = {"base_model": "wan-i2v-14b", "pairs": value}
        api = {"7": {"class_type": PICKER, "inputs": inputs, "_meta": {"title": "mine"}}}
        file = {"name": "api.json", "mimeType": "application/json"}
        page.locator("#comfy-file-input").set_input_files(
            {**file, "buffer": json.dumps(api).encode()}  # type: ignore[arg-type]
        )
        page.wait_for_function("app.graph.nodes[0]?.title === 'mine'")
        expect(boxes(page, checked=True)).to_have_count(len(text.split(",")))
        assert chosen(page) == text
        run_command(page, "NewBlankWorkflow")
        page.wait_for_function("app.graph.nodes.length === 0")


def test_a_copy_has_a_selection_of_its_own(page: Page) -> None:
    node_id = picker(page)
    page.evaluate("id => app.canvas.selectItems([app.graph.getNodeById(id)])", node_id)
    page.locator("#graph-canvas").focus()
    page.keyboard.press("Control+c")
    page.keyboard.press("Control+v")
    page.wait_for_function("app.graph.nodes.length === 2")
    (other,) = set(prompt(page)) - {node_id}
    page.evaluate(
        "id => { app.graph.getNodeById(id).pos = [800, 200]; app.canvas.setDirty(true, true) }",
        other,
    )
    pasted = page.locator(".dualpass-pairs").last
    pasted.get_by_role("checkbox", name="Seko-V1").click()
    assert widgets(page, node_id)["pairs"] == TEXT
    assert widgets(page, other)["pairs"] == f"{TEXT}, seko-v1"


def test_the_other_renderer_shows_the_same_selection(page: Page) -> None:
    name = "Comfy.VueNodes.Enabled"
    before = page.evaluate("name => app.extensionManager.setting.get(name)", name)
    picker(page)
    try:
        for value, ticked in ((not before, f"{TEXT}, seko-v1"), (before, TEXT)):
            choose_setting(page, name, value)
            in_node = page.locator("[data-node-id] .dualpass-pairs")
            expect(in_node).to_have_count(int(value))
            expect(box(page, "SVI v2 PRO")).to_be_checked()
            box(page, "Seko-V1").click()
            assert chosen(page) == ticked
    finally:
        choose_setting(page, name, before)


@contextmanager
def without_our_scripts(page: Page) -> Iterator[Page]:
    """Another page of the same server that gets none of the pack's files."""
    other = page.context.new_page()
    try:
        other.route("**/extensions/dualpass/**", lambda route: route.abort())
        other.goto(page.url)
        other.wait_for_function(READY)
        yield other
    finally:
        other.close()


def test_the_selection_survives_a_page_without_our_scripts(page: Page) -> None:
    picker(page)
    sampler = add(page, "SVIProDualSampler", 800)
    choose(page, sampler, "steps", 7)
    workflow = saved(page)
    values = [node["widgets_values"] for node in workflow["nodes"]]
    asked = [node["inputs"] for node in prompt(page).values()]
    assert values[0] == ["wan-i2v-14b", TEXT]
    with without_our_scripts(page) as plain:
        load(plain, workflow)
        expect(plain.locator(".dualpass-pairs")).to_have_count(0)
        again = saved(plain)
        assert [node["widgets_values"] for node in again["nodes"]] == values
        assert [node["inputs"] for node in prompt(plain).values()] == asked
    load(page, again)
    assert chosen(page) == TEXT
    expect(box(page, "SVI v2 PRO")).to_be_checked()


def test_a_run_leaves_the_selection_in_the_history(page: Page, site: Server) -> None:
    text = "svi-v2-pro@0.6:1, lightx2v-4step"
    node_id = picker(page, text)
    link(page, node_id, 0, add(page, "PreviewAny", 900), "source")
    page.get_by_test_id("queue-button").click()
    deadline, found = time.monotonic() + 240, []
    while text not in found and time.monotonic() < deadline:
        page.wait_for_timeout(100)
        runs = site.get("/history").json().values()
        found = [run["prompt"][2].get(node_id, {}).get("inputs", {}).get("pairs") for run in runs]
    assert text in found


def test_a_picker_works_inside_a_subgraph(page: Page, shot: Shot) -> None:
    node_id = picker(page)
    page.evaluate("id => app.canvas.selectItems([app.graph.getNodeById(id)])", node_id)
    run_command(page, "Graph.ConvertToSubgraph")
    page.wait_for_function("app.rootGraph.nodes[0]?.isSubgraphNode?.()")
    assert chosen(page) == TEXT
    page.evaluate(
        "app.canvas.openSubgraph(app.rootGraph.nodes[0].subgraph, app.rootGraph.nodes[0])"
    )
    expect(box(page, "SVI v2 PRO")).to_be_checked()
    box(page, "Seko-V1").click()
    assert chosen(page) == f"{TEXT}, seko-v1"
    shot("picker-in-subgraph")
    page.evaluate("app.canvas.setGraph(app.rootGraph)")
    load(page, saved(page))
    assert chosen(page) == f"{TEXT}, seko-v1"


@pytest.fixture
def theme(page: Page, request: pytest.FixtureRequest) -> Iterator[str]:
    """One of the page's own two themes while the test runs."""
    choose_setting(page, "Comfy.ColorPalette", request.param)
    page.wait_for_function(
        "ground => getComputedStyle(document.body).getPropertyValue('--comfy-input-bg') === ground",
        arg={"dark": "#222", "light": "#C9C9C9"}[request.param],
    )
    yield request.param
    choose_setting(page, "Comfy.ColorPalette", "dark")


@pytest.mark.parametrize("theme", ["dark", "light"], indirect=True)
def test_every_text_stands_out_from_its_ground(page: Page, theme: str, shot: Shot) -> None:
    """At least 4.5:1, in all that the picker can show."""
    node_id = picker(page, f"{TEXT}, lightx2v-4step, seko-v1, lightx2v-1022")
    root = page.locator(".dualpass-pairs")
    expect(root).to_contain_text("Problem: ")
    texts = root.evaluate(CONTRASTS)
    shot(f"picker-{theme}")
    root.get_by_role("button", name="Presets").click()
    expect(root.get_by_role("button", name="Export")).to_be_visible()
    texts += root.evaluate(CONTRASTS)
    shot(f"picker-presets-{theme}")
    root.get_by_role("button", name="Presets").click()
    page.route(PAIRS + "gone", lambda route: route.fulfill(status=500))
    choose(page, node_id, "base_model", "gone")
    expect(root).to_contain_text("could not be loaded")
    texts += root.evaluate(CONTRASTS)
    shot(f"picker-error-{theme}")
    assert {"SVI v2 PRO", "gone-pair", "Retry"} <= {text for text, _ in texts}
    assert [(text, round(ratio, 2)) for text, ratio in texts if ratio < 4.5] == []


@pytest.mark.parametrize("width", [300, 600])
def test_the_picker_fits_its_node_at_any_width(page: Page, width: int, shot: Shot) -> None:
    node_id = picker(page, f"{TEXT}, lightx2v-4step, seko-v1@1;0.5:1")
    page.evaluate(
        """([id, width]) => {
            app.graph.getNodeById(id).setSize([width, 560]);
            app.canvas.setDirty(true, true);
        }""",
        [node_id, width],
    )
    root = page.locator(".dualpass-pairs")
    page.wait_for_function(
        "width => Math.abs(document.querySelector('.dualpass-pairs').clientWidth - width) < 40",
        arg=width,
    )
    expect(root).to_contain_text("Problem: ")
    shot(f"picker-{width}")
    assert soon(root, OVERFLOWS) == []
    root.get_by_role("button", name="Presets").click()
    expect(root.get_by_role("button", name="Export")).to_be_visible()
    assert soon(root, OVERFLOWS) == []
    shot(f"picker-presets-{width}")
