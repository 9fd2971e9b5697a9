"""Frames to a video segment that stands for itself, and segments to one video, packet by packet."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import torch
from comfy_api.v0_0_2 import InputImpl, Types

from .whole import written_whole


class SegmentError(ValueError):
    """Frames that give no segment, or a file that is none; the message says what to do."""


def write_segment(frames: torch.Tensor, path: Path, fps: float) -> None:
    """Write frames [F, h, w, 3], 0..1, as H.264 in one step; it begins with a key frame.

    By ComfyUI's own video types: no frame of it refers to one outside (x264's closed GOP).
    Raises SegmentError for frames that give no video, FolderError for what the disk refuses.
    """
    count, height, width, _ = frames.shape
    if not count:
        raise SegmentError("A clip without frames gives no video. Make it longer.")
    if height % 2 or width % 2:
        raise SegmentError(f"H.264 takes even sizes only; the frames are {width} x {height}.")
    video = InputImpl.VideoFromComponents(
        Types.VideoComponents(images=frames[..., :3], frame_rate=_rate(fps))
    )
    encoded = BytesIO()
    video.save_to(encoded, format=Types.VideoContainer.MP4, codec=Types.VideoCodec.H264)
    with written_whole(path) as part:
        part.write_bytes(encoded.getbuffer())


def frames_in(path: Path) -> int:
    """How many frames a segment has; 0 when there is none, or one that can not be read."""
    try:
        with _opened(path) as source:
            return int(source.frames)
    except SegmentError:
        return 0


def join_segments(
    paths: Sequence[Path], path: Path, fps: float, metadata: Mapping[str, Any], new: bool = False
) -> None:
    """Write one video of the packets of all segments, in one step; nothing is decoded.

    `metadata` is embedded as ComfyUI's SaveVideo does it: texts as they are, all else as JSON.
    Raises SegmentError for segments that are damaged or do not go together, FolderError for what
    the disk refuses; with `new`, NameTaken where `path` is there by then.
    """
    rate = _rate(fps)
    delay = _common_delay(paths, rate)
    with written_whole(path, new) as part:
        # At the front of the file, or the page finds no workflow in it: it reads the first 2 MB.
        options = {"movflags": "use_metadata_tags+faststart"}
        with av.open(str(part), "w", format="mp4", options=options) as out:
            for key, value in metadata.items():
                out.metadata[key] = value if isinstance(value, str) else json.dumps(value)
            _copy(paths, out, rate, delay)


def _rate(fps: float) -> Fraction:
    """Frames a second as ComfyUI's video types round it."""
    if not 0.001 <= fps <= 1000:
        raise SegmentError(f"fps is {fps:g}; it must be 0.001 to 1000.")
    return Fraction(round(fps * 1000), 1000)


@dataclass(frozen=True)
class _Kind:
    """What all packets of one stream share; `setup` is the encoder's, which they refer to."""

    codec: str
    width: int
    height: int
    setup: bytes | None


def _common_delay(paths: Sequence[Path], rate: Fraction) -> int:
    """How many frames decoding runs ahead of showing, at most. Raises for mixed segments."""
    if not paths:
        raise SegmentError("There is no segment to join. Run at least one clip.")
    heads = [_head(path, rate) for path in paths]
    first, _ = heads[0]
    for path, (kind, _) in zip(paths, heads, strict=True):
        if kind != first:
            raise SegmentError(
                f"{path} was encoded in another way than {paths[0]}: {_difference(kind, first)}. "
                f"Remove the .mp4 files in {path.parent}, and run again: they are made anew of the "
                "latents."
            )
    return max(delay for _, delay in heads)


def _difference(one: _Kind, other: _Kind) -> str:
    sizes = [f"{kind.codec}, {kind.width} x {kind.height}" for kind in (one, other)]
    return " and ".join(sizes) if sizes[0] != sizes[1] else "other settings of the encoder"


def _head(path: Path, rate: Fraction) -> tuple[_Kind, int]:
    with _opened(path) as source:
        coder = source.codec_context
        kind = _Kind(coder.name, coder.width, coder.height, coder.extradata)
        first = next(_packets(source, path), None)
        if first is None:
            raise _damaged(path)
        if abs((first.duration or 0) * first.time_base * rate - 1) > 0.0005:
            raise SegmentError(
                f"{path} has not {float(rate):g} frames a second. "
                "Remove it, and run again: it is made anew."
            )
        return kind, round((first.pts - first.dts) * first.time_base * rate)


def _copy(paths: Iterable[Path], out: Any, rate: Fraction, delay: int) -> None:
    """Put the packets of all files behind each other, with times that go on."""
    stream, done = None, 0
    for path in paths:
        with _opened(path) as source:
            stream = stream or out.add_stream_from_template(template=source, opaque=True)
            shown: list[int] = []
            for packet in _packets(source, path):
                count = len(shown)
                shown.append(round(packet.pts * packet.time_base * rate))
                packet.stream, packet.time_base = stream, 1 / rate
                # Counted over the whole video: a segment of one or two frames has no delay of its
                # own, and its times would run into those of its neighbours.
                packet.pts, packet.dts, packet.duration = done + shown[-1], done + count - delay, 1
                out.mux(packet)
            if sorted(shown) != list(range(source.frames)):
                raise _damaged(path)
            done += len(shown)


def _packets(source: Any, path: Path) -> Iterator[Any]:
    try:
        for packet in source.container.demux(source):
            if packet.dts is not None:  # the last one is empty: it would flush a decoder
                yield packet
    except av.error.FFmpegError as error:
        raise _damaged(path) from error


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The video stream of a file. SegmentError where there is none that can be read."""
    try:
        container = av.open(str(path))
    except (av.error.FFmpegError, OSError) as error:
        raise _damaged(path) from error
    with container:
        if not container.streams.video:
            raise _damaged(path)
        yield container.streams.video[0]


def _damaged(path: Path) -> SegmentError:
    return SegmentError(f"{path} is no whole video. Remove it, and run again: it is made anew.")
