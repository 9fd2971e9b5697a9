"""What SVI 2.0 Pro makes a clip from, and how clips become one video: tensors only."""

from __future__ import annotations

from typing import Any

import torch

JOINS = ("cut", "blend")

# 16 channels of noise, 4 of mask, 16 of image.
_IMAGE_TO_VIDEO = 36


class SviError(ValueError):
    """The latents or frames of a clip do not fit together."""


def latent_format_of(model: Any) -> Any:
    """ComfyUI's description of the latents of `model`; SviError for one that takes no anchor.

    A text-to-video expert has no channels for it and would ignore it without a word.
    """
    embedding = getattr(model.model.diffusion_model, "patch_embedding", None)
    weight = getattr(embedding, "weight", None)
    channels = 0 if weight is None else weight.shape[1]
    latent_format = model.get_model_object("latent_format")
    if (channels, latent_format.latent_channels) != (_IMAGE_TO_VIDEO, 16):
        raise SviError(
            "This model takes no anchor. Connect an image-to-video expert of Wan 2.2 14B, "
            "or one made from it."
        )
    return latent_format


def samples_of(name: str, latent: object) -> torch.Tensor:
    """The tensor of a LATENT. Raises SviError for what an API prompt wrote in place of a link."""
    match latent:
        case {"samples": torch.Tensor() as samples}:
            return samples
    raise SviError(f"{name} takes a link from VAE Encode or from a sampler, not {latent!r:.80}.")


def svi_concat(
    anchor: torch.Tensor,
    previous: torch.Tensor | None,
    length: int,
    motion_latents: int,
    end: torch.Tensor | None,
    latent_format: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """What a clip of `length` frames is given, [B, 16, T, H, W], and its mask, [1, 1, T, H, W].

    Latents as a VAE gives them, not yet normalised, an eighth of the pixels high and wide; T is
    (length - 1) / 4 + 1. In time: the anchor, the last `motion_latents` of `previous`, padding
    that is 0 after the model's normalisation, `end`. The mask is ComfyUI's concat_mask: 0 on the
    first latent and on `end`, 1 on all else, motion included. A batch of 1 serves a whole batch.
    Raises SviError for latents of another kind, size or batch, that are not finite or do not fit.

    vita-epfl/Stable-Video-Infinity, branch svi_wan22, diffsynth/pipelines/wan_video_svi_pro.py;
    the end frame is that of ComfyUI-KJNodes, pull request 474.
    """
    total = _latents_in(length)
    parts = {"anchor": anchor, "previous": previous if motion_latents else None, "end": end}
    given = {name: part for name, part in parts.items() if part is not None}
    _check_latents(given, latent_format.latent_channels)
    if "previous" in given:
        given["previous"] = _last(given["previous"], motion_latents)
    _check_room(given, total)
    batch = max(len(part) for part in given.values())
    padding = latent_format.process_out(_zeros(anchor, batch, total - _frames_of(given)))
    final = given.pop("end", padding[:, :, :0])
    concat = torch.cat(
        [
            part.to(padding).expand(batch, *part.shape[1:])
            for part in (*given.values(), padding, final)
        ],
        dim=2,
    )
    mask = torch.ones_like(concat[:1, :1])
    mask[:, :, 0] = 0
    mask[:, :, total - final.shape[2] :] = 0
    return concat, mask


def svi_conditioned(
    positive: list[Any], negative: list[Any], concat: torch.Tensor, mask: torch.Tensor
) -> tuple[list[Any], list[Any]]:
    """Both conditioning lists with what `svi_concat` gave; the lists that came in stay as is."""
    given = {"concat_latent_image": concat, "concat_mask": mask}
    first, second = (
        [[text, {**options, **given}] for text, options in conditions]
        for conditions in (positive, negative)
    )
    return first, second


def overlap(motion_latents: int) -> int:
    """How many frames at a clip's start repeat what came before: the anchor's, and the motion's."""
    return 1 + 4 * motion_latents


def joined(
    held: torch.Tensor | None,
    frames: torch.Tensor,
    motion_latents: int,
    join: str,
    last: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The frames that are final now, and those held back for the next clip to blend into.

    All are [frames, height, width, 3], 0..1; what can be a view of `frames` is one. `held` is what
    the call for the clip before gave back (empty for a cut), None for the first clip. `cut` is the
    official join: the frames that repeat are dropped. `blend` fades from the last
    4 * motion_latents frames into those that repeat them, never into the anchor's frame. Both make
    L + (n - 1) * (L - overlap) frames of n clips with L. Raises SviError for frames of another size
    or too few of them.
    """
    if join not in JOINS:
        raise SviError(f"join is {join!r}; it must be cut or blend.")
    if motion_latents < 0:
        raise SviError(f"motion_latents is {motion_latents}; it must be 0 or more.")
    repeated = overlap(motion_latents)
    keep = repeated - 1 if join == "blend" and not last else 0
    needed = keep if held is None else repeated
    if len(frames) < needed:
        raise SviError(
            f"To {join} with motion_latents {motion_latents}, a clip needs {needed} frames or "
            f"more; this one has {len(frames)}. Make it longer, or lower motion_latents."
        )
    stream = frames if held is None else _continued(held, frames, repeated)
    until = len(stream) - keep
    # A copy, so that the few frames do not keep the memory of their whole clip.
    return stream[:until], stream[until:].clone()


def _latents_in(length: int) -> int:
    if length < 5 or length % 4 != 1:
        below = max(5, length - (length - 1) % 4)
        raise SviError(
            f"length is {length}; it must be 1 and a multiple of 4, at least 5, such as {below}."
        )
    return (length - 1) // 4 + 1


def _frames_of(given: dict[str, torch.Tensor]) -> int:
    return sum(part.shape[2] for part in given.values())


def _zeros(like: torch.Tensor, batch: int, frames: int) -> torch.Tensor:
    shape = (batch, like.shape[1], frames, *like.shape[3:])
    # In half precision the mean that is added here is not the one that the model subtracts.
    return torch.zeros(shape, device=like.device, dtype=torch.float32)


def _check_latents(given: dict[str, torch.Tensor], channels: int) -> None:
    for name, part in given.items():
        if part.ndim != 5 or part.shape[1] != channels or not part.numel():
            raise SviError(
                f"{name} has the shape {list(part.shape)}; it must be [batch, {channels}, frames, "
                "height / 8, width / 8]. Encode it with the VAE of Wan 2.1."
            )
        if not part.isfinite().all():
            raise SviError(f"{name} holds numbers that are not finite. Make it again.")
    anchor = given["anchor"]
    for name, part in given.items():
        if part.shape[3:] != anchor.shape[3:]:
            raise SviError(
                f"anchor is {_size(anchor)}, {name} is {_size(part)}. Give both one size."
            )
    batches = {name: len(part) for name, part in given.items() if len(part) > 1}
    if len(set(batches.values())) > 1:
        said = " and ".join(f"{name} holds {count}" for name, count in batches.items())
        raise SviError(f"The batches differ: {said}. Each must hold 1, or the same number.")


def _size(latent: torch.Tensor) -> str:
    height, width = latent.shape[3:]
    return f"{width} x {height} latents ({width * 8} x {height * 8} pixels)"


def _last(previous: torch.Tensor, motion_latents: int) -> torch.Tensor:
    if not 0 < motion_latents <= previous.shape[2]:
        raise SviError(
            f"motion_latents is {motion_latents}; it must be 0 to {previous.shape[2]}, as many as "
            "previous has latents. For more, encode more frames of the video."
        )
    return previous[:, :, -motion_latents:]


def _check_room(given: dict[str, torch.Tensor], total: int) -> None:
    needed = _frames_of(given)
    if needed > total:
        said = ", ".join(f"{name} {part.shape[2]}" for name, part in given.items())
        raise SviError(
            f"A clip of {4 * total - 3} frames has room for {total} latents, not for {needed} "
            f"({said}). Set length to {4 * needed - 3} or more, or lower motion_latents."
        )


def _continued(held: torch.Tensor, frames: torch.Tensor, repeated: int) -> torch.Tensor:
    if held.shape[1:] != frames.shape[1:]:
        one, other = (
            f"{width} x {height} pixels with {channels} channels"
            for height, width, channels in (held.shape[1:], frames.shape[1:])
        )
        raise SviError(f"The clips are {one}, and {other}. Give both one size and kind.")
    if not len(held):
        return frames[repeated:]
    if len(held) != repeated - 1:
        raise SviError(
            f"{len(held)} frames were held back, but motion_latents asks for {repeated - 1}. "
            "Use one motion_latents for all clips."
        )
    # Neither end counts: both lie in clips where nothing is mixed.
    weights = torch.linspace(0, 1, repeated + 1)[1:-1].view(-1, 1, 1, 1).to(frames)
    return torch.cat([torch.lerp(held.to(frames), frames[1:repeated], weights), frames[repeated:]])
