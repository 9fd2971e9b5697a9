"""The published plans: what their sources say, by ComfyUI's own schedulers and by formula."""

from __future__ import annotations

from dataclasses import replace

import pytest

comfy_samplers = pytest.importorskip("comfy.samplers")

import numpy as np  # noqa: E402
import torch  # noqa: E402
from comfy.model_sampling import ModelSamplingDiscreteFlow  # noqa: E402

from pack.nodes.sampling.presets import PRESETS, Preset  # noqa: E402
from pack.nodes.sampling.schedule import split_at_boundary, split_at_step  # noqa: E402
from pack.nodes.settings import Settings  # noqa: E402

# High and low steps, frames, and the sigmas around the hand-over.
PUBLISHED = {
    "ComfyUI template, 20 steps": (10, 10, 81, 0.8594, 0.8333),
    "ComfyUI template, 4 steps": (2, 2, 81, 0.9375, 0.8333),
    "Lightning, 4 steps": (2, 2, 81, 0.9375, 0.8333),
    "LightX2V, 4 steps": (2, 2, 81, 0.9375, 0.8333),
    "LightX2V, 6 steps": (3, 3, 81, 0.9092, 0.8333),
    "SVI 2.0 Pro, 6 steps": (3, 3, 81, 0.9092, 0.8333),
    "RunComfy, 25 steps": (7, 18, 41, 0.9049, 0.8854),
    "ai-toolkit preview, 25 steps": (11, 14, 41, 0.8759, 0.8564),
}
FAST = ["ComfyUI template, 4 steps", "Lightning, 4 steps", "LightX2V, 4 steps"]


def sigmas_of(preset: Preset) -> list[float]:
    if preset.plan.sigmas:
        return list(preset.plan.sigmas)
    sampling = ModelSamplingDiscreteFlow()
    sampling.set_parameters(shift=preset.plan.shift)
    plan = preset.plan
    return list(comfy_samplers.calculate_sigmas(sampling, plan.scheduler, plan.steps).tolist())


def test_each_preset_is_in_the_table() -> None:
    assert list(PRESETS) == list(PUBLISHED)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_preset_splits_as_published(name: str) -> None:
    high, low, length, last, first_low = PUBLISHED[name]
    preset = PRESETS[name]
    sigmas = sigmas_of(preset)
    split = (
        split_at_boundary(sigmas, preset.plan.boundary)
        if preset.split_step is None
        else split_at_step(sigmas, preset.split_step)
    )
    assert (split.steps, len(sigmas) - 1 - split.steps) == (high, low)
    assert sigmas[high - 1 : high + 1] == pytest.approx([last, first_low], abs=5e-5)
    assert (preset.plan.steps, preset.length) == (high + low, length)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_preset_names_its_source_and_what_this_comfyui_has(name: str) -> None:
    preset = PRESETS[name]
    assert "/" in preset.source and preset.note.endswith(".")
    assert preset.plan.sampler_name in comfy_samplers.KSampler.SAMPLERS
    known = ["given sigmas"] if preset.plan.sigmas else comfy_samplers.KSampler.SCHEDULERS
    assert preset.plan.scheduler in known
    assert preset.length % 4 == 1
    assert len(name) <= 30 and name not in {"plan", "manual"}


def test_the_step_of_a_preset_is_one_of_all_its_sigmas() -> None:
    """With less denoise or other sigmas its boundary decides."""
    chosen = Settings(settings="ComfyUI template, 20 steps")
    assert chosen.way().step == 10
    assert chosen.way(0.5).step is None
    assert replace(chosen, sigmas=torch.linspace(1, 0, 9)).way().step is None


@pytest.mark.parametrize("name", FAST)
def test_the_four_steps_are_those_of_the_training(name: str) -> None:
    """Timesteps of Wan2.2-Lightning; LightX2V's [1000, 750, 500, 250] at shift 5 are the same."""
    timesteps = [1000 * sigma for sigma in sigmas_of(PRESETS[name])]
    assert timesteps == pytest.approx([1000, 937.5, 833.333, 625, 0], abs=1e-3)


def shifted(levels: np.ndarray, shift: float) -> np.ndarray:
    return shift * levels / (1 + (shift - 1) * levels)


def test_runcomfy_s_own_sigmas_are_those_of_diffusers_unipc() -> None:
    expected = [*shifted(np.linspace(1, 1 / 1000, 26)[:-1], 3.0), 0.0]
    assert np.abs(PRESETS["RunComfy, 25 steps"].plan.sigmas - np.array(expected)).max() < 1e-15


def test_ai_toolkit_s_own_sigmas_are_those_of_diffusers_flow_euler() -> None:
    """Its table of 1000 levels is shifted when it is made; the steps between its ends are again."""
    table = shifted(np.linspace(1000, 1, 1000) / 1000, 5.0)
    levels = np.linspace(table[0] * 1000, table[-1] * 1000, 25) / 1000
    expected = [*shifted(levels, 5.0), 0.0]
    sigmas = PRESETS["ai-toolkit preview, 25 steps"].plan.sigmas
    assert np.abs(sigmas - np.array(expected)).max() < 1e-15


@pytest.mark.parametrize("name", ["RunComfy, 25 steps", "ai-toolkit preview, 25 steps"])
def test_own_sigmas_fall_from_one_to_zero(name: str) -> None:
    sigmas = PRESETS[name].plan.sigmas
    assert (sigmas[0], sigmas[-1], len(sigmas)) == (1.0, 0.0, 26)
    assert all(later < sooner for sooner, later in zip(sigmas, sigmas[1:], strict=False))


def test_the_boundary_of_ai_toolkit_counts_alike_above_and_at_it() -> None:
    """It takes the high expert above 875 in training and from 875 on in previews."""
    sigmas = sigmas_of(PRESETS["ai-toolkit preview, 25 steps"])
    assert sum(sigma > 0.875 for sigma in sigmas) == sum(sigma >= 0.875 for sigma in sigmas) == 11
