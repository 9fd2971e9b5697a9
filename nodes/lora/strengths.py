"""The strengths of LoRAs that stay beside the weights: one for each file, or one for each step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from ...catalog.stacks import Levels


class Live:
    """The strengths in force, one for each file of a stack; a change moves these numbers only."""

    def __init__(self, count: int, device: torch.device) -> None:
        self.values: tuple[float, ...] = (0.0,) * count
        # A tensor, so that compiled code need not be compiled again for another strength.
        self.tensor = torch.zeros(count, device=device)

    def set(self, values: tuple[float, ...]) -> None:
        if values != self.values:
            self.values = values
            self.tensor.copy_(torch.tensor(values))


class ByStep:
    """Sets the strengths before each model call; a wrapper of ComfyUI's APPLY_MODEL.

    The index counts the steps of this expert: the first noise level of a run that it sees is its
    step 0, and a level holds until the next one of the run's sigmas is reached.
    """

    def __init__(self, live: Live, levels: Sequence[Levels], ran: Callable[[], None]) -> None:
        self._live = live
        self._levels = levels
        self._ran = ran
        self._first: int | None = None

    def restart(self, _: Any = None) -> None:
        """A new run begins."""
        self._first = None

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
        step = self._step(sigma, transformer_options.get("sample_sigmas"))
        values = tuple(levels[min(step, len(levels) - 1)] for levels in self._levels)
        self._live.set(values)
        out = executor(x, sigma, c_concat, c_crossattn, control, transformer_options, **options)
        self._ran()
        return out

    def _step(self, sigma: torch.Tensor, sigmas: torch.Tensor | None) -> int:
        # Looking at a number on a graphics card waits for the card.
        if sigmas is None or max(map(len, self._levels)) == 1:
            return 0
        now = int((sigmas[:-1] >= sigma.max().to(sigmas.device)).sum())
        if self._first is None:
            self._first = now
        return max(now - self._first, 0)
