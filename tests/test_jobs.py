"""Downloads as the page starts them: few at a time, cancelled by id, and gone without a trace."""

from __future__ import annotations

import hashlib
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pack.catalog.download import DownloadError
from pack.catalog.entries import Entry
from pack.catalog.jobs import Job, Jobs, Pace, TooMany
from pack.catalog.pairs import LoraPair, find_pairs

FOLDER = Path("/home/somebody/models/loras")
FILE = "a.safetensors"
SIZE = 10**9


def pair(pair_id: str = "p", base_model: str = "wan-i2v-14b") -> LoraPair:
    entry = Entry(file=FILE, base_model=base_model, pair_id=pair_id, pair_role="both")
    return find_pairs([entry], base_model)[0]


class Gate:
    """Stands in the place of the network: lets each download go on when the test says so."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.begun: list[str] = []
        self.error: Exception | None = None

    def fetch(self, pair: LoraPair, folder: Path, watch: Callable[..., Any], begin: Any) -> None:
        self.begun.append(pair.pair_id)
        begin(FILE)
        watch(0, SIZE)
        while not self.open.wait(0.005):
            watch(40, SIZE)
        if self.error:
            raise self.error


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.open.set()
    wait_until(lambda: not threads())


@pytest.fixture
def jobs(gate: Gate) -> Jobs:
    return Jobs(gate.fetch)


def threads() -> list[str]:
    return [each.name for each in threading.enumerate() if each.name.startswith("dualpass-")]


def wait_until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + 120
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def ended(job: Job) -> dict[str, Any]:
    wait_until(lambda: not job.is_active)
    return job.as_json()


def test_a_job_is_told_as_the_page_needs_it(gate: Gate, jobs: Jobs) -> None:
    job = jobs.start(pair(), FOLDER)
    wait_until(lambda: job.as_json()["done"])
    shown = job.as_json()
    assert len(bytes.fromhex(shown["id"])) == 16
    assert shown["speed"] > 0
    assert shown["left"] > 0
    assert shown | {"id": "", "speed": 0, "left": 0} == {
        "id": "",
        "base_model": "wan-i2v-14b",
        "pair_id": "p",
        "state": "running",
        "file": FILE,
        "done": 40,
        "size": SIZE,
        "speed": 0,
        "left": 0,
        "error": None,
    }
    gate.open.set()
    shown = ended(job)
    assert (shown["state"], shown["done"]) == ("done", SIZE)
    assert shown["speed"] is shown["left"] is None


def test_two_run_eight_wait_and_no_more(gate: Gate, jobs: Jobs) -> None:
    started = [jobs.start(pair(str(number)), FOLDER) for number in range(10)]
    assert [job.state for job in started] == ["running"] * 2 + ["waiting"] * 8
    assert started[9].as_json()["size"] is None
    with pytest.raises(TooMany, match="8 downloads are waiting"):
        jobs.start(pair("10"), FOLDER)
    assert jobs.all() == tuple(started)
    assert len(threads()) == 2
    gate.open.set()
    wait_until(lambda: not any(job.is_active for job in started))
    assert sorted(gate.begun) == [str(number) for number in range(10)]
    assert jobs.start(pair("10"), FOLDER).is_active


def test_a_pair_that_is_on_its_way_is_not_started_again(gate: Gate, jobs: Jobs) -> None:
    job = jobs.start(pair(), FOLDER)
    assert jobs.start(pair(), FOLDER) is job
    other = jobs.start(pair(base_model="wan-t2v-14b"), FOLDER)
    waiting = jobs.start(pair("q"), FOLDER)
    assert jobs.start(pair("q"), FOLDER) is waiting
    assert len({job.id, other.id, waiting.id}) == 3
    gate.open.set()
    ended(job)
    assert jobs.start(pair(), FOLDER) is not job


def test_a_job_is_cancelled_whether_it_waits_or_runs(gate: Gate, jobs: Jobs) -> None:
    running, other, waiting, last = [jobs.start(pair(name), FOLDER) for name in "abcd"]
    assert jobs.cancel(waiting.id) is waiting
    assert waiting.state == "cancelled"
    jobs.cancel(running.id)
    shown = ended(running)
    assert (shown["state"], shown["error"], shown["speed"]) == ("cancelled", None, None)
    wait_until(lambda: "d" in gate.begun)
    assert sorted(gate.begun) == ["a", "b", "d"]
    gate.open.set()
    assert ended(other)["state"] == ended(last)["state"] == "done"
    # What has ended stays as it ended.
    jobs.cancel(other.id)
    assert other.state == "done"


def test_unknown_ids_are_no_jobs(jobs: Jobs) -> None:
    for job_id in ("", "x", "0" * 32):
        assert jobs.get(job_id) is jobs.cancel(job_id) is None


def test_a_failure_has_its_code_and_its_sentence(gate: Gate, jobs: Jobs) -> None:
    gate.error = DownloadError("NO_LIBRARY")
    gate.open.set()
    job = jobs.start(pair(), FOLDER)
    error = {"code": "NO_LIBRARY", "message": str(gate.error)}
    assert (ended(job)["state"], ended(job)["error"]) == ("failed", error)
    assert jobs.get(job.id) is job


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_fault_of_ours_ends_the_job_and_not_the_others(gate: Gate, jobs: Jobs) -> None:
    gate.error = ZeroDivisionError(f"{FOLDER}")
    gate.open.set()
    broken = [jobs.start(pair(str(number)), FOLDER) for number in range(4)]
    assert [ended(job)["error"]["code"] for job in broken] == ["INTERNAL"] * 4
    gate.error = None
    assert ended(jobs.start(pair("p"), FOLDER))["state"] == "done"


def test_the_last_fifty_that_ended_are_known(gate: Gate, jobs: Jobs) -> None:
    gate.open.set()
    for number in range(60):
        ended(jobs.start(pair(str(number)), FOLDER))
    names = [job.pair.pair_id for job in jobs.all()]
    assert names[-50:] == [str(number) for number in range(10, 60)]
    assert len(names) <= 51


def test_no_folder_and_no_thread_is_seen_from_outside(gate: Gate, jobs: Jobs) -> None:
    assert threads() == []
    job = jobs.start(pair(), FOLDER)
    assert all(each.daemon for each in threading.enumerate() if each.name in threads())
    gate.open.set()
    assert "somebody" not in json.dumps(ended(job))
    wait_until(lambda: not threads())


SECOND = [(0.0, 0), (1.0, 100)]


@pytest.mark.parametrize(
    ("seen", "now", "speed", "left"),
    [
        ([], 5.0, None, None),
        ([(0.0, 0)], 5.0, None, None),
        (SECOND, 1.0, 100.0, 9.0),
        # A line that stands still is slower and slower.
        (SECOND, 4.0, 25.0, 36.0),
        # The last five seconds count.
        ([*SECOND, (6.0, 600), (11.0, 850)], 11.0, 50.0, 3.0),
        # One piece in ten seconds is known to be slow.
        ([(0.0, 0), (10.0, 100), (20.0, 200)], 20.0, 10.0, 80.0),
        # What began anew is measured anew.
        ([*SECOND, (2.0, 0), (3.0, 10)], 3.0, 10.0, 99.0),
        ([(1.0, 0), (1.0, 10)], 1.0, 10_000.0, 0.099),
    ],
)
def test_speed_and_time_left(
    seen: list[tuple[float, int]], now: float, speed: float | None, left: float | None
) -> None:
    pace = Pace()
    for moment, done in seen:
        pace.note(moment, done)
    assert pace.speed(now) == (None if speed is None else pytest.approx(speed))
    assert pace.left(now, 1000) == (None if left is None else pytest.approx(left))
    assert pace.left(now, 0) is None


@pytest.mark.skipif(sys.platform != "linux", reason="counts open files in /proc")
def test_a_hundred_downloads_cancelled_leave_no_thread_and_no_file(tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub")
    pytest.importorskip("aiohttp")
    from rig.fetch_once import Fetcher
    from rig.hub import Shelved, running

    entry = {"file": FILE, "base_model": "wan-i2v-14b", "source": "huggingface"}
    entry |= {"hf_repo": "owner/repo", "hf_file": FILE, "pair_id": "p", "pair_role": "both"}
    (tmp_path / "loras").mkdir()
    with running() as hub:
        # More than the sockets hold: it can not all be here before the cancel is.
        data = bytes(20_000_000)
        etag = hashlib.sha256(data).hexdigest()
        hub.files[f"owner/repo/{FILE}"] = Shelved(data, etag=etag, pause=0.01)
        fetcher = Fetcher(hub.url)
        try:
            outcome = fetcher.fetch([entry], tmp_path / "loras", times=100)
        finally:
            fetcher.close()
    assert outcome.begun == ["cancelled"] * 100
    early, late = outcome.held
    assert early == late
    assert [path.name for path in tmp_path.rglob("*")] == ["loras"]


def test_a_new_start_waits_for_the_one_that_is_being_cancelled(jobs: Jobs) -> None:
    first = jobs.start(pair(), FOLDER)
    wait_until(lambda: first.state == "running")
    jobs.cancel(first.id)
    second = jobs.start(pair(), FOLDER)
    assert second is not first
    assert ended(first)["state"] == "cancelled"
    wait_until(lambda: second.state == "running")
    assert jobs.start(pair(), FOLDER) is second
