"""The offline merge example in the real page, as the other one."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest
from browser.canvas import load, prompt
from browser.test_example import FOLDER, recent, saved, widget_values

if TYPE_CHECKING:
    from browser.conftest import Shot
    from playwright.sync_api import Page

pytest.importorskip("playwright.sync_api", reason="run `python3 dev.py test`")

NAME = "wan22_offline_merge.json"
__all__ = ["recent"]  # a fixture that acts by itself


def test_the_merge_example_opens_clean_and_its_api_form_is_the_shipped_one(
    page: Page, shot: Shot
) -> None:
    """DUALPASS_UPDATE=1 writes the API form anew, from the page's own conversion."""
    example = json.loads((FOLDER / NAME).read_text(encoding="utf-8"))
    load(page, example)
    opened = saved(page)
    known = page.evaluate("Object.keys(LiteGraph.registered_node_types)")
    assert {node["type"] for node in example["nodes"]} <= set(known)
    assert widget_values(opened) == widget_values(example)
    assert opened["links"] == example["links"]
    shot("merge-example")
    api = json.dumps(prompt(page), indent=2) + "\n"
    path = FOLDER / "api" / NAME
    if os.environ.get("DUALPASS_UPDATE"):
        path.write_text(api, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == api
