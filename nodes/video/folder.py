"""Finished clips on disk: written whole or not at all, and found again by what made them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from .clips import Clip
from .whole import FolderError, make_folder, written_whole

Following = Literal["redo", "keep"]

# What our files say that they are. Another number when what lies in them gets another meaning.
_form = "DualPass clip 1"
_longest_header = 2**16
_ours = re.compile(r"clip_\d{4,}_[0-9a-f]{12}(\.latent\.safetensors|\.mp4)")


class Keys(NamedTuple):
    """What a clip was made from, sha256 in hex: this clip alone, and all up to this clip."""

    own: str
    chain: str


class Found(NamedTuple):
    """A clip's number, what it is made from, and its latent file; None where it is not yet made."""

    number: int
    key: Keys
    path: Path | None


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

        Raises FolderError when it can not be made, or not be written: before a clip is sampled.
        """
        make_folder(path, _ours)
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

    def walk(self, keys: Sequence[Keys], following: Following) -> Iterator[Found]:
        """Each clip, found or not.

        A clip that was kept may have come after another one than is asked for now: the keys behind
        it go on from what really lies before them.
        """
        before = ""
        for number, key in enumerate(keys, 1):
            key = Keys(key.own, hashed(before, key.own)) if before else key
            path = self.find(number, *key, following)
            yield Found(number, key, path)
            before = _said(path)["chain"] if path else key.chain

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
    """What a file of ours says of itself; empty if it is not ours. The tensors are not read.

    Raises FolderError for one that can not be read: it may be a finished clip.
    """
    try:
        if not path.is_file():
            return {}  # a pipe of that name would keep its reader waiting
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(size if size < _longest_header else 0))
        said = header.get("__metadata__") if isinstance(header, dict) else None
    except (FileNotFoundError, ValueError, RecursionError):
        return {}
    except OSError as error:
        raise _unreadable(path, error) from error
    return said if isinstance(said, dict) and said.get("form") == _form else {}


def _whole(path: Path) -> dict[str, torch.Tensor] | None:
    """What a file of ours holds; None if it is not ours, or not as it was written."""
    said = _said(path)
    try:
        # Not mapped: Windows could not replace it, and reading on where it is cut ends the program.
        tensors = load(path.read_bytes()) if said else {}
    except (FileNotFoundError, SafetensorError, KeyError):
        return None
    except OSError as error:
        raise _unreadable(path, error) from error
    digest = said.pop("sha256", "")
    return tensors if tensors and digest == _digest(said, tensors) else None


def _unreadable(path: Path, error: OSError) -> FolderError:
    return FolderError(
        f"{path} can not be read ({error.strerror or error}). It may be a finished clip, or an old "
        "version of one: see to it, or remove it, and run again."
    )


def _digest(said: Mapping[str, str], tensors: Mapping[str, torch.Tensor]) -> str:
    """The sha256 of all that a file says and holds, whatever the order it is written in."""
    names = sorted(tensors)
    shapes = [(name, str(tensors[name].dtype), list(tensors[name].shape)) for name in names]
    digest = hashlib.sha256(json.dumps([said, shapes], sort_keys=True).encode())
    for name in names:
        digest.update(tensors[name].reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
