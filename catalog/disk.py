"""ComfyUI's loras folders: which files are there, and which of them an entry means."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .entries import Entry
from .pairs import LoraPair

_endings = (".safetensors", ".sft")


@dataclass(frozen=True)
class LoraFolders:
    """Where LoRAs lie, and which are listed there now; the first folder takes new ones."""

    folders: Callable[[], Sequence[str]]
    names: Callable[[], Sequence[str]]

    @classmethod
    def of(cls, *folders: Path) -> LoraFolders:
        """The same, without ComfyUI: walks the folders and their subfolders at each look."""
        return cls(lambda: [str(folder) for folder in folders], lambda: _walked(folders))

    def first(self) -> Path:
        """The folder that takes downloads. Raises ValueError when there is none."""
        folders = self.folders()
        if not folders:
            raise ValueError("ComfyUI has no loras folder.")
        return Path(folders[0])

    def listing(self) -> Listing:
        """What is there at this moment."""
        return Listing(tuple(self.folders()), tuple(self.names()))

    def find(self, file: str) -> tuple[Path, ...]:
        """The real files that an entry's `file` may mean: none, the one, or several."""
        return tuple(self.listing().find(file))

    def wanting(self, pair: LoraPair) -> LoraPair:
        """The pair with those files only that do not lie in another place than a download's."""
        listing, first = self.listing(), self.first()

        def left(entry: Entry | None) -> Entry | None:
            return None if entry and _is_elsewhere(entry, listing, first) else entry

        return replace(pair, high=left(pair.high), low=left(pair.low), both=left(pair.both))


def ambiguous(file: str, found: Collection[object]) -> str:
    """What to say of a file that is there several times."""
    return f"{file} is there {len(found)} times. Keep one of them."


def _is_elsewhere(entry: Entry, listing: Listing, folder: Path) -> bool:
    found = listing.find(entry.file)
    return bool(found) and Path(os.path.realpath(os.path.join(folder, entry.file))) not in found


class Listing:
    """The files below the loras folders at one moment, looked up by their names."""

    def __init__(self, folders: Sequence[str], names: Sequence[str]) -> None:
        self.folders = folders
        # As ComfyUI lists them, and with / on every system.
        self.names = {name.replace("\\", "/"): name for name in names}
        self._alike: dict[str, list[str]] = {}
        for posix in self.names:
            self._alike.setdefault(posix.rpartition("/")[2], []).append(posix)

    def find(self, file: str) -> Mapping[Path, str]:
        """Each real file that an entry's `file` may mean, and its name as ComfyUI lists it.

        A name without a folder may lie in any folder, and one that lies in none counts first. A
        name with a folder means that folder: its namesakes elsewhere may be other LoRAs.
        """
        alike = [file] if file in self.names else self._alike.get(file, [])
        # One file may be reached by several links, and a link may lead nowhere.
        return {path: self.names[posix] for posix in alike if (path := self._path(posix))}

    def _path(self, posix: str) -> Path | None:
        for folder in self.folders:
            path = os.path.join(folder, self.names[posix])
            if os.path.isfile(path):
                return Path(os.path.realpath(path))
        return None


def _walked(folders: Sequence[Path]) -> list[str]:
    found: dict[str, None] = {}
    for folder in folders:
        seen: set[tuple[int, int]] = set()
        for place, subfolders, files in os.walk(folder, followlinks=True):
            status = os.stat(place)
            # Links may lead back to where they lie.
            if (status.st_dev, status.st_ino) in seen:
                subfolders.clear()
                continue
            seen.add((status.st_dev, status.st_ino))
            subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
            below = Path(place).relative_to(folder)
            lora_files = sorted(file for file in files if file.lower().endswith(_endings))
            found |= dict.fromkeys((below / file).as_posix() for file in lora_files)
    return list(found)
