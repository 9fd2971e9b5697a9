"""A process that downloads when it is told to, each time in a copy of itself that may be killed."""

from __future__ import annotations

import io
import json
import os
import resource
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
CALLS = (os.fsync, os.replace)


@dataclass
class Outcome:
    """How a download ended: paths or an error, and what its watch was told.

    `signal` is what killed it, `steps` how often it turned to the system, `held` how many threads
    and open files it had early and late, `calls` which of CALLS it made.
    """

    paths: list[str] = field(default_factory=list)
    code: str = ""
    message: str = ""
    told: list[tuple[int, int]] = field(default_factory=list)
    begun: list[str] = field(default_factory=list)
    steps: int = 0
    signal: int = 0
    held: list[tuple[int, int]] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)


class Fetcher:
    """The process, seen from the test. The environment is all that a download knows of the Hub."""

    def __init__(self, hub: str, *launcher: str, **env: str) -> None:
        self._home = tempfile.TemporaryDirectory(prefix="dualpass-fetch-")
        given = {"HF_ENDPOINT": hub, "HF_HOME": self._home.name, "HF_HUB_DOWNLOAD_TIMEOUT": "60"}
        kept = {name: value for name, value in os.environ.items() if "_proxy" not in name.lower()}
        kept = {name: value for name, value in kept.items() if not name.startswith("HF_")}
        self._process = subprocess.Popen(
            [*launcher, sys.executable, __file__],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=kept | given | env,
        )  # fmt: skip
        self._ended: dict[int, int] = {}
        self._count = 0
        self._results: dict[int, Path] = {}

    def start(self, entries: list[dict[str, Any]], folder: Path, **order: Any) -> int:
        """Begin a download; the id of its process."""
        self._count += 1
        result = Path(self._home.name, f"{self._count}.json")
        order |= {"entries": entries, "folder": str(folder), "result": str(result)}
        assert self._process.stdin
        print(json.dumps(order), file=self._process.stdin, flush=True)
        pid = self._heard("started")
        self._results[pid] = result
        return pid

    def wait(self, pid: int) -> Outcome:
        """How the download of this process ended."""
        while pid not in self._ended:
            self._heard("ended")
        status, result = self._ended.pop(pid), self._results.pop(pid)
        if os.WIFSIGNALED(status):
            return Outcome(signal=os.WTERMSIG(status))
        assert status == 0, "the download ended by a fault of its own; see above"
        return Outcome(**json.loads(result.read_text()))

    def fetch(self, entries: list[dict[str, Any]], folder: Path, **order: Any) -> Outcome:
        """Download and wait for the end."""
        return self.wait(self.start(entries, folder, **order))

    def close(self) -> None:
        """End the process, and what it still downloads."""
        for pid in self._results:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.kill()
        self._process.communicate()
        self._home.cleanup()

    def _heard(self, what: str) -> int:
        assert self._process.stdout
        while line := self._process.stdout.readline():
            said = json.loads(line)
            if said["what"] == "ended":
                self._ended[said["pid"]] = said["status"]
            if said["what"] == what:
                return int(said["pid"])
        raise AssertionError("the downloading process is gone")


def main() -> None:
    """Fork for each line of orders, and say which process started and how it ended."""
    sys.path.insert(0, str(ROOT))
    import huggingface_hub
    import huggingface_hub.file_download
    from huggingface_hub import constants

    from catalog import download  # noqa: F401

    # Made once for all copies, since reading the certificates takes a while.
    huggingface_hub.get_session()
    # The least that arrives at once, so that there are moments in between.
    constants.DOWNLOAD_CHUNK_SIZE = 65_536
    alive = 0
    while True:
        if select.select([sys.stdin], [], [], 0.005 if alive else None)[0]:
            line = sys.stdin.readline()
            if not line:
                return
            pid = os.fork()
            if not pid:
                carry_out(json.loads(line))
            alive += 1
            tell("started", pid)
        while alive and (ended := os.waitpid(-1, os.WNOHANG))[0]:
            alive -= 1
            tell("ended", *ended)


def tell(what: str, pid: int, status: int = 0) -> None:
    print(json.dumps({"what": what, "pid": pid, "status": status}), flush=True)


def carry_out(order: Mapping[str, Any]) -> None:
    """Download, write down how it went, and end the process."""
    outcome = Outcome()
    limit(order)
    watch_steps(order, outcome)
    try:
        cancel_often(order, outcome) if "times" in order else download(order, outcome)
    finally:
        if sys.exc_info()[0]:
            traceback.print_exc()
        Path(order["result"]).write_text(json.dumps(vars(outcome)))
        os._exit(0 if outcome.paths or outcome.code or outcome.held else 1)


def download(order: Mapping[str, Any], outcome: Outcome) -> None:
    from catalog.download import Cancelled, DownloadError, fetch_file, fetch_pair
    from catalog.entries import Entry
    from catalog.pairs import find_pairs

    def watch(done: int, size: int) -> None:
        outcome.told.append((done, size))
        if "plant" in order:
            Path(order["plant"]).write_text("planted")
        if done >= order.get("die_at", done + 1):
            os.kill(os.getpid(), signal.SIGKILL)
        if done >= order.get("hold_at", done + 1):
            time.sleep(60)
        if done >= order.get("cancel_at", done + 1):
            raise Cancelled

    folder, replace = Path(order["folder"]), order.get("replace", False)
    entries = [Entry(**entry) for entry in order["entries"]]
    try:
        if len(entries) == 1:
            outcome.paths = [str(fetch_file(entries[0], folder, watch, replace))]
        else:
            (pair,) = find_pairs(entries, entries[0].base_model)
            paths = fetch_pair(pair, folder, watch, replace, outcome.begun.append)
            outcome.paths = list(map(str, paths))
    except DownloadError as error:
        outcome.code, outcome.message = error.code, str(error)


def cancel_often(order: Mapping[str, Any], outcome: Outcome) -> None:
    """Start a pair as the page does and cancel it while it arrives, so many times."""
    from catalog.entries import Entry
    from catalog.jobs import Jobs
    from catalog.pairs import find_pairs

    (pair,) = find_pairs([Entry(**entry) for entry in order["entries"]], "wan-i2v-14b")
    jobs = Jobs()
    for count in range(order["times"]):
        job = jobs.start(pair, Path(order["folder"]))
        while job.is_active and not job.as_json()["done"]:
            time.sleep(0.001)
        jobs.cancel(job.id)
        while job.is_active or threading.active_count() > 1:
            time.sleep(0.001)
        outcome.begun.append(job.state)
        if count in (4, order["times"] - 1):
            outcome.held.append((threading.active_count(), len(os.listdir("/proc/self/fd"))))


def watch_steps(order: Mapping[str, Any], outcome: Outcome) -> None:
    """Count the calls to the system, and die just before a given one."""

    def step() -> None:
        outcome.steps += 1
        if outcome.steps == order.get("die_before"):
            os.kill(os.getpid(), signal.SIGKILL)

    def note(_: object, event: str, called: Any) -> None:
        if event == "c_call" and is_of_the_disk(called):
            if called in CALLS:
                outcome.calls.append(called.__name__)
            step()

    sys.setprofile(note)


def is_of_the_disk(called: Any) -> bool:
    """Whether this asks something of the system, or of an open file."""
    owner = getattr(called, "__self__", None)
    if isinstance(owner, (io.RawIOBase, io.BufferedReader)):
        return True
    return called.__module__ in ("posix", "fcntl") and called not in (os.getpid, os.fspath)


def limit(order: Mapping[str, Any]) -> None:
    """Let files grow no further than that, in bytes."""
    if "largest" in order:
        resource.setrlimit(resource.RLIMIT_FSIZE, (order["largest"], order["largest"]))


if __name__ == "__main__":
    main()
