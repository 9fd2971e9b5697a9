"""What the browser tests do with the graph in the page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

PICKER = "CatalogLoraPairPicker"


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
    """The API form, made by the page itself."""
    return page.evaluate("app.graphToPrompt().then(({ output }) => output)")


def load(page: Page, workflow: Any) -> None:
    page.evaluate("workflow => app.loadGraphData(workflow)", workflow)


def reload(page: Page) -> None:
    """Load the page anew; it restores its graph from the draft, which it writes with a delay."""
    page.wait_for_timeout(1000)
    page.reload()
    page.wait_for_function("window.app?.graph?.nodes.length && app.extensionManager")


def boxes(page: Page, checked: bool | None = None) -> Locator:
    """The picker's check boxes: all, the checked, or the others."""
    return page.locator(".dualpass-pairs").get_by_role("checkbox", checked=checked)


def box(page: Page, name: str) -> Locator:
    return page.locator(".dualpass-pairs").get_by_role("checkbox", name=name)
