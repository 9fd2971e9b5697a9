"""The pair picker in the real page, in both renderers: what is chosen, and with what strengths."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from browser.canvas import (
    PICKER,
    add,
    box,
    boxes,
    choose,
    chosen,
    load,
    reload,
    run_command,
    widgets,
)  # fmt: skip

from rig.client import Server

if TYPE_CHECKING:
    from browser.conftest import Shot
    from playwright.sync_api import Locator, Page

expect = pytest.importorskip("playwright.sync_api", reason="run `python3 dev.py test`").expect

ROUTE = "/api/dualpass/pairs/"
PLAN = "/api/dualpass/plan/"
TYPED = "svi-v2-pro@0.6:1, gone-pair@2, lightx2v-4step@1;0.5"


def undo(page: Page, command: str = "Undo") -> None:
    """Undo or Redo by the page's own command; it rebuilds the nodes."""
    run_command(page, command)
    page.wait_for_timeout(200)


def status(page: Page) -> Locator:
    return page.locator(".dualpass-pairs").get_by_role("status")


def plan(page: Page) -> Locator:
    return page.get_by_role("group", name="What will run")


def strength(page: Page, name: str, role: str) -> Locator:
    return page.get_by_label(f"Strength of {name} on the {role} pass")


def test_the_pairs_of_the_route_are_check_boxes(page: Page, site: Server, shot: Shot) -> None:
    pairs = site.get(ROUTE + "wan-i2v-14b").json()["pairs"]
    add(page, PICKER)
    expect(boxes(page)).to_have_count(len(pairs))
    labels = page.locator(".dualpass-pairs label")
    assert sorted(labels.all_inner_texts()) == sorted(pair["name"] for pair in pairs)
    svi = next(pair for pair in pairs if pair["pair_id"] == "svi-v2-pro")
    title = f"{svi['name']}\nhigh: {svi['high']['file']}\nlow: {svi['low']['file']}"
    assert labels.filter(has_text=svi["name"]).get_attribute("title") == title
    speed = page.get_by_role("group", name="Speed").get_by_role("checkbox")
    expect(speed).to_have_count(sum(pair["kind"] == "accelerator" for pair in pairs))
    shot("picker")


def test_mouse_and_keyboard_choose_in_order(page: Page) -> None:
    add(page, PICKER)
    box(page, "SVI v2 PRO").click()
    box(page, "LightX2V 4-step").focus()
    page.keyboard.press("Space")
    assert chosen(page) == "svi-v2-pro, lightx2v-4step"
    page.keyboard.press("Space")
    assert chosen(page) == "svi-v2-pro"
    page.keyboard.press("Delete")
    assert chosen(page) == "svi-v2-pro"
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    assert chosen(page) == "svi-v2-pro, lightx2v-cfg-step-distill"


def test_strengths_and_unknown_ids_survive(page: Page, shot: Shot) -> None:
    node_id = add(page, PICKER)
    choose(page, node_id, "pairs", TYPED)
    load(page, page.evaluate("app.graph.serialize()"))
    expect(boxes(page, checked=True)).to_have_count(3)
    assert chosen(page) == TYPED
    expect(box(page, "gone-pair not in catalog 2")).to_be_checked()
    expect(strength(page, "SVI v2 PRO", "high")).to_have_value("0.6")
    expect(strength(page, "SVI v2 PRO", "low")).to_have_value("1")
    expect(strength(page, "LightX2V 4-step", "low")).to_have_value("1;0.5")
    shot("picker-strengths")
    box(page, "LightX2V 4-step").click()
    assert chosen(page) == "svi-v2-pro@0.6:1, gone-pair@2"
    box(page, "Seko-V1").click()
    assert chosen(page) == "svi-v2-pro@0.6:1, gone-pair@2, seko-v1"
    box(page, "SVI v2 PRO").click()
    assert chosen(page) == "gone-pair@2, seko-v1"
    box(page, "gone-pair").click()
    expect(box(page, "gone-pair")).to_have_count(0)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (["seko-v1", "svi-v2-pro@0.5"], "seko-v1, svi-v2-pro@0.5"),
        ({"__value__": ["seko-v1"]}, "seko-v1"),
        (5, "5"),
        ({"a": 1}, '{"a":1}'),
        ("@@, ,:;", "@@, ,:;"),
    ],
)
def test_any_stored_value_is_taken(page: Page, value: Any, text: str) -> None:
    choose(page, add(page, PICKER), "pairs", value)
    assert chosen(page) == text


def test_ticks_can_be_undone_and_redone(page: Page) -> None:
    add(page, PICKER)
    box(page, "Seko-V1").click()
    box(page, "SVI v2 PRO").click()
    page.keyboard.press("Control+z")
    expect(boxes(page, checked=True)).to_have_count(1)
    assert chosen(page) == "seko-v1"
    undo(page)
    expect(boxes(page, checked=True)).to_have_count(0)
    undo(page, "Redo")
    expect(box(page, "Seko-V1")).to_be_checked()
    box(page, "SVI v2 PRO").click()
    assert chosen(page) == "seko-v1, svi-v2-pro"


def test_a_tick_outlives_a_reload(page: Page) -> None:
    add(page, PICKER)
    box(page, "Seko-V1").click()
    reload(page)
    expect(box(page, "Seko-V1")).to_be_checked()
    assert chosen(page) == "seko-v1"


def test_another_base_model_brings_its_pairs_and_keeps_the_choice(page: Page, site: Server) -> None:
    node_id = add(page, PICKER)
    box(page, "Seko-V1").click()
    choose(page, node_id, "base_model", "wan-t2v-14b")
    names = [pair["name"] for pair in site.get(ROUTE + "wan-t2v-14b").json()["pairs"]]
    expect(boxes(page)).to_have_count(len(names) + 1)
    expect(box(page, "seko-v1 not in catalog")).to_be_checked()
    expect(plan(page)).to_contain_text("Problem: ")
    choose(page, node_id, "base_model", "wan-i2v-14b")
    expect(box(page, "Seko-V1")).to_be_checked()
    assert widgets(page, node_id) == {"base_model": "wan-i2v-14b", "pairs": "seko-v1"}


def test_a_failed_answer_can_be_asked_again(page: Page, shot: Shot) -> None:
    node_id = add(page, PICKER)
    choose(page, node_id, "pairs", "seko-v1@0.5")
    expect(boxes(page)).not_to_have_count(0)
    page.route(f"**{ROUTE}*", lambda route: route.fulfill(status=500))
    boxes(page).first.press("r")
    expect(status(page)).to_contain_text("The pairs could not be loaded: the server answered 500.")
    expect(box(page, "seko-v1 0.5")).to_be_checked()
    shot("picker-error")
    page.unroute_all()
    page.get_by_role("button", name="Retry").press("Enter")
    expect(strength(page, "Seko-V1", "low")).to_have_value("0.5")
    expect(status(page)).to_be_empty()
    expect(page.get_by_label("Search pairs")).to_be_focused()


def test_a_base_model_without_pairs_says_so(page: Page) -> None:
    choose(page, add(page, PICKER), "base_model", "nothing")
    expect(status(page)).to_have_text("The catalog has no LoRA pairs for nothing.")
