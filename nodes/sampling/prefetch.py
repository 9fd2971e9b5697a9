"""Having the low expert's files read from disk while the high expert samples."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import comfy.model_management
import torch

from .experts import Answering
from .wiring import file_of

# In bytes. Linux reads no more for one request than the disk's read-ahead window, at least PIECE.
PIECE = 128 * 2**10
STRETCH = 128 * PIECE
MARGIN = 2 * 2**30


@dataclass
class AnsweringAhead(Answering):
    """An expert's share of a run, during which `files`, those of the next expert, are read."""

    files: Sequence[str] = ()

    def sample(self, model_wrap: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        # ComfyUI has loaded this expert by now: the disk is free. What of it is not on the card is
        # read from memory in each step, and must stay there.
        with reading_ahead(self.files, MARGIN + _offloaded(model_wrap.model_patcher)):
            return super().sample(model_wrap, *args, **kwargs)


def unread_files(model: Any, before: Any) -> tuple[str, ...]:
    """What loading `model` reads: the files of its LoRAs, and its own if its loader noted it.

    Nothing when it is loaded already, or comes with the model that runs `before` it.
    """
    if any(map(model.is_clone, [before, *comfy.model_management.loaded_models()])):
        return ()
    files = (*(model.get_attachment("dualpass_files") or ()), file_of(model))
    return tuple(filter(None, files))


def _offloaded(model: Any) -> int:
    """How many bytes of a model are not on its device."""
    return max(0, int(model.model_size() - model.loaded_size()))


@contextlib.contextmanager
def reading_ahead(files: Sequence[str], margin: int = MARGIN) -> Iterator[None]:
    """Have the system read `files` into its page cache, where it can, until the block ends.

    Goes on while available memory exceeds what is still to be read by `margin` bytes.
    """
    if not files or not hasattr(os, "posix_fadvise"):  # Windows and macOS have none
        yield
        return
    ended = threading.Event()
    arguments = (files, margin, ended)
    thread = threading.Thread(target=_read, args=arguments, name="dualpass-prefetch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(timeout=2)  # a disk that hangs does not hold the run


def _read(files: Sequence[str], margin: int, ended: threading.Event) -> None:
    with contextlib.suppress(OSError):
        regular = filter(os.path.isfile, files)
        parts = [(file, at) for file in regular for at in range(0, os.path.getsize(file), STRETCH)]
        for done, (file, start) in enumerate(parts):
            free = comfy.model_management.get_free_memory(torch.device("cpu"))
            if ended.is_set() or free < (len(parts) - done) * STRETCH + margin:
                return
            with open(file, "rb", buffering=0) as opened:
                for at in range(start, start + STRETCH, PIECE):
                    os.posix_fadvise(opened.fileno(), at, PIECE, os.POSIX_FADV_WILLNEED)
