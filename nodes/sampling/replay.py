"""What the high-noise expert answered, kept so that it need not answer the same again.

A later run that differs on the low side only walks the same path down to the hand-over: its calls
are answered from here, and the high-noise expert is neither run nor loaded. The key is the identity
of all that those calls depend on; where that can not be told, nothing is equal, and it runs.
"""

from __future__ import annotations

import functools
import hashlib
import types
import uuid
import weakref
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import comfy.model_sampling
import numpy as np
import torch

# Runs that are kept, and the bytes of all; a call at 832x480x81 is 8.4 MB.
COUNT = 4
LIMIT = 512 * 2**20
PLAIN = (str, int, float, bool, bytes, types.NoneType, Enum, uuid.UUID, torch.dtype, torch.device)


class ReplayMissed(Exception):
    """The run takes another path than the recorded one."""


class Same:
    """Equal to another of the same living object; equal to nothing once that is gone."""

    def __init__(self, value: object) -> None:
        try:
            self._value = weakref.ref(value)
        except TypeError:  # what can not be watched may be replaced by another at its address
            self._value = weakref.ref(self)

    def __eq__(self, other: object) -> bool:
        value = self._value()
        return isinstance(other, Same) and value is not None and value is other._value()

    __hash__ = None  # type: ignore[assignment]  # it may be gone by the next look


def identity(value: Any) -> Any:
    """What compares equal only for the same value: containers by content, objects by identity.

    Tensors by content: nodes that ran again give new ones, and some change theirs in place.
    """
    match value:
        case dict():
            return tuple((identity(key), identity(each)) for key, each in value.items())
        case list() | tuple():
            return type(value).__name__, tuple(map(identity, value))
        case set() | frozenset() if all(isinstance(each, PLAIN) for each in value):
            return "set", frozenset(value)
        case set() | frozenset():
            return Same(object())  # equal to nothing
        case torch.Tensor():
            try:
                return "tensor", value.dtype, digest_of(value)
            except RuntimeError:  # it has no plain bytes: sparse, nested, without memory
                return Same(object())
        case np.ndarray() if not value.dtype.hasobject:
            data = hashlib.blake2b(value.tobytes(), digest_size=16).hexdigest()
            return "array", value.dtype.str, value.shape, data
        case types.MethodType():
            return Same(value.__self__), Same(value.__func__)
        case functools.partial():
            return Same(value.func), identity(value.args), identity(value.keywords)
    return value if isinstance(value, PLAIN) else Same(value)


def model_identity(model: Any) -> Any:
    """The same for two clones of a model that give the same answers; None for no model.

    By what ComfyUI lets nodes hang on a model; who writes into its modules is not noticed.
    """
    if model is None:
        return None
    extra = {key: [*map(model_identity, each)] for key, each in model.additional_models.items()}
    objects = {key: _object_identity(each) for key, each in model.object_patches.items()}
    parts = (model.weight_wrapper_patches, model.model_options)
    hooked = (model.wrappers, model.callbacks, model.injections, model.attachments)
    hooks = (model.hook_patches, model.forced_hooks)
    about = identity((model.patches_uuid, parts, hooked, hooks))
    return Same(model.model), about, objects, tuple(extra.items())


def _object_identity(value: Any) -> Any:
    """By content for a sampling that only holds numbers, by object for all else.

    Nodes that set a shift make a new sampling each time they run.
    """
    kinds, known = type(value).__mro__, ("comfy", "torch", "builtins")
    # ModelSamplingSD3 makes a class that only names its bases.
    others = [vars(kind) for kind in kinds if kind.__module__.partition(".")[0] not in known]
    plain = not any(
        callable(each) or not name.startswith("__")
        for names in others
        for name, each in names.items()
    )
    if not (plain and issubclass(type(value), comfy.model_sampling.ModelSamplingDiscreteFlow)):
        return identity(value)
    return [kind.__qualname__ for kind in kinds], identity(vars(value))


@dataclass
class Recording:
    """The calls above the hand-over of one run, in order: digest of the input, and the answer.

    `models` are those that answer; with them goes the recording.
    """

    key: Any
    models: Sequence[Any] = ()
    begun: Sequence[str] = ()
    calls: list[tuple[str, torch.Tensor]] = field(default_factory=list)
    missed_by: Any = None  # the identity of a low side with which the run takes another path
    size: int = 0
    given_up: bool = False

    def __post_init__(self) -> None:
        self.models = [weakref.ref(model.model) for model in self.models]

    def begin(self, given: Sequence[torch.Tensor | None]) -> None:
        """Note what the sampler begins with: sigmas, noise, latent and mask."""
        self.begun = _digests(given)

    def add(self, x: torch.Tensor, sigma: torch.Tensor, answer: torch.Tensor) -> None:
        """Keep a copy of the answer in memory, unless the recording grows past the limit."""
        self.size += answer.nbytes
        if self.size > LIMIT:
            self.give_up()
        if not self.given_up:
            self.calls.append((_digest(x, sigma), answer.to("cpu", copy=True)))

    def give_up(self) -> None:
        """This run can not be replayed."""
        self.given_up = True
        self.calls.clear()

    def is_gone(self) -> bool:
        """Whether a model that answered is no more."""
        return any(model() is None for model in self.models)


class Replay:
    """A recording being answered from, call by call, down to the sigma of the hand-over."""

    def __init__(self, recording: Recording, down_to: float) -> None:
        self._begun = recording.begun
        self._left = deque(recording.calls)
        self._down_to = down_to
        self._over = False

    def begin(self, given: Sequence[torch.Tensor | None]) -> None:
        """Raise ReplayMissed where a wrapper of the low expert changed what the run begins with."""
        if self._begun != _digests(given):
            raise ReplayMissed

    def is_over(self, sigma: torch.Tensor) -> bool:
        """Whether this call and all after it are the low expert's."""
        self._over = self._over or (not self._left and float(sigma.max()) < self._down_to)
        return self._over

    def answer(self, x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        """The recorded answer. Raises ReplayMissed when the call is not the recorded one."""
        if not self._left:
            raise ReplayMissed
        digest, answer = self._left.popleft()
        if digest != _digest(x, sigma):
            raise ReplayMissed
        return answer.to(x.device, copy=True)


class Recordings:
    """The last recordings, the newest last, together below the limit."""

    def __init__(self) -> None:
        self._kept: list[Recording] = []

    def find(self, key: Any) -> Recording | None:
        """The recording of a run whose high calls saw the same."""
        self._kept = [each for each in self._kept if not each.is_gone()]
        return next((each for each in reversed(self._kept) if each.key == key), None)

    def keep(self, recording: Recording) -> None:
        """Add a finished recording, in place of one with the same key; the oldest make room."""
        if recording.given_up:
            return
        self._kept = [each for each in self._kept if each.key != recording.key] + [recording]
        while len(self._kept) > COUNT or sum(each.size for each in self._kept) > LIMIT:
            del self._kept[0]


def _digests(given: Sequence[torch.Tensor | None]) -> Sequence[str]:
    return ["" if each is None else digest_of(each) for each in given]


def _digest(x: torch.Tensor, sigma: torch.Tensor) -> str:
    return digest_of(x) + digest_of(sigma)


def digest_of(value: torch.Tensor) -> str:
    """Of the shape and all bytes of a tensor, whatever its layout."""
    plain = value.detach().to("cpu").clone(memory_format=torch.contiguous_format)
    digest = hashlib.blake2b(repr(tuple(value.shape)).encode(), digest_size=16)
    digest.update(plain.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
