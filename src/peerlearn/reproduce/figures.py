"""Panels of curves, as papers print them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ..record import Record

# Okabe and Ito's palette, which colour-blind readers can tell apart
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8A8A8A")


def panels(
    contents: Mapping[str, Mapping[str, Sequence[Record]]],
    path: Path,
    title: str,
    measure: str = "accuracy",
    ylabel: str = "test accuracy (%)",
    columns: int = 4,
) -> None:
    """One panel for each key, in it one curve for each label.

    The line is the mean over agents and seeds, the band reaches from the worst agent to the best.
    """
    labels = list(dict.fromkeys(label for panel in contents.values() for label in panel))
    colours = {label: COLOURS[i % len(COLOURS)] for i, label in enumerate(labels)}
    rows = -(-len(contents) // columns)
    columns = min(columns, len(contents))
    figure = Figure(figsize=(3.6 * columns, 3.2 * rows + 0.9), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False, sharey=True).flatten()
    for axis in axes[len(contents) :]:
        axis.set_visible(False)
    for axis, (name, panel) in zip(axes, contents.items(), strict=False):
        for label, runs in panel.items():
            _curve(axis, runs, measure, colours[label], label)
        axis.set_title(name, fontsize=10)
        axis.set_xlabel("round")
        axis.grid(alpha=0.25)
    axes[0].set_ylabel(ylabel)
    handles = {}
    for axis in axes:
        handles.update({t: h for h, t in zip(*axis.get_legend_handles_labels(), strict=True)})
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=4, fontsize=9)
    figure.suptitle(title, fontsize=11)
    for suffix in (".png", ".svg"):
        figure.savefig(path.with_suffix(suffix), dpi=130, metadata=_undated(suffix))


def _curve(axis, runs: Sequence[Record], measure: str, colour: str, label: str) -> None:  # type: ignore[no-untyped-def]
    if not runs:
        return
    length = min(len(r.rounds) for r in runs)
    rounds = runs[0].rounds[:length]
    values = 100 * np.stack([r.history[measure][:length] for r in runs])  # (seeds, T, A)
    axis.plot(rounds, values.mean(axis=(0, 2)), color=colour, label=label, linewidth=1.6)
    axis.fill_between(
        rounds, values.min(axis=(0, 2)), values.max(axis=(0, 2)), color=colour, alpha=0.15, lw=0
    )


def _undated(suffix: str) -> dict[str, None] | None:
    return {"Date": None} if suffix == ".svg" else None
