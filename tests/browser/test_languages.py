"""The texts around the picker in the real page: its languages, and the help of each node."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from browser.canvas import OVERFLOWS, PICKER, add, box, choose, choose_setting, load, soon, widgets
from browser.test_example import PICKER as PICKER_ID
from browser.test_example import fit, workflow

from rig.browser import RENDERERS, opened
from rig.client import Server
from rig.server import ROOT

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

expect = pytest.importorskip("playwright.sync_api", reason="run `python3 dev.py test`").expect

NODES = (PICKER, "DualPassLoraRouter", "SVIProDualSampler")
# The name and the label of each slot on one side of a node.
LABELS = """([id, side]) => app.graph.getNodeById(id)[side].map((slot) =>
    [slot.name, slot.label ?? slot.localized_name ?? slot.name])"""
TEXT = "svi-v2-pro@0.6:1, gone-pair@2, lightx2v-4step"


class Reader(NamedTuple):
    """One of our languages, with the browser's own and what the page is set to."""

    language: str
    browser: str
    page: str


# The page has no German: it can only be set to English, and names the nodes in it.
READERS = [
    Reader("de", "de-DE", "en"),
    Reader("fr", "fr-FR", "fr"),
    Reader("ja", "ja-JP", "ja"),
    Reader("zh", "zh-CN", "zh"),
]


def texts(language: str, name: str) -> Any:
    return json.loads((ROOT / "locales" / language / name).read_text(encoding="utf-8"))


def place_nodes(page: Page) -> dict[str, str]:
    """One of each node, the picker with a selection; their ids by type."""
    page.evaluate("app.extensionManager.command.execute('Comfy.NewBlankWorkflow')")
    page.wait_for_function("app.graph.nodes.length === 0")
    ids = {node: add(page, node, 300 + 400 * at) for at, node in enumerate(NODES)}
    choose(page, ids[PICKER], "pairs", TEXT)
    return ids


def labels(page: Page, node_id: str) -> dict[str, str]:
    """What each input, widget or not, is called on screen."""
    return dict(page.evaluate(LABELS, [node_id, "inputs"])) | widgets(page, node_id, "label")


@pytest.mark.parametrize("reader", READERS, ids=[reader.language for reader in READERS])
def test_nodes_and_picker_speak_the_readers_language(
    request: pytest.FixtureRequest, browser: Browser, site: Server, pictures: Path, reader: Reader
) -> None:
    main = texts(reader.language, "main.json")["dualpass"]
    suffix = request.node.callspec.params["site"]
    with opened(browser, site, "lite", reader.browser, Comfy_Locale=reader.page) as page:
        ids = place_nodes(page)
        for renderer in RENDERERS:
            choose_setting(page, "Comfy.VueNodes.Enabled", renderer == "vue")
            check_picker(page, main)
            name = f"language-{reader.language}-{renderer}-{suffix}.png"
            page.screenshot(path=pictures / name)
            check_presets(page, main)
            page.screenshot(path=pictures / f"presets-{name}")
            page.locator(".dualpass-pairs").get_by_role("button", name=main["menu"]).first.click()
        if reader.page == reader.language:
            for node, node_id in ids.items():
                check_node(page, node_id, texts(reader.language, "nodeDefs.json")[node])


def check_picker(page: Page, main: dict[str, str]) -> None:
    """Its own texts and the server's stand in their places, and none is too long."""
    root = page.locator("fieldset.dualpass-pairs")
    expect(root).to_have_accessible_name(main["legend"])
    expect(root.get_by_role("searchbox", name=main["search"])).to_be_visible()
    expect(box(page, "SVI v2 PRO")).to_be_checked()
    expect(root).to_contain_text(main["not_in_catalog"])
    plan = root.get_by_role("group", name=main["plan_title"])
    expect(plan).to_contain_text(main["problem"].partition("{")[0].strip())
    assert soon(root, OVERFLOWS) == []


def check_presets(page: Page, main: dict[str, str]) -> None:
    """The other side of the picker fits as well; it stays open."""
    root = page.locator("fieldset.dualpass-pairs")
    root.get_by_role("button", name=main["menu"]).first.click()
    expect(root.get_by_role("button", name=main["export"], exact=True)).to_be_attached()
    expect(root.get_by_role("button", name="SVI 2.0 Pro", exact=True)).to_be_attached()
    assert soon(root, OVERFLOWS) == []


def check_node(page: Page, node_id: str, expected: Any) -> None:
    """Title, inputs and outputs are named as in the language's file."""
    title = page.evaluate("id => app.graph.getNodeById(id).title", node_id)
    assert title == expected["display_name"]
    named = {key: slot["name"] for key, slot in expected["inputs"].items()}
    assert labels(page, node_id) == named
    outputs = [label for _, label in page.evaluate(LABELS, [node_id, "outputs"])]
    assert outputs == [slot["name"] for slot in expected["outputs"].values()]


@pytest.mark.parametrize("node", NODES)
def test_the_help_of_a_node_shows_its_picture(
    request: pytest.FixtureRequest, page: Page, site: Server, node: str
) -> None:
    """DUALPASS_UPDATE=1 takes the picture anew, of the pinned page."""
    if os.environ.get("DUALPASS_UPDATE") and "lite-pinned" in request.node.name:
        take_picture(page, node)
    page.evaluate("id => app.canvas.selectItems([app.graph.getNodeById(id)])", add(page, node))
    page.get_by_test_id("info-button").click()
    try:
        address = f"/extensions/dualpass/docs/{node}.jpg"
        picture = page.locator(f"img[src$='{address}']")
        expect(picture).to_be_visible()
        page.wait_for_function("image => image.naturalWidth > 200", arg=picture.element_handle())
        assert picture.get_attribute("alt")
        assert len(site.get(address).body) < 150_000
    finally:
        choose_setting(page, "Comfy.RightSidePanel.IsOpen", False)


# Give a node this size and show it away from all others; where it is on screen.
FRAME = """([type, size, margin]) => {
    const node = app.graph.nodes.find((node) => node.type === type);
    node.setSize([size[0], Math.max(size[1], node.computeSize()[1])]);
    node.pos = [10000, 10000];
    node.updateArea();
    const [left, top, width, height] = node.boundingRect;
    const scale = Math.min(1.6, 760 / height);
    app.canvas.links_render_mode = LiteGraph.HIDDEN_LINK;
    app.canvas.ds.scale = scale;
    app.canvas.ds.offset = [220 / scale - left, 130 / scale - top];
    app.canvas.deselectAll();
    app.canvas.setDirty(true, true);
    const [wide, high] = [width, height].map((size) => size * scale + 2 * margin);
    return { x: 220 - margin, y: 130 - margin, width: wide, height: high };
}"""
SIZES = {PICKER: (400, 580), "DualPassLoraRouter": (700, 0), "SVIProDualSampler": (370, 0)}


def take_picture(page: Page, node: str) -> None:
    """A node of the example on the tiny models, after a run, as the picture of its help page."""
    load(page, workflow())
    fit(page)
    page.evaluate("app.queuePrompt(0)")
    schedule = page.get_by_label("schedule", exact=True)
    expect(schedule).to_have_value(re.compile("hand-over"))
    choose(page, PICKER_ID, "pairs", "lightx2v-4step@0.8:1, svi-v2-pro")
    links = page.evaluate("app.canvas.links_render_mode")
    clip = page.evaluate(FRAME, [node, SIZES[node], 6])
    page.wait_for_timeout(1000)
    path = ROOT / "web" / "docs" / f"{node}.jpg"
    page.screenshot(path=path, clip=clip, type="jpeg", quality=80)
    page.evaluate("mode => { app.canvas.links_render_mode = mode }", links)
    page.evaluate("app.extensionManager.command.execute('Comfy.NewBlankWorkflow')")
    page.wait_for_function("app.graph.nodes.length === 0")
