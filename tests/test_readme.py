"""What README, help pages and CHANGELOG name does exist, and nothing that exists is left out."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pack.catalog.entries import read_entries

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
NODES = {
    *("CatalogLoraPairPicker", "DualPassLoraRouter", "SVIProDualSampler"),
    *("SVIProLongVideo", "SVIProConditioning", "SVIProJoin"),
}


def test_each_command_of_dev_py_is_in_the_readme_and_the_other_way_round() -> None:
    help_text = subprocess.run(
        [sys.executable, str(ROOT / "dev.py"), "--help"], check=True, capture_output=True, text=True
    ).stdout
    listed = set(re.findall(r"^    (\w+) ", help_text, re.MULTILINE))
    assert set(re.findall(r"python3 dev\.py (\w+)", README)) == listed


def test_each_node_is_in_the_readme_by_id_and_by_name() -> None:
    for path in (ROOT / "nodes").glob("*.py"):
        names = re.findall(r'(?:node_id|display_name)="([^"]+)",\n', path.read_text())
        assert all(name in README for name in names if name[0].isupper() or name in NODES)


def test_each_node_has_a_help_page() -> None:
    assert {path.stem for path in (ROOT / "web" / "docs").glob("*.md")} == NODES


@pytest.mark.parametrize("page", ["README.md", *(f"web/docs/{node}.md" for node in NODES)])
def test_each_link_to_a_file_leads_somewhere(page: str) -> None:
    text = (ROOT / page).read_text()
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (ROOT / page).parent.joinpath(target).exists(), target


def test_the_example_entries_of_the_readme_are_accepted(tmp_path: Path) -> None:
    blocks = re.findall(r"(?:^    .*\n)+", README.replace("\n\n    ", "\n\n\n    "), re.MULTILINE)
    (example,) = (block for block in blocks if '"loras"' in block)
    path = tmp_path / "loras.json"
    path.write_text(json.dumps(json.loads(example)))
    entries, problems = read_entries(path)
    assert [entry.pair_role for entry in entries] == ["high", "low"]
    assert problems == ()


def test_the_ids_in_the_readme_are_in_the_catalog() -> None:
    shipped = (ROOT / "catalog" / "models.json").read_text()
    assert '"wan-i2v-14b"' in shipped
    assert "/api/admin/loras/compatible/wan-i2v-14b" in README


def test_the_readme_runs_what_ci_runs() -> None:
    assert "python3 dev.py test" in (ROOT / ".ci" / "run").read_text()
    assert "python3 dev.py test" in README


def test_the_changelog_begins_with_the_version_of_the_project() -> None:
    version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version and f"## {version[1]}" in (ROOT / "CHANGELOG.md").read_text()
