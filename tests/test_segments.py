"""Segments and their packet copy: every frame and time, the workflow, RAM that stays flat."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("comfy_api")

import av  # noqa: E402
from comfy_api.v0_0_2 import InputImpl  # noqa: E402

from pack.nodes.video.folder import FolderError  # noqa: E402
from pack.nodes.video.segments import (  # noqa: E402
    SegmentError,
    frames_in,
    join_segments,
    write_segment,
)
from rig.killed import die_before, grown_old  # noqa: E402

SAID = {
    "prompt": {"1": {"class_type": "X", "inputs": {"text": 'fox "ü" 狐'}}},
    "workflow": {"n": 1},
}


def frames(count: int, seed: int = 0, width: int = 96, height: int = 64) -> Any:
    """A picture that moves, another for each seed."""
    picture = torch.rand(height, width, 3, generator=torch.Generator().manual_seed(seed))
    picture = torch.nn.functional.avg_pool2d(picture.movedim(-1, 0), 9, 1, 4).movedim(0, -1)
    return torch.stack([torch.roll(picture, 2 * at, 1) for at in range(count)])


def segments(folder: Path, lengths: Sequence[int], fps: float = 16) -> list[Path]:
    paths = [folder / f"segment_{at}.mp4" for at in range(len(lengths))]
    for at, (path, length) in enumerate(zip(paths, lengths, strict=True)):
        write_segment(frames(length, at), path, fps)
    return paths


def decoded(path: Path) -> Any:
    with av.open(str(path)) as container:
        planes = [torch.from_numpy(frame.to_ndarray()) for frame in container.decode(video=0)]
    return torch.stack(planes)


def packets(path: Path) -> list[tuple[int, int, int, bool]]:
    """(pts, dts, duration in frames of 1/16 s, whether it is a key frame) of each packet."""
    with av.open(str(path)) as container:
        found = [packet for packet in container.demux(video=0) if packet.dts is not None]
        ticks = [16 * packet.time_base for packet in found]
    return [
        (int(p.pts * tick), int(p.dts * tick), int(p.duration * tick), p.is_keyframe)
        for p, tick in zip(found, ticks, strict=True)
    ]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 76, 260])
def test_a_segment_has_every_frame_and_begins_with_a_key_frame(tmp_path: Path, count: int) -> None:
    (path,) = segments(tmp_path, [count])
    assert frames_in(path) == len(decoded(path)) == count
    assert packets(path)[0][3]
    video = InputImpl.VideoFromFile(str(path))
    seen = video.get_components().images
    assert video.get_frame_rate() == 16
    assert list(seen.shape) == [count, 64, 96, 3]
    assert (seen - frames(count)).abs().mean() < 0.02
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "lengths",
    [
        [9],
        [1],
        [17, 12, 13, 12],
        [81, 76, 76],
        [1, 12, 1, 1, 2, 3, 1],
        [5, 1],
        [2, 2, 2],
        [3, 4, 260, 5],
    ],
)
def test_a_joined_video_is_its_segments_one_after_the_other(
    tmp_path: Path, lengths: list[int]
) -> None:
    paths, joined = segments(tmp_path, lengths), tmp_path / "joined.mp4"
    join_segments(paths, joined, 16, {})
    assert torch.equal(decoded(joined), torch.cat([decoded(path) for path in paths]))
    copied, total = packets(joined), sum(lengths)
    assert sorted(pts for pts, *_ in copied) == list(range(total))
    dts = [each[1] for each in copied]
    assert dts == sorted(set(dts))
    assert all(pts >= dts for pts, dts, *_ in copied)
    assert {duration for _, _, duration, _ in copied} == {1}
    firsts = {sum(lengths[:at]) for at in range(len(lengths))}
    assert firsts <= {pts for pts, _, _, is_key in copied if is_key}
    with av.open(str(joined)) as container:
        stream = container.streams.video[0]
        assert stream.frames == total
        assert stream.average_rate == 16
        assert stream.duration * stream.time_base == Fraction(total, 16)
        assert abs(container.duration / av.time_base - total / 16) < 0.001
    video = InputImpl.VideoFromFile(str(joined))
    assert video.get_frame_count() == total
    assert abs(video.get_duration() - total / 16) < 0.001


@pytest.mark.parametrize("fps", [8, 15, 16.0, 23.976, 24, 29.97, 30, 60])
def test_any_rate_is_kept(tmp_path: Path, fps: float) -> None:
    paths, joined = segments(tmp_path, [9, 1, 8], fps), tmp_path / "joined.mp4"
    join_segments(paths, joined, fps, {})
    with av.open(str(joined)) as container:
        stream = container.streams.video[0]
        rate = Fraction(round(fps * 1000), 1000)
        assert abs(stream.average_rate - rate) < Fraction(1, 1000)
        assert abs(stream.duration * stream.time_base - 18 / rate) < Fraction(1, 1000)
        times = [packet.pts * packet.time_base for packet in container.demux(stream) if packet.size]
    assert all(abs(at - index / rate) < Fraction(1, 1000) for index, at in enumerate(sorted(times)))


def test_a_seek_into_any_segment_shows_its_frame(tmp_path: Path) -> None:
    paths, joined = segments(tmp_path, [17, 12, 1, 13]), tmp_path / "joined.mp4"
    join_segments(paths, joined, 16, {})
    shown = decoded(joined)
    with av.open(str(joined)) as container:
        stream = container.streams.video[0]
        for at in (0, 16, 17, 20, 29, 30, 42):
            container.seek(int(Fraction(at, 16) / stream.time_base), stream=stream)
            times = (frame for frame in container.decode(stream) if frame.time * 16 >= at)
            assert torch.equal(torch.from_numpy(next(times).to_ndarray()), shown[at])


def test_the_workflow_is_where_comfyui_and_its_page_look_for_it(tmp_path: Path) -> None:
    """The page reads the first 2 MB, so it must stand before the pictures."""
    paths, joined = segments(tmp_path, [9, 8]), tmp_path / "joined.mp4"
    join_segments(paths, joined, 16, SAID | {"note": "plain"})
    with av.open(str(joined)) as container:
        found = dict(container.metadata)
    assert {key: json.loads(found[key]) for key in SAID} == SAID
    assert found["note"] == "plain"
    by_core = InputImpl.VideoFromFile(str(joined)).get_components().metadata
    assert {key: json.loads(by_core[key]) for key in SAID} == SAID
    data = joined.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ((0, 64, 96, 3), "without frames"),
        ((5, 64, 95, 3), "even sizes only; the frames are 95 x 64"),
        ((5, 63, 96, 3), "even sizes only; the frames are 96 x 63"),
    ],
)
def test_frames_that_give_no_video_are_refused(
    tmp_path: Path, shape: tuple[int, ...], said: str
) -> None:
    with pytest.raises(SegmentError, match=said):
        write_segment(torch.zeros(shape), tmp_path / "x.mp4", 16)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("fps", [0, -1, 0.0001, float("nan"), float("inf")])
def test_a_rate_that_is_none_is_refused(tmp_path: Path, fps: float) -> None:
    with pytest.raises(SegmentError, match="it must be 0.001 to 1000"):
        write_segment(frames(5), tmp_path / "x.mp4", fps)


def test_segments_of_other_sizes_are_refused_by_name(tmp_path: Path) -> None:
    paths = segments(tmp_path, [5, 5])
    write_segment(frames(5, 0, 64), paths[1], 16)
    with pytest.raises(SegmentError, match=r"segment_1.+h264, 64 x 64 and h264, 96 x 64"):
        join_segments(paths, tmp_path / "joined.mp4", 16, {})


def test_segments_of_another_encoder_are_refused_by_name(tmp_path: Path) -> None:
    """Their packets would be decoded with the settings of the first one."""
    paths = segments(tmp_path, [5, 5])
    with av.open(str(paths[1]), "w") as out:
        stream = out.add_stream("h264", rate=16, options={"bf": "0", "refs": "1"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        picture = (frames(1)[0] * 255).byte().numpy()
        out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        out.mux(stream.encode(None))
    with pytest.raises(SegmentError, match=r"segment_1.+other settings of the encoder"):
        join_segments(paths, tmp_path / "joined.mp4", 16, {})


@pytest.mark.parametrize("damage", ["gone", "empty", "cut", "cut short", "text", "folder"])
def test_a_damaged_segment_is_refused_by_name(tmp_path: Path, damage: str) -> None:
    paths, joined = segments(tmp_path, [9, 9, 9]), tmp_path / "joined.mp4"
    joined.write_bytes(b"the one before")
    data = paths[1].read_bytes()
    paths[1].unlink()
    if damage == "folder":
        paths[1].mkdir()
    elif damage != "gone":
        kept = {
            "empty": 0,
            "cut": len(data) // 2,
            "cut short": data.index(b"moov") + 300,
            "text": 0,
        }[damage]
        paths[1].write_bytes(data[:kept] or (b"a" * 999 if damage == "text" else b""))
    assert frames_in(paths[1]) == 0
    with pytest.raises(SegmentError, match=r"segment_1.+Remove it, and run again"):
        join_segments(paths, joined, 16, {})
    assert joined.read_bytes() == b"the one before"
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_segments_of_another_rate_are_refused_by_name(tmp_path: Path) -> None:
    paths = segments(tmp_path, [5, 5], 24)
    with pytest.raises(SegmentError, match=r"segment_0.+has not 16 frames a second"):
        join_segments(paths, tmp_path / "joined.mp4", 16, {})


def test_nothing_to_join_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SegmentError, match="no segment"):
        join_segments([], tmp_path / "joined.mp4", 16, {})


@pytest.mark.parametrize("name", ["Füchse 狐 [1] 100% #a.mp4", "a'b file:x.mp4"])
def test_any_name_can_be_written(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "ü [b]"
    folder.mkdir()
    join_segments(segments(folder, [5, 4]), folder / name, 16, {})
    assert frames_in(folder / name) == 9


def test_a_folder_that_is_gone_is_told(tmp_path: Path) -> None:
    with pytest.raises(FolderError, match="the folder is gone"):
        write_segment(frames(5), tmp_path / "gone" / "x.mp4", 16)
    with pytest.raises(FolderError, match="the folder is gone"):
        join_segments(segments(tmp_path, [5]), tmp_path / "gone" / "x.mp4", 16, {})


def test_what_a_killed_join_left_is_removed_by_the_next(tmp_path: Path) -> None:
    paths, joined = segments(tmp_path, [5, 5]), tmp_path / "joined.mp4"
    mine = tmp_path / f".joined.mp4.{'0' * 16}.part.mp4"
    others = tmp_path / f".other.mp4.{'0' * 16}.part.mp4"
    living = tmp_path / f".joined.mp4.{'1' * 16}.part.mp4"  # another ComfyUI is at it
    mine.touch()
    others.touch()
    grown_old(tmp_path)
    living.touch()
    join_segments(paths, joined, 16, {})
    there = [path.exists() for path in (mine, others, living, joined)]
    assert there == [False, True, True, True]


# What needs a process of its own: to be measured, to be killed, to have no room.


def long_clips(folder: Path, count: int) -> list[Path]:
    """Segments of 1 MB and more: noise can not be made small."""
    paths = [folder / f"clip_{at}.mp4" for at in range(count)]
    write_segment(torch.rand(17, 240, 416, 3), paths[0], 16)
    for path in paths[1:]:
        shutil.copy(paths[0], path)
    return paths


def growth(paths: list[Path], joined: Path) -> int:
    """How many bytes the most RAM ever used grows by as all are joined."""
    import resource

    join_segments(paths[:1], joined, 16, SAID)  # what is loaded once
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    join_segments(paths, joined, 16, SAID)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024


def killed(paths: list[Path], joined: Path, count: int) -> tuple[int, int]:
    """Of joins that were killed: how many had begun, and how many are wrong.

    At random moments, and the first one as it writes.
    """
    started = time.monotonic()
    join_segments(paths, joined, 16, SAID)
    whole, data = time.monotonic() - started, joined.read_bytes()
    begun = wrong = 0
    for at in range(count):
        joined.unlink(missing_ok=True)
        if not (child := os.fork()):
            if not at:
                die_before(os.fsync)
            join_segments(paths, joined, 16, SAID)
            os._exit(0)
        if at:
            time.sleep(random.uniform(0, whole))
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        begun += any(path.name.startswith(".") for path in joined.parent.iterdir())
        wrong += joined.exists() and joined.read_bytes() != data
    return begun, wrong


def limited(paths: list[Path], joined: Path) -> list[str]:
    """What a join says that may write fewer bytes than it has, and what is wrong after it."""
    import resource

    size, (_, most) = joined.stat().st_size, resource.getrlimit(resource.RLIMIT_FSIZE)
    joined.write_bytes(b"the one before")
    ends = []
    # To the last block: FFmpeg writes it as it closes the file.
    for room in (0, 100, size // 3, size // 2, size - 40_000, size - 5000, size - 100, size - 1):
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, most))
        try:
            join_segments(paths, joined, 16, SAID)
            ends.append(f"nothing, with room for {room} of {size} bytes")
        except FolderError as error:
            ends.append(str(error))
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    if joined.read_bytes() != b"the one before":
        ends.append("the one before is gone")
    return ends + [path.name for path in joined.parent.iterdir() if path.name.startswith(".")]


def full_disk(paths: list[Path], folder: Path) -> list[str]:
    """As `limited`, on a disk of several sizes that has no more room."""
    ends = []
    whole = sum(path.stat().st_size for path in paths) // 1024
    for kib in (64, 1024, whole // 2, whole - 200):
        mount = ["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(folder)]
        if subprocess.run(mount, capture_output=True, check=False).returncode:
            return []
        try:
            join_segments(paths, folder / "joined.mp4", 16, SAID)
            ends.append(f"nothing, with room for {kib} KiB")
        except FolderError as error:
            ends.append(str(error))
        ends += [path.name for path in folder.iterdir()]
        subprocess.run(["umount", str(folder)], check=True)
    return ends


def in_a_process(base: str) -> None:
    folder, full = Path(base) / "clips", Path(base) / "full"
    folder.mkdir()
    full.mkdir()
    paths, joined = long_clips(folder, 30), folder / "joined.mp4"
    ends = {"growth": growth(paths, joined), "size": joined.stat().st_size}
    few = paths[:8]
    ends |= {"killed": killed(few, joined, 21)}
    grown_old(folder)
    join_segments(few, joined, 16, SAID)
    ends |= {"limited": limited(few, joined), "full": full_disk(few, full)}
    sys.stdout.write("\n" + json.dumps(ends))


@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    if os.name == "nt":
        pytest.skip("needs processes that can be forked")
    base = tmp_path_factory.mktemp("segments")
    code = (
        "import sys, conftest, pathlib; conftest.load_pack(); base = pathlib.Path(sys.argv[1]);"
        "conftest.load_comfyui(conftest.COMFYUI, base / 'comfyui');"
        "import test_segments; test_segments.in_a_process(sys.argv[1])"
    )
    alone = ["unshare", "--mount"] + ["--map-root-user"] * bool(os.geteuid())
    if not shutil.which("unshare") or subprocess.run([*alone, "true"], check=False).returncode:
        alone = []
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parent), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [*alone, sys.executable, "-c", code, str(base)]
    done = subprocess.run(
        command, env=env, capture_output=True, text=True, check=False, timeout=1200
    )
    assert done.returncode == 0, done.stderr
    shutil.rmtree(base)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_joining_30_segments_takes_no_more_ram_than_one(ends: dict[str, Any]) -> None:
    assert ends["size"] > 20 * 2**20
    assert ends["growth"] < 10 * 2**20


def test_a_killed_join_leaves_the_video_exact_or_absent(ends: dict[str, Any]) -> None:
    begun, wrong = ends["killed"]
    assert begun, "no join was killed while it wrote"
    assert not wrong


@pytest.mark.parametrize(
    ("fault", "said"), [("limited", "the disk takes no file of that size"), ("full", "is full")]
)
def test_a_join_without_room_is_told_and_leaves_what_was(
    ends: dict[str, Any], fault: str, said: str
) -> None:
    if fault == "full" and not ends["full"]:
        pytest.skip("this system lets nobody mount a disk")
    for end in ends[fault]:
        assert said in end
