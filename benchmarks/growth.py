"""How a round between processes grows: the sizes, the slopes and the picture."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from peerlearn.report.style import Drawing, color, dashes, legend, logarithmic, save, styled

AGENTS_PER_PROCESS = (1, 2, 4, 8)
WIDTHS = {9_706: 12, 100_687: 111, 999_382: 678, 9_998_575: 2789}
"""Parameters of the MLP 784-w-w-10 -> w."""
DEGREES = (2, 3, 4, 5, 6, 7)
PANELS = {
    "agents": "agents a process (2 processes)",
    "parameters": "parameters (2 processes)",
    "neighbors": "neighbors (8 processes)",
}


class Growth(NamedTuple):
    """Milliseconds of a round, and of the bare gradients and messages: size -> ms."""

    round_ms: dict[int, float]
    floor_ms: dict[int, float]


def slopes(grown: dict[str, Growth]) -> list[str]:
    """The slopes, in words."""
    agents, neighbors, parameters = (grown[n] for n in ("agents", "neighbors", "parameters"))
    return [
        "An agent more in each process adds "
        f"{_slope(agents.round_ms):.2f} ms to a round and {_slope(agents.floor_ms):.2f} ms to its "
        f"floor; a neighbor more {_slope(neighbors.round_ms):.2f} ms and "
        f"{_slope(neighbors.floor_ms):.2f} ms. With the number of parameters the time of a round "
        f"grows as its power {_power(parameters.round_ms):.2f} and that of the floor as "
        f"{_power(parameters.floor_ms):.2f} between the two largest networks.",
    ]


def _slope(times: dict[int, float]) -> float:
    """ms for one more, of the line through all points."""
    return float(np.polyfit([*times], [*times.values()], 1)[0])


def _power(times: dict[int, float]) -> float:
    """The slope between the two largest, both axes logarithmic."""
    (x, s), (y, t) = sorted(times.items())[-2:]
    return float(np.log(t / s) / np.log(y / x))


def draw(grown: dict[str, Growth], folder: Path) -> None:
    """``processes-growth.png`` and ``.svg``."""
    with styled():
        figure = Figure(figsize=(7.6, 2.9), layout="constrained")
        handles = {}
        for axes, (name, words) in zip(figure.subplots(1, 3), PANELS.items(), strict=True):
            both = {"a round of DSGD": grown[name].round_ms, "its floor": grown[name].floor_ms}
            for number, (label, times) in enumerate(both.items()):
                (handles[label],) = axes.plot(
                    [*times], [*times.values()], color=color(number), marker=".",
                    linestyle=dashes(6 * number),
                )  # fmt: skip
            axes.set_xlabel(words)
            if name == "parameters":
                axes.set_xscale("log")
                logarithmic(axes)
                axes.set_xticks([*WIDTHS], [f"10{p}" for p in "⁴⁵⁶⁷"], minor=False)
                axes.minorticks_off()
            else:
                axes.set_xticks([*times])
                axes.set_ylim(bottom=0)
        figure.axes[0].set_ylabel("time of a round, ms")
        legend(figure, handles)
    save(Drawing("processes-growth", figure, "", ""), folder)
