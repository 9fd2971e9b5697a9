"""What a doctor found out about one LoRA file, as a report to read and as plain data."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby
from typing import Any


@dataclass(frozen=True)
class Diagnosis:
    """What is known of one file. With a problem it is of no use on Wan; notes are good to know.

    `size` is in bytes. `dtypes`, `ranks` and `alphas` say of each value how many modules have it,
    `modules_by_block` of each block how many modules it has. `block_count` is what the model has.
    """

    file: str
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    size: int | None = None
    made_for: str = ""
    role: str = "unknown"
    layout: tuple[str, ...] = ()
    dtypes: Mapping[str, int] = field(default_factory=dict)
    modules: int = 0
    ranks: Mapping[int, int] = field(default_factory=dict)
    alphas: Mapping[float, int] = field(default_factory=dict)
    alpha_dtypes: tuple[str, ...] = ()
    rs_lora: bool = False
    differences: Mapping[str, int] = field(default_factory=dict)
    modules_by_block: Mapping[int, int] = field(default_factory=dict)
    block_count: int | None = None
    missing_on_wan22: int = 0
    trigger: str = ""
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        size = "" if self.size is None else f" ({self.size:,} bytes)"
        lines = ((label, text) for label, text in _lines(self) if text)
        return "\n".join([f"{self.file}{size}", *(f"  {label:9} {text}" for label, text in lines)])

    def as_json(self) -> dict[str, Any]:
        """All of it; numbers that JSON cannot hold as texts."""
        values = asdict(self)
        alphas = {
            alpha if math.isfinite(alpha) else str(alpha): n for alpha, n in self.alphas.items()
        }
        return {**values, "usable": not self.problems, "alphas": alphas}


def joined(words: Sequence[str]) -> str:
    """`a, b and c`."""
    return " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))


def spans(numbers: Iterable[int]) -> str:
    """`0-3, 7` for 0, 1, 2, 3 and 7."""
    runs = groupby(enumerate(sorted(numbers)), lambda each: each[1] - each[0])
    ends = [[number for _, number in run] for _, run in runs]
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in ends)


def _lines(told: Diagnosis) -> Iterator[tuple[str, str]]:
    yield from (("problem", text) for text in told.problems)
    yield "made for", told.made_for
    if told.modules:
        yield "role", _role(told.role)
        yield "layout", joined(told.layout)
        yield "modules", _modules(told)
        yield "rank", _ranks(told.ranks)
        yield "alpha", _alphas(told)
        yield "blocks", _blocks(told)
        yield "Wan 2.2", _missing(told)
    yield "trigger", told.trigger
    yield "tags", ", ".join(told.tags)
    yield from (("metadata", f"{key}: {value}") for key, value in told.metadata.items())
    yield from (("note", text) for text in told.notes)


def _role(role: str) -> str:
    if role == "unknown":
        return "not told by the name, and weights do not tell: ask who made it"
    return f"{role}, told by the name alone; weights do not tell"


def _modules(told: Diagnosis) -> str:
    texts = [f"{count} in {dtype}" for dtype, count in told.dtypes.items()]
    return ", ".join(texts + [f"{count} {part}" for part, count in told.differences.items()])


def _ranks(ranks: Mapping[int, int]) -> str:
    if len(ranks) > 4:
        return f"{min(ranks)} to {max(ranks)}, a rank of its own for each module"
    several = len(ranks) > 1
    return joined([f"{rank} ({n} modules)" if several else str(rank) for rank, n in ranks.items()])


def _alphas(told: Diagnosis) -> str:
    if not told.alphas:
        return "not stored, so the scale is 1" if told.ranks else ""
    low, high = min(told.alphas), max(told.alphas)
    value = f"{low:g}" if len(told.alphas) == 1 else f"{low:g} to {high:g}"
    text = f"stored: {value} in {joined(told.alpha_dtypes)}"
    count = sum(told.alphas.values())
    text += "" if count == told.modules else f", on {count} of {told.modules} modules"
    if len(told.alphas) == len(told.ranks) == 1 and min(told.ranks):
        rank = min(told.ranks) ** (0.5 if told.rs_lora else 1)
        text += f", so the scale is {low / rank:.4g}"
    return text


def _blocks(told: Diagnosis) -> str:
    counts = set(told.modules_by_block.values())
    if not counts:
        return "none"
    most = max(counts)
    fewer = [block for block, count in told.modules_by_block.items() if count < most]
    covered = f"{len(told.modules_by_block)} of {told.block_count or 'an unknown number'}"
    but = f", fewer in {spans(fewer)}" if fewer else ""
    return f"{covered}, with {most} modules each{but}"


def _missing(told: Diagnosis) -> str:
    if told.block_count not in (None, 40):
        return "its experts have another width"
    if not told.missing_on_wan22:
        return "all of its modules are there"
    return (
        f"{told.missing_on_wan22} of its modules are not there (k_img, v_img, norm_k_img, "
        "img_emb). That is to be expected: only Wan 2.1's I2V models have an image branch"
    )
