"""A stack of unmerged LoRAs on a model: there while the model is loaded, and gone without trace."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import comfy.utils
import torch
from comfy.model_patcher import CoreModelPatcher
from comfy.patcher_extension import CallbacksMP, PatcherInjection, WrappersMP
from comfy.quant_ops import QuantizedTensor
from comfy.weight_adapter import WeightAdapterBase

from ...catalog.stacks import Levels
from .files import LoraError
from .strengths import ByStep, Live
from .unmerged import LowRank, UnmergedWeight

log = logging.getLogger("dualpass")

KEY = "dualpass"
# What core's TorchCompileModel leaves in the options of a model.
_compiled = "torch_compile_kwargs"


class Seat(WeightAdapterBase):
    """A patch on a GGUF weight that applies what sits in it: ComfyUI-GGUF calls it at each use.

    A stack that sits down or leaves changes no patch, so the quantised weight need not be moved.
    """

    name = "dualpass_seat"

    def __init__(self, loaded_keys: set[str], weights: list[UnmergedWeight]) -> None:
        self.loaded_keys = loaded_keys
        self.weights = weights

    def calculate_weight(self, weight: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        for sitting in self.weights:
            weight = sitting(weight)
        return weight


class LoraFactors(torch.nn.ModuleList):
    """The factors of a stack, as a model of their own: ComfyUI loads, counts and evicts it."""


class UnmergedStack:
    """The LoRAs of one expert, beside its weights while that expert is loaded."""

    def __init__(
        self,
        model: Any,
        role: str,
        patches: Mapping[str, Sequence[tuple[int, Any]]],
        count: int,
        seats: Mapping[str, Seat],
    ) -> None:
        self.live = Live(count, model.load_device)
        self.role = role
        self.seats = seats
        self.weights = [
            UnmergedWeight(key, each, comfy.utils.get_attr(model.model, key).shape, self.live)
            for key, each in patches.items()
        ]
        pieces = (piece for weight in self.weights for piece in weight.pieces)
        factors = LoraFactors(piece.factors for piece in pieces if isinstance(piece, LowRank))
        self.factors = CoreModelPatcher(factors, model.load_device, model.offload_device)
        self._checked = False
        self._said = ""
        self._owner = 0
        self._undo: list[Callable[[], None]] = []

    def restart(self) -> None:
        """A new run begins."""
        self._checked = False
        for weight in self.weights:
            weight.way = ""

    def check(self) -> None:
        """After a model call: say once which way the layers went. Raises LoraError for none."""
        if self._checked:
            return
        self._checked = True
        ways = Counter(weight.way for weight in self.weights)
        if not ways["at use"] + ways["beside"]:
            raise LoraError(
                f"No layer of the {self.role}-noise model used its unmerged LoRAs: another node "
                "runs the model in a way of its own. Set mode to merged, or leave that node out."
            )
        text = f"{ways['at use']} weights get them at use, {ways['beside']} layers beside"
        if text != self._said:
            log.info("[DualPass] %s, unmerged: %s", self.role, text)
        self._said = text

    def inject(self, patcher: Any) -> None:
        """The model is loaded: the stack takes its place."""
        # Of several clones that share this stack, the one loaded last has it.
        self._leave()
        self._owner = id(patcher)
        # torch.compile does not see hooks that come and go; a list of functions it does.
        hooked = not _is_compiled(patcher)
        for weight in self.weights:
            weight.skipped = False
            path, _, name = weight.key.rpartition(".")
            module, seat = comfy.utils.get_attr(patcher.model, path), self.seats.get(weight.key)
            # A function on a quantised weight would cost the layer its quantised product.
            quantised = isinstance(getattr(module, name), QuantizedTensor)
            undo = weight.attach(
                module, name, listed=not seat, hooked=hooked, always_beside=quantised
            )
            self._undo.append(undo)
            if seat:
                seat.weights.append(weight)
                self._undo.append(partial(seat.weights.remove, weight))

    def eject(self, patcher: Any) -> None:
        """The model is unloaded: the stack leaves."""
        if self._owner == id(patcher):
            self._leave()

    def _leave(self) -> None:
        while self._undo:
            self._undo.pop()()
        self._owner = 0


class Placed:
    """A stack with what puts it on clones: the same objects each time for the same strengths.

    By them the sampler sees that a model is as it was. Held apart from the stack, which would
    otherwise hold itself.
    """

    def __init__(self, stack: UnmergedStack) -> None:
        self.stack = stack
        self._injection = PatcherInjection(stack.inject, stack.eject)
        self._at: dict[tuple[Levels, ...], ByStep] = {}

    def add_to(self, model: Any, levels: tuple[Levels, ...]) -> None:
        """Put the stack on a clone, after those that are there, at these strengths."""
        model.set_injections(KEY, [*(model.get_injections(KEY) or []), self._injection])
        others = model.get_additional_models_with_key(KEY)
        model.set_additional_models(KEY, [*others, self.stack.factors])
        by_step = self._by_step(levels)
        model.add_wrapper_with_key(WrappersMP.APPLY_MODEL, KEY, by_step)
        model.add_callback_with_key(CallbacksMP.ON_PRE_RUN, KEY, by_step.restart)

    def _by_step(self, levels: tuple[Levels, ...]) -> ByStep:
        """The same for the same levels, for the last 16 of them."""
        self._at[levels] = by_step = self._at.pop(levels, None) or ByStep(self.stack, levels)
        if len(self._at) > 16:
            del self._at[next(iter(self._at))]
        return by_step


def _is_compiled(patcher: Any) -> bool:
    """Whether a model is compiled, as a whole or in parts that replace its own."""
    parts = patcher.object_patches.values()
    return _compiled in patcher.model_options or any(hasattr(part, "_orig_mod") for part in parts)
