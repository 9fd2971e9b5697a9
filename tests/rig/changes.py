"""What users hang on conditioning and on models, as functions from a scene to another scene."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import comfy.hooks
import nodes
import torch
from comfy.controlnet import ControlBase
from comfy_extras.nodes_context_windows import WanContextWindowsManualNode
from comfy_extras.nodes_differential_diffusion import DifferentialDiffusion
from comfy_extras.nodes_hooks import CreateHookKeyframe, SetHookKeyframes, SetModelHooksOnCond
from comfy_extras.nodes_video_model import ConditioningSetAreaPercentageVideo

from pack.nodes.sampling.order import Scene  # type: ignore[import-not-found]

Change = Callable[[Scene], Scene]
Cond = list[Any]


def texts(change: Callable[[Cond], Cond]) -> Change:
    """Both conditioning lists."""
    return lambda at: replace(at, positive=change(at.positive), negative=change(at.negative))


def models(change: Callable[[Any], Any]) -> Change:
    """Both models."""
    return lambda at: replace(at, model_high=change(at.model_high), model_low=change(at.model_low))


def area(cond: Cond) -> Cond:
    """In pixels: width, height, x, y."""
    return nodes.ConditioningSetArea().append(cond, 32, 48, 16, 8, 0.7)[0] + cond


def area_percent(cond: Cond) -> Cond:
    """Width, height, x, y as parts of the whole."""
    return nodes.ConditioningSetAreaPercentage().append(cond, 0.5, 0.5, 0.25, 0.5, 0.7)[0] + cond


def area_in_time(cond: Cond) -> Cond:
    """The first two of three frames of the latent."""
    part = (0.5, 1.0, 0.67, 0.5, 0.0, 0.0, 0.7)
    return ConditioningSetAreaPercentageVideo().append(cond, *part)[0] + cond


def masked(where: str) -> Callable[[Cond], Cond]:
    """`where` is `default`, or `mask bounds`, which makes an area of the mask."""
    mask = torch.zeros(1, 64, 64)
    mask[:, 8:40, 16:56] = 0.6
    setting = (mask, where, 0.9)
    return lambda cond: nodes.ConditioningSetMask().append(said(cond, 3), *setting)[0] + cond


def said(cond: Cond, turn: int) -> Cond:
    """The same with other words."""
    return [[torch.roll(words, turn, -1), kept] for words, kept in cond]


def timed(cond: Cond) -> Cond:
    """Other words from a point in the high expert's steps on, and again from one in the low's."""
    parts = []
    for turn, ends in enumerate(pairwise((0.0, 0.2, 0.7, 1.0))):
        parts += nodes.ConditioningSetTimestepRange().set_range(said(cond, turn), *ends)[0]
    return parts


def hooked(cond: Cond) -> Cond:
    """A LoRA for this conditioning only."""
    return SetModelHooksOnCond().attach_hook(cond, lora_hook(11))[0]


def hooked_in_part(cond: Cond) -> Cond:
    """Two of them, one with a strength that changes twice."""
    frames = None
    for strength, start in ((1.0, 0.0), (0.3, 0.2), (1.4, 0.7)):
        (frames,) = CreateHookKeyframe().create_hook_keyframe(strength, start, frames)
    (hooks,) = SetHookKeyframes().set_hook_keyframes(lora_hook(11), frames)
    (first,) = SetModelHooksOnCond().attach_hook(cond, hooks)
    (second,) = SetModelHooksOnCond().attach_hook(cond, lora_hook(12))
    return first + second


def hooked_at_first(cond: Cond) -> Cond:
    """A LoRA for the first step only, as core says that: two keyframes that begin at once."""
    (frames,) = CreateHookKeyframe().create_hook_keyframe(3.0, 0.0, None)
    (frames,) = CreateHookKeyframe().create_hook_keyframe(0.0, 0.0, frames)
    (hooks,) = SetHookKeyframes().set_hook_keyframes(lora_hook(11), frames)
    return SetModelHooksOnCond().attach_hook(cond, hooks)[0]


def lora_hook(seed: int) -> Any:
    """What CreateHookLora makes of a file."""
    return comfy.hooks.create_hook_lora(lora(seed), 1.0, 0.0)


def lora(seed: int) -> dict[str, torch.Tensor]:
    """A LoRA of rank 2 for one weight of the small experts."""
    noise = torch.Generator().manual_seed(seed)
    key = "diffusion_model.blocks.0.self_attn.q"
    down, up = torch.randn(2, 16, generator=noise), torch.randn(16, 2, generator=noise)
    return {f"{key}.lora_A.weight": down, f"{key}.lora_B.weight": up}


class Control(ControlBase):
    """A controlnet that counts; ComfyUI has none that a Wan expert of this size takes."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def pre_run(self, model: Any, percent_to_timestep_function: Any) -> None:
        super().pre_run(model, percent_to_timestep_function)
        self.seen.append("pre_run")

    def get_control(self, x: torch.Tensor, *_: Any) -> dict[str, list[Any]]:
        assert self.timestep_range is not None
        self.seen.append("get_control")
        return {"output": [torch.zeros_like(x)]}

    def cleanup(self) -> None:
        super().cleanup()
        self.seen.append("cleanup")


def controlled(control: Control) -> Change:
    """With a controlnet on the positive conditioning."""
    return lambda at: replace(
        at, positive=[[words, kept | {"control": control}] for words, kept in at.positive]
    )


def windows(model: Any, freenoise: bool = True) -> Any:
    """Windows of two frames of the latent, one of which overlaps."""
    made = (5, 4, "standard_uniform", 1, False, "pyramid", freenoise)
    return WanContextWindowsManualNode.execute(model, *made).result[0]


def differing(model: Any) -> Any:
    """A noise mask that opens with the noise level."""
    return DifferentialDiffusion.execute(model).result[0]


def batch(at: Scene) -> Scene:
    """Two latents, the second and fourth of a larger batch, and something in them."""
    noise = torch.Generator().manual_seed(9)
    samples = torch.randn(2, *at.latent["samples"].shape[1:], generator=noise)
    return replace(at, latent={"samples": samples, "batch_index": [1, 3]})


def noise_mask(at: Scene) -> Scene:
    """A part of what is there stays."""
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., 8:40, 16:56] = 0.6
    return replace(at, latent=batch(at).latent | {"noise_mask": mask})


CONDITIONING: dict[str, Change] = {
    "area": texts(area),
    "area in time": texts(area_in_time),
    "mask": texts(masked("default")),
    "timestep ranges": texts(timed),
    "batch": batch,
    "noise mask": noise_mask,
    "differential diffusion": lambda at: models(differing)(noise_mask(at)),
    "all": lambda at: noise_mask(texts(lambda cond: timed(cond) + area(cond))(at)),
}
# With a video latent ComfyUI fails on these; so do we.
FAILING: dict[str, Change] = {
    "area percent": texts(area_percent),
    "mask bounds": texts(masked("mask bounds")),
}
HOOKS: dict[str, Change] = {"hook": texts(hooked), "hooks in part": texts(hooked_in_part)}
AT_FIRST: dict[str, Change] = {"hook at first": texts(hooked_at_first)}
WINDOWS: dict[str, Change] = {
    "context windows": models(lambda model: windows(model, False)),
    "context windows, freenoise": models(windows),
}
