"""The strengths of LoRAs that stay beside the weights: one for each file, or one for each step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch

from ...catalog.stacks import Levels


class Live:
    """The strengths in force, one for each file of a stack; a change moves these numbers only."""

    def __init__(self, count: int, device: torch.device) -> None:
        self.none = (0.0,) * count
        self.values: tuple[float, ...] = self.none
        # A tensor, so that compiled code need not be compiled again for another strength. Not one
        # of inference mode, in which nodes run: it could not be changed elsewhere.
        with torch.inference_mode(False):
            self.tensor = torch.zeros(count, device=device)

    def set(self, values: tuple[float, ...]) -> None:
        if values != self.values:
            self.values = values
            self.tensor.copy_(torch.tensor(values))


class Stack(Protocol):
    """What holds the LoRAs whose strengths are set here."""

    live: Live

    def restart(self) -> None:
        """A new run begins."""

    def check(self) -> None:
        """A model call has ended."""


class ByStep:
    """Sets the strengths for each model call; a wrapper of ComfyUI's APPLY_MODEL.

    The index counts the steps of this expert: the first of the run's sigmas that it is called at is
    its step 0, and a level holds until the next one of them is reached. Our sampler says itself
    with which step of the run the expert begins. Outside of its calls all strengths are 0: whatever
    else runs this model, or holds a clone of it, runs it without LoRAs.
    """

    def __init__(self, stack: Stack, levels: Sequence[Levels]) -> None:
        self._stack = stack
        self._levels = levels
        self._first: int | None = None

    def restart(self, _: Any = None) -> None:
        """A new run begins."""
        self._first = None
        self._stack.restart()

    def __call__(
        self,
        executor: Callable[..., torch.Tensor],
        x: torch.Tensor,
        sigma: torch.Tensor,
        c_concat: Any,
        c_crossattn: Any,
        control: Any,
        transformer_options: dict[str, Any],
        **options: Any,
    ) -> torch.Tensor:
        step = self._step(sigma, transformer_options)
        live = self._stack.live
        live.set(tuple(levels[min(step, len(levels) - 1)] for levels in self._levels))
        try:
            out = executor(x, sigma, c_concat, c_crossattn, control, transformer_options, **options)
        finally:
            live.set(live.none)
        self._stack.check()
        return out

    def _step(self, sigma: torch.Tensor, options: dict[str, Any]) -> int:
        sigmas = options.get("sample_sigmas")
        # Looking at a number on a graphics card waits for the card.
        if sigmas is None or max(map(len, self._levels)) == 1:
            return 0
        now = float(sigma.max())
        # As exact as core takes them: samplers come back to a sigma by way of its logarithm.
        starts = [start for start in sigmas[:-1].tolist() if start >= now * (1 - 1e-4)]
        if "dualpass_start" in options:
            return max(len(starts) - options["dualpass_start"] - 1, 0)
        if self._first is None:
            between = not starts or starts[-1] > now * (1 + 1e-4)
            # Called first in the middle of a step, which another expert began.
            self._first = len(starts) + between
        return max(len(starts) - self._first, 0)
