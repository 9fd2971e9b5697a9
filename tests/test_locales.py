"""The translations: complete, alike in form, and served by ComfyUI."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rig.client import Server

FOLDER = Path(__file__).parents[1] / "locales"
LANGUAGES = ("de", "fr", "ja", "zh")
NODES = (
    "CatalogLoraPairPicker",
    "DualPassLoraRouter",
    "SVIProDualSampler",
    "SVIProLongVideo",
    "SVIProConditioning",
    "SVIProJoin",
)
# What the page's own message compiler (vue-i18n) would take for syntax in a node's texts.
SYNTAX = set("@{}|")
PLACEHOLDER = re.compile(r"\{\w+\}")


def read(language: str, name: str) -> Any:
    return json.loads((FOLDER / language / name).read_text(encoding="utf-8"))


def leaves(tree: Any) -> Iterator[str]:
    """Every text in it."""
    if not isinstance(tree, dict):
        yield tree
        return
    for branch in tree.values():
        yield from leaves(branch)


def inputs_of(info: Any) -> dict[str, str]:
    """Each input of a node with its English tooltip; the page adds the seed's companion."""
    found: dict[str, str] = {}
    for kind in ("required", "optional"):  # and hidden ones, which nobody sees
        for name, (_, options) in info["input"].get(kind, {}).items():
            found[name] = options.get("tooltip", "")
            if options.get("control_after_generate"):
                found["control_after_generate"] = ""
    return found


def test_no_other_language_is_half_there() -> None:
    files = {str(path.relative_to(FOLDER).as_posix()) for path in FOLDER.rglob("*.json")}
    names = {
        f"{language}/{name}" for language in LANGUAGES for name in ("main.json", "nodeDefs.json")
    }
    assert files == names | {"en/main.json"}  # English node texts stand in the nodes themselves


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_text_of_the_picker_is_there_with_its_placeholders(language: str) -> None:
    english, texts = read("en", "main.json")["dualpass"], read(language, "main.json")["dualpass"]
    assert list(texts) == list(english)
    for key, text in texts.items():
        assert sorted(PLACEHOLDER.findall(text)) == sorted(PLACEHOLDER.findall(english[key])), key


@pytest.mark.parametrize("language", ("en", *LANGUAGES))
def test_no_text_is_empty_or_padded(language: str) -> None:
    for path in (FOLDER / language).glob("*.json"):
        for text in leaves(json.loads(path.read_text(encoding="utf-8"))):
            assert text
            assert text == text.strip()


@pytest.mark.parametrize("node", NODES)
@pytest.mark.parametrize("language", LANGUAGES)
def test_each_node_is_translated_whole(server: Server, language: str, node: str) -> None:
    info = server.get(f"/object_info/{node}").json()[node]
    texts = read(language, "nodeDefs.json")[node]
    assert texts["display_name"]
    assert texts["description"]
    assert set(texts["inputs"]) == set(inputs_of(info))
    assert list(texts["outputs"]) == [str(at) for at in range(len(info["output"]))]
    for name, tooltip in inputs_of(info).items():
        assert texts["inputs"][name]["name"]
        assert "tooltip" in texts["inputs"][name] or not tooltip, name
    for at, tooltip in enumerate(info["output_tooltips"]):
        assert texts["outputs"][str(at)]["name"]
        assert "tooltip" in texts["outputs"][str(at)] or not tooltip, at


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_node_text_is_syntax_to_the_page(language: str) -> None:
    texts = read(language, "nodeDefs.json")
    assert list(texts) == list(NODES)
    assert [text for text in leaves(texts) if SYNTAX & set(text)] == []


def test_comfyui_serves_them(server: Server) -> None:
    served = server.get("/i18n").json()
    for language in LANGUAGES:
        nodes = served[language]["nodeDefs"]
        assert {node: nodes[node] for node in NODES} == read(language, "nodeDefs.json")
    for language in ("en", *LANGUAGES):
        assert served[language]["dualpass"] == read(language, "main.json")["dualpass"]
