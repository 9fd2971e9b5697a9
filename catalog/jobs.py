"""The downloads that the page started: a few at a time, each watched and cancelled by its id."""

from __future__ import annotations

import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .download import Cancelled, DownloadError, fetch_pair
from .pairs import LoraPair

_most_running = 2
_most_waiting = 8
_most_kept = 50
_active = ("waiting", "running")
_broken = {
    "code": "INTERNAL",
    "message": "The download ended by a fault of DualPass. ComfyUI's log has it; please report it.",
}


class TooMany(Exception):
    """So many downloads wait already that no further one is taken."""

    def __init__(self) -> None:
        super().__init__(f"{_most_waiting} downloads are waiting. Let one finish, or cancel one.")


class Pace:
    """How fast something goes, in bytes per second, over its last seconds. Pure."""

    def __init__(self, window: float = 5.0) -> None:
        self._window = window
        self._seen: deque[tuple[float, int]] = deque()

    def note(self, now: float, done: int) -> None:
        """At `now`, in seconds, `done` bytes are there. Less than before is a new start."""
        if self._seen and done < self._seen[-1][1]:
            self._seen.clear()
        self._seen.append((now, done))
        # The last one before the window stays: who brings 10 MB at a time is seldom in it twice.
        while len(self._seen) > 2 and self._seen[1][0] <= now - self._window:
            self._seen.popleft()

    def speed(self, now: float) -> float | None:
        """Bytes per second up to `now`; None until something came."""
        if not self._seen or self._seen[-1][1] == self._seen[0][1]:
            return None
        (start, before), (_, done) = self._seen[0], self._seen[-1]
        return (done - before) / max(now - start, 1e-3)

    def left(self, now: float, size: int) -> float | None:
        """Seconds until `size` bytes are there; None as long as nobody can tell."""
        speed = self.speed(now)
        return (size - self._seen[-1][1]) / speed if speed and size else None


class Job:
    """One download of a pair. It ends as done, failed or cancelled."""

    def __init__(self, pair: LoraPair, folder: Path) -> None:
        self.id = secrets.token_hex(16)
        self.pair = pair
        self.folder = folder
        self.state = "waiting"
        self.error: dict[str, str] | None = None
        self.cancelled = False
        self._file = ""
        self._done = self._size = 0
        self._pace = Pace()
        self._lock = threading.Lock()

    @property
    def key(self) -> tuple[str, str]:
        """Which pair it fetches."""
        return self.pair.base_model, self.pair.pair_id

    @property
    def is_active(self) -> bool:
        """Whether it runs, or is going to."""
        return self.state in _active

    def begin(self, file: str) -> None:
        """Another file of the pair is being fetched."""
        self._file = file

    def watch(self, done: int, size: int) -> None:
        """Take note of the bytes that have arrived. Raises Cancelled once that is asked for."""
        if self.cancelled:
            raise Cancelled
        with self._lock:
            self._done, self._size = done, size
            self._pace.note(time.monotonic(), done)

    def as_json(self) -> dict[str, Any]:
        """What the page is told: names of files but no folders, bytes, and seconds."""
        now = time.monotonic()
        with self._lock:
            done, size = self._done, self._size
            speed = self._pace.speed(now) if self.state == "running" else None
            left = self._pace.left(now, size) if self.state == "running" else None
        return {
            "id": self.id,
            "base_model": self.pair.base_model,
            "pair_id": self.pair.pair_id,
            "state": self.state,
            "file": self._file,
            "done": size if self.state == "done" else done,
            "size": size or None,
            "speed": None if speed is None else round(speed),
            "left": None if left is None else round(left, 1),
            "error": self.error,
        }


class Jobs:
    """The downloads of this program. Two run, eight wait, and the last 50 that ended are known."""

    def __init__(self, fetch: Callable[..., object] = fetch_pair) -> None:
        self._fetch = fetch
        self._jobs: dict[str, Job] = {}
        self._running = 0
        self._lock = threading.Lock()

    def start(self, pair: LoraPair, folder: Path) -> Job:
        """Download a pair in a thread, or say which job does so already. Raises TooMany."""
        with self._lock:
            key = (pair.base_model, pair.pair_id)
            for job in self._jobs.values():
                if job.is_active and not job.cancelled and job.key == key:
                    return job
            waiting = [job for job in self._jobs.values() if job.state == "waiting"]
            if len(waiting) >= _most_waiting:
                raise TooMany
            job = Job(pair, folder)
            self._jobs[job.id] = job
            self._go_on()
            return job

    def get(self, job_id: str) -> Job | None:
        """The job of that id, as long as it is known."""
        with self._lock:
            return self._jobs.get(job_id)

    def all(self) -> tuple[Job, ...]:
        """All jobs that are known, in the order in which they were started."""
        with self._lock:
            return tuple(self._jobs.values())

    def cancel(self, job_id: str) -> Job | None:
        """Have a job end soon: at once when it waits, at its next step when it runs."""
        with self._lock:
            job = self._jobs.get(job_id)
            if job:
                job.cancelled = True
                if job.state == "waiting":
                    job.state = "cancelled"
            return job

    def _go_on(self) -> None:
        """Start what may start now, and forget what ended long ago. The lock is held."""
        # One that is being cancelled still has its files locked.
        held = {job.key for job in self._jobs.values() if job.state == "running"}
        for job in self._jobs.values():
            if job.state == "waiting" and job.key not in held and self._running < _most_running:
                self._running += 1
                job.state = "running"
                name = f"dualpass-{job.id[:8]}"
                threading.Thread(target=self._run, args=[job], name=name, daemon=True).start()
        ended = [job for job in self._jobs.values() if not job.is_active]
        for job in ended[:-_most_kept]:
            del self._jobs[job.id]

    def _run(self, job: Job) -> None:
        state = "failed"
        error: dict[str, str] | None = _broken
        try:
            self._fetch(job.pair, job.folder, job.watch, begin=job.begin)
            state, error = "done", None
        except Cancelled:
            state, error = "cancelled", None
        except DownloadError as slip:
            error = {"code": slip.code, "message": str(slip)}
        finally:
            with self._lock:
                job.state, job.error = state, error
                self._running -= 1
                self._go_on()
