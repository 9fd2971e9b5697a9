"""Finished clips on disk: exact or absent after a kill, found by what made them; disk faults."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("folder_paths")

from pack.catalog.files import sync_folder  # noqa: E402
from pack.nodes.video.clips import Clip  # noqa: E402
from pack.nodes.video.folder import ClipFolder, FolderError, Keys, keys  # noqa: E402
from pack.nodes.video.segments import frames_in, write_segment  # noqa: E402
from pack.nodes.video.whole import NameTaken, written_whole  # noqa: E402
from rig.killed import die_before, grown_old  # noqa: E402

CLIPS = [Clip(f"prompt {number}", number, 81, "") for number in range(4)]
KEYS = keys("base", CLIPS)
POSIX = os.name == "posix"


def tensors(number: int) -> dict[str, Any]:
    """About 3 MB, another for each clip: a latent, and the frames that are held back."""
    source = torch.Generator().manual_seed(number)
    samples = torch.randn(1, 16, 21, 30, 52, generator=source)
    return {"samples": samples, "held": torch.rand(4, 120, 208, 3, generator=source)}


def frames(number: int) -> Any:
    return torch.rand(9, 32, 48, 3, generator=torch.Generator().manual_seed(number))


def save(folder: ClipFolder, number: int) -> Path:
    return folder.save(number, *KEYS[number - 1], tensors(number))


def found(folder: ClipFolder, number: int) -> Path | None:
    return folder.find(number, *KEYS[number - 1], "redo")


def is_exact(folder: ClipFolder, path: Path, number: int) -> bool:
    held, wanted = folder.load(path), tensors(number)
    same = [torch.equal(held[name], wanted[name]) for name in wanted]
    return held.keys() == wanted.keys() and all(same)


@pytest.fixture
def folder(tmp_path: Path) -> ClipFolder:
    return ClipFolder.opened(tmp_path / "long_clips")


def test_what_was_saved_is_found_and_is_exact(folder: ClipFolder) -> None:
    for number in (1, 2):
        path = save(folder, number)
        assert path == found(folder, number) == folder.latent_path(number, KEYS[number - 1].chain)
        assert is_exact(folder, path, number)
        key = KEYS[number - 1].chain[:12]
        assert path.name == f"clip_000{number}_{key}.latent.safetensors"
        assert folder.segment_path(number, KEYS[number - 1].chain).name == path.name.replace(
            ".latent.safetensors", ".mp4"
        )
    assert found(folder, 3) is None
    assert len(list(folder.path.iterdir())) == 2


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_slices_and_half_floats_are_kept_as_they_are(folder: ClipFolder, dtype: Any) -> None:
    video = torch.rand(9, 8, 8, 3).to(dtype)
    path = folder.save(1, *KEYS[0], {"samples": video.movedim(-1, 0), "held": video[-4:]})
    held = folder.load(path)
    assert torch.equal(held["held"], video[-4:])
    assert torch.equal(held["samples"], video.movedim(-1, 0))


def test_saved_again_the_newer_one_counts(folder: ClipFolder) -> None:
    folder.save(1, *KEYS[0], tensors(7))
    assert is_exact(folder, save(folder, 1), 1)


@pytest.mark.parametrize(
    ("base", "clips", "same"),
    [
        ("base", CLIPS, [True] * 4),
        ("other", CLIPS, [False] * 4),
        ("base", CLIPS[:2], [True] * 2),
        ("base", [*CLIPS, CLIPS[0]], [True] * 4),
        ("base", [CLIPS[0], Clip("prompt 1", 99, 81, ""), *CLIPS[2:]], [True, False, None, None]),
        ("base", [CLIPS[0], Clip("prompt 1", 1, 85, ""), *CLIPS[2:]], [True, False, None, None]),
        ("base", [CLIPS[0], Clip("prompt 1", 1, 81, "x"), *CLIPS[2:]], [True, False, None, None]),
        ("base", [CLIPS[1], CLIPS[0]], [False, False]),
    ],
)
def test_the_own_key_says_the_clip_and_the_chain_key_all_up_to_it(
    base: str, clips: list[Clip], same: list[bool | None]
) -> None:
    """None: the clip is the same, what came before it is not."""
    for key, known, expected in zip(keys(base, clips), KEYS, same, strict=False):
        assert (key.own == known.own, key.chain == known.chain) == (
            expected is not False,
            expected is True,
        )


def test_clips_that_say_the_same_have_chains_of_their_own() -> None:
    first, second = keys("base", [CLIPS[0], CLIPS[0]])
    assert (first.own == second.own, first.chain == second.chain) == (True, False)


def test_after_a_new_second_clip_the_third_is_redone_or_kept(folder: ClipFolder) -> None:
    old = [save(folder, number) for number in (1, 2, 3)]
    new = keys("base", [CLIPS[0], Clip("prompt 1", 99, 81, ""), CLIPS[2]])
    assert [folder.find(at, *key, "redo") for at, key in enumerate(new, 1)] == [old[0], None, None]
    assert [folder.find(at, *key, "keep") for at, key in enumerate(new, 1)] == [
        old[0],
        None,
        old[2],
    ]
    assert [folder.find(at, *key, "redo") for at, key in enumerate(KEYS[:3], 1)] == old


def test_what_is_kept_is_the_newest_of_the_same_clip(folder: ClipFolder) -> None:
    paths = [folder.save(2, KEYS[1].own, f"{at:064x}"[::-1], tensors(at)) for at in (1, 2, 3)]
    for age, path in zip((3, 9, 1), paths, strict=True):
        os.utime(path, (age, age))
    assert folder.find(2, KEYS[1].own, "f" * 64, "keep") == paths[1]
    assert folder.find(1, KEYS[1].own, "f" * 64, "keep") is None


def altered(path: Path) -> Iterator[tuple[str, bytes]]:
    """The bytes of a latent file, damaged in many places."""
    data = path.read_bytes()
    for cut in (0, 1, 8, 100, len(data) // 2, len(data) - 1):
        yield f"cut at {cut}", data[:cut]
    for at in (0, 3, 7, 9, 60, 200, 500, 700, len(data) // 2, len(data) - 1):
        yield f"a bit at {at}", data[:at] + bytes([data[at] ^ 16]) + data[at + 1 :]
    yield "longer", data + b"\0"
    yield "zeros", bytes(len(data))
    yield "a hole", data[: len(data) // 2] + bytes(len(data) - len(data) // 2)
    yield "deep", (2**15).to_bytes(8, "little") + b"[" * 2**15
    yield "a web page", b"<html>" * 100


@pytest.mark.parametrize("following", ["redo", "keep"])
def test_a_damaged_file_is_not_taken(folder: ClipFolder, following: Any) -> None:
    path = save(folder, 1)
    for what, data in list(altered(path)):
        path.write_bytes(data)
        assert folder.find(1, *KEYS[0], following) is None, what
        with pytest.raises(FolderError, match="changed or removed"):
            folder.load(path)
    assert save(folder, 1) == folder.find(1, *KEYS[0], following)


def other_clip(folder: ClipFolder, path: Path) -> None:
    save(folder, 2).rename(path)


def other_base(folder: ClipFolder, path: Path) -> None:
    folder.save(1, *keys("other", CLIPS)[0], tensors(1)).rename(path)


def same_name(folder: ClipFolder, path: Path) -> None:
    """Another clip, of which only the first 12 digits of the key are the same."""
    folder.save(1, "0" * 64, KEYS[0].chain[:12] + "0" * 52, tensors(1))


def foreign(folder: ClipFolder, path: Path) -> None:
    from safetensors.torch import save_file

    save_file(tensors(1), path, {"clip": "1", "own": KEYS[0].own, "chain": KEYS[0].chain})


def a_folder(folder: ClipFolder, path: Path) -> None:
    path.mkdir()


def a_pipe(folder: ClipFolder, path: Path) -> None:
    os.mkfifo(path)


def a_loop(folder: ClipFolder, path: Path) -> None:
    path.symlink_to(path)


@pytest.mark.parametrize("following", ["redo", "keep"])
@pytest.mark.parametrize(
    "put",
    [other_clip, other_base, same_name, foreign, a_folder, *[a_pipe, a_loop][: 2 * POSIX]],
)
def test_what_is_not_this_clip_is_not_taken(folder: ClipFolder, put: Any, following: Any) -> None:
    path = folder.latent_path(1, KEYS[0].chain)
    put(folder, path)
    assert folder.find(1, *KEYS[0], following) is None


def test_a_renamed_file_is_not_taken(folder: ClipFolder) -> None:
    path = save(folder, 2)
    for name in ("clip_0001_" + "a" * 12, "clip_0002_" + "a" * 12, "clip_0002_x"):
        path = path.rename(folder.path / f"{name}.latent.safetensors")
        assert folder.find(1, *KEYS[1], "keep") is folder.find(2, *KEYS[1], "keep") is None


def test_only_what_a_killed_run_left_here_is_removed(folder: ClipFolder) -> None:
    clip, token = "clip_0001_0123456789ab", "0" * 16
    old = [f".{clip}.mp4.{token}.part.mp4", f".{clip}.latent.safetensors.{token}.part.safetensors"]
    others = [
        f".{clip}.mp4.{token}.part",
        f"{clip}.mp4.{token}.part.mp4",
        f".holiday.mp4.{token}.part.mp4",
        f".{clip}.mp4.part.mp4",
        f"{clip}.mp4",
        "notes.txt",
    ]
    for name in [*old, *others]:
        (folder.path / name).touch()
        os.utime(folder.path / name, (1, 1))
    living = folder.path / f".{clip}.mp4.{'1' * 16}.part.mp4"
    living.touch()  # by another ComfyUI, just now
    ClipFolder.opened(folder.path)
    assert {path.name for path in folder.path.iterdir()} == {*others, living.name}


def test_a_folder_of_many_clips_takes_no_time(folder: ClipFolder) -> None:
    for at in range(2000):
        (folder.path / f"clip_{at:04}_0123456789ab.mp4").touch()
    started = time.process_time()
    save(ClipFolder.opened(folder.path), 1)
    assert found(folder, 1)
    assert folder.find(2, *KEYS[1], "keep") is None
    assert time.process_time() - started < 0.3


def test_what_is_in_the_folders_way_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "clips"):
        with pytest.raises(FolderError, match=r"can not be written: .+\. .+, and run again"):
            ClipFolder.opened(path)


def test_a_folder_that_vanishes_is_not_made_again(folder: ClipFolder) -> None:
    """It may have lain on a disk that was taken out: another one would be filled."""
    folder.path.rmdir()
    with pytest.raises(FolderError, match="the folder is gone. See that its disk is there"):
        save(folder, 1)
    assert not folder.path.exists()
    assert found(folder, 1) is None


# What needs a process of its own: to be killed, to have a full disk, to have no rights.


def write_clips(path: Path) -> None:
    """All clips, latent and video, as a run writes them."""
    folder = ClipFolder.opened(path)
    for number, key in enumerate(KEYS, 1):
        if not found(folder, number):
            write_segment(frames(number), folder.segment_path(number, key.chain), 16)
            save(folder, number)


def kill_runs(base: Path, count: int) -> None:
    """Kill `count` runs, each in a folder of its own: at random moments, and one as it writes."""
    started = time.monotonic()
    write_clips(base / "whole")
    whole = time.monotonic() - started
    for at in range(count):
        if not (child := os.fork()):
            if not at:
                die_before(os.fsync)
            write_clips(base / f"killed_{at}")
            os._exit(0)
        if at:
            time.sleep(random.uniform(0, whole))
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


@contextmanager
def size_limit(size: int) -> Iterator[None]:
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def refused(path: Path) -> dict[str, Any]:
    """What a run says that can not write, and what it leaves."""
    try:
        write_clips(path)
    except FolderError as error:
        folder = ClipFolder(path)
        clips = [number for number in range(1, 5) if found(folder, number)]
        hidden = [p.name for p in path.iterdir() if p.name.startswith(".")]
        return {"said": str(error), "clips": clips, "hidden": hidden}
    return {}


def full_disk(path: Path) -> dict[str, Any]:
    """A disk with room for about two clips, then emptied."""
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=18m", "tmpfs", str(path)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        return {"skipped": "this system lets nobody mount a disk"}
    filler = path / "filler"
    filler.write_bytes(bytes(10 * 2**20))
    first = refused(path / "clips")
    filler.unlink()
    filler.write_bytes(b"")
    return {"first": first, "second": refused(path / "clips")}


def limited(path: Path) -> dict[str, Any]:
    with size_limit(2**20):
        first = refused(path)
    return {"first": first, "second": refused(path)}


def read_only(path: Path) -> dict[str, Any]:
    """A folder that has one clip and then can only be read; nobody is root any more."""
    folder = ClipFolder.opened(path)
    save(folder, 1)
    hidden = path.parent / "hidden"
    save(ClipFolder.opened(hidden), 1).chmod(0)
    hidden.chmod(0o777)
    path.chmod(0o555)
    if not os.geteuid():
        os.setuid(65534)
    try:
        (path / "probe").touch()
    except PermissionError:
        return {"first": refused(path), "unreadable": sought(hidden)}
    return {"skipped": "this system lets us write where nobody may"}


def sought(path: Path) -> str:
    """What a run says that may not read a finished clip."""
    try:
        return str(found(ClipFolder(path), 1))
    except FolderError as error:
        return str(error)


def in_a_process(base: str) -> None:
    """The runs that end badly; what they said goes to standard output."""
    torch.set_num_threads(1)
    kill_runs(Path(base), 21)
    ends = {
        each.__name__: each(Path(base) / each.__name__) for each in (full_disk, limited, read_only)
    }
    sys.stdout.write("\n" + json.dumps(ends))


@pytest.fixture(scope="module")
def ends() -> Iterator[tuple[Path, dict[str, Any]]]:
    """The folder with the killed runs, and what the others said."""
    if not POSIX:
        pytest.skip("needs processes that can be forked")
    # A folder that is nobody's, which one without rights can read too.
    base = Path(tempfile.mkdtemp(prefix="dualpass-clips-"))
    base.chmod(0o755)
    code = (
        "import sys, conftest, pathlib; conftest.load_pack(); base = pathlib.Path(sys.argv[1]);"
        "conftest.load_comfyui(conftest.COMFYUI, base / 'comfyui');"
        "import test_clip_folder; test_clip_folder.in_a_process(sys.argv[1])"
    )
    alone = (
        ["unshare", "--mount"] if not os.geteuid() else ["unshare", "--mount", "--map-root-user"]
    )
    if not shutil.which("unshare") or subprocess.run([*alone, "true"], check=False).returncode:
        alone = []
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parent), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [*alone, sys.executable, "-c", code, str(base)],
        env=env, capture_output=True, text=True, check=False, timeout=1200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    yield base, json.loads(done.stdout.splitlines()[-1])
    (base / "read_only").chmod(0o755)
    shutil.rmtree(base)


def check_exact(folder: ClipFolder, videos: dict[str, bytes]) -> int:
    """Each file is exact or absent; how many clips are whole."""
    whole = 0
    for number, key in enumerate(KEYS, 1):
        latent = folder.latent_path(number, key.chain)
        assert found(folder, number) == (latent if latent.exists() else None)
        segment = folder.segment_path(number, key.chain)
        assert frames_in(segment) == (9 if segment.exists() else 0)
        if segment.exists():
            assert segment.read_bytes() == videos[segment.name]
        if latent.exists():
            assert is_exact(folder, latent, number)
            whole += 1
    return whole


def test_a_killed_run_leaves_each_file_exact_or_absent(ends: tuple[Path, dict[str, Any]]) -> None:
    """21 moments; the next run goes on, and leaves nothing that the first began."""
    base, _ = ends
    videos = {path.name: path.read_bytes() for path in (base / "whole").glob("*.mp4")}
    assert len(videos) == 4
    begun = 0
    for at in range(21):
        folder = ClipFolder(base / f"killed_{at}")
        left = sorted(folder.path.iterdir()) if folder.path.exists() else []
        begun += sum(path.name.startswith(".") for path in left)
        check_exact(folder, videos)
        grown_old(folder.path)
        write_clips(folder.path)
        assert check_exact(folder, videos) == 4
        assert len(list(folder.path.iterdir())) == 8
    assert begun, "no run was killed while it wrote"


@pytest.mark.parametrize(
    ("fault", "said", "clips"),
    [
        ("full_disk", "the disk is full. Free some space, and run again. Finished clips", 2),
        ("limited", "the disk takes no file of that size. Choose a place on another disk", 0),
        ("read_only", "it may not be written. Allow it, and run again. Finished clips are kept", 1),
    ],
)
def test_a_disk_that_refuses_is_told_in_a_sentence_and_the_run_can_go_on(
    ends: tuple[Path, dict[str, Any]], fault: str, said: str, clips: int
) -> None:
    _, all_ends = ends
    end = all_ends[fault]
    if "skipped" in end:
        pytest.skip(end["skipped"])
    assert said in end["first"]["said"]
    moved = "name it as the video with _clips: they are found."
    ending = moved if fault == "limited" else "the run goes on at the next one."
    assert end["first"]["said"].endswith(ending)
    assert end["first"]["clips"] == list(range(1, clips + 1))
    assert not end["first"]["hidden"]
    assert not end.get("second")  # it went through


def test_a_finished_clip_that_may_not_be_read_is_not_made_again(
    ends: tuple[Path, dict[str, Any]],
) -> None:
    end = ends[1]["read_only"]
    if "skipped" in end:
        pytest.skip(end["skipped"])
    assert "can not be read (Permission denied). It may be a finished clip" in end["unreadable"]


def test_a_new_file_takes_no_name_that_was_taken_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "video.mp4"
    with pytest.raises(NameTaken), written_whole(path, new=True) as part:
        part.write_text("ours")
        path.write_text("another's")
    assert [each.read_text() for each in tmp_path.iterdir()] == ["another's"]
    with written_whole(tmp_path / "other.mp4", new=True) as part:
        part.write_text("ours")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["other.mp4", "video.mp4"]


def test_two_programs_may_write_one_file(tmp_path: Path) -> None:
    """The last one's counts, and neither takes the other's part away."""
    path = tmp_path / "video.mp4"
    with written_whole(path) as first:
        first.write_text("first")
        with written_whole(path) as second:
            second.write_text("second")
        assert path.read_text() == "second"
    assert [each.read_text() for each in tmp_path.iterdir()] == ["first"]


@pytest.mark.skipif(sys.platform != "linux", reason="needs a folder that nobody can sync")
def test_a_folder_that_can_not_be_synced_is_no_reason_to_stop() -> None:
    with pytest.raises(OSError, match="Invalid argument"):
        os.fsync(os.open("/proc", os.O_RDONLY))
    sync_folder(Path("/proc"))


@pytest.mark.skipif(not POSIX, reason="other systems sync no folders")
@pytest.mark.parametrize("kind", ("latent", "segment"))
def test_the_disk_has_a_file_before_its_name_and_then_the_name(
    folder: ClipFolder, kind: str
) -> None:
    """So that after a power cut a name never stands for what was not written yet."""
    asked: list[Any] = []

    def note(_frame: Any, event: str, function: Any) -> None:
        if event == "c_call" and function in (os.fsync, os.replace):
            asked.append(function)

    sys.setprofile(note)
    try:
        if kind == "latent":
            save(folder, 1)
        else:
            write_segment(frames(1), folder.segment_path(1, KEYS[0].chain), 16.0)
    finally:
        sys.setprofile(None)
    assert asked == [os.fsync, os.replace, os.fsync]


def test_keys_are_a_pair_of_hashes() -> None:
    assert all(len(key.own) == len(key.chain) == 64 for key in KEYS)
    assert isinstance(KEYS[0], Keys)
