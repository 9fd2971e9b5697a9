"""The shipped catalog: valid, canonical, complete, and free of contradictions."""

from __future__ import annotations

import json
import math
import re
from dataclasses import fields
from pathlib import Path, PurePosixPath
from typing import Any

import jsonschema
import pytest

from pack.catalog.entries import Entry, read_entries
from pack.catalog.pairs import find_pairs
from pack.catalog.store import Store
from rig.contract import EXAMPLE

FOLDER = Path(__file__).parents[1] / "catalog"
NAMES = ["models.json", "loras.json"]
FIELDS = [field.name for field in fields(Entry)]
ENTRIES = [entry for name in NAMES for entry in read_entries(FOLDER / name)[0]]
ROLES = ["high", "low", "both"]


def document(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((FOLDER / name).read_bytes())
    return loaded


@pytest.mark.parametrize("name", NAMES)
def test_the_schema_holds(name: str) -> None:
    schema = document("schema.json")
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(document(name))


def test_the_schema_knows_exactly_the_fields_of_an_entry() -> None:
    entry = document("schema.json")["$defs"]["entry"]
    assert list(entry["properties"]) == FIELDS
    assert entry["additionalProperties"] is False


@pytest.mark.parametrize("name", [*NAMES, "schema.json"])
def test_the_bytes_are_canonical(name: str) -> None:
    canonical = json.dumps(document(name), indent=2, ensure_ascii=False) + "\n"
    assert (FOLDER / name).read_bytes() == canonical.encode()


@pytest.mark.parametrize("name", NAMES)
def test_keys_and_entries_are_in_order(name: str) -> None:
    entries = document(name)["loras"]
    for entry in entries:
        assert list(entry) == [field for field in FIELDS if field in entry]
    keys = [(e["base_model"], e["pair_id"], ROLES.index(e["pair_role"])) for e in entries]
    assert keys == sorted(keys)


def test_nothing_is_wrong_or_there_twice() -> None:
    catalog = Store(FOLDER, None).catalog()
    pairs = [pair for base_model in catalog.base_models for pair in catalog.find_pairs(base_model)]
    assert (catalog.problems, [pair.problem for pair in pairs if pair.problem]) == ((), [])
    assert len({entry.file.lower() for entry in ENTRIES}) == len(ENTRIES)
    assert sum(len(pair.entries) for pair in pairs) == len(ENTRIES)
    for base_model in catalog.base_models:
        names = [pair.name for pair in catalog.find_pairs(base_model)]
        assert len(set(names)) == len(names)


def test_version_and_date() -> None:
    models = document("models.json")
    assert re.fullmatch(r"\d+\.\d+\.\d+", models["version"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", models["date"])


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.file)
def test_each_entry_says_where_it_comes_from_and_what_it_is(entry: Entry) -> None:
    assert entry.name and entry.pair_id and entry.kind and entry.hf_repo
    assert entry.source == "huggingface"
    assert entry.base_model == "wan-fun-inp-14b" or re.fullmatch(
        r"wan(2\.1)?-(i2v|t2v|phantom)-14b", entry.base_model
    )
    assert PurePosixPath(entry.file).name.endswith(PurePosixPath(entry.hf_file).name)
    assert not entry.sha256 or re.fullmatch("[0-9a-f]{64}", entry.sha256)
    assert not entry.size or entry.size_gb == round(entry.size / 1e9, 3)
    assert not entry.notes or entry.notes.endswith(".")


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.file)
def test_only_accelerators_shorten_a_run_and_say_by_how_much(entry: Entry) -> None:
    assert (entry.steps is None) == (entry.cfg is None)
    assert entry.kind == "accelerator" or entry.steps is None
    assert entry.kind != "accelerator" or entry.steps or "steps" in entry.notes
    assert entry.pair_role == "both" or math.isclose(*entry.strength)


def test_the_two_files_of_a_pair_want_one_plan() -> None:
    plans: dict[tuple[str, str], set[object]] = {}
    for entry in ENTRIES:
        plan = (entry.kind, entry.steps, entry.cfg, entry.shift, entry.sampler, entry.scheduler)
        plans.setdefault((entry.base_model, entry.pair_id), set()).add(plan)
    assert [key for key, found in plans.items() if len(found) > 1] == []


def test_the_same_weights_name_each_other() -> None:
    pairs = {(entry.base_model, entry.pair_id, entry.same_as) for entry in ENTRIES if entry.same_as}
    assert pairs
    assert {(base_model, same_as, pair_id) for base_model, pair_id, same_as in pairs} == pairs


def test_equal_sums_are_equal_sizes_of_pairs_that_name_each_other() -> None:
    seen: dict[str, Entry] = {}
    for entry in ENTRIES:
        twin = seen.setdefault(entry.sha256, entry) if entry.sha256 else entry
        if twin is not entry:
            assert (twin.size, twin.same_as) == (entry.size, entry.pair_id)


def test_svi_joins_clips_and_shortens_nothing() -> None:
    pair = Store(FOLDER, None).catalog().get_pair("wan-i2v-14b", "svi-v2-pro")
    assert (pair.kind, [entry.steps for entry in pair.entries]) == ("continuity", [None, None])


def test_the_documented_example_appears_in_its_order() -> None:
    shown = [pair.as_json() for pair in find_pairs(ENTRIES, "wan-i2v-14b")]
    wanted = [pair["pair_id"] for pair in EXAMPLE]
    assert [pair for pair in shown if pair["pair_id"] in wanted] == EXAMPLE


def test_a_catalog_of_the_example_gives_exactly_the_example() -> None:
    wanted = [pair["pair_id"] for pair in EXAMPLE]
    entries = [e for e in ENTRIES if e.pair_id in wanted and e.base_model == "wan-i2v-14b"]
    assert [pair.as_json() for pair in find_pairs(entries, "wan-i2v-14b")] == EXAMPLE
