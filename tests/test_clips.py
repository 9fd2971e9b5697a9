"""The list of prompts of a long video: what each line says, and what no line may say."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import astuple

import pytest

from pack.nodes.video.clips import Clip, ClipError, parse_clips

LAST = 2**64 - 1


def parsed(text: str, seed: int = 5, length: int = 81, new_seeds: bool = True) -> tuple[Clip, ...]:
    return parse_clips(text, seed, length, new_seeds)


@pytest.mark.parametrize(
    ("line", "clip"),
    [
        ("A fox runs", ("A fox runs", 5, 81, "")),
        ("  A fox runs  ", ("A fox runs", 5, 81, "")),
        (
            "A fox | seed=7 | length=49 | pairs=style@0.8",
            ("A fox", 7, 49, "style@0.8"),
        ),
        ("A fox|pairs = a@1:0.5 , b|length=5", ("A fox", 5, 5, "a@1:0.5,b")),
        ("A fox | seed=0", ("A fox", 0, 81, "")),
        (f"A fox | seed={LAST}", ("A fox", LAST, 81, "")),
        ("{red|blue} fox", ("{red|blue} fox", 5, 81, "")),
        ("A fox | in snow | seed=7", ("A fox | in snow", 7, 81, "")),
        ("A fox |", ("A fox |", 5, 81, "")),
        ("f(x) = 2 on a board | seed=7", ("f(x) = 2 on a board", 7, 81, "")),
        ("x=2 on a board", ("x=2 on a board", 5, 81, "")),
        ("Ein Fuchs läuft, 狐", ("Ein Fuchs läuft, 狐", 5, 81, "")),
        ("A fox | seed=7 | ", ("A fox", 7, 81, "")),
        ("A fox | length of grass: long", ("A fox | length of grass: long", 5, 81, "")),
        ("A fox\u2028runs", ("A fox\u2028runs", 5, 81, "")),
    ],
)
def test_a_line_is_a_clip(line: str, clip: tuple[str, int, int, str]) -> None:
    (found,) = parsed(line)
    assert astuple(found)[:3] == clip[:3]
    assert found.pairs.replace(" ", "") == clip[3]


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_empty_lines_make_no_clip(newline: str) -> None:
    clips = parsed(newline.join(["", "a", "  ", "b", "\t", ""]))
    assert [clip.prompt for clip in clips] == ["a", "b"]


@pytest.mark.parametrize(
    ("seed", "new_seeds", "seeds"),
    [
        (5, True, [5, 6, 9, 8]),
        (5, False, [5, 5, 9, 5]),
        (LAST, True, [LAST, 0, 9, 2]),
    ],
)
def test_each_clip_has_a_seed_of_its_own_unless_all_share_one(
    seed: int, new_seeds: bool, seeds: list[int]
) -> None:
    clips = parsed("a\n\nb\nc | seed=9\nd", seed=seed, new_seeds=new_seeds)
    assert [clip.seed for clip in clips] == seeds


def test_spaces_among_the_pairs_change_no_clip() -> None:
    assert parsed("a | pairs=x@0.80,y") == parsed("a|pairs = x @ 0.8 , y ")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("a | sed=7", "no option 'sed'. Options are seed=7, length=49 and pairs="),
        ("a | Seed=7", "no option 'Seed'"),
        ("a | seed=7 | seed=7", "seed is said twice"),
        ("a | seed=7 | in snow", "'in snow' stands behind an option"),
        ("a | seed: 7", "'| seed: 7' is no option as it stands. Options are seed=7,"),
        ("a ｜ seed=7", "'｜ seed=7' is no option as it stands"),
        ("a | Length：49 | seed=7", "'| Length：49' is no option as it stands"),
        ("a | seed ＝ 7", "'| seed ＝ 7' is no option as it stands"),
        ("| seed=7", "without a prompt"),
        ("a | seed=", "seed is ''; it must be a whole number"),
        ("a | seed=-1", "seed is '-1'"),
        ("a | seed=1.5", "seed is '1.5'"),
        ("a | seed=1_000", "seed is '1_000'"),
        ("a | seed=٣", "seed is '٣'"),
        (f"a | seed={2**64}", "from 0 to 2^64 - 1"),
        ("a | seed=" + "1" * 5000, "whole number"),
        ("a | length=80", "length is 80; it must be 5, 9, 13"),
        ("a | length=1", "length is 1;"),
        ("a | length=0", "length is 0;"),
        ("a | pairs=", "pairs is empty"),
        ("a | pairs=x@fast", "'x@fast' is not a number"),
        ("a | pairs=x,x", "chosen twice"),
        ("a | pairs=../x", "'../x' does not begin with the id of a pair"),
    ],
)
def test_a_bad_line_is_refused_by_its_number(line: str, said: str) -> None:
    with pytest.raises(ClipError) as caught:
        parsed(f"good\n\n{line}\ngood")
    assert str(caught.value).startswith("Line 3 of the prompts: ")
    assert said in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("filler", [" ", "=", "| ", "a=", "x,", "| seed "])
def test_a_long_line_takes_no_time(filler: str) -> None:
    """ComfyUI asks for it on its event loop."""
    line = f"a fox | pairs=x | seed=1{filler * 50_000}x"
    started = time.process_time()
    with suppress(ClipError):
        parsed(line)
    assert time.process_time() - started < 2


@pytest.mark.parametrize("text", ["", "  \n\t\n"])
def test_no_prompt_is_refused(text: str) -> None:
    with pytest.raises(ClipError, match="no prompt"):
        parsed(text)


@pytest.mark.parametrize("length", [80, 1, -3])
def test_a_length_that_no_line_says_is_checked_too(length: int) -> None:
    with pytest.raises(ClipError, match=f"length is {length}"):
        parsed("a", length=length)
