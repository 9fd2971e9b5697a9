"""The one change of a tiny expert that every LoRA layout under test tells."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from rig.tiny_recipes import PARTS, linears, noise_of

State = dict[str, torch.Tensor]
MODULES = tuple(linears(PARTS))


@dataclass(frozen=True)
class Factors:
    """The change of one weight (out, in): kron(outer[0], inner[0]) @ kron(outer[1], inner[1]).

    So it is of rank 4, a Kronecker product of two matrices of rank 2, and a Hadamard product of two
    of rank 2. All numbers have at most eight bits: no format rounds them, and no order of adding
    does.
    """

    outer: tuple[torch.Tensor, torch.Tensor]  # (2, 2), (2, 2)
    inner: tuple[torch.Tensor, torch.Tensor]  # (out / 2, 2), (2, in / 2)

    @property
    def up(self) -> torch.Tensor:
        return torch.kron(self.outer[0], self.inner[0])

    @property
    def down(self) -> torch.Tensor:
        return torch.kron(self.outer[1], self.inner[1])


@dataclass(frozen=True)
class Canonical:
    """What every layout says: factors by module, and differences by name of parameter.

    `base` are the weights of the expert that it is for, which DoRA's magnitudes come from.
    """

    base: State
    factors: dict[str, Factors]
    differences: State


def canonical(base: State, seed: str = "canonical", modules: Sequence[str] = MODULES) -> Canonical:
    """Another seed gives another LoRA; `modules` may be any linears, such as MODULES + OUTER."""
    noise = noise_of(seed)
    factors = {module: factors_of(base[f"{module}.weight"], noise) for module in modules}
    differences = {
        key: grid(noise(*value.shape), 2**-12)
        for key, value in base.items()
        if key.endswith((".bias", ".modulation")) or "norm" in key
    }
    return Canonical(base, factors, differences)


def factors_of(weight: torch.Tensor, noise: Callable[..., torch.Tensor]) -> Factors:
    rows, columns = weight.shape
    outer = tuple(noise(2, 2).sign() * torch.tensor([[1, 0.5], [0.5, 1]]) for _ in range(2))
    inner = grid(noise(rows // 2, 2), 2**-8), grid(noise(2, columns // 2), 2**-9)
    return Factors((outer[0], outer[1]), inner)


def grid(noise: torch.Tensor, step: float) -> torch.Tensor:
    """Noise of deviation 32 * step, in whole steps: seven bits and a sign."""
    return (noise * 32).round().clamp(-127, 127) * step


def changes(told: Canonical) -> Iterator[tuple[str, torch.Tensor]]:
    """The change of each module's weight; exact in float32, as in float64."""
    return ((module, each.up @ each.down) for module, each in told.factors.items())
