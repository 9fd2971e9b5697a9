"""Where the command line finds things: the ComfyUI around the pack, and what is yours in it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ..disk import LoraFolders
from ..pairs import LoraPair
from ..store import Catalog, Store

SHIPPED = Path(__file__).parent.parent


class CommandError(ValueError):
    """What a command cannot do, as a sentence for the user."""


class UsageError(Exception):
    """A command line that does not say enough, or contradicts itself."""


@dataclass(frozen=True)
class Desk:
    """What a command works on. No `folders` and no `user`: nobody said, and no ComfyUI is around.

    The first of the folders takes new LoRAs. `looked` are the places where no ComfyUI was.
    """

    folders: tuple[Path, ...]
    user: Path | None
    looked: tuple[Path, ...] = ()

    @cached_property
    def store(self) -> Store:
        """The shipped catalog with the user's."""
        return Store(SHIPPED, self.user)

    @cached_property
    def loras(self) -> LoraFolders:
        """The files of the folders as they are at the first look; none where none is known."""
        listing = LoraFolders.of(*self.folders).listing()
        return LoraFolders(lambda: listing.folders, lambda: tuple(listing.names.values()))

    def get_folders(self) -> tuple[Path, ...]:
        """The loras folders, or CommandError."""
        if not self.folders:
            raise CommandError(f"{self._lost()} Say where your LoRAs lie with --loras DIR.")
        return self.folders

    def get_user(self) -> Path:
        """The user's folder, or CommandError."""
        if self.user is None:
            where = "ComfyUI's user folder has it as __dualpass"
            raise CommandError(f"{self._lost()} Say where yours is with --user DIR; {where}.")
        return self.user

    def get_pair(self, pair_id: str, base_model: str | None) -> LoraPair:
        """A pair by its id, and by its base model where several have it."""
        catalog = self.store.catalog()
        if base_model is not None:
            return catalog.get_pair(base_model, pair_id)
        pairs = [pair for pair in every_pair(catalog) if pair.pair_id == pair_id]
        if not pairs:
            known = "`python -m catalog list` shows all there are"
            raise CommandError(f"Pair {pair_id[:80]!r} is not in your catalog; {known}.")
        if len(pairs) > 1:
            several = " and ".join(pair.base_model for pair in pairs)
            raise CommandError(f"{pair_id} is there for {several}: say which with --base-model.")
        return pairs[0]

    def _lost(self) -> str:
        if not self.looked:
            return f"{SHIPPED.parent} lies in no custom_nodes folder of a ComfyUI."
        return f"There is no models folder in {' or '.join(map(str, self.looked))}."


def find_desk(
    loras: Sequence[Path], user: Path | None, pack: Path = SHIPPED.parent, *, makes: bool = False
) -> Desk:
    """The desk at these places, or where the ComfyUI around the pack has them.

    extra_model_paths.yaml is not read. Raises CommandError for a folder that is not there; that of
    the user need not be for a command that `makes` it.
    """
    for folder in loras:
        if not folder.is_dir():
            raise CommandError(f"--loras {folder} is no folder.")
    if user and not user.is_dir() and not makes:
        raise CommandError(f"--user {user} is no folder.")
    bases = tuple(_bases(pack))
    base = next((base for base in bases if (base / "models").is_dir()), None)
    folders = tuple(loras) or ((base / "models" / "loras",) if base else ())
    return Desk(folders, user or (base / "user" / "__dualpass" if base else None), bases)


def every_pair(catalog: Catalog) -> Iterator[LoraPair]:
    """All pairs, base model after base model."""
    return (pair for pairs in catalog.pairs.values() for pair in pairs)


def _bases(pack: Path) -> Iterator[Path]:
    """Where ComfyUI, or its --base-directory, is if the pack lies in its custom_nodes."""
    # The shell knows by which link it came here; the system only knows where that leads.
    shell = Path(os.environ.get("PWD") or pack)
    linked = [shell] if shell.is_dir() and shell.samefile(pack) else []
    places = dict.fromkeys((*linked, pack))
    return (place.parent.parent for place in places if place.parent.name == "custom_nodes")
