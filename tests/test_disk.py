"""The files in ComfyUI's loras folders, and which of them an entry means."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pack.catalog.disk import LoraFolders
from pack.catalog.entries import Entry
from pack.catalog.pairs import find_pairs


def lay(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(path.name)


@pytest.mark.parametrize(
    ("there", "file", "found"),
    [
        (["x.sft"], "x.sft", ["x.sft"]),
        (["wan/x.safetensors"], "x.safetensors", ["wan/x.safetensors"]),
        (["x.sft", "wan/x.sft"], "x.sft", ["x.sft"]),
        (["x.sft", "wan/x.sft"], "wan/x.sft", ["wan/x.sft"]),
        (["a/x.sft", "b/x.sft"], "x.sft", ["a/x.sft", "b/x.sft"]),
        (["b/x.sft"], "a/x.sft", []),
        (["x.sft"], "a/x.sft", []),
        (["xx.sft", "X.sft", "x.sft.part", "x.txt"], "x.sft", []),
        ([], "x.sft", []),
    ],
)
def test_a_file_is_found_by_its_name(
    tmp_path: Path, there: list[str], file: str, found: list[str]
) -> None:
    lay(*(tmp_path / name for name in there))
    assert set(LoraFolders.of(tmp_path).find(file)) == {tmp_path / name for name in found}


def test_the_first_folder_counts(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    lay(first / "x.sft", second / "x.sft", second / "y.sft")
    loras = LoraFolders.of(first, second)
    assert loras.find("x.sft") == (first / "x.sft",)
    assert loras.find("y.sft") == (second / "y.sft",)
    assert LoraFolders.of(tmp_path / "absent", second).find("y.sft") == (second / "y.sft",)


@pytest.mark.skipif(os.name == "nt", reason="links need a right of their own there")
def test_links_lead_to_one_real_file_or_nowhere(tmp_path: Path) -> None:
    lay(tmp_path / "real" / "x.sft")
    (tmp_path / "linked").symlink_to(tmp_path / "real")
    for name in ("loop", "other", "third"):
        (tmp_path / "real" / name).symlink_to(tmp_path)
    (tmp_path / "gone.sft").symlink_to(tmp_path / "nothing.sft")
    loras = LoraFolders.of(tmp_path)
    assert loras.find("x.sft") == (tmp_path / "real" / "x.sft",)
    assert loras.find("gone.sft") == ()


def test_a_folder_with_the_name_of_a_lora_is_none(tmp_path: Path) -> None:
    (tmp_path / "x.sft").mkdir()
    assert LoraFolders.of(tmp_path).find("x.sft") == ()


def test_names_with_backslashes_are_those_of_windows() -> None:
    listing = LoraFolders(lambda: [], lambda: ["wan\\x.sft"]).listing()
    assert listing.names == {"wan/x.sft": "wan\\x.sft"}


@pytest.mark.parametrize(
    ("there", "wanted"),
    [
        ([], ("h.sft", "l.sft")),
        (["h.sft", "l.sft"], ("h.sft", "l.sft")),
        (["wan/h.sft"], (None, "l.sft")),
        (["wan/h.sft", "l.sft"], (None, "l.sft")),
        (["wan/h.sft", "wan/l.sft"], (None, None)),
    ],
)
def test_what_lies_in_a_folder_of_the_users_own_is_not_fetched_again(
    tmp_path: Path, there: list[str], wanted: tuple[str | None, str | None]
) -> None:
    lay(*(tmp_path / name for name in there))
    raw = {"base_model": "wan-i2v-14b", "pair_id": "p"}
    entries = [Entry(**raw, pair_role=role, file=f"{role[0]}.sft") for role in ("high", "low")]
    (pair,) = find_pairs(entries, "wan-i2v-14b")
    left = LoraFolders.of(tmp_path).wanting(pair)
    assert tuple(left.as_json().values())[2:4] == wanted
