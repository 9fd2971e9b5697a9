"""What the Hugging Face Hub says of a file, the file itself, and each way in which that fails.

The transfer is huggingface_hub's plain HTTP (0.30 or newer). What breaks off goes on where it
was; after a kill or a cancel all begins anew. Its Xet transfer is left aside, as nothing can
cancel that. It follows redirects of the Hub to any host and to plain http, so what arrives is
worth no more than the sha256 that it is held against.
"""

from __future__ import annotations

import errno
import inspect
import io
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from .entries import Entry

T = TypeVar("T")

_sha256 = re.compile("[0-9a-f]{64}")
_full = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
_tries = 3

# Cause -> what to tell. The code of an error is what stands before the dot.
TEXTS = {
    "NO_LIBRARY": "huggingface_hub is missing. It comes with ComfyUI: use ComfyUI's own Python.",
    "NO_SOURCE": "The catalog does not say where to download {file}. Get the file yourself and "
    "put it into ComfyUI's loras folder.",
    "CONFLICT": "{why}",
    "NAME": "{why}",
    "OFFLINE": "{file} was not downloaded: HF_HUB_OFFLINE is set and forbids every connection. "
    "Unset it, start ComfyUI again and retry.",
    "GATED": "{repo} wants its terms accepted first. Do that on https://huggingface.co/{repo}, "
    "then run `hf auth login` and retry.",
    "LOGIN": "The Hub refuses your login for {repo}. Run `hf auth login` and retry.",
    "NOT_FOUND": "{repo} has no file {hf_file}. Correct hf_file, or revision, in the catalog.",
    "NOT_FOUND.repo": "There is no {repo} on the Hub, or not for you. Correct hf_repo, or "
    "revision, in the catalog; if it is private, run `hf auth login` and retry.",
    "RATE": "The Hub had too many requests from here. Wait some minutes and retry.",
    "SERVER": "The Hub fails with error {why}. Retry in some minutes.",
    "NETWORK": "The Hub cannot be reached, or the connection broke ({why}). Check it and retry.",
    "NO_HASH": "Nobody says which sha256 {file} must have. Write its sha256 into the catalog.",
    "NO_SIZE": "The Hub does not say how large {file} is. Write its size into the catalog.",
    "TOO_LARGE": "{file} has {why}; no LoRA has more than 16 GiB. Check the entry in the catalog.",
    "HASH": "{file} arrived damaged and was thrown away: its sha256 is {got}, not {want}. Retry; "
    "if that does not help, something between you and the Hub changes the file.",
    "HASH.repo": "{repo} has another {hf_file} than the catalog means: {got}, not {want}. Correct "
    "the entry if you trust the new file.",
    "SIZE": "{file} arrived with {got:,} instead of {want:,} bytes and was thrown away. Retry; if "
    "that does not help, a proxy or a login page may be in between.",
    "FILE": "{repo} has no LoRA under this name, and it was thrown away. {why}",
    "DISK_FULL": "The disk has too little room: {file} needs {want}, with what must stay free, "
    "and {got} are free. Make room and retry.",
    "DISK_FULL.write": "The disk ran full while {file} arrived ({why}). Make room and retry.",
    "FOLDER": "The loras folder cannot be used ({why}). See that it is there and yours.",
    "EXISTS_DIFFERENT": "{file} is there already, and is another file than the catalog means. It "
    "was left alone. Move it away and retry, or, in the folder of DualPass, run "
    "`python -m catalog fetch {pair} --base-model {base_model} --replace`.",
    "IN_USE": "{file} is in use, so the old one stays. Stop what uses it, as ComfyUI, and retry.",
    "BUSY": "{file} is being downloaded already, here or by another program. Wait for that.",
    "CANCELLED": "The download was cancelled. Retry when you like; it begins anew.",
}

# Bytes that have arrived, and bytes of all that was asked for, 0 while that is not known. Called
# at every step in the downloading thread. What it raises, Cancelled above all, ends the download.
Watch = Callable[[int, int], object]


class DownloadError(ValueError):
    """Why there is no new file: a sentence of TEXTS, and its `code`, which never changes."""

    def __init__(self, cause: str, entry: Entry | None = None, **values: object) -> None:
        if entry:
            known = {"file": entry.file, "repo": entry.hf_repo, "hf_file": entry.hf_file}
            values = known | {"pair": entry.pair_id, "base_model": entry.base_model} | values
        super().__init__(TEXTS[cause].format_map(values))
        self.code = cause.partition(".")[0]


class Cancelled(DownloadError):
    """Raised by a Watch to end a download."""

    def __init__(self) -> None:
        super().__init__("CANCELLED")


@dataclass(frozen=True)
class Record:
    """What the Hub says of a file: sha256 or nothing, size in bytes, and the commit it is of."""

    sha256: str
    size: int | None
    revision: str | None


def find_record(entry: Entry, step: Callable[[], object]) -> Record:
    """Ask the Hub for the record of an entry's file; `step` is called before each try."""

    def ask() -> Any:
        from huggingface_hub import get_hf_file_metadata

        return get_hf_file_metadata(_url(entry, entry.revision))

    if not (entry.hf_repo and entry.hf_file and entry.source == "huggingface"):
        raise DownloadError("NO_SOURCE", entry)
    found = _patiently(ask, entry, step)
    sha256 = found.etag if _sha256.fullmatch(found.etag or "") else ""
    return Record(sha256, found.size, found.commit_hash or entry.revision or None)


def transfer(entry: Entry, record: Record, path: Path, size: int, watch: Watch) -> None:
    """Download an entry's file to a new path and onto the disk; `size` bytes or DownloadError.

    The library brings 10 MB at a time, and ends a silence after HF_HUB_DOWNLOAD_TIMEOUT, six times
    in a row. A cancel waits for that.
    """

    def ask() -> None:
        from huggingface_hub.file_download import http_get
        from huggingface_hub.utils import build_hf_headers

        url, begun = _url(entry, record.revision), part.tell()
        try:
            told = {"resume_size": begun, "headers": build_hf_headers(), "expected_size": size}
            http_get(url, part, **told, **_silent(http_get))
        except OSError as error:
            # How the library says that the size is wrong.
            if type(error) is OSError and error.errno is None:
                raise DownloadError("SIZE", entry, got=part.tell(), want=size) from error
            raise

    with _Part(path, entry, size, watch) as part:
        _patiently(ask, entry, lambda: watch(part.tell(), size), part.tell)
        if part.tell() != size:
            raise DownloadError("SIZE", entry, got=part.tell(), want=size)
        os.fsync(part.fileno())


def disk_error(error: OSError, entry: Entry) -> DownloadError:
    """What to tell when the disk did not take something."""
    cause = "DISK_FULL.write" if error.errno in _full else "FOLDER"
    return DownloadError(cause, entry, why=error.strerror or type(error).__name__)


def _url(entry: Entry, revision: str | None) -> str:
    from huggingface_hub import hf_hub_url

    return hf_hub_url(entry.hf_repo, entry.hf_file, revision=revision or None)


class _Part(io.FileIO):
    """A new file that takes no more bytes than there should be, and tells of each step."""

    def __init__(self, path: Path, entry: Entry, size: int, watch: Watch) -> None:
        super().__init__(path, "xb")
        self._entry, self._size, self._watch = entry, size, watch

    def write(self, data: Any) -> int:
        left = memoryview(data)
        length = len(left)
        if self.tell() + length > self._size:
            got = self.tell() + length
            raise DownloadError("SIZE", self._entry, got=got, want=self._size)
        try:
            while left:
                left = left[super().write(left) :]
        except OSError as error:
            raise disk_error(error, self._entry) from error
        self._watch(self.tell(), self._size)
        return length


class _Silence:
    """A progress bar that shows nothing."""

    def update(self, count: float) -> None:
        pass


def _silent(http_get: Callable[..., None]) -> dict[str, Any]:
    """What keeps the library from drawing a bar of its own, as long as it takes that."""
    takes_it = "_tqdm_bar" in inspect.signature(http_get).parameters
    return {"_tqdm_bar": _Silence()} if takes_it else {}


def _patiently(
    ask: Callable[[], T],
    entry: Entry,
    step: Callable[[], object],
    arrived: Callable[[], int] = lambda: 0,
) -> T:
    """What `ask` returns. It may fail at the server twice, and break off when bytes arrived."""
    tries = 0
    while True:
        step()
        before = arrived()
        try:
            with _told_plainly(entry):
                return ask()
        except DownloadError as error:
            # A silence is what all versions of the library have waited through already.
            is_silence = "Timeout" in type(error.__cause__).__name__
            broke_off = error.code == "NETWORK" and arrived() > before and not is_silence
            tries = 1 if broke_off else tries + 1
            if not broke_off and (error.code != "SERVER" or tries == _tries):
                raise
        time.sleep(tries)


@contextmanager
def _told_plainly(entry: Entry) -> Iterator[None]:
    """Make a DownloadError of all that the library raises."""
    try:
        from huggingface_hub import constants, errors
    except ImportError as error:
        raise DownloadError("NO_LIBRARY") from error
    if constants.HF_HUB_OFFLINE:
        raise DownloadError("OFFLINE", entry)
    # Which HTTP library it uses depends on its version; this is that one's most general error.
    client_error = errors.HfHubHTTPError.__mro__[1]
    try:
        yield
    except DownloadError:
        raise
    # A RuntimeError comes from a connection that another download closed.
    except (client_error, OSError, ValueError, RuntimeError) as error:
        raise _plain(error, errors, entry) from error


def _plain(error: Exception, errors: Any, entry: Entry) -> DownloadError:
    status = getattr(getattr(error, "response", None), "status_code", 0)
    causes = (
        (isinstance(error, errors.GatedRepoError), "GATED"),
        (isinstance(error, errors.EntryNotFoundError), "NOT_FOUND"),
        (isinstance(error, errors.RepositoryNotFoundError), "NOT_FOUND.repo"),
        (isinstance(error, errors.RevisionNotFoundError), "NOT_FOUND.repo"),
        (status in (401, 403), "LOGIN"),
        (status == 404, "NOT_FOUND"),
        (status == 429, "RATE"),
        (status >= 500, "SERVER"),
    )
    cause = next((cause for holds, cause in causes if holds), "NETWORK")
    return DownloadError(cause, entry, why=status or type(error).__name__)
