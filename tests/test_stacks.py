"""The selection text: its grammar, its refusals, and the strengths that come to count."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pack.catalog.pairs import ROLES
from pack.catalog.stacks import (
    Choice,
    SelectionError,
    choose,
    format_selection,
    parse_selection,
    warnings,
)
from pack.catalog.store import Catalog, Store

BASE = "wan-i2v-14b"


@pytest.mark.parametrize(
    ("text", "choices"),
    [
        ("", []),
        (" \n", []),
        ("svi-v2-pro", [Choice("svi-v2-pro")]),
        ("a@0.6:1, b", [Choice("a", (0.6,), (1.0,)), Choice("b")]),
        ("a@.5", [Choice("a", (0.5,), (0.5,))]),
        (" a @ 1 ; 0 : -2 ; 1e-3 ,b", [Choice("a", (1, 0), (-2, 0.001)), Choice("b")]),
        ("a@+10", [Choice("a", (10.0,), (10.0,))]),
        ("a@-0", [Choice("a", (0.0,), (0.0,))]),
        ("a" * 128, [Choice("a" * 128)]),
        (",".join(f"p{n}" for n in range(32)), [Choice(f"p{n}") for n in range(32)]),
    ],
)
def test_what_a_selection_says(text: str, choices: list[Choice]) -> None:
    assert parse_selection(text) == tuple(choices)


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        *[(f"a@{bad}", f"'a@{bad}'") for bad in ("", ":", "1:", ":1", "1;", ";1", "1:1:1", "1@1")],
        *[(f"a@{bad}", f"'a@{bad}'") for bad in ("nan", "inf", "1_0", "0x1", "١", "1 2", "--1")],
        *[(f"a@{bad}", f"'a@{bad}'") for bad in ("10.1", "-11", "1e999", "0:-1e9", "1;11")],
        *[(f"ok, {bad}", repr(bad)) for bad in ("../x", "-a", "a b", "é", "[]", "a" * 129)],
        *[(text, "''") for text in (",", "a,", ",a", "a,,b")],
        ("@1", "'@1'"),
        ("b, a, a@1", "'a'"),
        ("../" + "x" * 500, repr("../" + "x" * 77)),
        ("a" * 4097, repr("a" * 80)),
        (",".join(f"p{n}" for n in range(33)), "'p0,p1,"),
    ],
)
def test_a_selection_that_says_nothing_clear_is_refused(text: str, quoted: str) -> None:
    with pytest.raises(SelectionError) as caught:
        parse_selection(text)
    message = str(caught.value)
    assert quoted[:80] in message
    assert len(message) < 250


@pytest.mark.parametrize("text", ["a@x", "a b", "a,"])
def test_a_refusal_states_the_expected_form(text: str) -> None:
    with pytest.raises(SelectionError, match="Write pair_id, pair_id@strength or pair_id@high:low"):
        parse_selection(text)


@pytest.mark.parametrize(
    "text", ["", "a", "a@0.6:1, svi-v2-pro", "a@1", "a@0", "a@-2.5:10", "a@1;0.5:0;1, b@0.1"]
)
def test_the_shortest_form_is_written(text: str) -> None:
    assert format_selection(parse_selection(text)) == text


levels = st.lists(st.floats(-10, 10), min_size=1, max_size=4).map(tuple)
ids = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,9}", fullmatch=True)
choice = st.builds(Choice, ids) | st.builds(Choice, ids, levels, levels)


@given(st.lists(choice, max_size=8, unique_by=lambda choice: choice.pair_id))
def test_what_is_written_is_read_again(choices: list[Choice]) -> None:
    assert parse_selection(format_selection(choices)) == tuple(choices)


@given(st.text("ab@:;,.-10e ", max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        choices = parse_selection(text)
    except SelectionError:
        return
    assert parse_selection(format_selection(choices)) == choices


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    folder = tmp_path_factory.mktemp("catalog")
    rows = [
        ("pair", "both", "both.sft", [2.5, 1]),
        ("half", "low", "low.sft", 0.7),
        ("split", "high", "h.sft", 0.8),
        ("split", "low", "l.sft", 0.9),
        ("torn", "high", "a.sft", 1),
        ("torn", "high", "b.sft", 1),
    ]
    keys = ("base_model", "pair_id", "pair_role", "file", "strength")
    entries = [dict(zip(keys, (BASE, *row), strict=True)) for row in rows]
    (folder / "models.json").write_text(json.dumps({"loras": entries}))
    (folder / "loras.json").write_text("{}")
    return Store(folder, None).catalog()


@pytest.mark.parametrize(
    ("text", "high", "low"),
    [
        ("pair", (2.5,), (1.0,)),
        ("pair@0.5", (0.5,), (0.5,)),
        ("split", (0.8,), (0.9,)),
        ("split@1:0", (1.0,), (0.0,)),
        ("half", (0.0,), (0.7,)),
        ("half@2", (0.0,), (2.0,)),
        ("pair@1;0.8:0.5;0.2", (1.0, 0.8), (0.5, 0.2)),
    ],
)
def test_strengths_are_the_chosen_or_the_recommended_ones(
    catalog: Catalog, text: str, high: tuple[float, ...], low: tuple[float, ...]
) -> None:
    (chosen,) = choose(parse_selection(text), catalog, BASE)
    assert (chosen.high, chosen.low) == (high, low)
    assert (chosen.levels("high"), chosen.levels("low")) == (high, low)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("torn", "a.sft for high and also b.sft for high"),
        ("gone", "known for wan-i2v-14b: pair, half, split, torn"),
    ],
)
def test_what_cannot_run_is_refused_with_its_reason(
    catalog: Catalog, text: str, reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        choose(parse_selection(text), catalog, BASE)


SHIPPED = Store(Path(__file__).parents[1] / "catalog", None)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", []),
        ("svi-v2-pro, lightx2v-4step", []),
        ("lightx2v-moe-distill", ["has no file for the low pass"]),
        ("lightx2v-4step, lightx2v-cfg-step-distill", ["both speed up the high pass"]),
        ("lightx2v-4step, seko-v1", ["the same weights: the high pass gets them twice"]),
        ("lightx2v-1022, lightx2v-unified", ["the same weights: the low pass gets them twice"]),
        ("lightx2v-4step@1:0, lightx2v-cfg-step-distill@0:1", []),
        ("lightx2v-1022@1:0, lightx2v-unified@0:1", []),
    ],
)
def test_what_acts_twice_on_a_pass_is_told(text: str, said: list[str]) -> None:
    told = warnings(choose(parse_selection(text), SHIPPED.catalog(), BASE))
    assert len(told) == len(said)
    assert all(part in line for part, line in zip(said, told, strict=True))


@pytest.mark.parametrize(
    ("text", "acting"),
    [("pair@0;1:0", ["high"]), ("pair@0;0:0;0.5", ["low"]), ("pair@0;0:0", [])],
)
def test_a_list_acts_where_one_of_its_strengths_is_not_zero(
    catalog: Catalog, text: str, acting: list[str]
) -> None:
    (chosen,) = choose(parse_selection(text), catalog, BASE)
    assert [role for role in ROLES if chosen.entry_for(role)] == acting
