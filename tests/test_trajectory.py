"""One trajectory with all that can hang on a model or a conditioning, beside core's samplers."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

if not os.environ.get("DUALPASS_COMFYUI"):
    pytest.skip("needs a real ComfyUI: run `python3 dev.py test`", allow_module_level=True)

import comfy.hooks
import comfy.lora
import comfy.model_management
import torch
from comfy.patcher_extension import CallbacksMP, WrappersMP
from comfy_extras.nodes_easycache import EasyCacheNode, LazyCacheNode

from pack.nodes.sampling.order import Scene
from rig import changes, small
from rig.tally import Tally

SIZE = (3, 8, 8)
HIGH, STEPS = 3, 8  # steps at shift 5 and boundary 0.9
EULER, SDE = small.plan("euler", "simple", STEPS), small.plan("dpmpp_2m_sde", "beta", STEPS)

pytestmark = pytest.mark.usefixtures("as_a_node_runs")
as_a_node_runs = pytest.fixture(small.as_a_node_runs)


def scene(kind: str = "i2v", low: str = "low") -> Scene:
    return small.scene(small.expert("high", kind), small.expert(low, kind), kind, SIZE)


ALL = changes.CONDITIONING | changes.HOOKS | changes.WINDOWS
HOOKS = changes.HOOKS | changes.AT_FIRST


@pytest.mark.parametrize("kind", ("i2v", "t2v"))
@pytest.mark.parametrize("name", ALL)
def test_the_same_weights_twice_are_one_ksampler(name: str, kind: str) -> None:
    plain = scene(kind, low="high")
    at = ALL[name](plain)
    for plan in (EULER, SDE):
        ours = small.dual(at, plan)
        assert torch.equal(ours, small.one(at, plan))
        # What was changed does matter: without this the line above could not fail.
        if at.latent["samples"].shape == plain.latent["samples"].shape:
            assert small.difference(ours, small.dual(plain, plan)) > 1e-3


@pytest.mark.parametrize("kind", ("i2v", "t2v"))
@pytest.mark.parametrize("name", (*changes.CONDITIONING, *changes.WINDOWS))
def test_two_experts_are_one_ksampler_that_swaps_them(name: str, kind: str) -> None:
    at = ALL[name](scene(kind))
    for plan in (EULER, SDE):
        assert torch.equal(small.dual(at, plan), small.swapped(at, plan))


@pytest.mark.parametrize("name", ALL)
def test_a_run_without_the_high_expert_is_as_one_with_it(name: str) -> None:
    """Only the low cfg changes: what the high expert answered to the first run is taken again."""
    at = ALL[name](scene())
    small.dual(at, EULER, keep=True)
    other = replace(EULER, cfg_low=3.0)
    assert torch.equal(small.dual(at, other, keep=True), small.dual(at, other))


@pytest.mark.parametrize("name", changes.FAILING)
def test_what_core_can_not_do_ends_as_in_core(name: str) -> None:
    at = changes.FAILING[name](scene())
    with pytest.raises((IndexError, ValueError)) as cores:
        small.one(at, EULER)
    with pytest.raises(cores.type, match=str(cores.value)[:20]):
        small.dual(at, EULER)


@pytest.mark.parametrize("name", changes.HOOKS)
def test_hooks_change_the_weights_of_both_experts(name: str) -> None:
    at = ALL[name](scene())
    assert small.difference(small.dual(at, EULER), small.two(at, EULER, HIGH)) < 1e-6


@pytest.mark.parametrize("sampler", ("euler", "dpmpp_2m"))
def test_a_hook_for_the_first_step_is_for_that_of_the_run(sampler: str) -> None:
    """As in one KSampler; and so the second time, when core has been left where that ended."""
    at, plan = changes.AT_FIRST["hook at first"](scene()), small.plan(sampler)
    at = replace(at, model_low=at.model_high)
    wanted = small.one(at, plan)
    assert small.difference(wanted, small.one(scene(), plan)) > 1e-3
    for _ in range(2):
        assert small.difference(small.dual(at, plan), wanted) < 1e-6


@pytest.mark.parametrize("name", HOOKS)
def test_hooks_that_a_run_did_not_ask_for_are_not_where_the_last_one_left_them(name: str) -> None:
    """With cfg 1 the negative's are not used, and core does not begin them anew."""
    at, plan = HOOKS[name](scene()), replace(EULER, cfg_low=1.0)
    small.dual(at, plan, keep=True)
    for cfg in (1.0, 3.0, 1.0, 3.0):
        changed = replace(plan, cfg_low=cfg)
        assert torch.equal(small.dual(at, changed, keep=True), small.dual(at, changed))


def test_core_still_forgets_the_sigma_that_keyframes_saw_last() -> None:
    """Else ours need not forget it for core."""
    group = comfy.hooks.HookKeyframeGroup()
    assert group._curr_t == -1.0
    group._curr_t = 0.5
    group.reset()
    assert group._curr_t == 0.5


def test_a_controlnet_serves_each_expert_as_it_serves_a_ksampler() -> None:
    ours, cores = changes.Control(), changes.Control()
    at = changes.controlled(ours)(scene())
    made = small.dual(at, EULER)
    small.two(changes.controlled(cores)(scene()), EULER, HIGH)
    assert ours.seen == cores.seen
    assert Counter(ours.seen) == {"pre_run": 2, "get_control": STEPS, "cleanup": 2}
    assert torch.equal(made, small.swapped(at, EULER))


def test_a_mask_function_serves_its_own_expert() -> None:
    """Such as DifferentialDiffusion sets, on one expert or on each."""
    seen: list[tuple[str, float]] = []
    at = changes.noise_mask(scene())
    for role, model in (("high", at.model_high), ("low", at.model_low)):

        def function(sigma: torch.Tensor, mask: torch.Tensor, role: str = role, **_: Any) -> Any:
            seen.append((role, float(sigma.max())))
            return mask

        model.set_model_denoise_mask_function(function)
    small.dual(at, EULER)
    ours = seen.copy()
    seen.clear()
    small.two(at, EULER, HIGH)
    assert ours == seen


def test_noise_that_the_low_expert_shuffles_is_its_own() -> None:
    """FreeNoise works on the noise that a run begins with; the run has begun by then."""
    kept = changes.noise_mask(scene()).latent
    latent = {"samples": kept["samples"][:1], "noise_mask": kept["noise_mask"]}
    at = replace(scene(), latent=latent)
    made = [
        small.dual(replace(at, model_low=changes.windows(at.model_low, freenoise)), EULER)
        for freenoise in (False, True)
    ]
    assert torch.equal(*made)


@pytest.mark.parametrize("role", ("high", "low", "both"))
@pytest.mark.parametrize("node", (EasyCacheNode, LazyCacheNode))
def test_a_cache_saves_the_calls_of_its_own_expert(node: Any, role: str) -> None:
    plan = small.plan(steps=20)
    high = small.high_steps(plan)
    at = of_role(role, lambda model: node.execute(model, 3.0, 0.0, 1.0, False).result[0], scene())
    with true_calls(at) as ours:
        made = small.dual(at, plan)
    with true_calls(at) as cores:
        wanted = small.two(at, plan, high)
    assert small.difference(made, wanted) < 1e-6
    assert ours == cores
    assert (ours["high"] < high) == (role != "low")
    assert (ours["low"] < 20 - high) == (role != "high")


def of_role(role: str, change: Callable[[Any], Any], at: Scene) -> Scene:
    """The scene with a change made to one model, or to both."""
    if role != "low":
        at = replace(at, model_high=change(at.model_high))
    return replace(at, model_low=change(at.model_low)) if role != "high" else at


@contextmanager
def true_calls(at: Scene) -> Iterator[Counter[str]]:
    """How often each expert works, below whatever a node has wrapped around it."""
    calls: Counter[str] = Counter()
    heads = {"high": at.model_high.model, "low": at.model_low.model}
    hooks = [
        model.diffusion_model.head.register_forward_hook(lambda *_, at=role: calls.update([at]))
        for role, model in heads.items()
    ]
    yield calls
    for hook in hooks:
        hook.remove()


@pytest.mark.parametrize("kind", ("i2v", "t2v"))
def test_what_hangs_on_an_expert_is_called_as_by_its_own_ksampler(kind: str) -> None:
    """The same calls of the model, the same loads, the same wrappers and callbacks."""
    results, tallies, inputs = [], [], []
    for sample in (small.dual, lambda at, plan: small.two(at, plan, HIGH)):
        comfy.model_management.unload_all_models()
        tally, at = Tally(), scene(kind)
        high, low = tally.on(at.model_high, "high"), tally.on(at.model_low, "low")
        results.append(sample(replace(at, model_high=high, model_low=low), EULER))
        tallies.append(Counter(tally.calls))
        inputs.append(tally.inputs)
    assert tallies[0] == tallies[1]
    assert inputs[0] == inputs[1]
    assert tallies[0]["high", WrappersMP.APPLY_MODEL] == HIGH
    assert tallies[0]["low", WrappersMP.APPLY_MODEL] == STEPS - HIGH
    assert tallies[0]["high", CallbacksMP.ON_LOAD] == tallies[0]["low", CallbacksMP.ON_LOAD] == 1
    assert small.difference(*results) < 1e-6


@pytest.mark.parametrize("plan", (EULER, SDE))
def test_one_base_model_with_two_loras_is_two_experts(plan: Any) -> None:
    """As with a single set of weights whose two sides differ by their LoRA only."""
    one = [patched(small.expert("high"), seed) for seed in (21, 22)]
    two = [patched(small.expert("high", copy=copy), 21 + copy) for copy in (0, 1)]
    made, apart = (small.scene(*pair, size=SIZE) for pair in (one, two))
    assert torch.equal(small.dual(made, plan), small.dual(apart, plan))
    assert torch.equal(small.dual(apart, plan), small.swapped(apart, plan))
    assert small.difference(small.dual(made, plan), small.one(made, plan)) > 1e-3


def patched(model: Any, seed: int) -> Any:
    """With a LoRA, as core's loader adds it."""
    keys = comfy.lora.model_lora_keys_unet(model.model, {})
    assert model.add_patches(comfy.lora.load_lora(changes.lora(seed), keys), 0.8)
    return model
