"""Which pair a path of a foreign stack means, and what becomes of it when that is not certain."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pack.catalog.entries import Entry
from pack.catalog.fields import is_id
from pack.catalog.matching import Item, matched
from pack.catalog.pairs import ROLES, find_pairs
from pack.catalog.stacks import format_selection

BASE = "wan-i2v-14b"
ADD = "in the folder of DualPass: python -m catalog add"
ROWS = [
    ("speed", "high", "fast_high.safetensors", "owner/fast"),
    ("speed", "low", "fast_low.safetensors", "owner/fast"),
    ("mix", "high", "mix_high.safetensors", ""),
    ("mix", "low", "fast_low.safetensors", "owner/fast"),
    ("anime", "both", "looks/anime_v2.safetensors", ""),
    ("half.1", "low", "half.safetensors", "own/er"),
    ("twin", "high", "twin.safetensors", ""),
    ("twin", "low", "twin.safetensors", ""),
    ("deep-a", "both", "a/deep.safetensors", "own/er"),
    ("deep-b", "both", "b/deep.safetensors", "own/er"),
]
PAIRS = find_pairs(
    [
        Entry(
            file=f, base_model=BASE, pair_id=p, pair_role=r, hf_repo=h, hf_file=f"x/{f}" * bool(h)
        )
        for p, r, f, h in ROWS
    ],
    BASE,
)
FILES = sorted({file for _, _, file, _ in ROWS})


def found(*rows: tuple[Any, ...]) -> tuple[str, tuple[str, ...]]:
    """The selection and the notes for rows of (path, passes, name)."""
    items = [
        Item(number, path, "".join(name), ROLES if passes == "both" else (passes,), 0.5)
        for number, (path, passes, *name) in enumerate(rows, 1)
    ]
    choices, notes = matched(items, PAIRS)
    return format_selection(choices), notes


@pytest.mark.parametrize(
    ("rows", "selection"),
    [
        ([], ""),
        ([("/loras/looks/Anime_V2.safetensors", "both")], "anime@0.5"),
        ([("Anime_V2.safetensors", "both")], "anime@0.5"),
        ([("b/deep.safetensors", "low")], "deep-b@0:0.5"),
        ([("/loras/b/deep.safetensors", "low")], "deep-b@0:0.5"),
        ([("job/fast_low.safetensors", "low")], "speed@0:0.5"),
        ([("twin.safetensors", "both")], "twin@0.5"),
        ([("twin.safetensors", "low")], "twin@0:0.5"),
        ([("a/deep.safetensors", "both")], "deep-a@0.5"),
        ([("/models/own/er/x/b/deep.safetensors", "low")], "deep-b@0:0.5"),
        ([("own/er/x/half.safetensors", "low")], "half.1@0:0.5"),
        ([("owner/fast", "high"), ("owner/fast", "low")], "speed@0.5"),
        ([("owner/...", "high")], "speed@0.5:0"),
        ([("owner/fast/x", "low")], "speed@0:0.5"),
        ([("own/er/x/b", "both")], "deep-b@0.5"),
        ([("own/er/x/b/...", "both")], "deep-b@0.5"),
        # Two pairs share a file: the one counts whose other file is there, or else the first.
        ([("fast_low.safetensors", "low"), ("mix_high.safetensors", "high")], "mix@0.5"),
        ([("fast_low.safetensors", "low"), ("fast_high.safetensors", "high")], "speed@0.5"),
        ([("fast_low.safetensors", "low")], "speed@0:0.5"),
        # The order is that of the first file of each pair.
        (
            [("half.safetensors", "low"), ("fast_low.safetensors", "low"), ("owner/fast", "high")],
            "half.1@0:0.5, speed@0.5",
        ),
    ],
)
def test_a_pair_is_known_by_what_a_path_tells(rows: list[Any], selection: str) -> None:
    assert found(*rows) == (selection, ())


@pytest.mark.parametrize(
    ("row", "selection", "note"),
    [
        (("x/new one.safetensors", "both", "Mon été"), "Mon-ete@0.5", "is in no pair"),
        (("x/new one.safetensors", "low", ""), "new-one@0:0.5", "is kept as new-one."),
        (("anime.safetensors", "both"), "anime-2@0.5", "is kept as anime-2."),
        (("日本.safetensors", "both"), "lora@0.5", "is kept as lora."),
        (("some/repository", "both"), "repository@0.5", "is in no pair"),
        (("owner/fas", "high"), "fas@0.5:0", "is in no pair"),
        (("owner", "high"), "owner@0.5:0", "is in no pair"),
        (("/", "high"), "lora@0.5:0", "is in no pair"),
        (("my/anime_v2.sft", "both"), "anime_v2@0.5", "is kept as anime_v2."),
        (("my/anime_v2.safetensors", "both"), "anime_v2@0.5", "may mean anime: choose it in place"),
        (("slooks/anime_v2.safetensors", "low"), "anime_v2@0:0.5", "may mean anime: choose it"),
        (("deep.safetensors", "both"), "deep@0.5", "may mean deep-a, deep-b: choose one of them"),
        (("own/er", "low"), "er@0:0.5", "may mean deep-a, deep-b, half.1: choose"),
        (("own/...", "high", "quality"), "quality@0.5:0", "may mean deep-a, deep-b: choose"),
        # A file never lands on a pass that it is not for.
        (("half.safetensors", "both"), "half.1@0:0.5", "is the low file of half.1 and is left out"),
        (("half.safetensors", "high"), "half.1@0", "is the low file of half.1 and is left out"),
        (("fast_high.safetensors", "low"), "speed@0", "is the high file of speed and is left out"),
    ],
)
def test_what_is_not_certain_is_kept_and_told(
    row: tuple[str, ...], selection: str, note: str
) -> None:
    chosen, notes = found(row)
    assert (chosen, len(notes)) == (selection, 1)
    assert notes[0].startswith(f"Item 1 ({row[0]}) ")
    assert note in notes[0]


@pytest.mark.parametrize(
    ("path", "file"),
    [
        ("x.safetensors", '"x.safetensors"'),
        ("C:/my loras/x (1).sft", '"C:/my loras/x (1).sft"'),
        ("owner/repository", "FILE"),
        ("x.pt", "FILE"),
        ("-x.safetensors", "FILE"),
        *[(f"x{unsafe}y.safetensors", "FILE") for unsafe in "$`\"'!%&;|<>”\u00a0"],
    ],
)
def test_the_command_that_adds_a_file_is_safe_to_paste(path: str, file: str) -> None:
    _, (note,) = found((path, "both", "my id"))
    assert note.endswith(f"{ADD} --base-model wan-i2v-14b --id my-id --both {file}")


def test_a_catalog_without_pairs_leaves_the_base_model_open() -> None:
    _, (note,) = matched([Item(1, "x.sft", "", ROLES, 1.0)], ())
    assert note.endswith(f'{ADD} --base-model BASE_MODEL --id x --both "x.sft"')


@pytest.mark.parametrize(
    ("rows", "selection", "files"),
    [
        # The passes are those that the stack says, whatever is in the names.
        ([("new.sft", "low")], "new@0:0.5", '--low "new.sft"'),
        ([("new.sft", "low"), ("new.sft", "high")], "new@0.5", '--both "new.sft"'),
        (
            [("my/my_low_noise.sft", "low"), ("my/my_high_noise.sft", "high")],
            "my@0.5",
            '--high "my/my_high_noise.sft" --low "my/my_low_noise.sft"',
        ),
        (
            [("/my/high/x.sft", "high"), ("/my/low/x.sft", "low")],
            "x@0.5",
            '--high "/my/high/x.sft" --low "/my/low/x.sft"',
        ),
        ([("some/...", "high", "s_high"), ("some/...", "low", "s_low")], "s@0.5", "--high FILE -"),
    ],
)
def test_two_halves_that_no_pair_has_are_one_choice(
    rows: list[Any], selection: str, files: str
) -> None:
    chosen, (note,) = found(*rows)
    assert chosen == selection
    assert f"{ADD} --base-model wan-i2v-14b --id {selection.partition('@')[0]} {files}" in note
    assert ("with item 2" in note) == (rows[0][0] != rows[-1][0] or len(rows[0]) == 3)


def test_halves_on_passes_that_their_names_deny_are_no_pair() -> None:
    selection, notes = found(("a_high.sft", "low"), ("a_low.sft", "high"))
    assert (selection, len(notes)) == ("a_high@0:0.5, a_low@0.5:0", 2)
    assert "--low" in notes[0] and "--high" in notes[1]
    selection, _ = found(("b_high.sft", "both"), ("b_low.sft", "low"))
    assert selection == "b_high@0.5, b_low@0:0.5"


def test_what_is_named_again_adds_up_and_a_stranger_is_told_once() -> None:
    row = ("half.safetensors", "low")
    strangers = [("new.safetensors", "high"), ("new.safetensors", "low")]
    selection, notes = found(row, row, *strangers)
    assert selection == "half.1@0:1, new@0.5"
    assert notes[0] == (
        "Item 2 (half.safetensors) is there more than once and adds up to 1 on low."
    )
    assert [note[:6] for note in notes] == ["Item 2", "Item 3"]


items = st.builds(
    Item,
    st.integers(1, 64),
    st.sampled_from([*FILES, "deep.safetensors", "owner/fast", "own/er", "own/...", "new.sft"])
    | st.text(max_size=8),
    st.sampled_from(["", "anime", "new"]) | st.text(max_size=4),
    st.sampled_from([("high",), ("low",), ROLES]),
    st.floats(0.1, 2),
)


@given(st.lists(items, max_size=8))
def test_nothing_is_lost_and_nothing_lands_on_the_wrong_pass(stack: list[Item]) -> None:
    choices, _ = matched(stack, PAIRS)
    ids = [choice.pair_id for choice in choices]
    assert len(set(ids)) == len(ids) and all(map(is_id, ids))
    assert bool(choices) == bool(stack)
    known = {pair.pair_id: pair for pair in PAIRS}
    for choice in choices:
        for role in ROLES:
            if (choice.high if role == "high" else choice.low) != (0.0,):
                asked = [item.path for item in stack if role in item.roles]
                assert asked
                if choice.pair_id in known:
                    entry = known[choice.pair_id].entry_for(role)
                    assert entry and any(_may_be(entry, path) for path in asked)


def _may_be(entry: Entry, path: str) -> bool:
    """The file itself, under its own name or in its repository."""
    repository = path.removesuffix("...").rstrip("/")
    by_name = entry.file.rpartition("/")[2] == path.rpartition("/")[2]
    return by_name or ("/" in path and f"{entry.hf_repo}/".startswith(f"{repository}/"))
