"""The adapters in a LoRA file, module by module: sizes, ranks, alphas, and what does not fit."""

from __future__ import annotations

import math
import struct
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO

from ..header import Header, Tensor
from .layouts import Key, read_key

_floats = {"F16", "BF16", "F32", "F64", "F8_E4M3", "F8_E5M2"}
_numbers = {"F64": "<d", "F32": "<f", "BF16": "<f", "F16": "<e", "I64": "<q", "I32": "<i"}
_beside = {"alpha", "dora", "rescale"}
_as_wide_as_the_model = (
    *("_attn.q", "_attn.k", "_attn.v", "_attn.o", "_attn.k_img", "_attn.v_img"),
    *("ffn.0", "ffn.2"),
)
# A part, and the others that are nothing without it.
_needs = {
    "lora": ({"down", "up"},),
    "LoHa": ({"w1_a", "w1_b", "w2_a", "w2_b"},),
    "LoKr": ({"w1", "w2"}, {"w1_a", "w1_b", "w2"}, {"w1", "w2_a", "w2_b"})
    + ({"w1_a", "w1_b", "w2_a", "w2_b"},),
}


@dataclass(frozen=True)
class Module:
    """What a file holds for one module of a model: `parts` by name, and one of the `key`s."""

    key: Key
    kind: str
    parts: Mapping[str, Tensor]

    @property
    def rank(self) -> int | None:
        """The inner size of the factors; None where there are none."""
        for part in ("down", "w1_b", "w2_b"):
            if part in self.parts:
                return (*self.parts[part].shape, 0)[0]
        return None

    @property
    def dtypes(self) -> set[str]:
        """What the factors are stored in."""
        return {tensor.dtype for part, tensor in self.parts.items() if part not in _beside}

    @cached_property
    def sides(self) -> tuple[int, int] | None:
        """How many values the module gives and takes, where the parts tell."""
        try:
            return self._sides()
        except (KeyError, IndexError):
            return None

    @property
    def slip(self) -> str:
        """What keeps the parts from acting as one, or nothing."""
        needs = _needs.get(
            "lora" if self.kind.lower().lstrip("_").startswith("lora") else self.kind
        )
        if needs and not any(each <= self.parts.keys() for each in needs):
            lacking = min(needs, key=lambda each: len(each ^ self.parts.keys())) - self.parts.keys()
            return f"without {' and '.join(sorted(lacking))}"
        if self.kind and self.rank == 0:
            return "of rank 0"
        if "up" in self.parts and self.parts["up"].shape[1:2] != self.parts["down"].shape[:1]:
            return "with an up and a down of different ranks"
        strange = self.dtypes - _floats
        return f"in {min(strange)}, which is no kind of weight" if strange else ""

    def _sides(self) -> tuple[int, int] | None:
        shape = {name: tensor.shape for name, tensor in self.parts.items()}
        if "down" in shape:
            return shape["up"][0], shape["down"][1]
        if self.kind == "LoHa":
            return shape["w1_a"][0], shape["w1_b"][1]
        if self.kind == "LoKr":
            first, second = (
                shape.get(part) or (shape[f"{part}_a"][0], shape[f"{part}_b"][1])
                for part in ("w1", "w2")
            )
            return first[0] * second[0], first[1] * second[1]
        return (shape["diff"][0], shape["diff"][1]) if "diff" in shape else None


def find_modules(header: Header) -> tuple[Module, ...]:
    """The modules of a file in its order. A full model has them too, with no parts of adapters."""
    keys: dict[tuple[str, str], list[tuple[Key, Tensor]]] = {}
    for name, tensor in header.tensors.items():
        key = read_key(name)
        keys.setdefault((key.prefix, key.module), []).append((key, tensor))
    return tuple(map(_module, keys.values()))


def _module(keys: list[tuple[Key, Tensor]]) -> Module:
    named = next((key for key, _ in keys if key.kind), keys[0][0])
    return Module(named, named.kind, {key.part: tensor for key, tensor in keys})


def find_widths(modules: Iterable[Module]) -> tuple[Counter[int], Counter[int]]:
    """How wide the Wan model is that the modules fit, and how wide its feed-forward part.

    Each width with the number of modules that tell it.
    """
    widths, feeds = Counter[int](), Counter[int]()
    for module in modules:
        gives, takes = module.sides or (0, 0)
        if module.key.module.endswith("ffn.0"):
            gives, takes = takes, gives
        if module.key.module.endswith(("ffn.0", "ffn.2")):
            feeds[takes] += 1
        if module.key.module.endswith(_as_wide_as_the_model):
            widths[gives] += 1
    del widths[0], feeds[0]
    return widths, feeds


def find_slips(modules: Sequence[Module], alphas: Sequence[float]) -> tuple[str, ...]:
    """What makes a file unusable, as sentences."""
    slips: dict[str, list[str]] = {}
    for module in modules:
        slips.setdefault(module.slip, []).append(module.key.module)
    slips.pop("", None)
    texts = [f"Modules {slip}: {len(at)}, such as {at[0]}." for slip, at in slips.items()]
    broken = sum(not math.isfinite(alpha) for alpha in alphas)
    if broken:
        texts.append(f"Alphas that are no finite number: {broken}. The video would be black.")
    widths = sorted(find_widths(modules)[0])
    if len(widths) > 1:
        fits = " and ".join(map(str, widths))
        texts.append(f"Its modules fit models of different widths: {fits}.")
    return tuple(texts)


def load_alphas(path: Path, header: Header, modules: Sequence[Module]) -> tuple[float | None, ...]:
    """The alpha of each module; None where there is none, NaN where it is no number.

    The only bytes beyond the header that are read: at most 8 for each. Raises OSError.
    """
    alphas = [module.parts.get("alpha") for module in modules]
    with path.open("rb", buffering=0) as file:
        return tuple(_number(file, header.data, alpha) if alpha else None for alpha in alphas)


def _number(file: IO[bytes], data: int, tensor: Tensor) -> float:
    form = _numbers.get(tensor.dtype)
    if not form or math.prod(tensor.shape) != 1:
        return math.nan
    file.seek(data + tensor.start)
    raw = file.read(tensor.end - tensor.start)
    # A bfloat16 is the upper half of a float32.
    raw = raw.rjust(4, b"\0") if tensor.dtype == "BF16" else raw
    return float(struct.unpack(form, raw)[0]) if len(raw) == struct.calcsize(form) else math.nan
