"""Curves of measures over runs: lines, bands over agents and seeds, and how to read them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes

from ..record import Record
from .measures import is_team, measured
from .style import LIGHT, color, dashes


class Curve(NamedTuple):
    """A measure against rounds.

    Attributes:
        rounds: (T,) the rounds.
        mean: (T,) the mean of the seeds' means.
        low, high: (T,) the lowest and the highest of all agents of all seeds.
        seeds: (T, S) each seed's mean over its agents; NaN where it has no finite value.
    """

    rounds: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    seeds: np.ndarray


def curve(records: Sequence[Record], measure: str) -> Curve:
    """A measure over the rounds after which any agent of any seed has a finite value."""
    points: dict[int, dict[int, np.ndarray]] = {}  # round -> number of the seed -> its agents
    for number, record in enumerate(records):
        for at, row in zip(record.rounds, measured(record, measure), strict=False):
            if np.isfinite(row).any():
                points.setdefault(int(at), {})[number] = row[np.isfinite(row)]
    rows = [points[at] for at in sorted(points)]
    seeds = np.full((len(rows), len(records)), np.nan)
    for means, row in zip(seeds, rows, strict=True):
        means[list(row)] = [values.mean() for values in row.values()]
    return Curve(
        rounds=np.array(sorted(points), int),
        mean=np.nanmean(seeds, axis=1) if rows else np.zeros(0),
        low=np.array([min(values.min() for values in row.values()) for row in rows]),
        high=np.array([max(values.max() for values in row.values()) for row in rows]),
        seeds=seeds,
    )


def line_and_band(axes: Axes, number: int, x: np.ndarray, c: Curve) -> Artist:
    """The mean as a line, worst to best as a band; a single evaluation as a dot with a bar.

    Several seeds are a thin line each, so that one sees how far they lie apart.
    """
    look = {"color": color(number), "linestyle": dashes(number)}
    alpha = 0.17 if number < len(LIGHT) else 0.06  # many bands would hide each other
    if len(x) == 1:
        axes.vlines(x, c.low, c.high, color=color(number), alpha=0.5)
        look["marker"] = "o"
    axes.fill_between(x, c.low, c.high, color=color(number), alpha=alpha, linewidth=0)
    for seed in c.seeds.T if c.seeds.shape[1] > 1 else ():
        known = np.isfinite(seed)
        axes.plot(x[known], seed[known], **look | {"linewidth": 0.6, "alpha": 0.7})
    return axes.plot(x, c.mean, **look)[0]


def how_to_read(seeds: int, measure: str = "") -> str:
    """What a line, a thin line and a band are; a team's measure has no worst and best agent."""
    if is_team(measure):
        several = f", mean of {seeds} seeds; thin lines and band: the seeds" if seeds > 1 else ""
        return f"Line: sum over the agents{several}."
    several, each = (f" of {seeds} seeds", " thin lines: each seed;") if seeds > 1 else ("", "")
    line, band = "mean over the agents", "from the worst to the best agent"
    return f"Line: {line}{several};{each} band: {band}{several}."
