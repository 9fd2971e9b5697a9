"""Finished clips on disk: written whole or not at all, and found again by what made them."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from ...catalog.files import replace_file, sync_folder
from .clips import Clip

Following = Literal["redo", "keep"]

# What our files say that they are. Another number when what lies in them gets another meaning.
_form = "DualPass clip 1"
_longest_header = 2**16
# A file that is being written: hidden, and with the extension that says what it is.
_part = re.compile(r"\.(.+)\.[0-9a-f]{16}\.part\.(mp4|safetensors)")
_ours = re.compile(r"clip_\d{4,}_[0-9a-f]{12}(\.latent\.safetensors|\.mp4)")
# Longer than any write of a living one goes without a byte, in seconds.
_abandoned = 60
_kept = "Finished clips are kept, and the run goes on at the next one."
_reasons = {
    errno.ENOSPC: ("the disk is full", "Free some space"),
    errno.EFBIG: ("the disk takes no file of that size", "Choose a folder on another disk"),
    errno.EROFS: ("the disk can only be read", "Choose a folder that can be written"),
    errno.EACCES: ("it may not be written", "Allow it, or choose another folder"),
    errno.ENOENT: ("the folder is gone", "See that its disk is there"),
    errno.ENOTDIR: ("its folder is none", "Choose another name"),
    errno.ENAMETOOLONG: ("the name is too long", "Choose a shorter one"),
}
_reasons[errno.EPERM] = _reasons[errno.EACCES]
if hasattr(errno, "EDQUOT"):
    _reasons[errno.EDQUOT] = ("your share of the disk is used up", "Free some space")


class FolderError(ValueError):
    """What can not be written or read; one sentence why, and what to do."""


class Keys(NamedTuple):
    """What a clip was made from, sha256 in hex: this clip alone, and all up to this clip."""

    own: str
    chain: str


def keys(base: str, clips: Sequence[Clip], marks: Sequence[str] = ()) -> tuple[Keys, ...]:
    """The keys of each clip; `base` says what all clips share, and counts for both keys.

    `marks` say what else a clip is made from, one for each.
    """
    made: list[Keys] = []
    chain = hashed("clips", base)
    for clip, mark in zip(clips, marks or [""] * len(clips), strict=True):
        own = hashed("clip", base, asdict(clip), mark)
        chain = hashed(chain, own)
        made.append(Keys(own, chain))
    return tuple(made)


def hashed(*parts: Any) -> str:
    """The sha256 in hex of what can be said in JSON."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class ClipFolder:
    """The latent file and the video segment of each finished clip; clips are counted from 1."""

    path: Path

    @classmethod
    def opened(cls, path: Path) -> ClipFolder:
        """The folder, made where it is missing, without what a killed run left half written.

        Raises FolderError when it can not be made.
        """
        with _told(path):
            path.mkdir(parents=True, exist_ok=True)
            for part in path.iterdir():
                found = _part.fullmatch(part.name)
                if found and _ours.fullmatch(found[1]) and _is_abandoned(part):
                    _remove(part)
        return cls(path)

    def latent_path(self, number: int, chain: str) -> Path:
        """Where the latent of a clip lies, or would."""
        return self.path / f"clip_{number:04}_{chain[:12]}.latent.safetensors"

    def segment_path(self, number: int, chain: str) -> Path:
        """Where the video of a clip lies, or would: beside its latent."""
        return self.path / f"clip_{number:04}_{chain[:12]}.mp4"

    def find(self, number: int, own: str, chain: str, following: Following) -> Path | None:
        """The latent file of a clip if it lies here, whole, and was made from the same.

        "redo": from the same up to this clip. "keep": else the newest of the same clip, whatever
        came before it.
        """
        candidates = [self.latent_path(number, chain)]
        wanted = {"form": _form, "clip": str(number), "own": own}
        if following == "keep":
            candidates += self._newest(number)
        else:
            wanted["chain"] = chain
        return next((path for path in candidates if self._is_made_from(path, wanted)), None)

    def save(self, number: int, own: str, chain: str, tensors: Mapping[str, torch.Tensor]) -> Path:
        """Write the latent file of a clip in one step. Raises FolderError."""
        at_rest = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        said = {"form": _form, "clip": str(number), "own": own, "chain": chain}
        path = self.latent_path(number, chain)
        with written_whole(path) as part:
            part.write_bytes(save(at_rest, said | {"sha256": _digest(said, at_rest)}))
        return path

    def load(self, path: Path) -> dict[str, torch.Tensor]:
        """The tensors of a latent file that was found. Raises FolderError if it is so no more."""
        if (tensors := _whole(path)) is not None:
            return tensors
        raise FolderError(f"{path} was changed or removed since it was found. Run again.")

    def _is_made_from(self, path: Path, wanted: Mapping[str, str]) -> bool:
        """Whether a file says what is wanted, bears the name it was given, and is whole."""
        said = _said(path)
        if not wanted.items() <= said.items():
            return False
        named = self.latent_path(int(wanted["clip"]), str(said.get("chain")))
        return named.name == path.name and _whole(path) is not None

    def _newest(self, number: int) -> list[Path]:
        ages: dict[Path, int] = {}
        with suppress(OSError):
            for path in self.path.iterdir():
                if path.name.startswith(f"clip_{number:04}_") and _ours.fullmatch(path.name):
                    ages[path] = path.stat().st_mtime_ns
        latents = (path for path in ages if path.suffix == ".safetensors")
        return sorted(latents, key=lambda path: (ages[path], path.name), reverse=True)


def _said(path: Path) -> dict[str, str]:
    """What a file of ours says of itself; empty if it is not ours. The tensors are not read."""
    try:
        if not path.is_file():
            return {}  # a pipe of that name would keep its reader waiting
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(size if size < _longest_header else 0))
        said = header.get("__metadata__") if isinstance(header, dict) else None
    except (OSError, ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) and said.get("form") == _form else {}


def _whole(path: Path) -> dict[str, torch.Tensor] | None:
    """What a file of ours holds; None if it is not ours, or not as it was written."""
    said = _said(path)
    try:
        # Not mapped: Windows could not replace it, and reading on where it is cut ends the program.
        tensors = load(path.read_bytes()) if said else {}
    except (OSError, SafetensorError, KeyError):
        return None
    digest = said.pop("sha256", "")
    return tensors if tensors and digest == _digest(said, tensors) else None


def _digest(said: Mapping[str, str], tensors: Mapping[str, torch.Tensor]) -> str:
    """The sha256 of all that a file says and holds, whatever the order it is written in."""
    names = sorted(tensors)
    shapes = [(name, str(tensors[name].dtype), list(tensors[name].shape)) for name in names]
    digest = hashlib.sha256(json.dumps([said, shapes], sort_keys=True).encode())
    for name in names:
        digest.update(tensors[name].reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A new name beside `path`; what is written there takes the place of `path` in one step.

    After an error `path` is as it was. Raises FolderError for what the disk refuses.
    """
    part = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part{path.suffix}")
    with _told(path):
        try:
            _remove_parts_of(path)
            yield part
            with part.open("r+b") as file:  # Windows syncs only what is open for writing
                os.fsync(file.fileno())
            replace_file(part, path)
        finally:
            _remove(part)
        sync_folder(path.parent)


def _remove_parts_of(path: Path) -> None:
    """Remove what killed runs left of the same file, which nobody else is making."""
    for part in path.parent.iterdir():
        found = _part.fullmatch(part.name)
        if found and found[1] == path.name:
            _remove(part)


def _is_abandoned(part: Path) -> bool:
    """Whether nobody writes it any more: another ComfyUI may use the same folder."""
    with suppress(OSError):
        return time.time() - part.stat().st_mtime > _abandoned
    return False


def _remove(part: Path) -> None:
    with suppress(OSError):
        part.unlink()


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Whatever the disk refuses, as one sentence about `path`."""
    try:
        yield
    except OSError as error:
        unknown = (error.strerror or str(error), "Check the disk")
        why, what = _reasons.get(error.errno or 0, unknown)
        text = f"{path} can not be written: {why}. {what}, and run again. {_kept}"
        raise FolderError(text) from error
