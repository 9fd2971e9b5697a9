"""When each expert runs: the official rule, the shares of the experts, the plans."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

pytest.importorskip("comfy.samplers")

from pack.catalog.entries import Entry  # noqa: E402
from pack.catalog.pairs import LoraPair  # noqa: E402
from pack.catalog.stacks import Chosen  # noqa: E402
from pack.nodes.sampling.schedule import (  # noqa: E402
    First,
    Plan,
    PlanError,
    Share,
    cfg_of,
    cfgs_from,
    check_finite,
    check_sigmas,
    full_plan,
    plan_for,
    schedule_text,
    shares,
    split_at_boundary,
    split_at_step,
    switch_step,
)


@pytest.mark.parametrize("boundary, steps", [(0.875, 3), (0.9, 3), (0.901, 2), (0.0, 5), (1.0, 1)])
def test_a_step_at_the_boundary_is_high(boundary: float, steps: int) -> None:
    assert switch_step([1.0, 0.95, 0.9, 0.8, 0.5, 0.0], boundary) == steps


def test_a_typed_step_splits_at_its_own_sigma() -> None:
    split = split_at_step([1.0, 0.9, 0.8, 0.0], 2)
    assert split.steps == 2
    assert 0.8 < split.sigma < 0.9


@pytest.mark.parametrize("step", [-1, 0, 3, 4, 10000])
def test_a_typed_step_without_a_step_for_each_expert_is_refused(step: int) -> None:
    with pytest.raises(PlanError, match=r"with 3 steps it must be 1 to 2"):
        split_at_step([1.0, 0.9, 0.8, 0.0], step)


@pytest.mark.parametrize("boundary", [math.nan, math.inf, -0.1, 1.1])
def test_a_boundary_outside_0_to_1_is_refused(boundary: float) -> None:
    with pytest.raises(PlanError, match="between 0 and 1"):
        split_at_boundary([1.0, 0.0], boundary)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_are_refused_by_name(number: float) -> None:
    with pytest.raises(PlanError, match="cfg_low"):
        check_finite(cfg_high=1.0, cfg_low=number)


def chosen(kind: str, strength: float = 1.0, **said: Any) -> Chosen:
    """A pair of one file for both passes, of this kind, with what its entry says."""
    entry = Entry(file="x.safetensors", base_model="wan-i2v-14b", kind=kind, **said)
    pair = LoraPair("wan-i2v-14b", "x", "X", None, None, entry)
    return Chosen(pair, (strength,), (strength,))


@pytest.mark.parametrize(
    "kind", ("continuity", "style", "character", "motion", "reward", "quality", "")
)
def test_only_an_accelerator_shortens_the_run(kind: str) -> None:
    pairs = [chosen(kind, steps=4, cfg=1.0, shift=3.0)]
    assert plan_for("wan-i2v-14b", pairs) == full_plan("wan-i2v-14b")


def test_an_accelerator_at_zero_strength_shortens_nothing() -> None:
    pairs = [chosen("accelerator", 0.0, steps=4, cfg=1.0)]
    assert plan_for("wan-i2v-14b", pairs) == full_plan("wan-i2v-14b")


def test_what_an_accelerator_leaves_unsaid_stays_as_it_is() -> None:
    pairs = [chosen("accelerator", steps=6, scheduler="beta")]
    assert plan_for("wan-t2v-14b", pairs) == Plan(6, 4.0, 3.0, "euler", "beta", 12.0, 0.875)


NO_FIRST = First()


def parted(plan: Plan, sigmas: list[float], first: First = NO_FIRST) -> tuple[Share, ...]:
    return shares(plan, sigmas, split_at_boundary(sigmas, plan.boundary), first)


SIX = [1.0, 0.96, 0.93, 0.8, 0.5, 0.2, 0.0]
PLAN = Plan(6, 3.5, 1.0, "euler", "simple", 5.0, 0.9)
# Boundary, first steps, cfg of each step -> role, first step and cfgs of each share.
SHARES: list[tuple[float, int, tuple[float, ...], list[tuple[str, int, tuple[float, ...]]]]] = [
    (0.9, 0, (), [("high", 0, (3.5, 3.5, 3.5)), ("low", 3, (1.0, 1.0, 1.0))]),
    (0.9, 1, (), [("first", 0, (6.0,)), ("high", 1, (3.5, 3.5)), ("low", 3, (1.0, 1.0, 1.0))]),
    (0.9, 3, (), [("first", 0, (6.0, 6.0, 6.0)), ("low", 3, (1.0, 1.0, 1.0))]),
    (0.0, 2, (), [("first", 0, (6.0, 6.0)), ("high", 2, (3.5, 3.5, 3.5, 3.5))]),
    (1.0, 1, (), [("first", 0, (6.0,)), ("low", 1, (1.0,) * 5)]),
    (0.9, 0, (5.0, 4.0, 3.0, 2.0), [("high", 0, (5.0, 4.0, 3.0)), ("low", 3, (2.0, 2.0, 2.0))]),
    (0.9, 1, (9.0, 2.0), [("first", 0, (6.0,)), ("high", 1, (2.0, 2.0)), ("low", 3, (2.0,) * 3)]),
]


@pytest.mark.parametrize("boundary, first, cfg_steps, expected", SHARES)
def test_each_expert_has_its_share(
    boundary: float, first: int, cfg_steps: tuple[float, ...], expected: list[Any]
) -> None:
    plan = replace(PLAN, boundary=boundary, cfg_steps=cfg_steps)
    found = parted(plan, SIX, First(first, 6.0))
    assert [(share.role, share.start, share.cfgs) for share in found] == expected
    ends = [share.down_to for share in found]
    assert ends == sorted(ends, reverse=True)
    assert ends[-1] == 0.0


def test_calls_at_the_boundary_are_high_after_first_steps_too() -> None:
    """0.93 is the last high sigma; a call between it and the boundary is no low one."""
    for first in (0, 2, 3):
        above = parted(PLAN, SIX, First(first, 6.0))[-2]
        assert above.down_to == pytest.approx(0.9, abs=1e-5)


def test_more_first_steps_than_high_ones_are_refused() -> None:
    with pytest.raises(PlanError, match="first_steps is 4, but only 3 steps lie above"):
        parted(PLAN, SIX, First(4, 6.0))


def test_a_call_has_the_cfg_of_the_step_that_it_lies_in() -> None:
    share = Share("low", 3, (5.0, 4.0, 3.0), 0.0)
    calls = {0.8: 5.0, 0.799999: 5.0, 0.7: 5.0, 0.5: 4.0, 0.3: 4.0, 0.2: 3.0, 0.01: 3.0, 0.95: 5.0}
    assert {sigma: cfg_of(share, SIX, sigma) for sigma in calls} == calls


@pytest.mark.parametrize(
    "text, cfgs", [("", ()), (" 3.5 ", (3.5,)), ("3.5, 1", (3.5, 1.0)), ("4 4,1", (4.0, 4.0, 1.0))]
)
def test_cfgs_are_read_from_text(text: str, cfgs: tuple[float, ...]) -> None:
    assert cfgs_from(text) == cfgs


@pytest.mark.parametrize("text", ("a", "3.5; 1", "nan", "inf", "-1", "101", "1,2,x"))
def test_a_text_that_gives_no_cfg_is_refused(text: str) -> None:
    with pytest.raises(PlanError, match="cfg_steps is"):
        cfgs_from(text)


@pytest.mark.parametrize(
    "sigmas", ([], [1.0], [1.0, math.nan], [1.0, -0.1], [0.5, 1.0], [1.0, 0.5, 0.5], [math.inf, 0])
)
def test_sigmas_that_do_not_fall_are_refused(sigmas: list[float]) -> None:
    with pytest.raises(PlanError, match="sigmas"):
        check_sigmas(sigmas)


def test_the_text_tells_first_steps_and_cfgs_that_change() -> None:
    plan = replace(PLAN, cfg_steps=(3.0, 3.0, 2.0, 1.0))
    lines = schedule_text(plan, SIX, parted(plan, SIX, First(1, 6.0)), 5.0).splitlines()
    assert lines[1] == "first: 1 step at cfg 6, high: 2 steps at cfg 3, 2, low: 3 steps at cfg 1"
    assert [line for line in lines if "hand-over" in line] == [
        "hand-over: sigma 1.0000 to 0.9600",
        "hand-over: sigma 0.9300 to 0.8000",
    ]


def test_the_text_shows_every_sigma_its_expert_and_the_hand_over() -> None:
    sigmas = [1.0, 0.9375, 0.8333, 0.0]
    plan = Plan(3, 3.5, 1.0, "euler", "simple", 5.0, 0.9)
    text = schedule_text(plan, sigmas, parted(plan, sigmas), 5.0)
    assert text.splitlines() == [
        "3 steps, euler / simple, shift 5",
        "high: 2 steps at cfg 3.5, low: 1 step at cfg 1",
        "  1  1.0000  high",
        "  2  0.9375  high",
        "hand-over: sigma 0.9375 to 0.8333",
        "  3  0.8333  low",
        "end  0.0000",
    ]


def test_the_text_says_which_expert_is_not_loaded() -> None:
    sigmas = [0.8, 0.5, 0.0]
    plan = Plan(2, 1.0, 1.0, "euler", "simple", 5.0, 0.9)
    text = schedule_text(plan, sigmas, parted(plan, sigmas), 5.0)
    assert "high: no step, not loaded, low: 2 steps" in text
