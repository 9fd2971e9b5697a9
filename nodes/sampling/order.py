"""What is sampled, and in which order: the scene, and one run of it, checked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import comfy.model_management
import comfy.sample
import comfy.samplers
import comfy.utils
import latent_preview
import torch

from .options import mask_function
from .schedule import Plan, Share, cfg_of
from .svi import latent_format_of, svi_concat, svi_conditioned

# Told of each step that ended, in place of core's progress bar: which, of how many, who takes the
# next, and what the video looks like so far, [B, 16, T, H, W].
Watch = Callable[[int, int, str, torch.Tensor], None]


@dataclass(frozen=True)
class Scene:
    """What is sampled: the experts, the conditioning lists of all, and a latent."""

    model_high: Any
    model_low: Any
    positive: list[Any]
    negative: list[Any]
    latent: dict[str, Any]
    model_first: Any = None

    def expert(self, role: str) -> Any:
        """The model of a role: first, high or low."""
        return {"first": self.model_first, "high": self.model_high, "low": self.model_low}[role]

    def anchored(
        self,
        anchor: torch.Tensor,
        previous: torch.Tensor | None,
        end: torch.Tensor | None,
        length: int,
        motion_latents: int,
    ) -> Scene:
        """The same scene for one clip of SVI 2.0 Pro; see `svi_concat`."""
        latent_format = latent_format_of(self.model_high)
        concat, mask = svi_concat(anchor, previous, length, motion_latents, end, latent_format)
        positive, negative = svi_conditioned(self.positive, self.negative, concat, mask)
        return replace(
            self,
            positive=positive,
            negative=negative,
            latent=self.latent or {"samples": torch.zeros_like(concat)},
        )


@dataclass(frozen=True)
class Order:
    """One run: what, on which sigmas (steps + 1,), by whom; `sampler` None means the plan's."""

    scene: Scene
    plan: Plan
    sigmas: torch.Tensor
    shares: Sequence[Share]
    seed: int
    sampler: Any = None
    watch: Watch | None = None

    def sampler_object(self) -> Any:
        """ComfyUI's sampler for this run."""
        return self.sampler or comfy.samplers.sampler_object(self.plan.sampler_name)

    def make_noise(self) -> torch.Tensor:
        """The noise of the seed, in the latent's shape, on the CPU. It seeds torch as well."""
        latent = self.scene.latent
        noise: torch.Tensor = comfy.sample.prepare_noise(
            latent["samples"], self.seed, latent.get("batch_index")
        )
        return noise

    def guider(self, share: Share) -> comfy.samplers.CFGGuider:
        """ComfyUI's guider for one expert, at the first cfg of its share."""
        guider = comfy.samplers.CFGGuider(self.scene.expert(share.role))
        guider.set_conds(self.scene.positive, self.scene.negative)
        guider.set_cfg(share.cfgs[0])
        return guider

    def cfg_at(self, share: Share) -> Callable[[float], float] | None:
        """The cfg of a model call by its sigma; None where it is one number."""
        levels = self.sigmas.tolist()
        return partial(cfg_of, share, levels) if len(set(share.cfgs)) > 1 else None

    def sampler_options(self) -> dict[str, Any]:
        """Model options that the sampler reads itself, where they are not the same for all."""
        models = ((share, self.scene.expert(share.role)) for share in self.shares)
        key = "denoise_mask_function"
        return mask_function(
            [(share.down_to, model.model_options.get(key)) for share, model in models]
        )

    def options(self) -> dict[str, Any]:
        """What core's samplers take besides: mask, progress and preview, seed."""
        return {
            "callback": self._callback,
            "disable_pbar": not comfy.utils.PROGRESS_BAR_ENABLED,
            "seed": self.seed,
        }

    @cached_property
    def _callback(self) -> Callable[..., None]:
        # Once for all shares: with a TAESD preview, ComfyUI reads its decoder from disk for it.
        if not self.watch:
            steps = len(self.sigmas) - 1
            core: Callable[..., None] = latent_preview.prepare_callback(
                self.scene.model_high, steps
            )
            return core
        return partial(_watched, self.watch, [part.role for part in self.shares for _ in part.cfgs])

    def finished(self, samples: torch.Tensor) -> dict[str, Any]:
        """The latent that goes on, as ComfyUI's samplers hand it on."""
        latent = self.scene.latent
        kept = {key: each for key, each in latent.items() if not key.startswith("downscale_ratio")}
        at_rest = samples.to(
            device=comfy.model_management.intermediate_device(),
            dtype=comfy.model_management.intermediate_dtype(),
        )
        return kept | {"samples": at_rest}


def _watched(
    watch: Watch, roles: Sequence[str], step: int, x0: torch.Tensor, _: Any, steps: int
) -> None:
    watch(step + 1, steps, roles[min(step + 1, len(roles) - 1)], x0)


def in_words(role: str) -> str:
    """An expert by its role, in a sentence."""
    return "expert of the first steps" if role == "first" else f"{role}-noise expert"


def check_made(samples: torch.Tensor, role: str) -> None:
    """Raise when an expert has left numbers that are not finite: they would end as black frames."""
    wrong = samples.numel() - int(torch.isfinite(samples).sum())
    if wrong:
        raise ValueError(
            f"The {in_words(role)} left {wrong} of {samples.numel()} numbers of the latent that "
            "are not finite. Most often that is an attention backend: start ComfyUI with "
            "--use-pytorch-cross-attention. Or weights in fp16: take bf16 or fp8 ones."
        )
