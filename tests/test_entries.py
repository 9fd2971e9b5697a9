"""Reading a catalog file: what is kept, what is left out, and where each complaint points."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from pack.catalog import fields as field_rules
from pack.catalog.entries import CatalogError, Entry, Problem, read_entries

GOOD: dict[str, Any] = {
    "name": "My LoRA High Noise",
    "file": "my_high.safetensors",
    "dest": "loras",
    "source": "huggingface",
    "size_gb": 1.0,
    "base_model": "wan-i2v-14b",
    "tags": ["wan", "video"],
    "pair_id": "mine",
    "pair_role": "high",
    "hf_repo": "author/mine",
    "hf_file": "my_high.safetensors",
}
ABSENT: Any = object()


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "models.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def read_one(folder: Path, **changes: Any) -> tuple[tuple[Entry, ...], tuple[Problem, ...]]:
    raw = {key: value for key, value in (GOOD | changes).items() if value is not ABSENT}
    return read_entries(write(folder, json.dumps({"loras": [raw]}, indent=2)))


def test_every_field_of_an_entry_has_its_rule() -> None:
    assert list(field_rules.readers) == [field.name for field in fields(Entry)]


def test_a_good_entry_is_read_whole(tmp_path: Path) -> None:
    (entry,), problems = read_one(tmp_path)
    assert entry == Entry(**(GOOD | {"tags": ("wan", "video")}))
    assert entry.strength == (1.0, 1.0)
    assert problems == ()


@pytest.mark.parametrize(
    ("field", "given", "value"),
    [
        ("pair_role", "HIGH ", "high"),
        ("pair_role", "High", "high"),
        ("pair_id", "", ""),
        ("pair_id", None, ""),
        ("strength", 0.5, (0.5, 0.5)),
        ("strength", [2.5, 1], (2.5, 1.0)),
        ("steps", 4, 4),
        ("cfg", 1, 1.0),
        ("sampler", "dpmpp_2m_sde", "dpmpp_2m_sde"),
        ("file", "svi/x.SafeTensors", "svi/x.SafeTensors"),
        ("file", "x.sft", "x.sft"),
        ("name", "<b>A & B</b> 😀", "<b>A & B</b> 😀"),
        ("name", "A\u202eB\u200b\x00\ud800C", "ABC"),
        ("name", "x" * 10_000, "x" * 200),
        ("name", ABSENT, ""),
        ("dest", ABSENT, "loras"),
        ("size_gb", ABSENT, None),
    ],
)
def test_what_is_usable_is_read(tmp_path: Path, field: str, given: object, value: object) -> None:
    (entry,), problems = read_one(tmp_path, **{field: given})
    assert getattr(entry, field) == value
    assert problems == ()


WRONG: dict[str, list[Any]] = {
    "pair_role": ["hi", 5, ["high"], ABSENT, ""],
    "pair_id": [5, [], "../x", "a b", "x" * 200, "-x"],
    "base_model": [ABSENT, " wan ", 5, "x" * 129],
    "dest": ["checkpoints", "../custom_nodes", "/tmp", 5],
    "kind": ["speed", 5],
    "strength": ["1", True, 11, [1], [1, 2, 3], [1, "2"], {}],
    "steps": [0, 4.5, True, "4", 1001],
    "cfg": [0, -1, 100, True, "1"],
    "sha256": ["a" * 63, "A" * 64, 5],
    "size": [0, -1, 1.5],
    "sampler": ["a b", 5],
    "same_as": ["a,b"],
}


@pytest.mark.parametrize(
    ("field", "given"), [(field, given) for field in WRONG for given in WRONG[field]]
)
def test_a_wrong_field_leaves_the_entry_out(tmp_path: Path, field: str, given: object) -> None:
    entries, (problem,) = read_one(tmp_path, **{field: given})
    assert entries == ()
    assert problem.field == field
    assert problem.text.endswith("The entry is left out.")


@pytest.mark.parametrize(
    "file",
    [
        *["..", "../x.safetensors", "a/../../x.safetensors", "./x.safetensors", "a//x.safetensors"],
        *["/etc/x.safetensors", "C:\\x.safetensors", "\\\\srv\\x.safetensors", "x.safetensors:ads"],
        *["x.pt", "x.safetensors.exe", "x.safetensors.", "x.safetensors ", "x", ".x.safetensors"],
        *["con.safetensors", "NUL.sft", "a/Com1.x.safetensors", "a /x.safetensors"],
        *["x\0.safetensors", "x\u200b.safetensors", "x\ud800.safetensors", "e\u0301.safetensors"],
        *["x" * 300 + ".safetensors", "é" * 101 + ".safetensors", "", 5, None, ["x.safetensors"]],
    ],
)
def test_an_unsafe_file_leaves_the_entry_out(tmp_path: Path, file: object) -> None:
    entries, (problem,) = read_one(tmp_path, file=file)
    assert (entries, problem.field) == ((), "file")


@pytest.mark.parametrize(
    ("field", "given", "kept"),
    [
        *[("size_gb", given, None) for given in (-1, 0, "1.1", 1e9, 100, True)],
        *[("hf_repo", given, "") for given in ("a/b/../../c", "https://evil/x", "a", "a/b--c", 5)],
        ("hf_file", "../x.safetensors", ""),
        *[("tags", given, ()) for given in ("wan", [5])],
        *[("name", given, "") for given in (5, ["x"])],
        ("notes", 5, ""),
    ],
)
def test_a_slip_that_does_no_harm_costs_only_the_field(
    tmp_path: Path, field: str, given: object, kept: object
) -> None:
    (entry,), (problem,) = read_one(tmp_path, **{field: given})
    assert getattr(entry, field) == kept
    assert (problem.field, problem.text[-21:]) == (field, "The field is ignored.")


@pytest.mark.parametrize("field", ["strenght", "__proto__", "\ud800"])
def test_an_unknown_field_is_named_and_ignored(tmp_path: Path, field: str) -> None:
    (entry,), (problem,) = read_one(tmp_path, **{field: 1})
    assert entry.file == GOOD["file"]
    assert repr(field) in problem.text


def test_the_three_roles_are_listed(tmp_path: Path) -> None:
    _, (problem,) = read_one(tmp_path, pair_role="hi")
    assert problem.text.startswith('pair_role must be one of high, low, both; it is "hi".')


def test_a_problem_points_at_its_key_in_its_entry(tmp_path: Path) -> None:
    text = '{\r\n "loras": [\r\n  {"file": "x.sft", "base_model": "wan"},\r\n'
    text += '  {"file": "y.sft", "base_model": "wan",\r\n   "steps" : 0}, 7]}'
    entries, problems = read_entries(write(tmp_path, text))
    assert [entry.file for entry in entries] == ["x.sft"]
    assert [(p.line, p.column, p.field) for p in problems] == [(5, 4, "steps"), (5, 18, "")]
    assert str(problems[0]).startswith(f"{tmp_path.name}/models.json:5:4: steps must be")


@pytest.mark.parametrize("entry", ["x", None, [], 5, ["file"]])
def test_what_is_no_object_is_no_entry(tmp_path: Path, entry: object) -> None:
    entries, (problem,) = read_entries(write(tmp_path, json.dumps({"loras": [entry, GOOD]})))
    assert [kept.file for kept in entries] == [GOOD["file"]]
    assert (problem.line, problem.column) == (1, 12)


@pytest.mark.parametrize("text", ["{}", '\ufeff{"version": "1", "$schema": "s"}', ' \r\n{"a": []}'])
def test_a_file_may_hold_no_entry(tmp_path: Path, text: str) -> None:
    assert read_entries(write(tmp_path, text)) == ((), ())


@pytest.mark.parametrize("value", ["mine", {"comment": 5}, {}, 5, True, None])
def test_what_is_no_list_of_entries_costs_no_entry(tmp_path: Path, value: object) -> None:
    text = json.dumps({"comment": value, "loras": [GOOD]})
    (entry,), (problem,) = read_entries(write(tmp_path, text))
    assert entry.file == GOOD["file"]
    assert (problem.line, problem.column, problem.field) == (1, 13, "")
    assert problem.text == "'comment' is no list of entries. It is ignored."


def test_categories_are_read_in_order(tmp_path: Path) -> None:
    text = json.dumps({"b": [GOOD], "version": "1", "a": [GOOD | {"file": "a.sft"}]})
    entries, _ = read_entries(write(tmp_path, text))
    assert [entry.file for entry in entries] == ["my_high.safetensors", "a.sft"]


@pytest.mark.parametrize(
    ("given", "told"), [(True, "true"), (None, None), ([None, 1], "[null, 1]"), ("é", '"é"')]
)
def test_a_value_is_told_as_the_file_has_it(tmp_path: Path, given: object, told: str) -> None:
    _, problems = read_one(tmp_path, steps=given)
    assert [f"; it is {told}. " in problem.text for problem in problems] == [True] * bool(told)


UNREADABLE: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: None,
    "folder": lambda path: path.mkdir(),
    "fifo": lambda path: os.mkfifo(path),
    "loop": lambda path: path.symlink_to(path),
    "locked": lambda path: path.touch(mode=0),
    "large": lambda path: path.write_bytes(b" " * (4 * 1024 * 1024 + 1)),
}


@pytest.mark.skipif(os.name == "nt", reason="files of these kinds are POSIX")
@pytest.mark.parametrize("kind", UNREADABLE)
def test_what_is_no_readable_file_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "models.json"
    UNREADABLE[kind](path)
    if kind == "locked" and os.access(path, os.R_OK):
        pytest.skip("this user may read everything")
    with pytest.raises(CatalogError, match="cannot be read"):
        read_entries(path)


def test_a_link_to_a_file_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real.json").write_text('{"loras": []}')
    (tmp_path / "models.json").symlink_to(tmp_path / "real.json")
    assert read_entries(tmp_path / "models.json") == ((), ())
