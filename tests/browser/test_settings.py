"""The sampling nodes in the page: widgets that do not count look disabled, and keep their value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from browser.canvas import add, choose, link, widgets

if TYPE_CHECKING:
    from browser.conftest import Shot
    from playwright.sync_api import Page

PLANNED = {"steps", "cfg_high", "cfg_low", "sampler_name", "scheduler", "shift", "boundary"}
FIRST = {"first_steps", "cfg_first"}
CLIP = {"motion_latents", "length"}
# What is set or linked, and which widgets count no longer, or count now, by that alone.
CASES: list[tuple[dict[str, Any], str, set[str], set[str]]] = [
    ({"settings": "SVI 2.0 Pro, 6 steps"}, "", PLANNED | {"split"}, set()),
    ({"settings": "RunComfy, 25 steps", "split": "step"}, "", PLANNED | {"split"}, set()),
    ({"settings": "manual"}, "", set(), set()),
    ({"split": "step"}, "", {"boundary"}, {"switch_step"}),
    ({}, "sampler", {"sampler_name"}, set()),
    ({}, "sigmas", {"steps", "scheduler", "denoise"}, set()),
    ({"denoise": 0.5}, "sigmas", {"steps", "scheduler"}, set()),  # has to be set back to 1
    ({}, "model_first", set(), FIRST),
    ({"cfg_steps": "3.5, 1"}, "", {"cfg_high", "cfg_low"}, set()),
    ({"cfg_steps": " "}, "", set(), set()),
    ({"trajectory": "two passes as core"}, "", {"cfg_steps"}, set()),
    (  # cfg_steps has to be emptied
        {"trajectory": "two passes as core", "cfg_steps": "3"}, "", {"cfg_high", "cfg_low"}, set(),
    ),
    ({}, "anchor", set(), CLIP),
]  # fmt: skip
SOURCES = {
    "sampler": "KSamplerSelect",
    "sigmas": "BasicScheduler",
    "model_first": "UNETLoader",
    "anchor": "VAEEncode",
}
# The middle of a widget on the screen.
WIDGET_AT = """([id, name]) => {
    const node = app.graph.getNodeById(id);
    const { y, computedHeight } = node.widgets.find((widget) => widget.name === name);
    const at = [node.pos[0] + node.size[0] / 2, node.pos[1] + y + (computedHeight ?? 20) / 2];
    const [left, top] = app.canvas.convertOffsetToCanvas(at);
    const { x, y: above } = app.canvas.canvas.getBoundingClientRect();
    return [x + left, above + top];
}"""


def disabled(page: Page, node_id: str) -> set[str]:
    return {name for name, value in widgets(page, node_id, "disabled").items() if value}


def set_mode(page: Page, node_id: str, mode: int) -> None:
    """Mute (2), bypass (4) or neither (0), as the page records any change."""
    page.evaluate(
        """([id, mode]) => {
            app.canvas.emitBeforeChange();
            app.graph.getNodeById(id).mode = mode;
            app.canvas.emitAfterChange();
        }""",
        [node_id, mode],
    )


@pytest.mark.parametrize("node_type", ("SVIProDualSampler", "SVIProLongVideo"))
def test_widgets_that_do_not_count_look_disabled(page: Page, shot: Shot, node_type: str) -> None:
    for values, linked, off, on in CASES:
        page.evaluate("for (const node of [...app.graph.nodes]) app.graph.remove(node)")
        node = add(page, node_type, 300, 60)
        known = widgets(page, node)
        before = {"switch_step"} | FIRST | (CLIP if node_type == "SVIProDualSampler" else set())
        assert disabled(page, node) == before
        if linked == "anchor" and node_type == "SVIProLongVideo":
            continue
        if linked:
            link(page, add(page, SOURCES[linked], 900, 60), 0, node, linked)
        for name in values.keys() & known.keys():
            choose(page, node, name, values[name])
        assert disabled(page, node) == (before | off & known.keys()) - on, (values, linked)
        assert widgets(page, node) == known | {key: values[key] for key in values.keys() & known}
    shot(f"settings-{node_type}")


def test_who_is_muted_gives_nothing_and_who_is_bypassed_what_it_is_given(page: Page) -> None:
    sampler = add(page, "SVIProDualSampler", 900)
    loader, shift = add(page, "UNETLoader", 100), add(page, "ModelSamplingSD3", 500)
    select = add(page, "KSamplerSelect", 100, 500)
    link(page, shift, 0, sampler, "model_first")
    link(page, select, 0, sampler, "sampler")
    assert disabled(page, sampler) == {"switch_step", "sampler_name"} | CLIP
    for mode in (2, 4):
        set_mode(page, shift, mode)
        set_mode(page, select, mode)
        assert disabled(page, sampler) == {"switch_step"} | FIRST | CLIP
    link(page, loader, 0, shift, "model")
    set_mode(page, shift, 4)
    assert disabled(page, sampler) == {"switch_step"} | CLIP
    set_mode(page, shift, 2)
    assert disabled(page, sampler) == {"switch_step"} | FIRST | CLIP


def test_typed_text_counts_at_once(page: Page, request: pytest.FixtureRequest) -> None:
    """In the field itself: of the node, or in Nodes 1.0 of the dialog that a double click opens."""
    sampler = add(page, "SVIProDualSampler", 300, 0)
    page.evaluate("id => app.canvas.centerOnNode(app.graph.getNodeById(id))", sampler)
    if request.node.callspec.params["opened_page"] == "vue":
        field = page.get_by_label("cfg_steps", exact=True)
    else:
        field = page.locator(".graphdialog input")
        while not field.is_visible():  # two clicks are a double one within 300 ms
            page.wait_for_timeout(500)
            page.mouse.dblclick(*page.evaluate(WIDGET_AT, [sampler, "cfg_steps"]))
    field.fill("3.5, 1")
    field.press("Enter")
    page.wait_for_function(
        """id => app.graph.getNodeById(id).widgets
            .find(({ name }) => name === "cfg_high").disabled""",
        arg=sampler,
    )
