"""The low expert's files are read while the high expert samples: real files, real page cache."""

from __future__ import annotations

import ctypes
import mmap
import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

management = pytest.importorskip("comfy.model_management")

import torch  # noqa: E402
from comfy.patcher_extension import WrappersMP  # noqa: E402
from comfy.sd import load_diffusion_model  # noqa: E402

from pack.nodes.sampling.order import Scene  # noqa: E402
from pack.nodes.sampling.prefetch import reading_ahead, unread_files  # noqa: E402
from pack.nodes.sampling.run import Way, dual_sample  # noqa: E402
from pack.nodes.sampling.schedule import Plan  # noqa: E402
from rig import tiny_models  # noqa: E402

pytestmark = pytest.mark.skipif(
    not hasattr(os, "posix_fadvise"), reason="the system takes no requests"
)
MIB = 2**20


def cold(path: Path, size: int = 0) -> str:
    """A file of which nothing lies in the page cache: of random bytes, or as it is for size 0."""
    if size:
        path.write_bytes(os.urandom(size))
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    if cached(path):
        pytest.skip(f"{path.parent} keeps its files in memory")
    return str(path)


def cached(path: str | Path) -> int:
    """How many of the file's pages lie in the page cache."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as mapped:
        pages = (ctypes.c_ubyte * pages_of(path))()
        start = ctypes.c_char.from_buffer(mapped)
        length = ctypes.c_size_t(len(mapped))
        assert not ctypes.CDLL(None).mincore(ctypes.byref(start), length, pages)
        del start  # else the mapping can not be closed
    return sum(page & 1 for page in pages)


def pages_of(path: str | Path) -> int:
    return -(-os.path.getsize(path) // mmap.PAGESIZE)


def whole(path: str | Path, wait: float = 120) -> bool:
    """Whether the whole file comes into the page cache in this time, in seconds."""
    deadline = time.monotonic() + wait
    while cached(path) < pages_of(path) and time.monotonic() < deadline:
        time.sleep(0.01)
    return cached(path) == pages_of(path)


def ours() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("dualpass")]


@pytest.mark.parametrize("size", (1, 4097, 128 * 2**10 + 1, 33 * MIB))
def test_a_file_is_read_to_its_end_once_the_block_began(tmp_path: Path, size: int) -> None:
    files = [cold(tmp_path / name, size) for name in ("lora", "base")]
    assert [cached(file) for file in files] == [0, 0]
    with reading_ahead(files, margin=0):
        assert [whole(file) for file in files] == [True, True]


def test_nothing_is_read_where_memory_would_run_short(tmp_path: Path) -> None:
    file = cold(tmp_path / "base", MIB)
    with reading_ahead([file], margin=2**60):
        for thread in ours():
            thread.join(10)
    assert cached(file) == 0


@pytest.mark.parametrize("kind", ("missing", "folder", "pipe", "empty", "no permission"))
def test_what_can_not_be_read_harms_nothing(tmp_path: Path, kind: str) -> None:
    odd, file = tmp_path / "odd", cold(tmp_path / "base", MIB)
    make: dict[str, Callable[[], object]] = {
        "folder": odd.mkdir,
        "pipe": lambda: os.mkfifo(odd),
        "empty": odd.touch,
        "no permission": lambda: odd.touch(mode=0),
    }
    make.get(kind, lambda: None)()
    with reading_ahead([str(odd), file], margin=0):
        assert whole(file)
    assert ours() == []


@pytest.mark.parametrize("error", (None, RuntimeError, KeyboardInterrupt))
def test_the_end_of_the_block_ends_the_reading(
    tmp_path: Path, error: type[BaseException] | None
) -> None:
    large = tmp_path / "base"
    large.touch()
    os.truncate(large, 2**32)
    try:
        with reading_ahead([str(large)], margin=0):
            if error:
                raise error
    except (RuntimeError, KeyboardInterrupt) as raised:
        assert type(raised) is error
    assert ours() == []
    assert cached(large) < pages_of(large)


def load(path: Path) -> Any:
    """A model as UNETLoader loads it."""
    return load_diffusion_model(str(path))


def own_copy(handle: str, folder: Path) -> Path:
    source = Path(os.environ["DUALPASS_MODELS"], "models", tiny_models.FILES[handle])
    return Path(shutil.copy(source, folder))


def test_the_files_are_those_of_the_loras_and_the_one_that_the_loader_noted(
    tmp_path: Path,
) -> None:
    high, low = (own_copy(f"t2v_{role}", tmp_path) for role in ("high", "low"))
    before, model = load(high), load(low)
    assert unread_files(model, before) == (str(low),)
    model.set_attachments("dualpass_files", ("/loras/a", "/loras/b"))
    assert unread_files(model.clone(), before) == ("/loras/a", "/loras/b", str(low))
    for noted in (None, (), (load,), (load, ()), (load, ([str(low)],)), (load, low), "a path"):
        model.cached_patcher_init = noted
        assert unread_files(model, before) == ("/loras/a", "/loras/b")
    model.set_attachments("dualpass_files", None)
    assert unread_files(model, before) == ()


def test_a_model_that_is_loaded_needs_no_file(tmp_path: Path) -> None:
    high, low = (load(own_copy(f"t2v_{role}", tmp_path)) for role in ("high", "low"))
    assert unread_files(low, low.clone()) == ()  # the same model on both sides
    management.load_models_gpu([low])
    assert unread_files(low.clone(), high) == ()
    management.unload_all_models()
    assert unread_files(low.clone(), high) != ()


def scene_of(folder: Path, in_high: Callable[[], None]) -> Scene:
    """Two tiny experts; `in_high` is called with each model call of the high one."""

    def calling(executor: Any, *args: Any, **kwargs: Any) -> Any:
        in_high()
        return executor(*args, **kwargs)

    high, low = (load(own_copy(f"t2v_{role}", folder)) for role in ("high", "low"))
    high.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "test", calling)
    text = [[torch.zeros(1, 77, 768), {}]]
    return Scene(high, low, text, text, {"samples": torch.zeros(1, 16, 1, 8, 8)})


def sample(scene: Scene, **changes: Any) -> None:
    plan = {"steps": 4, "cfg_high": 1.0, "cfg_low": 1.0, "sampler_name": "euler"}
    plan |= {"scheduler": "simple", "shift": 5.0, "boundary": 0.9} | changes
    with torch.inference_mode():
        dual_sample(scene, Plan(**plan), Way(), 0)


@pytest.mark.parametrize("boundary, read", ((0.9, True), (0.0, False)))
def test_while_the_high_expert_samples_the_lora_of_a_coming_low_one_is_read(
    tmp_path: Path, boundary: float, read: bool
) -> None:
    file, seen = cold(tmp_path / "lora", 20 * MIB), []
    scene = scene_of(tmp_path, lambda: seen.append(whole(file, 120 if read else 0.2)))
    scene.model_low.set_attachments("dualpass_files", (file,))
    sample(scene, boundary=boundary)
    assert set(seen) == {read}
    assert ours() == []


def test_while_the_high_expert_samples_the_file_of_the_low_one_is_read(tmp_path: Path) -> None:
    seen = []
    scene = scene_of(tmp_path, lambda: seen.append(whole(low)))
    low = tmp_path / Path(tiny_models.FILES["t2v_low"]).name
    cold(low)
    sample(scene)
    assert set(seen) == {True}


@pytest.mark.parametrize("error", ("RuntimeError", "InterruptProcessingException"))
def test_a_run_that_ends_early_leaves_no_thread(tmp_path: Path, error: str) -> None:
    kinds = {"RuntimeError": RuntimeError} | vars(management)

    def fail() -> None:
        assert {thread.name for thread in ours()} >= {"dualpass-sampler"}
        raise kinds[error]("ended by the test")

    scene = scene_of(tmp_path, fail)
    large = tmp_path / "lora"
    large.touch()
    os.truncate(large, 2**32)
    scene.model_low.set_attachments("dualpass_files", (str(large), "/no/such/file"))
    with pytest.raises(kinds[error]):
        sample(scene)
    assert ours() == []
    assert cached(large) < pages_of(large)
