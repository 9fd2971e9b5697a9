"""The smallest experts, and samplings with them in this process: ours, and ComfyUI's own.

A model call takes 2 ms, so that thousands of settings can be compared.
"""

from __future__ import annotations

import json
import runpy
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import comfy.ldm.wan.model
import comfy.ops
import comfy.samplers
import comfy.sd
import comfy.utils
import nodes
import torch
from comfy_extras.nodes_model_advanced import ModelSamplingSD3

from pack.nodes.sampling.order import Scene  # type: ignore[import-not-found]
from pack.nodes.sampling.run import Way, dual_sample  # type: ignore[import-not-found]
from pack.nodes.sampling.schedule import Plan  # type: ignore[import-not-found]
from rig.tiny_recipes import weights

Cond = list[Any]
# The probe's package itself can be imported only in a server.
reference = runpy.run_path(str(Path(__file__).with_name("probe") / "reference.py"))["reference"]
TEXT, FREQ = 32, 16
SIZE = (1, 2, 2)  # frames, height and width of the latent
SEED = 7


def plan(
    sampler: str = "euler", scheduler: str = "simple", steps: int = 8, shift: float = 5.0
) -> Plan:
    """At cfg 2 for both experts, the boundary of image to video."""
    return Plan(steps, 2.0, 2.0, sampler, scheduler, shift, 0.9)


def expert(seed: str, kind: str = "i2v", blocks: int = 1, copy: int = 0) -> Any:
    """A Wan model with random weights, float32; the same ones for a seed, each copy loaded once."""
    return _loaded(seed, kind, blocks, copy).clone()


@cache
def _loaded(seed: str, kind: str, blocks: int, _copy: int) -> Any:
    """Loaded as ComfyUI loads a file."""
    channels = {"i2v": 36, "t2v": 16}[kind]
    model = comfy.ldm.wan.model.WanModel(
        model_type="t2v",
        in_dim=channels,
        out_dim=16,
        dim=16,
        ffn_dim=32,
        freq_dim=FREQ,
        text_dim=TEXT,
        num_heads=1,
        num_layers=1,
        device="meta",
        operations=comfy.ops.manual_cast,
    )
    size = {"text_dim": TEXT, "freq_dim": FREQ, "num_heads": 1}
    patcher = comfy.sd.load_diffusion_model_state_dict(
        weights(model.state_dict(), f"{seed} {kind}", torch.float32),
        model_options={"dtype": torch.float32},
        metadata={"config": json.dumps({"transformer": size})},
    )
    del patcher.model.diffusion_model.blocks[blocks:]
    return patcher


def text(seed: int, kind: str = "i2v", size: Sequence[int] = SIZE) -> Cond:
    """Conditioning as WanImageToVideo makes it: words, and with i2v an image in the first frame."""
    noise = torch.Generator().manual_seed(seed)
    options: dict[str, Any] = {}
    if kind == "i2v":
        options["concat_latent_image"] = torch.randn(1, 16, *size, generator=noise)
        options["concat_mask"] = torch.ones(1, 1, *size)
        options["concat_mask"][:, :, :1] = 0.0
    return [[torch.randn(1, 4, TEXT, generator=noise), options]]


def scene(
    high: Any, low: Any, kind: str = "i2v", size: Sequence[int] = SIZE, batch: int = 1
) -> Scene:
    """What the sampler node gets, with an empty latent."""
    latent = {"samples": torch.zeros(batch, 16, *size)}
    return Scene(high, low, text(1, kind, size), text(2, kind, size), latent)


def dual(at: Scene, plan: Plan, keep: bool = False) -> torch.Tensor:
    """Both experts, as our node samples them; `keep` lets a later run do without the high one."""
    out: torch.Tensor = dual_sample(at, plan, Way(), SEED, keep=keep)[0]["samples"]
    return out


def one(at: Scene, plan: Plan) -> torch.Tensor:
    """One KSampler on the high expert."""
    return _core(at, at.model_high, plan, at.latent)["samples"]


def swapped(at: Scene, plan: Plan, sigma: float = 0.9 - 1e-6) -> torch.Tensor:
    """One KSampler on the high expert whose model calls below `sigma` the low one answers."""
    low = shifted(at.model_low, plan.shift)
    return one(replace(at, model_high=reference(at.model_high, low, sigma)), plan)


def two(at: Scene, plan: Plan, step: int) -> torch.Tensor:
    """Two KSamplerAdvanced, which change at `step`."""
    asked = {"last_step": step, "force_full_denoise": False}
    half = _core(at, at.model_high, plan, at.latent, **asked)
    rest = {"start_step": step, "disable_noise": True, "force_full_denoise": True}
    return _core(at, at.model_low, plan, half, **rest)["samples"]


def _core(at: Scene, model: Any, plan: Plan, latent: dict[str, Any], **more: Any) -> dict[str, Any]:
    cfg = plan.cfg_low if model is at.model_low else plan.cfg_high
    made: dict[str, Any]
    (made,) = nodes.common_ksampler(
        shifted(model, plan.shift), SEED, plan.steps, cfg, plan.sampler_name, plan.scheduler,
        at.positive, at.negative, latent, **more,
    )  # fmt: skip
    return made


def shifted(model: Any, shift: float) -> Any:
    """Through ComfyUI's own node."""
    return ModelSamplingSD3().patch(model, shift)[0]


def high_steps(plan: Plan) -> int:
    """How many steps of a plan start at or above its boundary."""
    model = shifted(expert("high"), plan.shift)
    settings = (plan.steps, model.load_device, plan.sampler_name, plan.scheduler)
    sigmas = comfy.samplers.KSampler(model, *settings).sigmas.tolist()
    return sum(sigma >= plan.boundary - 1e-6 for sigma in sigmas[:-1])


def as_a_node_runs() -> Iterator[None]:
    """A fixture: in inference mode; and no more than one thread, which is quicker on so little."""
    threads, bar = torch.get_num_threads(), comfy.utils.PROGRESS_BAR_ENABLED
    torch.set_num_threads(1)
    comfy.utils.PROGRESS_BAR_ENABLED = False
    with torch.inference_mode():
        yield
    comfy.utils.PROGRESS_BAR_ENABLED = bar
    torch.set_num_threads(threads)


def difference(a: torch.Tensor, b: torch.Tensor) -> float:
    """The largest, relative to the largest value; infinite where one is not finite."""
    if not (a.isfinite().all() and b.isfinite().all()):
        return float("inf")
    return float((a.double() - b.double()).abs().max() / b.double().abs().max())
