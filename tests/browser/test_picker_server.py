"""The pair picker and what it asks of the server: presets, other forms, new pairs, downloads."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from browser.canvas import PICKER, add, box, boxes, choose, chosen, run_command

from rig.client import Server, changing_catalog

if TYPE_CHECKING:
    from browser.conftest import Shot
    from playwright.sync_api import Locator, Page

expect = pytest.importorskip("playwright.sync_api", reason="run `python3 dev.py test`").expect

PAIRS = "/api/dualpass/pairs/"
JOBS = "**/api/dualpass/jobs"
MODEL = "wan-i2v-14b"
FOREIGN = json.dumps(
    {
        "lora_configs": [
            {"name": "high_noise_model", "path": "seko_v1_i2v_high_noise_model.safetensors"},
            {
                "name": "low_noise_model",
                "path": "seko_v1_i2v_low_noise_model.safetensors",
                "strength": 0.5,
            },
        ]
    }
)
JOB = {
    "id": "a" * 32,
    "base_model": MODEL,
    "pair_id": "lightx2v-1022",
    "state": "running",
    "file": "high.safetensors",
    "done": 455_000_000,
    "size": 1_374_118_048,
    "speed": 12_300_000.0,
    "left": 75.0,
    "error": None,
}


def status(page: Page) -> Locator:
    return page.locator(".dualpass-pairs").get_by_role("status")


def button(page: Page, name: str) -> Locator:
    return page.locator(".dualpass-pairs").get_by_role("button", name=name, exact=True)


def picker(page: Page, text: str = "") -> None:
    """A picker with this selection and what the server says now: the page keeps its answers."""
    choose(page, add(page, PICKER), "pairs", text)
    run_command(page, "RefreshNodeDefinitions")
    expect(status(page)).to_be_empty()


@pytest.fixture
def user(site: Server) -> Iterator[Path]:
    """The user's own folder of the running server, as it was again afterwards."""
    found = site.base / "user" / "__dualpass"
    before = {path.name for path in found.iterdir()} if found.exists() else set()
    yield found
    new = [path for path in found.glob("*") if path.name not in before]
    catalogs = {"models.json", "loras.json"} & {path.name for path in new}
    with changing_catalog(site) if catalogs else nullcontext():
        for path in new:
            path.unlink()


@pytest.fixture
def strange(site: Server) -> Iterator[tuple[Path, Path]]:
    """A pair in the loras folder that no catalog knows."""
    folder = site.base / "models" / "loras"
    seko = (folder / "seko_v1_i2v_high_noise_model.safetensors").resolve()
    pair = tuple(folder / f"wan22_i2v_mystyle_{role}_noise.safetensors" for role in ("high", "low"))
    for path in pair:
        shutil.copy(seko, path)
    yield pair
    for path in pair:
        path.unlink()


def test_a_preset_is_chosen_in_one_step(page: Page, shot: Shot) -> None:
    picker(page)
    box(page, "Seko-V1").click()
    button(page, "Presets").click()
    expect(boxes(page)).to_have_count(0)
    shot("picker-presets")
    button(page, "SVI 2.0 Pro").click()
    assert chosen(page) == "lightx2v-1022@1, svi-v2-pro@1"
    expect(status(page)).to_have_text("The preset SVI 2.0 Pro is applied.")
    expect(button(page, "Presets")).to_be_focused()
    run_command(page, "Undo")
    expect(box(page, "SVI v2 PRO")).not_to_be_checked()
    assert chosen(page) == "seko-v1"


def test_a_selection_is_kept_as_a_preset_and_forgotten(page: Page, user: Path) -> None:
    picker(page, "seko-v1@0.6:1, gone-pair")
    button(page, "Presets").click()
    page.get_by_label("Name of the new preset").fill('Mine, of "today"')
    page.keyboard.press("Enter")
    mine = button(page, 'Mine, of "today"')
    expect(mine).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("Escape")
    expect(mine).to_be_hidden()
    box(page, "Seko-V1").click()
    button(page, "Presets").press("Enter")
    mine.click()
    assert chosen(page) == "seko-v1@0.6:1, gone-pair"
    button(page, "Presets").click()
    button(page, 'Forget the preset Mine, of "today"').click()
    expect(mine).to_have_count(0)
    expect(button(page, "SVI 2.0 Pro")).to_be_visible()


def test_a_selection_comes_and_goes_in_the_forms_of_others(page: Page) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    picker(page)
    button(page, "Presets").click()
    area = page.get_by_label("Paste a LightX2V, ai-toolkit or applies_to text")
    area.fill(FOREIGN)
    button(page, "Import").click()
    expect(status(page)).to_contain_text("The selection was imported.")
    assert chosen(page) == "seko-v1@1:0.5"
    button(page, "Presets").click()
    page.get_by_label("Form of the export").select_option("ai-toolkit")
    button(page, "Export").click()
    expect(status(page)).to_have_text("The selection was copied as ai-toolkit.")
    text = page.evaluate("navigator.clipboard.readText()")
    assert json.loads(text)["loras"]
    area.fill("{}")
    button(page, "Import").click()
    expect(status(page)).to_contain_text("That did not work: ")
    assert chosen(page) == "seko-v1@1:0.5"


def test_a_pair_found_on_disk_becomes_one_of_the_catalog(
    page: Page, user: Path, strange: tuple[Path, Path], shot: Shot
) -> None:
    picker(page)
    found = page.get_by_role("group", name="Found on disk, not in your catalog")
    expect(found).to_contain_text("mystyle")
    expect(found.get_by_role("checkbox")).to_have_count(0)
    shot("picker-detected")
    found.get_by_role("button", name=re.compile("Add .*mystyle.* to my catalog")).press("Enter")
    expect(status(page)).to_contain_text("is now in your catalog.")
    expect(box(page, "mystyle")).to_be_focused()
    page.keyboard.press("Space")
    expect(box(page, "mystyle")).to_be_checked()
    assert "mystyle" in chosen(page)
    assert "mystyle" in (user / "loras.json").read_text(encoding="utf-8")
    expect(page.get_by_role("group", name="What will run")).to_contain_text("20 steps")


def test_a_download_is_followed_to_its_end(page: Page, site: Server, shot: Shot) -> None:
    """The answers are made up, since no test may use the network."""
    jobs: list[dict[str, Any]] = []
    asked: list[dict[str, Any]] = []
    pairs = site.get(PAIRS + MODEL).json()

    def start(route: Any) -> None:
        asked.append(route.request.post_data_json | route.request.headers)
        jobs[:] = [JOB]
        route.fulfill(status=202, json=JOB)

    page.route(JOBS, lambda route: route.fulfill(json=jobs))
    page.route("**/api/dualpass/fetch", start)
    picker(page)
    button(page, "Download LightX2V 1022, 1.37 GB").press("Enter")
    bar = page.get_by_role("progressbar", name="Download of LightX2V 1022")
    expect(bar).to_have_attribute("value", "33")
    expect(page.get_by_text("33 % · 12.3 MB/s · 1:15 left")).to_be_visible()
    expect(box(page, "LightX2V 1022")).to_be_focused()
    shot("picker-download")
    assert [asked[0][key] for key in ("base_model", "pair_id")] == [MODEL, "lightx2v-1022"]
    assert asked[0]["x-dualpass"] == "1"

    for pair in pairs["pairs"]:
        if pair["pair_id"] == "lightx2v-1022":
            pair["installed"] = pair["high"]["installed"] = pair["low"]["installed"] = True
    page.route(f"**{PAIRS}*", lambda route: route.fulfill(json=pairs))
    jobs[:] = [{**JOB, "state": "done"}]
    expect(status(page)).to_have_text("LightX2V 1022 is installed.")
    expect(bar).to_have_count(0)
    expect(button(page, "Download LightX2V 1022, 1.37 GB")).to_have_count(0)


def test_a_download_from_elsewhere_is_shown_and_can_be_cancelled(page: Page) -> None:
    jobs = [{**JOB, "size": None, "speed": None, "left": None}]

    def stop(route: Any) -> None:
        jobs[:] = [{**JOB, "state": "cancelled"}]
        route.fulfill(json=jobs[0])

    page.route(JOBS, lambda route: route.fulfill(json=jobs))
    page.route("**/api/dualpass/cancel", stop)
    picker(page)
    bar = page.get_by_role("progressbar", name="Download of LightX2V 1022")
    expect(bar).not_to_have_attribute("value", re.compile(""))
    button(page, "Cancel the download of LightX2V 1022").click()
    expect(status(page)).to_have_text("The download of LightX2V 1022 was cancelled.")
    expect(bar).to_have_count(0)


def test_a_refused_download_says_why(page: Page) -> None:
    error = {"code": "OFFLINE", "message": "The hub cannot be reached. Try again later."}
    page.route(
        "**/api/dualpass/fetch", lambda route: route.fulfill(status=409, json={"error": error})
    )
    picker(page)
    button(page, "Download LightX2V 1022, 1.37 GB").click()
    expect(status(page)).to_have_text(f"The download of LightX2V 1022 failed: {error['message']}")


def test_what_is_wrong_is_said_and_nothing_is_unticked(
    page: Page, site: Server, shot: Shot
) -> None:
    answer = site.get(PAIRS + MODEL).json()
    seko, svi = (
        next(pair for pair in answer["pairs"] if pair["pair_id"] == pair_id)
        for pair_id in ("seko-v1", "svi-v2-pro")
    )
    seko["problem"] = svi["problem"] = "Two files claim to be the high one."
    svi["trigger"] = "svi, endless"
    answer["problems"] = [f"loras.json:{line}:1: a slip" for line in range(1, 9)]
    page.route(f"**{PAIRS}*", lambda route: route.fulfill(json=answer))
    picker(page, "svi-v2-pro")
    expect(box(page, "Seko-V1")).to_be_disabled()
    expect(page.get_by_text("Problem: Two files claim to be the high one.")).to_have_count(2)
    page.get_by_text("Problems in your catalog: 8").click()
    expect(page.get_by_text("and 3 more")).to_be_visible()
    expect(page.get_by_text("H only")).to_be_visible()
    shot("picker-problems")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    button(page, "Copy the trigger words of SVI v2 PRO").click()
    expect(status(page)).to_have_text("Copied: svi, endless")
    assert page.evaluate("navigator.clipboard.readText()") == "svi, endless"
    assert chosen(page) == "svi-v2-pro"
    box(page, "SVI v2 PRO").click()
    assert chosen(page) == ""
    expect(box(page, "SVI v2 PRO")).to_be_disabled()


def test_of_a_large_catalog_only_what_is_looked_at_is_drawn(page: Page, site: Server) -> None:
    answer = site.get(PAIRS + MODEL).json()
    (pair,) = (pair for pair in answer["pairs"] if pair["pair_id"] == "seko-v1")
    answer["pairs"] = [
        {**pair, "pair_id": f"pair-{number}", "name": f"Pair {number}"} for number in range(2000)
    ]
    page.route(f"**{PAIRS}*", lambda route: route.fulfill(json=answer))
    picker(page, "pair-1500")
    expect(boxes(page)).to_have_count(60)
    boxes(page).first.press("End")
    expect(boxes(page)).to_have_count(120)
    page.get_by_label("Search pairs").fill("1500")
    expect(box(page, "Pair 1500")).to_be_checked()
    expect(boxes(page)).to_have_count(1)
