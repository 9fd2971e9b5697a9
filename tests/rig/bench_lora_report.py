"""What the benchmark found, as a table for people and as a plot of the ratios."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

from rig.bench_figure import short
from rig.bench_lora_figure import Line, Times

HEAD = "| measure | DualPass | peer | | times | mark |\n|---|---:|---|---:|---:|---|"
OURS, MARK = "#2a7f62", "#c0392b"


def write_table(path: Path, lines: Sequence[Line]) -> None:
    """Markdown: each sentence begins a table of the figures that follow it."""
    path.write_text("\n".join(table(lines)).strip() + "\n", encoding="utf-8")


def table(lines: Sequence[Line]) -> Iterator[str]:
    for is_text, group in groupby(lines, lambda line: isinstance(line, str)):
        if is_text:
            yield f"\n{' '.join(str(line).strip() for line in group)}\n"
        else:
            yield HEAD
            yield from (f"| {' | '.join(cells(line))} |" for line in group)


def cells(line: Line) -> Iterator[str]:
    assert not isinstance(line, str)
    name, _, peer = line.name.strip().rpartition(" / ")
    yield name or peer
    yield short(line.figure)
    yield peer if name and line.peer is not None else ""
    yield "" if line.peer is None else short(line.peer)
    yield f"{short(line.times)}x" if isinstance(line, Times) else ""
    if isinstance(line, Times):
        yield line.verdict.strip()
    else:
        yield f"{line.mark}: {'met' if line.met else 'NOT MET'}" if line.mark else ""


def write_plot(path: Path, lines: Sequence[Line]) -> None:
    """SVG: how many times less than each peer, on a logarithmic scale, with the marks."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    shown = [line for line in lines if isinstance(line, Times)][::-1]
    with matplotlib.rc_context(
        {"svg.hashsalt": "dualpass", "svg.fonttype": "none", "font.size": 8}
    ):
        figure, axes = pyplot.subplots(figsize=(9, 1 + len(shown) / 4.5), layout="constrained")
        names = [f"{line.name}: {short(line.times)}x" for line in shown]
        beyond = [line.times - 1 for line in shown]
        axes.barh(names, beyond, left=1, color=[OURS if one >= 0 else MARK for one in beyond])
        marked = [at for at, line in enumerate(shown) if line.mark]
        marks = [shown[at].mark for at in marked]
        axes.scatter(marks, marked, marker="|", s=90, color="black", label="mark", zorder=3)
        axes.legend(loc="upper right")
        axes.set(xscale="log", xlabel="times as fast as the peer, or as few bytes")
        axes.axvline(1, color="black", linewidth=0.8)
        axes.margins(y=0.01)
        figure.savefig(path, metadata={"Date": None})
        pyplot.close(figure)
