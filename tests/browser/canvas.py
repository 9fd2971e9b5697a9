"""What the browser tests do with the graph in the page, and measure of the picker."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page, Route

PICKER = "CatalogLoraPairPicker"
# Each visible text of the picker as [text, contrast ratio]: WCAG 2.2, 1.4.3; what is disabled is
# exempt there.
CONTRASTS = """root => {
    const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const rgba = (color) => {
        canvas.clearRect(0, 0, 1, 1);
        canvas.fillStyle = color;
        canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data].map((part) => part / 255);
    };
    const over = ([r, g, b, a], below) =>
        [r, g, b].map((part, at) => part * a + below[at] * (1 - a));
    const backgroundOf = (element) => {
        if (!element) return [1, 1, 1];
        const color = rgba(getComputedStyle(element).backgroundColor);
        if (color[3] === 1) return color.slice(0, 3);
        return over(color, backgroundOf(element.parentElement));
    };
    const luminance = (color) => {
        const [r, g, b] = color.map((part) =>
            part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const opacityOf = (element) =>
        element ? getComputedStyle(element).opacity * opacityOf(element.parentElement) : 1;
    const contrast = (element, color) => {
        const below = backgroundOf(element);
        const [r, g, b, a] = rgba(color);
        const text = over([r, g, b, a * opacityOf(element)], below);
        const [dark, light] = [luminance(text), luminance(below)].sort((a, b) => a - b);
        return (light + 0.05) / (dark + 0.05);
    };
    const found = [];
    for (const element of root.querySelectorAll("*")) {
        const seen = element.checkVisibility({ visibilityProperty: true, opacityProperty: true });
        if (!seen || element.matches(":disabled, .dualpass-hidden")) continue;
        const own = [...element.childNodes].filter((node) => node.nodeType === Node.TEXT_NODE);
        const text = own.map((node) => node.data.trim()).join("") || element.value;
        const style = getComputedStyle(element);
        const color = element.placeholder && !element.value
            ? getComputedStyle(element, "::placeholder").color : style.color;
        const shown = text || element.placeholder;
        const isText = own.some((node) => node.data.trim())
            || element.matches("input:not([type=checkbox]), textarea, select");
        if (isText && shown) found.push([shown, contrast(element, color)]);
    }
    return found;
}"""
# What of the picker is wider than its place, or reaches out of it.
OVERFLOWS = """root => {
    const right = root.getBoundingClientRect().right;
    const scrollers = [root, ...root.querySelectorAll(".dualpass-list, .dualpass-row, fieldset")];
    const wide = scrollers.filter((element) => element.scrollWidth > element.clientWidth);
    const out = [...root.querySelectorAll("*")].filter((element) =>
        element.checkVisibility() && !element.closest(".dualpass-hidden, option")
        && element.getBoundingClientRect().right > right + 0.5);
    return [...wide, ...out].map((element) => element.outerHTML.slice(0, 200));
}"""

# Whether a draft of the page holds what the nodes say now; their size it learns with a change only.
DRAFTED = """() => {
    const said = ({ nodes }) => JSON.stringify(nodes.map((node) =>
        [node.id, node.type, node.mode, node.properties, node.widgets_values ?? []]));
    return Object.entries({ ...localStorage }).some(([key, draft]) =>
        key.startsWith("Comfy.Workflow.Draft.")
        && said(JSON.parse(JSON.parse(draft).data)) === said(app.rootGraph.serialize()));
}"""


def add(page: Page, node_type: str, x: int = 300, y: int = 200) -> str:
    """A new node at this place; its id."""
    return page.evaluate(
        """([type, x, y]) => {
            const node = LiteGraph.createNode(type);
            node.pos = [x, y];
            app.canvas.ds.reset();
            app.graph.add(node);
            return String(node.id);
        }""",
        [node_type, x, y],
    )


def link(page: Page, source: str, output: int, target: str, name: str) -> None:
    """Draw a link to the input of this name."""
    page.evaluate(
        """([source, output, target, name]) => {
            const node = app.graph.getNodeById(target);
            const input = node.inputs.findIndex((slot) => slot.name === name);
            app.graph.getNodeById(source).connect(output, node, input);
        }""",
        [source, output, target, name],
    )


def widgets(page: Page, node_id: str, key: str = "value") -> dict[str, Any]:
    """Each widget of a node by name, with this property of it."""
    return page.evaluate(
        """([id, key]) => Object.fromEntries(
            app.graph.getNodeById(id).widgets.map((widget) => [widget.name, widget[key]])
        )""",
        [node_id, key],
    )


def choose(page: Page, node_id: str, name: str, value: Any) -> None:
    """Set a widget as both renderers do: the value, then its callback."""
    page.evaluate(
        """([id, name, value]) => {
            const widget = app.graph.getNodeById(id).widgets.find((one) => one.name === name);
            widget.value = value;
            widget.callback?.(value);
        }""",
        [node_id, name, value],
    )


def prompt(page: Page) -> dict[str, Any]:
    """The API form, made by the page itself; newer pages add the pack's version to `_meta`."""
    found = page.evaluate("app.graphToPrompt().then(({ output }) => output)")
    metas = {node_id: {"title": node["_meta"]["title"]} for node_id, node in found.items()}
    return {node_id: {**node, "_meta": metas[node_id]} for node_id, node in found.items()}


def chosen(page: Page) -> str:
    """The selection text that an API prompt gets from the only picker in the graph."""
    nodes = prompt(page).values()
    (text,) = (node["inputs"]["pairs"] for node in nodes if node["class_type"] == PICKER)
    return text


def load(page: Page, workflow: Any) -> None:
    page.evaluate("workflow => app.loadGraphData(workflow)", workflow)


def saved(page: Page) -> Any:
    """The workflow as a file holds it, subgraphs included."""
    return json.loads(page.evaluate("JSON.stringify(app.rootGraph.serialize())"))


def run_command(page: Page, name: str) -> None:
    """A command of the page by the end of its name, such as `Undo`."""
    page.evaluate("name => app.extensionManager.command.execute(`Comfy.${name}`)", name)


def choose_setting(page: Page, name: str, value: Any) -> None:
    """Set one of the page's settings, as its dialog does."""
    page.evaluate("([name, value]) => app.extensionManager.setting.set(name, value)", [name, value])


def reload(page: Page) -> None:
    """Load the page anew; it restores its graph from the draft, which it writes with a delay.

    Half a second; but not for all that nodes say, such as what changed while they ran.
    """
    from playwright.sync_api import TimeoutError as NotDrafted

    page.wait_for_timeout(1000)
    with suppress(NotDrafted):
        page.wait_for_function(DRAFTED, polling=100, timeout=5000)
    page.reload()
    page.wait_for_function("window.app?.graph?.nodes.length && app.extensionManager")


def soon(target: Page | Locator, script: str) -> Any:
    """What a measure of faults finds when the layout has settled: a page moves things in steps."""
    page = getattr(target, "page", target)
    for _ in range(100):
        if not (found := target.evaluate(script)):
            break
        page.wait_for_timeout(100)
    return found


def held_route(page: Page, held: list[Route]) -> Route:
    """The first request that a test holds; it comes a moment after the page shows that it waits."""
    for _ in range(1000):
        if held:
            break
        page.wait_for_timeout(50)
    return held[0]


def boxes(page: Page, checked: bool | None = None) -> Locator:
    """The picker's check boxes: all, the checked, or the others."""
    return page.locator(".dualpass-pairs").get_by_role("checkbox", checked=checked)


def box(page: Page, name: str) -> Locator:
    return page.locator(".dualpass-pairs").get_by_role("checkbox", name=name)
