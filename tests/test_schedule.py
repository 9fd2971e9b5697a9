"""When each expert runs: the official rule, the split tables, the plans."""

from __future__ import annotations

import math
from typing import Any

import pytest

comfy_samplers = pytest.importorskip("comfy.samplers")

from comfy.model_sampling import ModelSamplingDiscreteFlow  # noqa: E402

from pack.catalog.entries import Entry  # noqa: E402
from pack.catalog.pairs import LoraPair  # noqa: E402
from pack.catalog.stacks import Chosen  # noqa: E402
from pack.nodes.sampling.schedule import (  # noqa: E402
    Plan,
    PlanError,
    check_finite,
    full_plan,
    plan_for,
    schedule_text,
    split_at_boundary,
    split_at_step,
    switch_step,
)

# High steps at each boundary and step count: simple, beta, beta57 at shift 3, then 5, then 8.
TABLES = {
    0.9: {
        4: (2, 2, 1, 2, 2, 2, 2, 2, 2),
        6: (2, 2, 2, 3, 3, 2, 3, 3, 3),
        8: (3, 3, 2, 3, 4, 3, 4, 4, 4),
        10: (3, 4, 3, 4, 4, 4, 5, 5, 4),
        20: (6, 7, 5, 8, 8, 7, 10, 10, 8),
        25: (7, 8, 6, 9, 10, 8, 12, 12, 10),
        30: (8, 10, 7, 11, 12, 10, 15, 15, 12),
        40: (11, 13, 10, 15, 16, 13, 19, 20, 16),
    },
    0.875: {
        4: (2, 2, 2, 2, 2, 2, 3, 3, 2),
        6: (2, 3, 2, 3, 3, 3, 4, 4, 3),
        8: (3, 3, 3, 4, 4, 3, 5, 5, 4),
        10: (4, 4, 3, 5, 5, 4, 6, 6, 5),
        20: (7, 8, 6, 9, 9, 7, 11, 11, 9),
        25: (8, 9, 7, 11, 11, 9, 14, 14, 11),
        30: (10, 11, 8, 13, 14, 11, 17, 16, 13),
        40: (13, 15, 11, 17, 18, 14, 22, 21, 17),
    },
}
CELLS = [
    (boundary, steps, shift, scheduler, high[3 * row + column])
    for boundary, table in TABLES.items()
    for steps, high in table.items()
    for row, shift in enumerate((3, 5, 8))
    for column, scheduler in enumerate(("simple", "beta", "beta57"))
]


def sigmas_of(scheduler: str, steps: int, shift: float) -> list[float]:
    sampling = ModelSamplingDiscreteFlow()
    sampling.set_parameters(shift=shift)
    if scheduler == "beta57":
        return comfy_samplers.beta_scheduler(sampling, steps, alpha=0.5, beta=0.7).tolist()
    return comfy_samplers.calculate_sigmas(sampling, scheduler, steps).tolist()


@pytest.mark.parametrize("boundary, steps, shift, scheduler, high", CELLS)
def test_high_steps_of_the_split_tables(
    boundary: float, steps: int, shift: float, scheduler: str, high: int
) -> None:
    assert switch_step(sigmas_of(scheduler, steps, shift), boundary) == high


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


def test_the_text_shows_every_sigma_its_expert_and_the_hand_over() -> None:
    sigmas = [1.0, 0.9375, 0.8333, 0.0]
    plan = Plan(3, 3.5, 1.0, "euler", "simple", 5.0, 0.9)
    text = schedule_text(plan, sigmas, split_at_boundary(sigmas, 0.9), 5.0)
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
    text = schedule_text(plan, sigmas, split_at_boundary(sigmas, 0.9), 5.0)
    assert "high: no step, not loaded, low: 2 steps" in text
