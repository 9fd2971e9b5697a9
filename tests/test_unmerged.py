"""LoRAs beside the weights: exact, several at once, free in strength, and gone without trace."""

from __future__ import annotations

import gc
import os
import weakref
from typing import Any

import pytest
import torch

from rig import experts
from rig.tiny_models import PAIRS

if not os.environ.get("DUALPASS_COMFYUI"):
    pytest.skip("needs a real ComfyUI: run `python3 dev.py test`", allow_module_level=True)

import comfy.model_management
import comfy.ops
import comfy.sd
import comfy.utils
from comfy.patcher_extension import WrappersMP
from comfy.weight_adapter import LoRAAdapter

from pack.nodes.lora.apply import patched
from pack.nodes.lora.files import open_file
from pack.nodes.lora.strengths import Live
from pack.nodes.lora.unmerged import UnmergedWeight

ONE, TWO, THREE = ("lightx2v-4step", 1.0), ("svi-v2-pro", -0.5), ("seko-v1", 0.7)
UNIFIED = ("lightx2v-unified", 0.8)
SIGMAS = (1.0, 0.9, 0.7, 0.4, 0.0)
Pair = tuple[str, Any]


def routed(model: Any, *pairs: Pair, mode: str = "unmerged") -> Any:
    files = []
    for pair, levels in pairs:
        names = PAIRS[pair]
        file = open_file(names.get("high") or names["both"])
        files.append((file, levels if isinstance(levels, tuple) else (levels,)))
    return patched(model, "high", files, mode)[0]


def stack_of(model: Any) -> Any:
    """The stack that a routed model holds."""
    return model.get_injections("dualpass")[-1].inject.__self__


def ways(model: Any) -> set[str]:
    return {weight.way for weight in stack_of(model).weights}


def near(a: torch.Tensor, b: torch.Tensor, relative: float) -> bool:
    return bool((a - b).abs().max() < relative * b.abs().max())


@pytest.mark.parametrize("count", (1, 2, 4, 8))
@pytest.mark.parametrize("stored", (torch.bfloat16, torch.float16, torch.float32))
@pytest.mark.parametrize("dtype", (torch.bfloat16, torch.float16, torch.float32))
def test_both_ways_equal_float64_within_the_rounding_of_the_dtype(
    dtype: torch.dtype, stored: torch.dtype, count: int
) -> None:
    noise = torch.Generator().manual_seed(5)
    out, into, rank = 192, 160, 16
    layer = comfy.ops.manual_cast.Linear(into, out, dtype=dtype)
    layer.weight.data = (torch.randn(out, into, generator=noise) / 12).to(dtype)
    layer.bias.data.zero_()
    live, patches, exact = Live(count, torch.device("cpu")), [], layer.weight.double()
    live.set(tuple(0.3 + at / 7 for at in range(count)))
    for at, strength in enumerate(live.values):
        up = (torch.randn(out, rank, generator=noise) / 40).to(stored)
        down = (torch.randn(rank, into, generator=noise) / 12).to(stored)
        patches.append((at, LoRAAdapter(set(), (up, down, rank / 2, None, None, None))))
        exact = exact + strength / 2 * up.double() @ down.double()
    weight = UnmergedWeight("x.weight", patches, layer.weight.shape, live)
    before = layer.weight.clone()
    x = torch.randn(3, into, generator=noise).to(dtype)
    expected = x.double() @ exact.T
    with torch.inference_mode():
        used = weight(layer.weight)
        undo = weight.attach(layer, always_beside=True)
        beside = layer(x)
    undo()
    assert weight.way == "beside"
    assert torch.equal(layer.weight, before)
    assert not layer._forward_hooks
    assert not layer._forward_pre_hooks
    step = torch.finfo(dtype).eps
    if dtype != torch.float32:
        assert (used == exact.to(dtype)).double().mean() > 0.997
    assert near(used.double(), exact, step)
    assert near(beside.double(), expected, 2 * step)


@pytest.mark.parametrize("size", (4, 64), ids=("beside", "at use"))
@pytest.mark.parametrize("stack", ([ONE], [ONE, TWO], [ONE, TWO, THREE, UNIFIED]), ids=len)
def test_an_expert_gives_what_the_merged_one_gives(stack: list[Pair], size: int) -> None:
    model = experts.load("i2v_high", torch.float32)
    ours = routed(model, *stack)
    result = experts.call(ours, size=size)
    assert near(result, experts.call(routed(model, *stack, mode="merged"), size=size), 1e-5)
    assert not near(result, experts.call(model, size=size), 1e-3)
    assert ("at use" in ways(ours)) == (size == 64 or UNIFIED in stack)


def test_core_keeps_the_last_of_two_unmerged_loras_and_we_keep_both() -> None:
    model = experts.load("i2v_high", torch.float32)
    bypassed = model
    for pair, strength in (ONE, TWO):
        state = comfy.utils.load_torch_file(str(open_file(PAIRS[pair]["high"]).path))
        bypassed, _ = comfy.sd.load_bypass_lora_for_models(bypassed, None, state, strength, 0)
    both = experts.call(routed(model, ONE, TWO, mode="merged"))
    last = experts.call(routed(model, TWO, mode="merged"))
    assert near(experts.call(bypassed), last, 1e-5)
    bypassed.detach()
    assert near(experts.call(routed(model, ONE, TWO)), both, 1e-5)
    assert not near(both, last, 1e-3)


def test_two_routers_and_cores_loaders_before_and_after_add_up() -> None:
    model = experts.load("i2v_high", torch.float32)
    state = comfy.utils.load_torch_file(str(open_file(PAIRS["seko-v1"]["high"]).path))
    seko = lambda before: comfy.sd.load_lora_for_models(before, None, state, 0.7, 0)[0]  # noqa: E731
    bypass = lambda before: comfy.sd.load_bypass_lora_for_models(  # noqa: E731
        before, None, state, 0.7, 0
    )[0]
    together = experts.call(routed(model, ONE, TWO, THREE, mode="merged"))
    chains = {
        "two routers": routed(routed(routed(model, ONE), TWO), THREE),
        "merged before": routed(routed(model, ONE, mode="merged"), TWO, THREE),
        "merged after": routed(routed(model, TWO, THREE), ONE, mode="merged"),
        "core before": routed(seko(model), ONE, TWO),
        "core after": seko(routed(model, ONE, TWO)),
        "core bypass before": routed(bypass(model), ONE, TWO),
        "core bypass after": bypass(routed(model, ONE, TWO)),
    }
    for name, chained in chains.items():
        assert near(experts.call(chained), together, 1e-4), name


OTHERS = {
    "core's loader": lambda model, core: core(model),
    "a merged stack": lambda model, core: routed(model, TWO, mode="merged"),
    "a merge of models": lambda model, core: (model.clone(), model.get_key_patches())[0],
    "another stack": lambda model, core: routed(model, TWO),
}


# A merged stack is refused over GGUF; core merges no quantised models.
BESIDE = [("i2v_high", other) for other in OTHERS] + [
    ("i2v_high_gguf", "core's loader"),
    ("i2v_high_gguf", "another stack"),
    ("i2v_high_fp8", "core's loader"),
    ("i2v_high_fp8", "a merged stack"),
    ("i2v_high_fp8", "another stack"),
]


@pytest.mark.parametrize(("base", "other"), BESIDE)
def test_a_clone_made_beside_a_loaded_stack_does_not_bring_it_to_the_plain_model(
    base: str, other: str, request: pytest.FixtureRequest
) -> None:
    if "gguf" in base:
        request.getfixturevalue("gguf")
    model = experts.load(base, None)
    plain, second = experts.call(model), routed(model, THREE)
    alone = experts.call(second)
    ours = routed(model, ONE, UNIFIED)
    experts.call(ours)
    state = comfy.utils.load_torch_file(str(open_file(PAIRS["seko-v1"]["high"]).path))
    made = OTHERS[other](
        ours, lambda before: comfy.sd.load_lora_for_models(before, None, state, 0.7, 0)[0]
    )
    assert near(experts.call(model), plain, 1e-6)
    assert near(experts.call(second), alone, 1e-6)
    comfy.model_management.unload_all_models()
    assert near(experts.call(model), plain, 1e-6)
    assert not near(experts.call(made), plain, 1e-3)


class _Interrupted(BaseException):
    """As ComfyUI's own, which no `except Exception` catches."""


@pytest.mark.parametrize("ending", (None, RuntimeError, _Interrupted))
def test_the_weights_are_the_same_bytes_afterwards(ending: type[BaseException] | None) -> None:
    model = experts.load("i2v_high")
    plain, before = experts.call(model), experts.weights_of(model)
    ours = routed(model, ONE, UNIFIED)

    def fail(*_: Any, **__: Any) -> None:
        if ending:
            raise ending

    hook = model.model.diffusion_model.blocks[1].ffn[2].register_forward_pre_hook(fail)
    if ending:
        with pytest.raises(ending):
            experts.run(ours, SIGMAS)
    else:
        experts.run(ours, SIGMAS)
    hook.remove()
    during = experts.weights_of(model)
    assert all(torch.equal(before[key], during[key]) for key in before)
    assert torch.equal(experts.call(model), plain)
    after = experts.weights_of(model)
    assert all(torch.equal(before[key], after[key]) for key in before)
    for module in model.model.modules():
        assert not module._forward_hooks and not getattr(module, "weight_function", [])


def test_a_new_strength_or_stack_moves_no_weight() -> None:
    model = experts.load("i2v_high", torch.float32)
    first = routed(model, ONE, TWO)
    experts.call(first)
    loads = []
    first.add_callback("on_load_after", lambda *_: loads.append("first"))
    moved = stack_of(first).factors.model[0][0].data_ptr()
    second = routed(model, (ONE[0], 0.25), TWO)
    second.add_callback("on_load_after", lambda *_: loads.append("second"))
    assert first.patches_uuid == second.patches_uuid == model.patches_uuid
    assert stack_of(first) is stack_of(second)
    result = experts.call(second)
    third = routed(model, THREE)
    third.add_callback("on_load_after", lambda *_: loads.append("third"))
    other = experts.call(third)
    assert loads == []
    assert stack_of(second).factors.model[0][0].data_ptr() == moved
    merged = routed(model, (ONE[0], 0.25), TWO, mode="merged")
    assert near(result, experts.call(merged), 1e-5)
    assert near(other, experts.call(routed(model, THREE, mode="merged")), 1e-5)


def test_strengths_by_step_count_the_steps_of_this_expert() -> None:
    model = experts.load("i2v_high", torch.float32)
    ours = routed(model, (ONE[0], (1.0, 0.5, 0.0)), TWO, mode="auto")
    fixed = [routed(model, (ONE[0], level), TWO, mode="merged") for level in (1.0, 0.5)]
    fixed.append(routed(model, TWO, mode="merged"))
    per_step = [fixed[0], fixed[1], fixed[2], fixed[2]]
    for _ in range(2):  # a second run begins anew
        got = experts.run(ours, SIGMAS)
        for sigma, now, then in zip(SIGMAS[:-1], got, per_step, strict=True):
            assert near(now, experts.call(then, sigma), 1e-5)
    # The expert that comes second: the first sigma of the run that it is called at is its step 0,
    # also after calls in the middle of the step before.
    for begin in ((), (0.8, 0.75)):
        ours.pre_run()
        for sigma in begin:
            experts.call(ours, sigma, SIGMAS)
        for sigma, then in zip(SIGMAS[2:-1], fixed, strict=False):
            # As samplers come back to a sigma, by way of its logarithm.
            assert near(
                experts.call(ours, sigma * 1.00001, SIGMAS), experts.call(then, sigma), 1e-3
            )
        ours.cleanup()


def test_a_level_holds_between_two_sigmas() -> None:
    model = experts.load("i2v_high", torch.float32)
    ours = routed(model, (ONE[0], (1.0, 0.5)))
    weak = routed(model, (ONE[0], 0.5), mode="merged")
    ours.pre_run()
    seen = []
    for sigma in (1.0, 0.95, 0.9, 0.8, 0.7):
        half = near(experts.call(ours, sigma, SIGMAS), experts.call(weak, sigma), 1e-4)
        seen.append(0.5 if half else 1.0)
    assert seen == [1.0, 1.0, 0.5, 0.5, 0.5]
    ours.cleanup()


def test_what_another_pack_adds_in_place_is_not_taken_for_the_same_weights() -> None:
    model = experts.load("i2v_high", torch.float32)
    for mode in ("merged", "unmerged"):
        before = routed(model, ONE, mode=mode)
        experts.call(before)
        key = "diffusion_model.head.head.weight"
        weight = model.model.state_dict()[key]
        model.add_patches({key: ("diff", (torch.ones_like(weight) / 10,))})
        after = routed(model, ONE, mode=mode)
        assert before.patches_uuid != after.patches_uuid
        assert not near(experts.call(after), experts.call(before), 1e-3)


def test_a_stack_that_is_not_chosen_any_more_is_let_go() -> None:
    gc.collect()  # what earlier tests have left
    model = experts.load("i2v_high")
    experts.call(routed(model, ONE, UNIFIED))
    (factors,) = (
        weakref.ref(each.model)
        for each in comfy.model_management.loaded_models()
        if type(each.model).__name__ == "LoraFactors"
    )
    routed(model)
    experts.call(model)
    gc.collect()
    assert factors() is None


def test_a_new_strength_over_fp8_keeps_the_weights_where_no_bias_is_changed() -> None:
    model = experts.load("i2v_high_fp8", None)
    first, second = routed(model, ONE, TWO), routed(model, (ONE[0], 0.25), TWO)
    assert first.patches_uuid == second.patches_uuid == model.patches_uuid
    with_biases = routed(model, ONE, UNIFIED)
    assert with_biases.patches_uuid == routed(model, (ONE[0], 0.25), UNIFIED).patches_uuid
    assert with_biases.patches_uuid != routed(model, ONE, (UNIFIED[0], 0.5)).patches_uuid


@pytest.mark.usefixtures("gguf")
def test_a_new_strength_or_stack_over_gguf_keeps_the_weights() -> None:
    model = experts.load("i2v_high_gguf", None)
    stacks = ([ONE, TWO], [(ONE[0], 0.25), TWO], [THREE], [UNIFIED], [(UNIFIED[0], 0.2)])
    assert len({routed(model, *stack).patches_uuid for stack in stacks}) == 1


@pytest.mark.usefixtures("gguf")
def test_over_gguf_all_parts_of_a_file_count_whatever_is_loaded() -> None:
    model = experts.load("i2v_high_gguf", None)
    state = comfy.utils.load_torch_file(str(open_file(PAIRS[UNIFIED[0]]["both"]).path))
    core, _ = comfy.sd.load_lora_for_models(model, None, state, UNIFIED[1], 0)
    expected, plain = experts.call(core), experts.call(model)
    for loaded in (core, model, routed(model, UNIFIED)):
        experts.call(loaded)
        assert near(experts.call(routed(model, UNIFIED)), expected, 1e-5)
    assert near(experts.call(model), plain, 1e-6)


def test_hooks_on_conditioning_may_switch_during_a_run() -> None:
    model = experts.load("i2v_high", torch.float32)
    ours = routed(model, ONE)
    experts.run(ours, SIGMAS)
    with ours.use_ejected():
        pass
    stack_of(ours).check()


def test_the_factors_are_a_model_that_comfyui_counts_evicts_and_forgets() -> None:
    model = experts.load("i2v_high", torch.float32)
    ours = routed(model, ONE, TWO)
    experts.call(ours)
    loaded = comfy.model_management.loaded_models()
    factors = next(each for each in loaded if type(each.model).__name__ == "LoraFactors")
    numbers = sum(factor.numel() * factor.element_size() for factor in factors.model.parameters())
    assert factors.model_size() == numbers > 0
    expected = experts.call(ours)
    comfy.model_management.unload_all_models()
    assert not comfy.model_management.loaded_models()
    assert torch.equal(experts.call(ours), expected)
    gone = weakref.ref(factors.model)
    del ours, model, factors, loaded
    gc.collect()
    comfy.model_management.cleanup_models_gc()
    assert gone() is None


def test_nothing_of_a_model_stays_when_it_is_dropped() -> None:
    model = experts.load("i2v_high")
    for mode in ("merged", "unmerged"):
        experts.call(routed(model, ONE, UNIFIED, mode=mode))
    gone = weakref.ref(model), weakref.ref(model.model)
    del model
    gc.collect()
    assert [each() for each in gone] == [None, None]


@pytest.mark.parametrize("memory", (0.1, 1_000_000))
def test_a_model_that_does_not_fit_gives_the_same(memory: float) -> None:
    model = experts.load("i2v_high", torch.float32)
    expected = experts.call(routed(model, ONE, TWO, UNIFIED, mode="merged"))
    comfy.model_management.unload_all_models()
    for mode in ("merged", "unmerged"):
        ours = routed(model, ONE, TWO, UNIFIED, mode=mode)
        ours.patch_model(torch.device("cpu"), lowvram_model_memory=memory)
        assert ours.model.model_lowvram
        assert near(experts.called(ours, 0.9, (1.0, 0.9, 0.0)), expected, 1e-4), mode
        ours.detach()


def test_a_stack_that_no_layer_uses_stops_the_run() -> None:
    model = experts.load("i2v_high", torch.float32)
    ours = routed(model, ONE)
    skipped = ours.clone()

    def instead(executor: Any, x: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        return x

    skipped.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "zz", instead)
    with pytest.raises(ValueError, match="No layer of the high-noise model used"):
        experts.run(skipped, SIGMAS)
    experts.run(ours, SIGMAS)


def test_compiled_code_follows_strengths_without_compiling_again() -> None:
    from comfy_api.torch_helpers import set_torch_compile_wrapper

    torch.compiler.reset()
    graphs = []

    def backend(graph: Any, _: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    model = experts.load("i2v_high", torch.float32)

    def compiled(routed_model: Any) -> Any:
        clone = routed_model.clone()
        set_torch_compile_wrapper(model=clone, backend=backend)
        return clone

    # Merging leaves its traces on the parameters of a model, for which core compiles again.
    reference = experts.load("i2v_high", torch.float32)
    plain = experts.call(compiled(model))
    counts = []
    for strength in (1.0, 0.5, 0.25, 0.75, 2.0):
        result = experts.call(compiled(routed(model, (ONE[0], strength), TWO)))
        merged = routed(reference, (ONE[0], strength), TWO, mode="merged")
        assert near(result, experts.call(merged), 1e-4)
        counts.append(len(graphs))
    assert counts[0] > 0
    assert len(set(counts)) == 1
    assert near(experts.call(compiled(model)), plain, 1e-6)
    counts = []
    for strength in (1.0, 0.5, 0.25):  # differences of biases and norms too
        result = experts.call(compiled(routed(model, ONE, (UNIFIED[0], strength))))
        merged = routed(reference, ONE, (UNIFIED[0], strength), mode="merged")
        assert near(result, experts.call(merged), 1e-4)
        counts.append(len(graphs))
    assert len(set(counts)) == 1
    other = experts.call(compiled(routed(model, THREE)))
    assert near(other, experts.call(routed(reference, THREE, mode="merged")), 1e-4)
    torch.compiler.reset()
