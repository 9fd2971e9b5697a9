"""Clip after clip: sampled or found, decoded, joined to the one before, and written."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import av
import comfy.model_management
import comfy.utils
import torch

from ..sampling.colour import colour_matched
from ..sampling.memory import reset_as_after_a_node
from ..sampling.order import Scene, Watch
from ..sampling.run import Way, dual_sample
from ..sampling.schedule import Plan
from ..sampling.svi import JOINS, joined, overlap
from .clips import Clip, ClipError
from .folder import ClipFolder, Found, hashed
from .segments import frames_in, write_segment


@dataclass(frozen=True)
class Look:
    """What is made of the sampled clips: none of it is sampled again when this changes."""

    join: str
    colour_match: float
    fps: float

    def __post_init__(self) -> None:
        """Raise for what a link may bring, before a clip is sampled."""
        if not 0 <= self.colour_match <= 1 or not 0.001 <= self.fps <= 1000:
            raise ClipError(
                f"colour_match is {self.colour_match} and fps {self.fps}; they must lie between "
                "0 and 1, and 0.001 and 1000."
            )


@dataclass(frozen=True)
class Film:
    """A long video: how its clips are sampled, and what they are given.

    Every clip is reminded of `image` [1, h, w, 3], the last one ends on `end`, and the first one
    goes on from `previous`, the latent of a video.
    """

    scene_of: Callable[[Clip], Scene]
    vae: Any
    plan: Plan
    way: Way
    image: torch.Tensor
    end: torch.Tensor | None
    previous: torch.Tensor | None
    motion_latents: int
    look: Look

    @cached_property
    def anchor(self) -> torch.Tensor:
        """The encoded image: once for all clips."""
        anchor: torch.Tensor = self.vae.encode(self.image)
        return anchor


@dataclass
class Made:
    """What has been made so far: a segment and a line for each clip, and the last one's latent.

    `settings` are the lines on steps, cfg and doubts of the first clip that was sampled.
    """

    settings: list[str] = field(default_factory=list)
    segments: list[Path] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    latent: torch.Tensor | None = None


def check_clips(
    clips: Sequence[Clip], motion_latents: int, join: str, goes_on: bool = False
) -> None:
    """Raise ClipError for a clip too short to hold what it repeats and what it hands on.

    `goes_on`: the first clip, too, repeats frames of a video before it.
    """
    if join not in JOINS or motion_latents < 0:
        raise ClipError(f"join is {join!r} with motion_latents {motion_latents}; see the node.")
    repeated = overlap(motion_latents)
    for number, clip in enumerate(clips, 1):
        least = repeated + 4 if goes_on or number > 1 else 5
        if join == "blend" and number < len(clips):
            least += repeated - 1
        if number < len(clips):
            least = max(least, 4 * motion_latents - 3)
        if clip.length < least:
            raise ClipError(
                f"Clip {number} has {clip.length} frames; with motion_latents {motion_latents} and "
                f"join {join} it needs {least} or more."
            )


def said(plan: Plan, way: Way) -> str:
    """What a run is asked for, but for a given sampler, which its own node says."""
    return repr((plan, replace(way, sampler=None)))


def made_clips(
    film: Film,
    clips: Sequence[Clip],
    found: Sequence[Found],
    folder: ClipFolder,
    begin: Callable[[int], Watch],
) -> Iterator[Made]:
    """Make clip after clip, and tell after each; what was `found` in `folder` is not made again.

    A latent is written as soon as it is sampled, so that whatever ends the run costs one clip at
    most. No frames are kept but those of one clip and the few that the next one fades into.
    """
    made, segment_key, previous, held = Made(), "", film.previous, None
    for clip, (number, key, path) in zip(clips, found, strict=True):
        comfy.model_management.throw_exception_if_processing_interrupted()
        started, last, tell = time.monotonic(), number == len(clips), begin(number)
        told = "found" if path else "sampled"
        if path:
            latent = folder.load(path)["samples"]
        else:
            latent, text = _sampled(film, clip, previous, last, tell)
            made.settings = made.settings or _settings_in(text)
            path = folder.save(number, *key, {"samples": latent})
        look = film.look
        segment_key = hashed(
            segment_key, path.name, asdict(look), film.motion_latents, last, av.__version__
        )
        segment = folder.segment_path(number, segment_key)
        if told == "found" and frames_in(segment):
            held = None  # decoded anew if the next segment needs it
        else:
            frames = _frames(film, latent)
            if previous is not None and held is None:
                held = _held(film, previous, frames) if number > 1 else frames[:0]
            ready, held = joined(held, frames, film.motion_latents, look.join, last)
            write_segment(ready, segment, look.fps)
            del frames, ready
        reset_as_after_a_node()
        made.segments.append(segment)
        made.latent = previous = latent
        seconds = time.monotonic() - started
        made.lines.append(_line(number, clip, told, seconds, frames_in(segment)))
        yield made


def _settings_in(schedule: str) -> list[str]:
    lines = schedule.splitlines()
    return lines[:2] + [line for line in lines[2:] if line.startswith(("warning", "note"))]


def _held(film: Film, before: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """What the clip before holds back; it is long enough that nothing else is mixed into that."""
    count = overlap(film.motion_latents) - 1 if film.look.join == "blend" else 0
    return _frames(film, before)[-count:].clone() if count else like[:0]


def _frames(film: Film, latent: torch.Tensor) -> torch.Tensor:
    """The frames of a clip, [F, h, w, 3], with the colours that are asked for."""
    frames = film.vae.decode(latent)
    frames = frames.reshape(-1, *frames.shape[-3:])
    return colour_matched(frames, film.image, film.look.colour_match)


def _line(number: int, clip: Clip, told: str, seconds: float, frames: int) -> str:
    taken = f" in {seconds:.0f} s" if told == "sampled" else ""
    return f"clip {number}: {told}{taken}, seed {clip.seed}, {frames} frames: {clip.prompt:.60}"


def _sampled(
    film: Film, clip: Clip, previous: torch.Tensor | None, last: bool, watch: Watch
) -> tuple[torch.Tensor, str]:
    end = film.vae.encode(film.end) if last and film.end is not None else None
    motion = film.motion_latents if previous is not None else 0
    scene = film.scene_of(clip).anchored(film.anchor, previous, end, clip.length, motion)
    out, text = dual_sample(scene, film.plan, film.way, clip.seed, watch, keep=False)
    return out["samples"].cpu(), text


def encoded(clip: Any, texts: Iterable[str]) -> dict[str, Any]:
    """The conditioning of each text; all at once, so that the text encoder can leave."""
    return {text: clip.encode_from_tokens_scheduled(clip.tokenize(text)) for text in texts}


def one_of(latent: torch.Tensor) -> torch.Tensor:
    """The latent of one video. Raises ClipError for a batch: its frames would stand in a row."""
    if len(latent) != 1:
        raise ClipError(f"previous holds {len(latent)} videos. Choose one with LatentFromBatch.")
    return latent


def sized(image: torch.Tensor, width: int, height: int) -> torch.Tensor:
    """The middle of the first of some images, [1, h, w, 3], as WanImageToVideo takes it.

    Raises ClipError for a size that the VAE would cut without a word.
    """
    for name, value in (("width", width), ("height", height)):
        if value % 8 or value < 16:
            near = max(16, value - value % 8)
            raise ClipError(
                f"{name} is {value}; it must be 16 or more and a multiple of 8, such as {near}."
            )
    moved = image[:1, ..., :3].movedim(-1, 1)
    return comfy.utils.common_upscale(moved, width, height, "lanczos", "center").movedim(1, -1)
