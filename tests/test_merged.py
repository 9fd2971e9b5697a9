"""A stack merged into weights: one product, rounded once, in the order of core's own patches."""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch

from rig import experts
from rig.tiny_models import PAIRS

if not os.environ.get("DUALPASS_COMFYUI"):
    pytest.skip("needs a real ComfyUI: run `python3 dev.py test`", allow_module_level=True)

from comfy.lora import calculate_weight
from comfy.weight_adapter import LoRAAdapter

from pack.nodes.lora.apply import patched
from pack.nodes.lora.files import open_file
from pack.nodes.lora.stack import LoraStack, stacked

OUT, INTO, RANK = 192, 160, 16
DTYPES = (torch.bfloat16, torch.float16, torch.float32)
Strength = tuple[float, Any]


def adapters(count: int, dtype: torch.dtype, seed: int = 3) -> list[Strength]:
    """(strength, patch) of so many LoRAs, their alphas a half of their ranks."""
    noise = torch.Generator().manual_seed(seed)
    made = []
    for at in range(count):
        rank = RANK + at
        up = torch.randn(OUT, rank, generator=noise).to(dtype) / 40
        down = (torch.randn(rank, INTO, generator=noise) / 12).to(dtype)
        patch = LoRAAdapter(set(), (up, down, rank / 2, None, None, None))
        made.append((0.3 + at / 7, patch))
    return made


def weight_of(dtype: torch.dtype) -> torch.Tensor:
    return torch.randn(OUT, INTO, generator=torch.Generator().manual_seed(1)).to(dtype) / 12


def exact(weight: torch.Tensor, patches: list[Strength]) -> torch.Tensor:
    """W' = W + sum of strength * alpha / rank * B @ A, in float64."""
    total = weight.double()
    for strength, patch in patches:
        up, down, alpha, *_ = patch.weights
        total = total + strength * alpha / down.shape[0] * up.double() @ down.double()
    return total


def core(weight: torch.Tensor, patches: list[Strength], key: str = "x") -> torch.Tensor:
    full = [(strength, patch, 1.0, None, None) for strength, patch in patches]
    result: torch.Tensor = calculate_weight(full, weight.clone(), key, weight.dtype)
    return result


@pytest.mark.parametrize("count", (1, 2, 4, 8))
@pytest.mark.parametrize("stored", DTYPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_merged_weight_is_the_exact_sum_rounded_once(
    dtype: torch.dtype, stored: torch.dtype, count: int
) -> None:
    weight, patches = weight_of(dtype), adapters(count, stored)
    reference = exact(weight, patches)
    ours = core(weight, stacked(patches, weight.shape))
    theirs = core(weight, patches)
    if dtype != torch.float32:
        # In float16 the rounded-off half is so small that it is rounded itself.
        least = 0.999 if dtype == torch.bfloat16 else 0.997
        assert (ours == reference.to(dtype)).double().mean() >= least
        assert (theirs == reference.to(dtype)).double().mean() < 0.98
    error, theirs_error = (ours - reference).abs().sum(), (theirs - reference).abs().sum()
    assert error <= theirs_error * 1.05


def test_core_can_take_a_stack_apart_and_move_it() -> None:
    (strength, stack), *_ = stacked(adapters(3, torch.float16), (OUT, INTO))
    moved = type(stack)(stack.loaded_keys, tuple(stack.weights))
    weight = weight_of(torch.bfloat16)
    assert torch.equal(core(weight, [(strength, moved)]), core(weight, [(strength, stack)]))


def test_neighbours_become_one_and_what_lies_between_keeps_its_place() -> None:
    one, two, three, four = adapters(4, torch.bfloat16)
    fixed = (1.0, ("set", (torch.ones(OUT, INTO),)))
    kinds = [type(patch).__name__ for _, patch in stacked([one, two, fixed, three, four], (9, 9))]
    assert kinds == ["LoraStack", "tuple", "LoraStack"]
    weight = weight_of(torch.float32)
    ours = core(weight, stacked([one, two, fixed, three, four], weight.shape))
    assert torch.allclose(ours, core(weight, [one, two, fixed, three, four]), atol=1e-5)


@pytest.mark.parametrize(
    "name, value, into",
    [
        ("a core tensor", torch.ones(RANK, RANK, 1, 1), 3),
        ("DoRA", torch.ones(OUT, 1), 4),
        ("a new shape", [OUT, INTO], 5),
    ],
)
def test_what_is_more_than_a_product_stays_cores_own_patch(
    name: str, value: Any, into: int
) -> None:
    (strength, plain), *_ = adapters(1, torch.float32)
    weights = list(plain.weights)
    weights[into] = value
    patch = LoRAAdapter(set(), tuple(weights))
    assert stacked([(strength, patch)], (OUT, INTO)) == [(strength, patch)], name


def routed(model: Any, *pairs: tuple[str, float], role: str = "high", mode: str = "merged") -> Any:
    files = [(open_file(PAIRS[pair][role]), (strength,)) for pair, strength in pairs]
    return patched(model, role, files, mode)[0]


@pytest.mark.parametrize("dtype", (torch.bfloat16, torch.float16))
def test_an_expert_with_a_stack_is_as_exact_as_cores_chain_in_float32(dtype: torch.dtype) -> None:
    import comfy.sd
    import comfy.utils

    model = experts.load("i2v_high", dtype)
    stack = [("lightx2v-4step", 1.0), ("svi-v2-pro", -0.5), ("seko-v1", 0.7)]
    theirs, precise = model, experts.load("i2v_high", torch.float32)
    for pair, strength in stack:
        state = comfy.utils.load_torch_file(str(open_file(PAIRS[pair]["high"]).path))
        theirs, _ = comfy.sd.load_lora_for_models(theirs, None, state, strength, 0)
        precise, _ = comfy.sd.load_lora_for_models(precise, None, state, strength, 0)
    ours = routed(model, *stack)
    reference = experts.call(precise)
    error = (experts.call(ours) - reference).abs().mean()
    # On a CPU core merges in float32 too: both round once, at different places.
    assert error <= (experts.call(theirs) - reference).abs().mean() * 1.25
    assert error < (experts.call(model) - reference).abs().mean() / 10


def test_the_same_files_at_the_same_strengths_are_the_same_weights() -> None:
    model = experts.load("i2v_high")
    stack = [("lightx2v-4step", 1.0), ("svi-v2-pro", 0.5)]
    first, again = routed(model, *stack), routed(model, *stack)
    other = routed(model, ("lightx2v-4step", 1.0), ("svi-v2-pro", 0.6))
    assert first is not model
    assert first.patches_uuid == again.patches_uuid
    assert len({first.patches_uuid, other.patches_uuid, model.patches_uuid}) == 3
    assert routed(model) is model
    assert not model.patches


def test_a_stack_upstream_or_downstream_adds_up() -> None:
    model = experts.load("i2v_high", torch.float32)
    one, two = ("lightx2v-4step", 1.0), ("svi-v2-pro", 0.5)
    together = experts.call(routed(model, one, two))
    chained = experts.call(routed(routed(model, one), two))
    assert torch.allclose(together, chained, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(together, experts.call(routed(model, two)), rtol=1e-2)


def test_strength_zero_of_a_stack_does_nothing() -> None:
    weight = weight_of(torch.bfloat16)
    stack = LoraStack(set(), (((torch.ones(OUT, 1), torch.ones(1, INTO)),), (1.0,)))
    assert stack.calculate_weight(weight, "x", 0.0, 1.0, None, None) is weight
    assert torch.equal(weight, weight_of(torch.bfloat16))
