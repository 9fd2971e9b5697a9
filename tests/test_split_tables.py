"""The split tables, cell by cell, and the official rule beside one that counts a step less."""

from __future__ import annotations

import itertools
from fractions import Fraction

import pytest

comfy_samplers = pytest.importorskip("comfy.samplers")

from comfy.model_sampling import ModelSamplingDiscreteFlow  # noqa: E402

from pack.nodes.sampling.schedule import split_at_boundary, switch_step  # noqa: E402

# A line holds steps and shift; then for simple, beta and beta57: the high steps, the sigma of the
# last of them and the sigma of the hand-over. A star: the last high step lies on the boundary.
TABLES = {
    0.9: """
 4 3 | 2*  0.900 0.750 | 2   0.934 0.751 | 1   1.000 0.885
 4 5 | 2   0.938 0.833 | 2   0.959 0.834 | 2   0.928 0.739
 4 8 | 2   0.960 0.889 | 2   0.974 0.889 | 2   0.954 0.819
 6 3 | 2   0.938 0.857 | 2   0.968 0.888 | 2   0.939 0.816
 6 5 | 3   0.909 0.833 | 3   0.929 0.834 | 2   0.962 0.881
 6 8 | 3   0.941 0.889 | 3   0.955 0.889 | 3   0.922 0.819
 8 3 | 3*  0.900 0.833 | 3   0.934 0.860 | 2   0.960 0.885
 8 5 | 3   0.938 0.893 | 4   0.911 0.834 | 3   0.928 0.852
 8 8 | 4   0.930 0.889 | 4   0.942 0.889 | 4   0.902 0.819
10 3 | 3   0.923 0.875 | 4   0.908 0.841 | 3   0.919 0.846
10 5 | 4   0.921 0.882 | 4   0.942 0.898 | 4   0.901 0.833
10 8 | 5   0.923 0.889 | 5   0.934 0.889 | 4   0.936 0.889
20 3 | 6*  0.900 0.875 | 7   0.908 0.877 | 5   0.919 0.885
20 5 | 8   0.903 0.882 | 8   0.922 0.898 | 7   0.901 0.870
20 8 | 10  0.907 0.889 | 10  0.914 0.889 | 8   0.915 0.889
25 3 | 7   0.905 0.885 | 8   0.919 0.896 | 6   0.919 0.892
25 5 | 9   0.914 0.899 | 10  0.918 0.898 | 8   0.913 0.890
25 8 | 12  0.911 0.897 | 12  0.918 0.899 | 10  0.910 0.889
30 3 | 8   0.908 0.892 | 10  0.908 0.888 | 7   0.919 0.897
30 5 | 11  0.909 0.896 | 12  0.915 0.898 | 10  0.901 0.881
30 8 | 15  0.902 0.889 | 15  0.906 0.889 | 12  0.907 0.889
40 3 | 11* 0.900 0.888 | 13  0.908 0.893 | 10  0.903 0.885
40 5 | 15  0.903 0.893 | 16  0.911 0.898 | 13  0.901 0.886
40 8 | 19  0.907 0.898 | 20  0.902 0.889 | 16  0.902 0.889
    """,
    0.875: """
 4 3 | 2   0.900 0.750 | 2   0.934 0.751 | 2   0.885 0.630
 4 5 | 2   0.938 0.833 | 2   0.959 0.834 | 2   0.928 0.739
 4 8 | 3   0.889 0.727 | 3   0.889 0.632 | 2   0.954 0.819
 6 3 | 2   0.938 0.857 | 3   0.888 0.751 | 2   0.939 0.816
 6 5 | 3   0.909 0.833 | 3   0.929 0.834 | 3   0.881 0.739
 6 8 | 4   0.889 0.800 | 4   0.889 0.753 | 3   0.922 0.819
 8 3 | 3   0.900 0.833 | 3   0.934 0.860 | 3   0.885 0.776
 8 5 | 4   0.893 0.833 | 4   0.911 0.834 | 3   0.928 0.852
 8 8 | 5   0.889 0.828 | 5   0.889 0.798 | 4   0.902 0.819
10 3 | 4*  0.875 0.818 | 4   0.908 0.841 | 3   0.919 0.846
10 5 | 5   0.882 0.833 | 5   0.898 0.834 | 4   0.901 0.833
10 8 | 6   0.889 0.842 | 6   0.889 0.820 | 5   0.889 0.819
20 3 | 7*  0.875 0.848 | 8   0.877 0.841 | 6   0.885 0.846
20 5 | 9   0.882 0.859 | 9   0.898 0.869 | 7   0.901 0.870
20 8 | 11  0.889 0.867 | 11  0.889 0.858 | 9   0.889 0.857
25 3 | 8   0.885 0.864 | 9   0.896 0.870 | 7   0.892 0.862
25 5 | 11  0.882 0.864 | 11  0.898 0.875 | 9   0.890 0.863
25 8 | 14  0.881 0.863 | 14  0.878 0.852 | 11  0.889 0.864
30 3 | 10* 0.875 0.857 | 11  0.888 0.865 | 8   0.897 0.872
30 5 | 13  0.882 0.868 | 14  0.879 0.858 | 11  0.881 0.858
30 8 | 17  0.875 0.860 | 16  0.889 0.869 | 13  0.889 0.869
40 3 | 13* 0.875 0.862 | 15  0.877 0.860 | 11  0.885 0.866
40 5 | 17  0.882 0.871 | 18  0.884 0.869 | 14  0.886 0.870
40 8 | 22  0.879 0.867 | 21  0.889 0.875 | 17  0.889 0.874
    """,
}
SCHEDULERS = ("simple", "beta", "beta57")
CELLS = [
    (float(boundary), scheduler, *map(int, line.split("|")[0].split()), *cell.split())
    for boundary, table in TABLES.items()
    for line in table.split("\n")
    if "|" in line
    for scheduler, cell in zip(SCHEDULERS, line.split("|")[1:], strict=True)
]
# Of 4 to 30 steps, at the boundaries of image to video and of text to video.
CONFIGURATIONS = list(itertools.product((4, 6, 8, 10, 20, 30), (3, 5, 8), (900, 875)))


def sigmas_of(scheduler: str, steps: int, shift: float) -> list[float]:
    """As ComfyUI makes them; beta57 is RES4LYF's: Beta.ppf with alpha 0.5 and beta 0.7."""
    sampling = ModelSamplingDiscreteFlow()
    sampling.set_parameters(shift=shift)
    if scheduler == "beta57":
        return list(comfy_samplers.beta_scheduler(sampling, steps, alpha=0.5, beta=0.7).tolist())
    return list(comfy_samplers.calculate_sigmas(sampling, scheduler, steps).tolist())


@pytest.mark.parametrize("boundary, scheduler, steps, shift, high, last, first_low", CELLS)
def test_a_cell_of_the_split_tables(
    boundary: float, scheduler: str, steps: int, shift: int, high: str, last: str, first_low: str
) -> None:
    sigmas = sigmas_of(scheduler, steps, shift)
    split = split_at_boundary(sigmas, boundary)
    assert split.steps == int(high.rstrip("*"))
    around = sigmas[split.steps - 1], sigmas[split.steps]
    assert [f"{sigma:.3f}" for sigma in around] == [last, first_low]
    assert (abs(around[0] - boundary) < 1e-6) is high.endswith("*")
    # And so does each model call, which is decided by its own sigma.
    assert around[1] < split.sigma <= around[0]


def test_the_tables_have_all_their_cells() -> None:
    assert len(CELLS) == 2 * 8 * 3 * 3


def test_a_sigma_just_below_the_boundary_is_no_tie() -> None:
    """The nearest that a scheduler of ComfyUI comes without lying on it: 0.899983."""
    sigmas = sigmas_of("normal", 40, 5)
    near = min(sigmas, key=lambda sigma: abs(sigma - 0.9))
    assert near == pytest.approx(0.899983, abs=1e-6)
    assert switch_step(sigmas, 0.9) == sigmas.index(near)


def official(steps: int, shift: int, boundary: int) -> int:
    """The high steps in whole numbers: Wan 2.2 takes the high expert while t >= boundary * 1000.

    Of the scheduler simple, whose step i starts at u = 1 - int(1000 i / steps) / 1000.
    """
    levels = (Fraction(1000 - int(step * 1000 / steps), 1000) for step in range(steps))
    sigmas = (shift * level / (1 + (shift - 1) * level) for level in levels)
    return sum(sigma >= Fraction(boundary, 1000) for sigma in sigmas)


def one_early(sigmas: list[float], boundary: float) -> int:
    """How WanMoeKSampler counts: the sigmas after the first that are not below the boundary.

    It leaves out the first sigma, and so counts one step early: 4 steps at shift 5 become 1 + 3.
    """
    return sum(sigma >= boundary for sigma in sigmas[1:])


@pytest.mark.parametrize("steps, shift, boundary", CONFIGURATIONS)
def test_the_switch_is_the_official_one_in_all_36_configurations(
    steps: int, shift: int, boundary: int
) -> None:
    sigmas = sigmas_of("simple", steps, shift)
    assert switch_step(sigmas, boundary / 1000) == official(steps, shift, boundary)
    # In float32, a sigma on the boundary may lie below it, and costs that count one more.
    assert one_early(sigmas, boundary / 1000) < official(steps, shift, boundary)


def test_there_are_36_configurations() -> None:
    assert len(CONFIGURATIONS) == 36
