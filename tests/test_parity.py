"""One run with two experts against one KSampler: every sampler of ComfyUI, to the last bit."""

from __future__ import annotations

import itertools
import os

import pytest

if not os.environ.get("DUALPASS_COMFYUI"):
    pytest.skip("needs a real ComfyUI: run `python3 dev.py test`", allow_module_level=True)

import comfyui_version
import torch
from comfy.samplers import KSampler

from rig import small

SCHEDULERS = ("simple", "beta", "normal", "sgm_uniform", "linear_quadratic")
STEPS = (4, 8, 20)
GRID = list(itertools.product(SCHEDULERS, STEPS))
if comfyui_version.__version__.startswith("0.18"):
    GRID = [("simple", 8)]  # the whole grid on the newest

pytestmark = [
    pytest.mark.usefixtures("as_a_node_runs"),
    # What samplers of ComfyUI use of NumPy and torchsde.
    pytest.mark.filterwarnings("ignore"),
]
as_a_node_runs = pytest.fixture(small.as_a_node_runs)


@pytest.mark.parametrize("sampler", KSampler.SAMPLERS)
def test_the_run_equals_one_ksampler(sampler: str) -> None:
    """With the same weights twice, and with experts that differ."""
    # Without blocks a model sees no words, only the image: quicker, and as sharp a test.
    high, low = small.expert("high", blocks=0), small.expert("low", blocks=0)
    same, both = small.scene(high, high), small.scene(high, low)
    for scheduler, steps in GRID:
        plan = small.plan(sampler, scheduler, steps)
        alone, wanted = small.one(same, plan), small.swapped(both, plan)
        where = f"{scheduler}, {steps} steps"
        assert alone.isfinite().all() and wanted.isfinite().all(), where
        assert torch.equal(small.dual(same, plan), alone), where
        assert torch.equal(small.dual(both, plan), wanted), where
        # The low expert does matter: without this the line above could not fail.
        assert small.difference(alone, wanted) > 1e-3, where
