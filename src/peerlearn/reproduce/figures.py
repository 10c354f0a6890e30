"""Panels of curves, as papers print them, in the look of the report."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from ..record import Record
from ..report.curves import curve, how_to_read, line_and_band
from ..report.measures import is_share
from ..report.style import Drawing, color, percent, save, styled
from ..report.words import words
from .base import lasting

CHARACTERS_PER_INCH = 13  # of a caption

Panels = Mapping[str, Mapping[str, Sequence[Record]]]


def panels(
    contents: Panels, path: Path, title: str, measure: str = "accuracy", columns: int = 2
) -> None:
    """One panel for each key, in it one curve for each label, to ``path`` with .png and .svg.

    The line is the mean over agents and seeds, the band reaches from the worst agent to the best,
    a thin line is one seed. Where a seed diverged its thin line ends in a cross, and the mean and
    the band are those of the others. What is no share has a logarithmic axis.
    """
    labels = list(dict.fromkeys(label for panel in contents.values() for label in panel))
    with styled():
        figure, axes = _grid(len(contents), columns)
        handles: dict[str, Artist] = {}
        for place, (name, panel) in zip(axes, contents.items(), strict=False):
            place.set(title=name, xlabel="round")
            if is_share(measure):
                place.set_ylim(0, 1)
                place.yaxis.set_major_formatter(percent())
            for label, runs in panel.items():
                if any(len(r.rounds) for r in runs):
                    handles[label] = _draw(place, labels.index(label), runs, measure)
            if not is_share(measure):
                _make_logarithmic(place)
        axes[0].set_ylabel(f"test {words(measure)}")
        explain(figure, handles, title, _caption(contents))
    keep(figure, path, title)


def _make_logarithmic(place: Axes) -> None:
    place.set_yscale("log")
    place.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    place.yaxis.set_major_formatter("{x:g}")
    place.yaxis.set_minor_locator(NullLocator())


def _wrapped(caption: str, figure: Figure) -> str:
    """In as many lines as the figure's width asks for."""
    return textwrap.fill(caption, int(CHARACTERS_PER_INCH * figure.get_figwidth()))


def explain(figure: Figure, handles: Mapping[str, Artist], title: str, caption: str) -> None:
    """The title above the axes, the legend and how to read it below."""
    figure.suptitle(title, fontsize=11)
    figure.legend(
        list(handles.values()), list(handles), title=_wrapped(caption, figure), title_fontsize=8.5,
        loc="outside lower center", ncols=4, handlelength=2.6,
    )  # fmt: skip


def keep(figure: Figure, path: Path, title: str) -> None:
    """Write the figure to ``path`` with .png and .svg."""
    save(Drawing(path.name, figure, title, ""), path.parent)


def _grid(count: int, columns: int) -> tuple[Figure, list[Axes]]:
    """As many axes as there are panels, row after row."""
    columns = min(columns, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(4.7 * columns, 3.1 * rows + 0.9), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharey=True).flatten().tolist()
    for place in axes[count:]:
        place.set_visible(False)
    return figure, axes[:count]


def _draw(axes: Axes, number: int, runs: Sequence[Record], measure: str) -> Artist:
    kept = curve(lasting(runs) or runs, measure)
    for run in runs:
        if run.diverged is not None:
            lost = curve([run], measure)
            axes.plot(lost.rounds, lost.mean, color=color(number), linewidth=0.6, alpha=0.7)
            axes.plot(lost.rounds[-1:], lost.mean[-1:], "x", color=color(number))
    return line_and_band(axes, number, kept.rounds, kept)


def _caption(contents: Panels) -> str:
    every = [runs for panel in contents.values() for runs in panel.values()]
    lost = any(r.diverged is not None for runs in every for r in runs)
    cross = " A cross: this seed diverged; the mean is of the others." if lost else ""
    return how_to_read(max(map(len, every), default=1)) + cross
