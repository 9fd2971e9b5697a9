"""The controls of the picker: search, strengths, accelerators, keyboard, wheel, what will run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from browser.canvas import PICKER, add, box, boxes, choose, chosen, held_route
from browser.test_picker import ROUTE, plan, status, strength, undo

from rig.client import Server

if TYPE_CHECKING:
    from browser.conftest import Shot
    from playwright.sync_api import Page, Route

expect = pytest.importorskip("playwright.sync_api", reason="run `python3 dev.py test`").expect

PLAN = "/api/dualpass/plan/"


def test_the_keyboard_reaches_all_and_a_button_deletes_no_node(page: Page) -> None:
    node_id = add(page, PICKER)
    choose(page, node_id, "pairs", "seko-v1")
    expect(box(page, "SVI v2 PRO")).to_be_visible()
    page.get_by_label("Search pairs").focus()
    page.keyboard.press("ArrowDown")
    expect(boxes(page).first).to_be_focused()
    page.keyboard.press("End")
    expect(boxes(page).last).to_be_focused()
    page.keyboard.press("ArrowUp")
    expect(box(page, "Seko-V1")).to_be_focused()
    page.keyboard.press("Tab")
    expect(strength(page, "Seko-V1", "high")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Same strength on both passes")).to_be_focused()
    page.evaluate("id => app.canvas.selectItems([app.graph.getNodeById(id)])", node_id)
    page.keyboard.press("Delete")
    assert chosen(page) == "seko-v1"


def test_an_accelerator_takes_the_place_of_another_unless_somebody_insists(
    page: Page, shot: Shot
) -> None:
    choose(page, add(page, PICKER), "pairs", "seko-v1@0.6:1, svi-v2-pro")
    box(page, "LightX2V 4-step").click()
    assert chosen(page) == "svi-v2-pro, lightx2v-4step"
    expect(status(page)).to_contain_text("LightX2V 4-step replaces Seko-V1.")
    page.get_by_role("button", name="Keep both").click()
    assert chosen(page) == "svi-v2-pro, lightx2v-4step, seko-v1@0.6:1"
    expect(plan(page)).to_contain_text("Note: ")
    expect(box(page, "LightX2V 4-step")).to_be_focused()
    shot("picker-both-accelerators")
    undo(page)
    assert chosen(page) == "svi-v2-pro, lightx2v-4step"
    undo(page)
    assert chosen(page) == "seko-v1@0.6:1, svi-v2-pro"


def recorded(page: Page, changes: int) -> None:
    """Wait until so many changes can be undone, and none that follows becomes part of them."""
    page.wait_for_function(
        """changes => app.extensionManager.workflow.activeWorkflow.changeTracker
            .undoQueue.length >= changes""",
        arg=changes,
    )
    page.wait_for_timeout(200)  # the newest page makes one step of what follows within 50 ms


def test_strengths_are_typed_linked_and_stepped(page: Page) -> None:
    add(page, PICKER)
    box(page, "SVI v2 PRO").click()
    high, low = (strength(page, "SVI v2 PRO", role) for role in ("high", "low"))
    expect(high).to_have_attribute("placeholder", "1")
    recorded(page, 2)  # the new node, and the tick
    high.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Shift+ArrowUp")
    assert chosen(page) == "svi-v2-pro@1.2"
    recorded(page, 3)  # the steps up to here are one change
    high.fill("0,6")
    high.press("Enter")
    assert (chosen(page), low.input_value()) == ("svi-v2-pro@0.6", "0.6")
    page.get_by_role("button", name="Same strength on both passes").click()
    low.fill("1;0.5")
    low.blur()
    assert chosen(page) == "svi-v2-pro@0.6:1;0.5"
    low.fill("much")
    low.blur()
    expect(low).to_have_attribute("aria-invalid", "true")
    assert chosen(page) == "svi-v2-pro@0.6:1;0.5"
    low.press("Escape")
    expect(low).to_have_value("1;0.5")
    for text in ("svi-v2-pro@0.6", "svi-v2-pro@1.2", "svi-v2-pro"):
        undo(page)
        assert chosen(page) == text


def test_cleared_strengths_are_those_that_the_catalog_recommends(page: Page) -> None:
    choose(page, add(page, PICKER), "pairs", "lightx2v-cfg-step-distill@0.5")
    name = "LightX2V CFG+Step Distill"
    high, low = (
        page.get_by_label(f"Strength of {name} on the {role} pass", exact=True)
        for role in ("high", "low")
    )
    high.fill("")
    high.press("Enter")
    assert chosen(page) == "lightx2v-cfg-step-distill"
    assert [field.get_attribute("placeholder") for field in (high, low)] == ["2.5", "1"]
    low.fill("0")
    low.press("Enter")
    assert chosen(page) == "lightx2v-cfg-step-distill@2.5:0"


def test_a_search_leaves_what_it_finds(page: Page, site: Server, shot: Shot) -> None:
    total = len(site.get(ROUTE + "wan-i2v-14b").json()["pairs"])
    choose(page, add(page, PICKER), "pairs", "seko-v1")
    expect(boxes(page)).to_have_count(total)
    field = page.get_by_label("Search pairs")
    field.fill("LONG svi")
    expect(boxes(page)).to_have_count(1)
    expect(page.get_by_text(f"1 of {total}")).to_be_visible()
    shot("picker-search")
    field.fill("nothing like it")
    expect(page.get_by_text("No pair matches this search.")).to_be_visible()
    field.press("Escape")
    expect(boxes(page)).to_have_count(total)
    page.get_by_role("button", name="Show only the chosen pairs (1)").click()
    expect(boxes(page)).to_have_count(1)
    assert chosen(page) == "seko-v1"


def test_the_wheel_scrolls_what_has_the_focus_and_zooms_elsewhere(page: Page) -> None:
    look = "() => [app.canvas.ds.scale, document.querySelector('.dualpass-list').scrollTop]"
    node_id = add(page, PICKER)
    choose(page, node_id, "pairs", "seko-v1, svi-v2-pro, lightx2v-unified")
    expect(strength(page, "Seko-V1", "high")).to_be_visible()
    boxes(page).first.focus()
    boxes(page).first.hover()
    page.mouse.wheel(0, 40)
    page.wait_for_function(f"({look})()[1] === 40")
    assert page.evaluate(look)[0] == 1
    page.evaluate("document.activeElement.blur()")
    page.mouse.move(1200, 700)
    page.mouse.wheel(0, 40)
    page.wait_for_function(f"({look})()[0] < 1")


def test_the_plan_is_that_of_the_newest_selection(page: Page) -> None:
    held: list[Route] = []
    page.route(f"**{PLAN}*selection=seko-v1*", lambda route: held.append(route))
    choose(page, add(page, PICKER), "pairs", "seko-v1")
    expect(box(page, "Seko-V1")).to_be_checked()
    route = held_route(page, held)
    box(page, "Seko-V1").click()
    without = "20 steps, cfg 3.5, shift 5, euler / simple, 8 high + 12 low"
    expect(plan(page)).to_have_text(without)
    route.fulfill(json={"problem": "late", "warnings": []})
    page.wait_for_timeout(200)
    expect(plan(page)).to_have_text(without)
    page.unroute_all()
    box(page, "Seko-V1").click()
    expect(plan(page)).to_contain_text("4 steps, cfg 1, shift 5, ")


def test_nothing_is_sent_by_a_picker_that_is_only_looked_at(page: Page) -> None:
    sent: list[str] = []
    page.route(
        "**/dualpass/**", lambda route: (sent.append(route.request.method), route.continue_())
    )
    add(page, PICKER)
    expect(boxes(page)).not_to_have_count(0)
    expect(plan(page)).to_contain_text("steps")
    assert set(sent) <= {"GET"}
