"""Presets: the shipped ones, keeping and forgetting one's own, and sharing them unchanged."""

from __future__ import annotations

import json
import re
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pack.catalog.presets import (
    Preset,
    PresetError,
    export_presets,
    find_presets,
    forget_preset,
    import_presets,
    own_presets,
    preset_problem,
    read_presets,
    save_preset,
)
from pack.catalog.stacks import choose, parse_selection
from pack.catalog.store import Store

SHIPPED = Path(__file__).parents[1] / "catalog"
FILE = SHIPPED / "presets.json"
PRESETS = read_presets(FILE)
FIELDS = ["name", "base_model", "selection", "notes"]
BASE = "wan-i2v-14b"
RAIN, SNOW = Preset("Rain", BASE, "a@0.5:1, b"), Preset("雪 ❄", BASE, "", "Nothing at all.")


def text(*presets: dict[str, Any]) -> str:
    return json.dumps({"presets": presets})


def preset(**fields: Any) -> dict[str, Any]:
    return {"name": "Rain", "base_model": BASE, "selection": "a"} | fields


def placeholders(preset: Preset) -> set[str]:
    """The ids that a user has to fill, as the notes name them."""
    named = re.search(r"Bring your own: ([\w, -]+)\. Put your LoRAs? into your", preset.notes)
    return set(named[1].split(", ")) if named else set()


def test_the_shipped_file_is_canonical_and_in_order() -> None:
    document = json.loads(FILE.read_bytes())
    canonical = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    assert FILE.read_bytes() == canonical.encode() == export_presets(PRESETS).encode()
    assert all(list(each) == FIELDS for each in document["presets"])
    assert list(PRESETS) == sorted(PRESETS, key=lambda each: (each.base_model, each.name))


@pytest.mark.parametrize("preset", PRESETS, ids=lambda each: f"{each.base_model}: {each.name}")
def test_a_shipped_preset_runs_once_its_placeholders_are_filled(preset: Preset) -> None:
    choices, missing = parse_selection(preset.selection), placeholders(preset)
    known = [choice for choice in choices if choice.pair_id not in missing]
    assert {choice.pair_id for choice in choices} - {choice.pair_id for choice in known} == missing
    catalog = Store(SHIPPED, None).catalog()
    for chosen in choose(known, catalog, preset.base_model):
        assert chosen.entry_for("high") or chosen.entry_for("low")
    assert not missing & {pair.pair_id for pair in catalog.find_pairs(preset.base_model)}
    assert re.search(r"Source: .+\.$", preset.notes)


@pytest.mark.parametrize(
    ("base_model", "selection"),
    [
        ("wan-t2v-14b", "lightning-250928@0:1"),
        ("wan-t2v-14b", "lightx2v-adaptive@1"),
        ("wan-t2v-14b", "lightx2v-v2-rank256@2.5:1"),
        (BASE, "lightx2v-1022@0.6:1, svi-v2-pro@1"),
        (BASE, "lightx2v-1022@1, style@0.8, character@1, quality@0:0.5"),
        (BASE, "lightx2v-1022@1, anime@0.9"),
        (BASE, "lightx2v-1022@1, character@1.1, cinema@0.8, quality@0:0.4"),
        (BASE, "lightx2v-1022@1, insta_style@0.85, influencer@1"),
        ("wan-fun-inp-14b", "hps2.1-reward@0:0.5"),
    ],
)
def test_known_recipes_are_shipped(base_model: str, selection: str) -> None:
    found = find_presets(SHIPPED, None, base_model)
    assert selection in [each.selection for each in found]


@pytest.mark.parametrize(
    ("content", "line", "column", "reason"),
    [
        ("", 1, 1, "The file is empty."),
        ('{"presets": [],}', 1, 16, "The usual slips are"),
        ("[]", 1, 1, "in one object"),
        ("{}", 1, 1, 'Write {"presets": [ … ]}'),
        ('{"presets": {}}', 1, 1, 'Write {"presets": [ … ]}'),
        ('{"presets": [], "more": 1}', 1, 1, 'Write {"presets": [ … ]}'),
        ('{"presets": [\n\n  7]}', 3, 3, "must be an object"),
        ('{"presets": [\n {"name": "x"}]}', 2, 2, "base_model is missing"),
        (text(preset(own=True)), 1, 78, "'own' is no field of a preset; known are name, base"),
        (text(preset(notes=None)), 1, 78, "notes must be a text in double quotes; it is null."),
        (text(preset(name=7)), 1, 15, "name must be a text in double quotes; it is 7."),
        *[
            (text(preset(name=bad)), 1, 15, "name must be 1 to 80 visible characters")
            for bad in ("", " ", "a ", "a" * 81, "a\nb", "\u200b", "\u202ea", "e\u0301")
        ],
        (text(preset(base_model="../x")), 1, 31, "'../x' cannot be the id of a base model."),
        (text(preset(selection="a@x")), 1, 60, "The strength in 'a@x' is not a number."),
        (text(preset(notes="n" * 501)), 1, 78, "notes must be one paragraph of at most 500"),
        (text(preset(), preset()), 1, 79, "'Rain' is there twice. Rename one."),
        (text(*[preset(name=f"{n}") for n in range(201)]), 1, None, "more than 200 presets"),
        ('{"presets": [NaN]}', 1, 14, "not finite"),
        pytest.param(" " * 5_000_000, 1, 1, "not a regular file of at most 4 MiB", id="large"),
    ],
)
def test_a_bad_file_is_refused_where_it_is_bad(
    tmp_path: Path, content: str, line: int, column: int | None, reason: str
) -> None:
    path = tmp_path / "presets.json"
    path.write_text(content)
    with pytest.raises(PresetError) as caught:
        read_presets(path)
    problem = caught.value.problem
    assert reason in problem.text
    assert (problem.line, problem.column) == (line, column or problem.column)
    assert str(problem) == str(caught.value) and str(problem).startswith(f"{tmp_path.name}/presets")


def test_the_users_preset_counts_and_the_others_stay(tmp_path: Path) -> None:
    assert (own_presets(tmp_path), preset_problem(tmp_path)) == ((), None)
    shipped = find_presets(SHIPPED, tmp_path, BASE)
    assert shipped == tuple(each for each in PRESETS if each.base_model == BASE)
    mine = Preset(shipped[1].name, BASE, "svi-v2-pro@0.5", own=True)
    save_preset(tmp_path, mine)
    save_preset(tmp_path, RAIN)
    save_preset(tmp_path, Preset("Elsewhere", "wan-t2v-14b", ""))
    found = find_presets(SHIPPED, tmp_path, BASE)
    assert found[:3] == (shipped[0], mine, shipped[2])
    assert found[len(shipped) :] == (Preset("Rain", BASE, RAIN.selection, own=True),)
    forget_preset(tmp_path, BASE, mine.name)
    forget_preset(tmp_path, BASE, "Rain")
    forget_preset(tmp_path, BASE, "Never there")
    assert [each.name for each in own_presets(tmp_path)] == ["Elsewhere"]
    assert find_presets(SHIPPED, tmp_path, BASE) == shipped


def test_a_saved_preset_replaces_that_of_its_name_in_its_place(tmp_path: Path) -> None:
    for each in (RAIN, SNOW, Preset("Rain", BASE, "c")):
        save_preset(tmp_path, each)
    saved = read_presets(tmp_path / "presets.json")
    assert [(each.name, each.selection) for each in saved] == [("Rain", "c"), (SNOW.name, "")]
    for notes, kept in (("", SNOW.notes), ("New.", "New."), ("", "New.")):
        save_preset(tmp_path, Preset(SNOW.name, BASE, "b", notes))
        assert own_presets(tmp_path)[1] == Preset(SNOW.name, BASE, "b", kept, own=True)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (Preset("", BASE, ""), "^name must be 1 to 80"),
        (Preset("x", "no model", ""), "^'no model' cannot be"),
        (Preset("x", BASE, "a,"), "does not begin with the id of a pair"),
        (Preset("\ud800", BASE, ""), "^name must be 1 to 80"),
    ],
)
def test_what_cannot_be_read_again_is_not_saved(tmp_path: Path, bad: Preset, reason: str) -> None:
    save_preset(tmp_path, RAIN)
    with pytest.raises(PresetError, match=reason):
        save_preset(tmp_path, bad)
    assert read_presets(tmp_path / "presets.json") == (RAIN,)


def test_a_broken_file_of_the_users_is_named_and_never_written_over(tmp_path: Path) -> None:
    path, broken = tmp_path / "presets.json", b'{"presets": [\n  {"name": "Years of work"},,]}'
    path.write_bytes(broken)
    for act in (
        lambda: save_preset(tmp_path, RAIN),
        lambda: forget_preset(tmp_path, BASE, "Rain"),
        lambda: import_presets(tmp_path, export_presets([RAIN]), replace=True),
    ):
        with pytest.raises(PresetError, match=r"presets\.json:2:29: "):
            act()
    assert path.read_bytes() == broken
    assert find_presets(SHIPPED, tmp_path, BASE) == find_presets(SHIPPED, None, BASE)
    assert "presets.json:2:29: " in str(preset_problem(tmp_path))


def test_presets_that_are_saved_at_once_are_all_kept(tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as threads:
        threads.map(lambda at: save_preset(tmp_path, Preset(f"{at}", BASE, "")), range(24))
    assert len(own_presets(tmp_path)) == 24


def test_what_is_wrong_with_a_shared_file_has_its_name(tmp_path: Path) -> None:
    with pytest.raises(PresetError, match=r"^mine\.json:1:1: The file is empty\.$"):
        import_presets(tmp_path, " ", source="mine.json")


def test_an_import_adds_and_leaves_out_what_would_be_lost(tmp_path: Path) -> None:
    for each in (RAIN, SNOW):
        save_preset(tmp_path, each)
    other = Preset("Rain", BASE, "other")
    shared = export_presets([other, SNOW, Preset("New", BASE, "")])

    merged = import_presets(tmp_path, shared)
    names = [[each.name for each in part] for part in (merged.added, merged.replaced)]
    assert (names, [each.selection for each in merged.left_out]) == ([["New"], []], ["other"])
    saved = read_presets(tmp_path / "presets.json")
    assert saved == (RAIN, SNOW, Preset("New", BASE, ""))

    merged = import_presets(tmp_path, shared, replace=True)
    assert (merged.added, len(merged.replaced), merged.left_out) == ((), 1, ())
    assert read_presets(tmp_path / "presets.json") == (other, *saved[1:])


def test_a_file_that_brings_nothing_new_changes_nothing(tmp_path: Path) -> None:
    save_preset(tmp_path, RAIN)
    before = (tmp_path / "presets.json").stat()
    import_presets(tmp_path, "\ufeff" + export_presets([RAIN]), replace=True)
    assert (tmp_path / "presets.json").stat() == before


names = st.text(max_size=80).filter(lambda name: name.isprintable() and name == name.strip())
presets = st.builds(
    Preset,
    names.filter(bool),
    st.sampled_from([BASE, "wan-t2v-14b"]),
    st.sampled_from(["", "a", " a @ 1 , b@0.5;1 : 2", "a@+1e0"]),
    names,
)
lists = st.lists(presets, max_size=6, unique_by=lambda each: (each.base_model, each.name))


@given(lists)
def test_sharing_changes_no_byte(shared: list[Preset]) -> None:
    exported = export_presets(shared)
    with tempfile.TemporaryDirectory() as folder:
        try:
            merged = import_presets(Path(folder), exported)
        except PresetError as error:
            assert "visible characters" in str(error)  # decomposed letters, for one
            return
        path = Path(folder) / "presets.json"
        assert len(merged.added) == len(shared)
        if shared:
            assert path.read_bytes() == exported.encode()
            assert export_presets(read_presets(path)) == exported
