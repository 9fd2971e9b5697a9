"""Which files make a pair, what it is called, and when it must not run."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pack.catalog.entries import Entry
from pack.catalog.pairs import LoraPair, display_name, find_pairs

BASE = "wan-i2v-14b"
SUFFIXES = [" High Noise", " Low Noise", " LoRA", " (Kijai)", " (WAN 2.1 I2V 14B)"]


def entry(role: str, file: str, pair_id: str = "p", base_model: str = BASE, **more: Any) -> Entry:
    return Entry(file=f"{file}.sft", base_model=base_model, pair_id=pair_id, pair_role=role, **more)


def only_pair(*entries: Entry) -> LoraPair:
    (pair,) = find_pairs(entries, BASE)
    return pair


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        *[("SVI v2 PRO" + suffix, "SVI v2 PRO") for suffix in ["", *SUFFIXES]],
        ("LightX2V 4-step LoRA High Noise (Kijai)", "LightX2V 4-step"),
        ("My LoRA High [WAN I2V]", "My High [WAN I2V]"),
        ("Rain High Noise (v2)", "Rain (v2)"),
        ("Two LoRAs", "Two LoRAs"),
        (" High LoRA Noise", "p"),
        (" LoRA", "p"),
        ("  ", "p"),
        ("", "p"),
    ],
)
def test_display_name(name: str, shown: str) -> None:
    assert display_name(name, "p") == shown


@given(st.lists(st.sampled_from([*SUFFIXES, "x", " ", "LoRA", " High", " Noise"])).map("".join))
def test_a_display_name_is_never_empty_and_stays_as_it_is(name: str) -> None:
    shown = display_name(name, "p")
    assert shown
    assert display_name(shown, "p") == shown


def test_pairs_come_in_order_of_their_first_entry() -> None:
    entries = [entry("low", "b", "z"), entry("both", "c", "a"), entry("high", "d", "z")]
    assert [pair.pair_id for pair in find_pairs(entries, BASE)] == ["z", "a"]


def test_the_name_is_that_of_the_first_entry() -> None:
    first, second = entry("low", "l", name="Rain Low Noise"), entry("high", "h", name="Snow")
    assert only_pair(first, second).name == "Rain"


def test_a_pair_as_json_has_exactly_five_keys() -> None:
    pair = only_pair(entry("high", "h", name="Rain"), entry("low", "l"))
    assert list(pair.as_json().items()) == [
        ("pair_id", "p"),
        ("name", "Rain"),
        ("high", "h.sft"),
        ("low", "l.sft"),
        ("both", None),
    ]


@pytest.mark.parametrize(
    ("roles", "high", "low"),
    [
        (["high", "low"], "high.sft", "low.sft"),
        (["both"], "both.sft", "both.sft"),
        (["high"], "high.sft", None),
        (["low"], None, "low.sft"),
    ],
)
def test_each_pass_gets_its_own_entry_or_the_one_for_both(
    roles: list[str], high: str | None, low: str | None
) -> None:
    pair = only_pair(*[entry(role, role) for role in roles])
    found = pair.entry_for("high"), pair.entry_for("low")
    assert [each.file if each else None for each in found] == [high, low]
    assert [each.pair_role for each in pair.entries] == roles


def test_an_entry_without_a_pair_id_is_no_pair() -> None:
    assert find_pairs([entry("high", "h", pair_id="")], BASE) == ()


def test_one_id_on_two_base_models_is_two_pairs() -> None:
    entries = [entry("high", "h"), entry("high", "t", base_model="wan-t2v-14b")]
    assert [pair.high for pair in find_pairs(entries, BASE)] == entries[:1]
    assert [pair.high for pair in find_pairs(entries, "wan-t2v-14b")] == entries[1:]


def test_a_base_model_is_matched_exactly() -> None:
    assert find_pairs([entry("high", "h")], BASE.upper()) == ()


def test_the_same_file_named_twice_is_one() -> None:
    pair = only_pair(entry("high", "h"), entry("high", "h"), entry("low", "l"))
    assert (pair.problem, pair.warning) == ("", "")


@pytest.mark.parametrize(
    ("entries", "kept"),
    [
        ([("high", "h"), ("high", "h2"), ("low", "l")], ("h.sft", "l.sft", None)),
        ([("low", "l"), ("low", "h")], (None, "l.sft", None)),
        ([("both", "b"), ("both", "c")], (None, None, "b.sft")),
        ([("both", "b"), ("high", "h")], (None, None, "b.sft")),
        ([("low", "l"), ("both", "b")], (None, "l.sft", None)),
        ([("both", "b"), ("low", "b")], (None, None, "b.sft")),
    ],
)
def test_two_files_for_one_pass_keep_the_first_and_must_not_run(
    entries: list[tuple[str, str]], kept: tuple[str | None, ...]
) -> None:
    pair = only_pair(*[entry(role, file) for role, file in entries])
    assert tuple(pair.as_json().values())[2:] == kept
    assert all(f"{file}.sft for {role}" in pair.problem for role, file in entries[:2])
    assert (pair.problem.count("\n"), pair.problem[-1]) == (0, ".")


@pytest.mark.parametrize(
    ("entries", "warning"),
    [
        ([("high", "h")], "Rain has no file for the low pass, which runs without it."),
        ([("low", "l")], "Rain has no file for the high pass, which runs without it."),
        ([("high", "x"), ("low", "x")], "Rain uses x.sft for high and low."),
        ([("both", "b")], ""),
    ],
)
def test_a_pair_that_looks_incomplete_runs_with_a_warning(
    entries: list[tuple[str, str]], warning: str
) -> None:
    pair = only_pair(*[entry(role, file, name="Rain") for role, file in entries])
    assert (pair.warning, pair.problem) == (warning, "")


def test_the_kind_is_what_the_first_entry_says() -> None:
    assert only_pair(entry("high", "h"), entry("low", "l", kind="style")).kind == "style"
    assert only_pair(entry("high", "h")).kind == ""
