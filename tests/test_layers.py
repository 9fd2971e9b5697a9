"""Imports point one way, catalog/ knows neither ComfyUI nor torch, and importing does nothing."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SHIPPED = sorted([ROOT / "__init__.py", *ROOT.glob("catalog/**/*.py"), *ROOT.glob("nodes/**/*.py")])

# Room -> the rooms of this pack that it may import, and what else beside the standard library.
ROOMS = {
    "catalog": ({"catalog"}, {"aiohttp", "filelock", "huggingface_hub"}),
    "catalog/doctor": ({"catalog", "catalog/doctor"}, set()),
    "catalog/command": ({"catalog", "catalog/doctor", "catalog/command"}, set()),
    # The command line itself: the one file of catalog/ that knows its commands.
    "catalog/__main__.py": ({"catalog", "catalog/command"}, set()),
    "nodes/lora": (
        {"catalog", "catalog/doctor", "nodes/lora"},
        {"comfy", "folder_paths", "safetensors", "torch"},
    ),
    "nodes/sampling": (
        {"catalog", "nodes/sampling"},
        {"comfy", "comfy_aimdo", "folder_paths", "kornia", "latent_preview", "numpy", "torch"},
    ),
    "nodes/video": (
        {"catalog", "nodes/sampling", "nodes/video"},
        {
            *("av", "comfy", "comfy_api", "comfy_execution", "folder_paths", "latent_preview"),
            *("safetensors", "server", "torch"),
        },
    ),
    "nodes": (
        {"catalog", "nodes/lora", "nodes/sampling", "nodes/video", "nodes"},
        {"comfy", "comfy_api", "folder_paths", "torch", "server"},
    ),
    ".": ({"nodes"}, set()),
}
# Of what comes with ComfyUI, catalog/ uses these, each in its few files and inside a function.
BROUGHT = {
    "aiohttp": {"catalog/routes.py", "catalog/actions.py", "catalog/guard.py"},
    "huggingface_hub": {"catalog/hub.py"},
    "filelock": {"catalog/workshop.py"},
}


def room_of(path: Path) -> str:
    place = path.relative_to(ROOT)
    return place.as_posix() if place.as_posix() in ROOMS else place.parent.as_posix()


def imports(path: Path) -> Iterator[tuple[str, str]]:
    """(`own` or `foreign`, room or top-level module) of each import in a file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (("foreign", alias.name.split(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield "foreign", str(node.module).split(".")[0]
        elif isinstance(node, ast.ImportFrom):
            folder = path.parents[node.level - 1].joinpath(*(node.module or "").split("."))
            yield "own", folder.relative_to(ROOT).as_posix() if folder.is_dir() else room_of(folder)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_file_imports_only_what_its_room_may(path: Path) -> None:
    own, foreign = ROOMS[room_of(path)]
    file = path.relative_to(ROOT).as_posix()
    for kind, name in imports(path):
        if kind == "own":
            assert name in own
        elif name not in sys.stdlib_module_names:
            assert name in foreign
            assert file in BROUGHT.get(name, {file})


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_file_is_short_and_says_in_its_first_line_what_it_is(path: Path) -> None:
    text = path.read_text()
    assert text.startswith('"""')
    assert len(text.splitlines()) <= 250


def test_each_file_directly_in_nodes_is_one_node() -> None:
    workshops = {"__init__.py", "_api.py", "settings.py", "sockets.py"}
    for path in set(ROOT.glob("nodes/*.py")):
        classes = [
            node for node in ast.parse(path.read_text()).body if isinstance(node, ast.ClassDef)
        ]
        assert path.name in workshops or len(classes) == 1
