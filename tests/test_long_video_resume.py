"""Long videos stopped by a kill, an interrupt, an error or the disk; and the memory they take."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

from rig import server as rig_server
from rig.client import Server, holding
from rig.films import (
    add_film,
    film,
    frames_of,
    latent_files,
    new_prefix,
    report,
    seeded,
    studio,
    told,
    video_of,
)
from rig.graphs import Graph, error_of
from rig.killed import grown_old

PROBES = {"dualpass_probe": "probe", "dualpass_film_probe": "film_probe"}
SAMPLED, FOUND = "sampled", "found"
KILLS = 20
LINUX = sys.platform == "linux"


def files(folder: Path) -> dict[str, Any]:
    """What every file below a folder holds; for a latent, whatever the order it is written in."""
    return {path.name: content(path) for path in folder.rglob("*.*") if path.is_file()}


def content(path: Path) -> Any:
    if path.suffix != ".safetensors":
        return path.read_bytes()
    with safe_open(path, "np") as file:
        tensors = {key: file.get_tensor(key).tobytes() for key in file.keys()}  # noqa: SIM118
        return file.metadata(), tensors


def test_an_interrupted_video_goes_on_at_the_next_clip(server: Server) -> None:
    prefix = new_prefix()
    graph, at = studio()
    at["high"] = graph.add("ProbeHold", model=at["high"])[0]
    add_film(graph, at, seeded(1, 2, 3), filename_prefix=prefix)
    with holding(server, 1) as held:  # one call of the high-noise expert is one clip
        for event in server.events(graph):
            if event["type"] == "executed" and event["data"]["node"] == "film":
                server.post("/interrupt", {})
                held.unlink()
    assert event["type"] == "execution_interrupted"
    assert told(report(server, graph)) == [FOUND, SAMPLED, SAMPLED]
    assert told(report(server, film(seeded(4)))) == [SAMPLED]


# A server that is killed, and what it is asked.


class Own:
    """A ComfyUI that can be killed and started again on the same base directory."""

    def __init__(self, base: Path) -> None:
        self.base = base
        probes = Path(__file__).parent / "rig"
        packs = {name: probes / folder for name, folder in PROBES.items()}
        rig_server.make_base(base, rig_server.own_packs() | packs)
        self.server = self._started()

    def _started(self) -> Server:
        port, log = rig_server.free_port(), self.base / "comfyui.log"
        with log.open("ab") as file:
            process = rig_server.launch(self.base, port, [], file)
        self.server = Server(f"http://127.0.0.1:{port}", self.base, log, process)
        rig_server.wait_until_ready(self.server, 180)
        return self.server

    def kill(self) -> None:
        self.server.process.kill()
        self.server.process.wait()

    def restart(self) -> Server:
        return self._started()


@pytest.fixture(scope="module")
def own() -> Iterator[Own]:
    if "DUALPASS_COMFYUI" not in os.environ:
        pytest.skip("needs a real ComfyUI: run `python3 dev.py test`")
    with tempfile.TemporaryDirectory(prefix="dualpass-", ignore_cleanup_errors=True) as folder:
        own = Own(Path(folder))
        yield own
        rig_server.stop(own.server.process)


def noted(prompts: str, prefix: str, **settings: Any) -> Graph:
    """A video whose model calls and encoded texts are in the log."""
    graph, at = studio()
    at["high"], at["clip"], *_ = graph.add("ProbeFilm", model=at["high"], clip=at["clip"])
    add_film(graph, at, prompts, filename_prefix=prefix, **settings)
    return graph


def notes(server: Server, graph: Graph) -> list[str]:
    """What was used in a run, in order."""
    seen = server.log.stat().st_size
    report(server, graph)
    log = server.log.read_bytes()[seen:].decode(errors="replace")
    return [line.split("[probe] ")[1][:5] for line in log.splitlines() if "[probe] " in line]


def test_all_texts_are_encoded_before_the_first_clip(own: Own) -> None:
    """Each once, and only those that a clip still needs."""
    prefix, lines = new_prefix(), "a fox runs\na fox jumps\na fox runs\na fox sleeps"
    settings = {"negative": "bad", "steps": 4}
    seen = notes(own.server, noted(lines, prefix, **settings))
    assert seen[:4] == 4 * ["text"] and set(seen[4:]) == {"model"}
    seen = notes(own.server, noted(f"{lines}\na fox runs", prefix, **settings))
    assert seen[:2] == ["text", "text"] and set(seen[2:]) == {"model"}
    assert not notes(own.server, noted(f"{lines}\na fox runs", prefix, **settings, fps=8.0))


def test_an_error_in_a_clip_leaves_those_before_it(own: Own) -> None:
    prefix = new_prefix()
    graph = noted(seeded(1, 2, 3), prefix)
    (own.base / "fail").write_text("2")
    try:
        assert error_of(own.server.run(graph)) == "the film probe fails\n"
    finally:
        (own.base / "fail").unlink()
    assert told(report(own.server, graph)) == [FOUND, SAMPLED, SAMPLED]


@pytest.mark.skipif(not LINUX, reason="limits another process as Linux can")
def test_a_disk_that_takes_no_more_is_told_and_the_run_goes_on(own: Own) -> None:
    """The second clip is larger than any file may be."""
    import resource

    prefix, process = new_prefix(), own.server.process.pid
    os.truncate(own.server.log, 0)  # a file as any other
    size = {"width": 64, "height": 64, "join": "cut"}
    graph = film("a fox | length=9\na fox | length=49", prefix, **size)
    before = resource.prlimit(process, resource.RLIMIT_FSIZE)
    resource.prlimit(process, resource.RLIMIT_FSIZE, (40_000, before[1]))
    try:
        error = error_of(own.server.run(graph))
    finally:
        resource.prlimit(process, resource.RLIMIT_FSIZE, before)
    assert "can not be written: the disk takes no file of that size. Choose" in error
    assert error.strip().endswith("name it as the video with _clips: they are found.")
    assert told(report(own.server, graph)) == [FOUND, SAMPLED]


@contextmanager
def mounted(folder: Path) -> Iterator[None]:
    """The folder as a disk of its own, with room for a megabyte."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if not LINUX or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this system lets us mount no disk")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_is_told_and_the_run_goes_on(own: Own) -> None:
    disk = own.base / "output" / "disk"
    with mounted(disk):
        assert told(report(own.server, film(seeded(1), "disk/film"))) == [SAMPLED]
        with suppress(OSError), (disk / "filler").open("wb", buffering=0) as filler:
            while filler.write(bytes(512)):
                pass
        graph = film(seeded(1, 2), "disk/film")
        error = error_of(own.server.run(graph))
        assert "can not be written: the disk is full. Free some space, and run again." in error
        (disk / "filler").unlink()
        assert told(report(own.server, graph))[0] == FOUND
        assert not list(disk.rglob("*.part*"))


def test_a_disk_that_can_only_be_read_is_told_and_the_run_goes_on(own: Own) -> None:
    """Before anything is sampled."""
    disk = own.base / "output" / "closed"
    with mounted(disk):
        assert told(report(own.server, film(seeded(1), "closed/film"))) == [SAMPLED]
        graph = noted(seeded(1, 2), "closed/film")
        seen = own.server.log.stat().st_size
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        try:
            error = error_of(own.server.run(graph))
        finally:
            subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
        assert b"[probe]" not in own.server.log.read_bytes()[seen:]
        assert "can not be written: the disk can only be read. Choose a place that" in error
        assert told(report(own.server, film(seeded(1, 2), "closed/film"))) == [FOUND, SAMPLED]


@pytest.mark.skipif(os.name == "nt", reason="has no kill")
def test_a_killed_comfyui_goes_on_at_the_next_clip(own: Own) -> None:
    """Started again on the same folders; what comes out is that of an unbroken run."""
    graphs = {}
    for each in ("broken", "whole"):
        graph, at = studio()
        at["high"] = graph.add("ProbeHold", model=at["high"])[0]
        add_film(graph, at, seeded(1, 2, 3), filename_prefix=f"killed/{each}")
        graphs[each] = graph
    folder = own.base / "output" / "killed"
    with holding(own.server, 2):  # so that the third clip is not made before the kill
        own.server.queue(graphs["broken"])
        deadline = time.monotonic() + 120
        while not latent_files(folder / "broken_clips") and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(random.uniform(0, 0.3))
        own.kill()
    grown_old(folder)
    kept = latent_files(folder / "broken_clips")
    server = own.restart()
    lines = report(server, graphs["broken"])
    assert 1 <= len(kept) < 3
    assert told(lines) == [*len(kept) * [FOUND], *(3 - len(kept)) * [SAMPLED]]
    whole = report(server, graphs["whole"])
    assert files(folder / "broken_clips") == files(folder / "whole_clips")
    ends = [video_of(server, "killed/x", each) for each in (lines, whole)]
    assert frames_of(ends[0]).tobytes() == frames_of(ends[1]).tobytes()


@pytest.mark.skipif(not LINUX, reason="reads /proc of Linux")
def test_thirty_clips_take_no_more_memory_than_ten(own: Own) -> None:
    """Neither the process nor its tensors, of which a clip has 160 kB in frames alone."""
    taken: list[int] = []
    tensors: list[int] = []
    for event in own.server.events(film(seeded(*range(30)))):
        if event["type"] == "executed" and event["data"]["node"] == "film":
            tensors.append(own.server.get("/film_probe/tensors").json())
            taken.append(own.server.get("/probe/memory").json())
    assert event["type"] == "execution_success"
    assert len(taken) == 31
    # The least of each ten: between two clips, whatever a sample has met inside of one.
    assert min(taken[20:]) - min(taken[:10]) < 50e6
    assert min(tensors[20:]) - min(tensors[:10]) < 1e6


# Runs of the smallest experts, each killed in a process of its own.


def make_small_film(folder: Path) -> list[str]:
    """Five clips, as the node makes them; what is told of each."""
    import torch

    from pack.nodes.sampling.order import Scene  # type: ignore[import-not-found]
    from pack.nodes.sampling.run import Way  # type: ignore[import-not-found]
    from pack.nodes.video import long  # type: ignore[import-not-found]
    from pack.nodes.video.clips import parse_clips  # type: ignore[import-not-found]
    from pack.nodes.video.folder import ClipFolder, keys  # type: ignore[import-not-found]
    from pack.nodes.video.segments import join_segments  # type: ignore[import-not-found]
    from rig import small

    words = [[torch.randn(1, 4, small.TEXT, generator=torch.Generator().manual_seed(1)), {}]]
    film = long.Film(
        scene_of=lambda _: Scene(small.expert("high"), small.expert("low"), words, words, {}),
        vae=tiny_vae(),
        plan=small.plan(steps=3),
        way=Way(),
        image=torch.rand(1, 16, 16, 3, generator=torch.Generator().manual_seed(2)),
        end=None,
        previous=None,
        motion_latents=1,
        look=long.Look("blend", 0.5, 16.0),
    )
    clips = parse_clips(seeded(*range(5)), 0, 13, True)
    shelf = ClipFolder.opened(folder / "clips")
    found = list(shelf.walk(keys("base", clips), "redo"))
    with torch.inference_mode():
        for each in long.made_clips(film, clips, found, shelf, lambda _: no_watch):
            made = each
    join_segments(made.segments, folder / "film.mp4", 16.0, {})
    return told(made.lines)


@cache
def tiny_vae() -> Any:
    import comfy.sd
    import comfy.utils

    from rig.tiny_models import FILES

    file = Path(os.environ["DUALPASS_MODELS"], "models", FILES["vae"])
    return comfy.sd.VAE(sd=comfy.utils.load_torch_file(str(file)))


def no_watch(*_: Any) -> None:
    """Nobody looks."""


def killed_films(base: Path) -> list[dict[str, Any]]:
    """Runs killed at random moments until enough were, each film gone on with until it is whole.

    Of each: what lay there after each kill and at its end, and what the last run found and told.
    """
    make_small_film(base / "first")
    started = time.monotonic()
    make_small_film(base / "whole")
    taken = time.monotonic() - started
    films: list[dict[str, Any]] = []
    while sum(len(each["left"]) for each in films) < KILLS:
        folder = base / f"killed_{len(films)}"
        films.append({"left": []})
        while len(films[-1]["left"]) < 5 and killed_run(folder, random.uniform(0, taken / 2)):
            films[-1]["left"].append(finished(folder))
            grown_old(folder)
        films[-1]["found"] = len(finished(folder))
        films[-1]["told"] = make_small_film(folder)
        films[-1]["end"] = finished(folder)
    return films


def finished(folder: Path) -> list[Any]:
    """Name and time of the last change of each latent."""
    return [[path.name, path.stat().st_mtime_ns] for path in latent_files(folder / "clips")]


def killed_run(folder: Path, after: float) -> bool:
    """Whether a run did not end before it was killed."""
    if not (child := os.fork()):
        make_small_film(folder)
        os._exit(0)
    time.sleep(after)
    os.kill(child, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def in_a_process(base: str) -> None:
    """What came of the kills goes to standard output."""
    import comfy.utils
    import torch

    torch.set_num_threads(1)
    comfy.utils.PROGRESS_BAR_ENABLED = False
    sys.stdout.write("\n" + json.dumps(killed_films(Path(base))))


@pytest.mark.skipif(os.name == "nt", reason="needs processes that can be forked")
def test_a_film_killed_at_random_moments_is_that_of_an_unbroken_run(tmp_path: Path) -> None:
    """Twenty kills. No latent that was finished is written again, and every byte is the same."""
    if "DUALPASS_COMFYUI" not in os.environ:
        pytest.skip("needs a real ComfyUI: run `python3 dev.py test`")
    code = (
        "import sys, conftest, pathlib; conftest.load_pack(); base = pathlib.Path(sys.argv[1]);"
        "conftest.load_comfyui(conftest.COMFYUI, base / 'comfyui');"
        "import test_long_video_resume; test_long_video_resume.in_a_process(sys.argv[1])"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parent), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        env=env, capture_output=True, text=True, check=False, timeout=1200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    films = json.loads(done.stdout.splitlines()[-1])
    assert sum(len(killed["left"]) for killed in films) >= KILLS
    whole = files(tmp_path / "whole")
    assert len(whole) == 11
    for number, killed in enumerate(films):
        for before, after in pairwise([*killed["left"], killed["end"]]):
            assert after[: len(before)] == before
        found = killed["found"]
        assert killed["told"] == [*found * [FOUND], *(5 - found) * [SAMPLED]]
        assert files(tmp_path / f"killed_{number}") == whole
