"""LoRAs of one weight that stay beside it: the weight is not touched, strengths are free to change.

Each layer takes the cheaper of two ways at each call: `at use` adds the stack to a copy of the
weight, as dear for any number of tokens; `beside` adds the stack's own output to the layer's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

import comfy.lora
import torch
from comfy.weight_adapter import LoRAAdapter

from .stack import is_low_rank, product, scale_of
from .strengths import Live


class LowRank:
    """Neighbouring low-rank LoRAs of one weight (out, in), as one product."""

    def __init__(self, patches: Sequence[tuple[int, LoRAAdapter]], live: Live) -> None:
        self.live = live
        adapters = [adapter for _, adapter in patches]
        self.files = [file for file, _ in patches]
        ups = [adapter.weights[0] for adapter in adapters]
        downs = [adapter.weights[1] for adapter in adapters]
        kept = (torch.nn.Parameter(factor, requires_grad=False) for factor in (*ups, *downs))
        self.factors = torch.nn.ParameterList(kept)
        device = live.tensor.device
        self.scales = torch.tensor([scale_of(adapter) for adapter in adapters], device=device)
        self.indices = torch.tensor(self.files, device=device)
        ranks = torch.tensor([len(down) for down in downs], device=device)
        self.columns = torch.repeat_interleave(ranks)
        rank, (out, into) = len(self.columns), (len(ups[0]), downs[0].shape[1])
        # Tokens from which `at use` moves fewer bytes: 2 a value, the weight read and written,
        # against the input, twice the inner and twice the output of the product.
        self.crossover = 2 * into * out / (into + 2 * rank + 2 * out)

    def at_use(self, weight: torch.Tensor) -> torch.Tensor:
        """A copy of the weight with the product added; the weight itself where all are 0."""
        if self.is_off():
            return weight
        ups, downs = self._halves()
        segments = list(zip(ups, downs, strict=True))
        scales = self._scales().to(weight.device)
        return torch.addmm(weight, *product(segments, scales, weight.device, weight.dtype))

    def beside(self, x: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        """The layer's output (…, out) with the product of its input (…, in) added, in place."""
        if self.is_off():
            return out
        ups, downs = self._halves()
        down = torch.cat([each.to(x.device, x.dtype) for each in downs])
        up = torch.cat([each.to(x.device, x.dtype) for each in ups], 1)
        inner = torch.nn.functional.linear(x.reshape(-1, x.shape[-1]), down)
        inner.mul_(self._scales().to(x.device)[self.columns.to(x.device)])
        flat = out.reshape(-1, out.shape[-1])
        add = torch.addmm if out.requires_grad else torch.Tensor.addmm_
        return add(flat, inner, up.t()).reshape(out.shape)

    def _halves(self) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        factors, count = list(self.factors), len(self.files)
        return factors[:count], factors[count:]

    def _scales(self) -> torch.Tensor:
        return self.scales * self.live.tensor[self.indices]

    def is_off(self) -> bool:
        """Whether all strengths are 0 now."""
        # Compiled code would be made anew for each zero.
        if torch.compiler.is_compiling():
            return False
        return not any(self.live.values[file] for file in self.files)


class UnmergedWeight:
    """All LoRAs of one weight or bias, in order, applied where the layer uses it."""

    def __init__(
        self, key: str, patches: Sequence[tuple[int, Any]], shape: Sequence[int], live: Live
    ) -> None:
        self.key = key
        self.live = live
        self.pieces: list[LowRank | tuple[int, Any]] = []
        for low_rank, each in groupby(patches, lambda each: is_low_rank(each[1], shape)):
            run = list(each)
            self.pieces.extend([LowRank(run, live)] if low_rank else run)
        self.way = ""
        # Whether the call that runs now goes beside, as a hook on the layer decides.
        self.skipped = False

    @property
    def low_rank(self) -> LowRank | None:
        """The one product that this is, if it is nothing else."""
        only = self.pieces[0] if len(self.pieces) == 1 else None
        return only if isinstance(only, LowRank) else None

    def __call__(self, weight: torch.Tensor) -> torch.Tensor:
        """The weight that the layer uses, as a new tensor; itself where the layer goes beside."""
        if self.skipped:
            return weight
        self.way = "at use"
        for piece in self.pieces:
            if isinstance(piece, LowRank):
                weight = piece.at_use(weight)
            else:
                weight = self._with(weight, *piece)
        return weight

    def _with(self, weight: torch.Tensor, file: int, patch: Any) -> torch.Tensor:
        compiling = torch.compiler.is_compiling()
        strength = 1.0 if compiling else self.live.values[file]
        if not strength:
            return weight
        patches = [(strength, patch, 1.0, None, None)]
        changed = comfy.lora.calculate_weight(patches, weight.clone(), self.key, weight.dtype)
        # For compiled code a number would be part of the code; all patches are linear in it.
        return (
            torch.lerp(weight, changed, self.live.tensor[file].to(weight)) if compiling else changed
        )

    def attach(
        self,
        module: Any,
        name: str = "weight",
        *,
        listed: bool = True,
        hooked: bool = True,
        always_beside: bool = False,
    ) -> Callable[[], None]:
        """Let a layer use this for its parameter `name`; gives what undoes it.

        `listed`: the layer calls its list of functions, as those of comfy/ops.py do. `hooked`:
        hooks may choose the way at each call.
        """
        low_rank = self.low_rank
        switch = _switch(module, f"{name}_function", self) if listed else _nothing
        if not hooked or low_rank is None or not hasattr(module, "in_features"):
            switch(True)
            return lambda: switch(False)

        def choose(_: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> None:
            tokens = args[0].numel() // args[0].shape[-1]
            few = tokens < low_rank.crossover
            self.skipped = always_beside or few or low_rank.is_off()
            # A layer copies its weight for a function on its list, whatever that does.
            switch(not self.skipped)

        def add(
            _: torch.nn.Module, args: tuple[torch.Tensor, ...], out: torch.Tensor
        ) -> torch.Tensor | None:
            if not self.skipped:
                return None
            self.skipped, self.way = False, "beside"
            return low_rank.beside(args[0], out)

        handles = module.register_forward_pre_hook(choose), module.register_forward_hook(add)

        def detach() -> None:
            switch(False)
            for handle in handles:
                handle.remove()

        return detach


def _switch(module: Any, attribute: str, function: object) -> Callable[[bool], None]:
    """What puts a function on a layer's list, or takes it off."""

    def switch(on: bool) -> None:
        there = getattr(module, attribute)
        if on != any(each is function for each in there):
            others = [each for each in there if each is not function]
            setattr(module, attribute, [*others, function] if on else others)

    return switch


def _nothing(_: bool) -> None:
    """For a layer without such a list."""
