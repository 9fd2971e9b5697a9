"""A clip's colours moved to those of its anchor image: tensors only."""

from __future__ import annotations

import torch

# Frames that are converted at a time: a conversion holds eleven times what it is given.
_PIECE = 2
# Lab units, under one step of 8 bits: what spreads less is flat, and has no contrast to match.
_FLAT = 0.1


def colour_matched(frames: torch.Tensor, anchor: torch.Tensor, amount: float) -> torch.Tensor:
    """`frames` with the anchor's mean and deviation of colour, taken over all frames at once.

    Images are [frames, height, width, 3], 0..1; the anchor may have a size of its own. `amount` 0
    gives the frames themselves, 1 the whole change. The change is the same in each frame, so that
    nothing flickers. Raises ValueError for an amount outside 0..1, or images of other channels.

    Reinhard, Ashikhmin, Gooch and Shirley 2001, Color Transfer between Images; in CIE Lab.
    """
    _check(frames, anchor, amount)
    if amount == 0 or not len(frames):
        return frames
    mean, spread = _statistics(frames)
    goal, goal_spread = (number.to(mean) for number in _statistics(anchor))
    matched = torch.empty_like(frames)
    for piece, place in zip(frames.split(_PIECE), matched.split(_PIECE), strict=True):
        moved = _rgb((_lab(piece) - mean).mul_(goal_spread / spread).add_(goal))
        place.copy_(torch.lerp(piece.float(), moved, amount).clamp_(0, 1))
    return matched


def _check(frames: torch.Tensor, anchor: torch.Tensor, amount: float) -> None:
    if not 0 <= amount <= 1:  # NaN lies nowhere
        raise ValueError(f"The amount of colour match is {amount}; it must lie between 0 and 1.")
    for name, images in (("clip", frames), ("anchor", anchor)):
        if images.ndim != 4 or images.shape[-1] != 3:
            raise ValueError(
                f"The colour match needs RGB images; those of the {name} have the shape "
                f"{list(images.shape)}, not [frames, height, width, 3]."
            )


def _statistics(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and deviation of each Lab channel over all pixels, (3, 1, 1) each."""
    pieces = images.split(_PIECE)
    found = [torch.var_mean(_lab(piece), dim=(0, 2, 3), correction=0) for piece in pieces]
    variances, means = (torch.stack(numbers).cpu().double() for numbers in zip(*found, strict=True))
    share = torch.tensor([[len(piece) / len(images)] for piece in pieces], dtype=torch.float64)
    mean = (share * means).sum(dim=0)
    spread = (share * (variances + (means - mean).square())).sum(dim=0).sqrt().clamp(min=_FLAT)
    numbers = torch.stack([mean, spread]).view(2, 3, 1, 1).float().to(images.device)
    return numbers[0], numbers[1]


def _lab(images: torch.Tensor) -> torch.Tensor:
    # ComfyUI brings it; the import is slow where nothing else has made it yet.
    from kornia.color import rgb_to_lab

    return rgb_to_lab(images.float().movedim(-1, 1))


def _rgb(lab: torch.Tensor) -> torch.Tensor:
    from kornia.color import lab_to_rgb

    return lab_to_rgb(lab).movedim(1, -1)
