"""Roles and partners from real, unkind file names, and what they become in the catalog."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pack.catalog.detect import detect, detected_pairs
from pack.catalog.entries import read_entries
from pack.catalog.fields import is_id

HERE = Path(__file__).parent
NAMES = json.loads((HERE / "lora_names.json").read_text())
PAIRS: list[tuple[str, str]] = [tuple(pair) for pair in NAMES["pairs"]]
ALONE = [(file, role) for role, files in NAMES["alone"].items() for file in files]
ENTRIES = [
    entry
    for name in ("models.json", "loras.json")
    for entry in read_entries(HERE.parent / "catalog" / name)[0]
]
OTHER = {"high": "low", "low": "high"}


def partners(files: Sequence[str]) -> dict[str, str | None]:
    return {each.file: each.partner for each in detect(files)}


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair[0])
def test_the_halves_of_a_pair_find_each_other(pair: tuple[str, str]) -> None:
    high, low = pair
    found = [(each.file, each.role, each.partner) for each in detect(pair)]
    assert found == [(high, "high", low), (low, "low", high)]


def test_they_do_so_among_all_others_in_one_folder() -> None:
    crowd = [file for pair in PAIRS for file in pair] + [file for file, _ in ALONE]
    found = partners(crowd)
    for high, low in PAIRS:
        assert (found[high], found[low]) == (low, high)
    assert {found[file] for file, _ in ALONE} == {None}


@pytest.mark.parametrize(("file", "role"), ALONE)
def test_what_a_name_alone_says(file: str, role: str) -> None:
    (each,) = detect([file])
    assert (each.role, each.partner) == (role, None)


@pytest.mark.parametrize("place", ["", "wan/"])
def test_each_pair_of_the_catalog_is_found_by_its_names(place: str) -> None:
    files = sorted({place + entry.file for entry in ENTRIES if entry.pair_role})
    found = {each.file: each for each in detect(files)}
    pairs: dict[tuple[str, str], dict[str, str]] = {}
    for entry in ENTRIES:
        if entry.pair_role in OTHER:
            sides = pairs.setdefault((entry.base_model, entry.pair_id), {})
            sides[entry.pair_role] = place + entry.file
        elif entry.pair_role:
            assert found[place + entry.file].role in ("both", "unknown")
    for sides in pairs.values():
        for role, file in sides.items():
            assert found[file].role == role
            assert found[file].partner == sides.get(OTHER[role])


# Files without extension, and in the second string which of them are partners.
SETS = [each for group in NAMES["sets"].values() for each in group]


@pytest.mark.parametrize(("line", "expected"), SETS)
def test_who_belongs_to_whom_among_several(line: str, expected: str) -> None:
    files = [f"{stem}.safetensors" for stem in line.split(" ")]
    assert len(expected.split()) * 2 == sum(map(bool, partners(files).values()))
    for one, other in (link.split("-") for link in expected.split()):
        assert partners(files)[files[int(one)]] == files[int(other)]


def test_the_same_name_in_sft_is_the_nearer_one() -> None:
    files = ["x_high.sft", "x_high.safetensors", "x_low.sft"]
    assert partners(files) == {files[0]: files[2], files[1]: None, files[2]: files[0]}


def test_a_name_given_twice_is_answered_twice_and_no_partner_of_itself() -> None:
    files = ["x_high.sft", "x_low.sft", "x_high.sft"]
    assert [each.partner for each in detect(files)] == ["x_low.sft", "x_high.sft", "x_low.sft"]
    assert [each.partner for each in detect(["x_high.sft"] * 2)] == [None, None]


PIECES = ["high", "low", "HIGH", "Low", "H", "l", "HN", "noise", "i2v", "t2v", "wan2.2", "both"]
PIECES += ["v1.0", "v1.1", "rank64", "e10", "e20", "000010", "foo", "Bar", "高噪", "angle", "23"]
piece = st.sampled_from(PIECES) | st.text(max_size=3)
name = st.lists(piece | st.sampled_from(["_", "-", " ", ".", "/", "\\"]), max_size=7).map("".join)
names = st.lists(name | st.sampled_from([file for pair in PAIRS for file in pair]), max_size=12)


@given(names)
def test_partners_are_mutual_opposite_and_unlike_in_nothing_that_matters(files: list[str]) -> None:
    found = {each.file: each for each in detect(files)}
    for each in found.values():
        assert each.role in ("high", "low", "both", "unknown")
        if each.partner is not None:
            partner = found[each.partner]
            assert partner.partner == each.file != each.partner
            assert OTHER[each.role] == partner.role
            for task in ("i2v", "t2v"):
                assert each.file.lower().count(task) == each.partner.lower().count(task)


@given(names, st.randoms(use_true_random=False))
def test_the_order_of_the_files_does_not_matter(files: list[str], random: Random) -> None:
    shuffled = list(files)
    random.shuffle(shuffled)
    assert set(detect(files)) == set(detect(shuffled))
    assert [each.file for each in detect(shuffled)] == shuffled


@given(st.lists(st.text(max_size=40), max_size=6))
def test_any_text_is_a_name(files: list[str]) -> None:
    assert len(detect(files)) == len(files)
    detected_pairs(files, ())


@pytest.mark.parametrize("piece", [*PIECES, "a", "Ab", "_", "l ", "v1.", "highnoise", "XLOWNOISE"])
def test_a_name_of_any_length_is_read_in_one_go(piece: str) -> None:
    """What took the square of the length would take minutes here."""
    detect([piece * (100_000 // len(piece))])


def test_pairs_and_halves_of_the_disk_become_pairs_of_a_catalog() -> None:
    files = [
        "Wan22_A14B_T2V_HIGH_Lightning_4steps_lora_250928_rank128_fp16.safetensors",
        "Wan22_A14B_T2V_LOW_Lightning_4steps_lora_250928_rank64_fp16.safetensors",
        "styles/Neon City - I2V - LOW v2.safetensors",
        "seko-v1/high_noise_model.safetensors",
        "seko-v1\\low_noise_model.safetensors",
        "wan2.1_i2v_moon_both.safetensors",
        "slow_motion.safetensors",
    ]
    pairs = detected_pairs(files, ())
    assert [(p.pair_id, p.name, p.base_model, p.kind) for p in pairs] == [
        (
            "wan22-a14b-t2v-lightning-4steps-lora-250928-fp16",
            "Wan22 A14B T2V Lightning 4steps lora 250928 fp16",
            "wan-t2v-14b",
            "accelerator",
        ),
        ("neon-city-i2v-v2-low", "Neon City I2V v2", "wan-i2v-14b", ""),
        ("seko-v1-model", "seko v1 model", "", ""),
        ("wan2.1-i2v-moon-both", "wan2.1 i2v moon", "wan2.1-i2v-14b", ""),
    ]
    roles = [[entry.pair_role for entry in pair.entries] for pair in pairs]
    assert roles == [["high", "low"], ["low"], ["high", "low"], ["both"]]
    stored = [entry.file for pair in pairs for entry in pair.entries]
    assert stored == [file.replace("\\", "/") for file in files[:-1]]
    assert pairs[0].high and pairs[0].high.name.endswith(" fp16 High Noise")


@pytest.mark.parametrize(
    ("declared", "left"),
    [
        ({"x_high.sft", "x_low.sft", "y_low.sft"}, ["b/y_high.sft"]),
        ({"a/x_high.sft", "other/x_low.sft"}, ["a/x_low.sft", "b/y_high.sft", "b/y_low.sft"]),
        ({"a/x_high.sft", "a/x_low.sft", "y_high.sft", "b/y_low.sft"}, []),
    ],
)
def test_what_the_catalog_declares_is_not_offered_again(
    declared: set[str], left: list[str]
) -> None:
    """With a folder one file is declared, without one every file of that name."""
    files = ["a/x_high.sft", "a\\x_low.sft", "b/y_high.sft", "b/y_low.sft"]
    pairs = detected_pairs(files, declared)
    assert [entry.file for pair in pairs for entry in pair.entries] == left


@pytest.mark.parametrize(
    "file", ["x_high.gguf", "../x_high.sft", "cafe\u0301_high.sft", "a//x_high.sft"]
)
def test_what_no_entry_may_name_is_not_offered(file: str) -> None:
    assert detect([file])[0].role == "high"
    assert detected_pairs([file], ()) == ()


@given(names)
def test_ids_are_valid_and_unique(files: list[str]) -> None:
    files = [f"{file}.sft" for file in files]
    pairs = detected_pairs(files, ())
    ids = [pair.pair_id for pair in pairs]
    assert len(set(ids)) == len(ids)
    assert all(map(is_id, ids))
    assert all(not pair.problem and pair.name for pair in pairs)
    assert detected_pairs(files, {file.replace("\\", "/").split("/")[-1] for file in files}) == ()
