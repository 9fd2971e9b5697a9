"""Experts that belong together, those that do not, and what is told of the rest."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("comfy.sd")

import comfy.lora  # noqa: E402
import comfy.model_detection  # noqa: E402
import comfy.model_patcher  # noqa: E402
import comfy.model_sampling  # noqa: E402
import comfy.ops  # noqa: E402
import torch  # noqa: E402
from comfy.ldm.wan import model as wan  # noqa: E402
from comfy.ldm.wan import model_animate  # noqa: E402
from comfy_extras.nodes_model_advanced import ModelSamplingSD3  # noqa: E402

from pack.nodes.sampling.wiring import check_experts, doubts  # noqa: E402
from rig import experts  # noqa: E402
from rig.tiny_models import FILES  # noqa: E402

CPU = torch.device("cpu")
SMALL: dict[str, Any] = {"dim": 128, "ffn_dim": 256, "num_heads": 1, "num_layers": 5}
# Kind -> the class of its weights, and how many channels go in; as published for 14B.
KINDS: dict[str, tuple[Any, dict[str, Any]]] = {
    "I2V": (wan.WanModel, {"model_type": "t2v", "in_dim": 36}),
    "T2V": (wan.WanModel, {"model_type": "t2v", "in_dim": 16}),
    "Fun InP": (wan.WanModel, {"model_type": "t2v", "in_dim": 36}),
    "Fun Control": (wan.WanModel, {"model_type": "t2v", "in_dim": 52, "in_dim_ref_conv": 16}),
    "Fun Camera": (wan.CameraWanModel, {"model_type": "camera_2.2", "in_dim": 36}),
    "VACE": (wan.VaceWanModel, {"in_dim": 16, "vace_layers": 2, "vace_in_dim": 96}),
    "S2V": (wan.WanModel_S2V, {"in_dim": 16, "num_layers": 40}),
    "Animate": (model_animate.AnimateWanModel, {"in_dim": 36}),
    "5B": (wan.WanModel, {"model_type": "t2v", "in_dim": 48, "out_dim": 48}),
    "2.1 I2V": (wan.WanModel, {"model_type": "i2v", "in_dim": 36}),
}


def made(kind: str, **config: Any) -> Any:
    """A model without data, as ComfyUI detects it from the shapes of a file."""
    weights, own = KINDS[kind]
    operations = comfy.ops.manual_cast
    shapes = weights(**(SMALL | own | config), device="meta", operations=operations).state_dict()
    found = comfy.model_detection.model_config_from_unet(shapes, "")
    found.set_inference_dtype(torch.float32, None)
    model = found.get_model(shapes, "", device="meta")
    return comfy.model_patcher.ModelPatcher(model, load_device=CPU, offload_device=CPU)


@pytest.mark.parametrize("kind", KINDS)
def test_two_experts_of_one_kind_belong_together(kind: str) -> None:
    check_experts(made(kind), made(kind), made(kind))


@pytest.mark.parametrize("copy", ["i2v_low_fp16", "i2v_low_fp8", "i2v_low_gguf"])
def test_the_number_format_is_no_difference(request: pytest.FixtureRequest, copy: str) -> None:
    if copy.endswith("gguf"):
        request.getfixturevalue("gguf")
    high, low = experts.load("i2v_high"), experts.load(copy, None)
    check_experts(high, low)
    check_experts(low, high)
    assert doubts(high, low) == []


def test_patches_and_wrappers_are_no_difference() -> None:
    high, low = made("I2V"), made("I2V").clone()
    (weight,) = (key for key in low.model_state_dict() if key.endswith("blocks.0.ffn.0.weight"))
    low.add_patches({weight: (torch.ones(256, 128),)})
    low.add_wrapper("apply_model", lambda executor, *args, **more: executor(*args, **more))
    low.set_model_unet_function_wrapper(lambda apply, args: apply(args["input"], args["timestep"]))
    check_experts(high, shifted(low, 3.0))
    assert doubts(high, low) == []


OTHERS = {
    "T2V and I2V": (("I2V", {}), ("T2V", {}), "Wan image to video (", "is Wan text to video ("),
    "14B and 1.3B": (("T2V", {}), ("T2V", {"dim": 256, "num_heads": 2}), "128 wide", "256 wide"),
    "other depths": (("I2V", {}), ("I2V", {"num_layers": 4}), "5 blocks", "4 blocks"),
    "14B and 5B": (("T2V", {}), ("5B", {}), "16 channels in, 16 out", "48 channels in, 48 out"),
    "VACE and T2V": (("VACE", {}), ("T2V", {}), "Wan vace (", "is Wan text to video ("),
    "Fun Control and I2V": (("Fun Control", {}), ("I2V", {}), "52 channels", "36 channels"),
    "S2V and T2V": (("S2V", {"num_layers": 40}), ("T2V", {"num_layers": 40}), "s2v", "text to"),
    "Camera and I2V": (("Fun Camera", {}), ("I2V", {}), "camera_2.2", "image to video"),
    "Animate and I2V": (("Animate", {}), ("I2V", {}), "animate", "image to video"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_experts_of_two_models_are_refused_in_one_sentence(case: str) -> None:
    (kind_high, more_high), (kind_low, more_low), said_high, said_low = OTHERS[case]
    high, low = made(kind_high, **more_high), made(kind_low, **more_low)
    for models, name in (((high, low), "model_low"), ((high, high, low), "model_first")):
        with pytest.raises(ValueError) as error:
            check_experts(*models)
        words = str(error.value)
        assert words.startswith("model_high is Wan ") and f", but {name} is Wan " in words
        assert said_high in words and said_low in words
        assert words.endswith(": connect experts of one model.") and "\n" not in words
    with pytest.raises(ValueError, match="connect experts of one model"):
        check_experts(low, high)


def test_the_tiny_experts_of_two_kinds_are_refused() -> None:
    with pytest.raises(ValueError, match="36 channels in, 16 out.* 16 channels in, 16 out"):
        check_experts(experts.load("i2v_high"), experts.load("t2v_low"))


def test_wan_2_1_beside_wan_2_2_is_only_told() -> None:
    """Same size, same channels: the run works, and some make it on purpose."""
    high, low = made("I2V"), made("2.1 I2V")
    check_experts(high, low)
    assert doubts(high, low) == [
        "warning: model_low is a Wan 2.1 model. Connect the experts of Wan 2.2."
    ]


class Flux(torch.nn.Module):
    """A model of another family, as far as it is looked at before a run."""

    def __init__(self, channels: int = 16) -> None:
        super().__init__()
        self.latent_format = type("LatentFormat", (), {"latent_channels": channels})()
        self.model_sampling = comfy.model_sampling.ModelSamplingDiscreteFlow()
        self.model_config = type("Config", (), {"unet_config": {"image_model": "flux"}})()


def patcher(model: torch.nn.Module) -> Any:
    return comfy.model_patcher.ModelPatcher(model, load_device=CPU, offload_device=CPU)


def test_another_family_twice_is_only_told() -> None:
    high, low = patcher(Flux()), patcher(Flux())
    check_experts(high, low)
    told = "{} is Flux with 16 latent channels, not a Wan model."
    assert doubts(high, low) == [
        f"warning: {told.format(name)}" for name in ("model_high", "model_low")
    ]


@pytest.mark.parametrize("channels", [4, 16])
def test_another_family_beside_wan_is_refused(channels: int) -> None:
    with pytest.raises(ValueError, match=f"model_low is Flux with {channels} latent channels"):
        check_experts(made("T2V"), patcher(Flux(channels)))


def test_a_model_that_says_nothing_of_itself_is_no_fault() -> None:
    """As another pack may make it: without ComfyUI's detected configuration."""
    bare = [patcher(Flux()), patcher(Flux())]
    for each in bare:
        each.model.model_config = None
    check_experts(*bare)


def shifted(model: Any, shift: float) -> Any:
    return ModelSamplingSD3().patch(model, shift)[0]


@pytest.mark.parametrize(
    "high, low, sigma, own",
    [
        (5.0, 8.0, 0.8333, "0.8889"),
        (8.0, 5.0, 0.8889, "0.8333"),
        (5.0, 5.05, 0.8333, "0.8347"),
        (5.0, 5.0, 0.8333, None),
        (5.0, 5.02, 0.8333, None),
        (5.0, 8.0, 0.0, None),
        (5.0, 8.0, None, None),
    ],
)
def test_another_shift_is_told_with_both_sigmas(
    high: float, low: float, sigma: float | None, own: str | None
) -> None:
    models = shifted(made("I2V"), high), shifted(made("I2V"), low)
    expected = (
        f"warning: model_high has shift {high:g}, model_low {low:g}: the hand-over at sigma "
        f"{sigma:.4f} would be at {own} by the low one's. model_high's counts; set shift for both."
        if sigma and own
        else None
    )
    assert doubts(*models, sigma) == ([expected] if expected else [])


def test_one_model_on_both_inputs_is_told() -> None:
    high = made("I2V")
    told = ["warning: model_high and model_low are the same model. Connect both experts."]
    assert doubts(high, high.clone()) == told
    assert doubts(shifted(high, 5.0), shifted(high, 8.0), 0.8333)[1].startswith("warning: model_hi")


def test_swapped_experts_are_told_by_their_files() -> None:
    high, low = (experts.load(f"i2v_{role}") for role in ("high", "low"))
    assert doubts(high, low) == []
    low_file, high_file = (FILES[f"i2v_{role}"].split("/")[1] for role in ("low", "high"))
    assert doubts(low, high) == [
        f"warning: model_high is loaded from {low_file}, whose name says low. Are the two swapped?",
        f"warning: model_low is loaded from {high_file}, whose name says high. "
        "Are the two swapped?",
    ]
