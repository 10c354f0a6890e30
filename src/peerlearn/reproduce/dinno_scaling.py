"""DiNNO's scaling study: more agents, and more or fewer links.

The settings are those of the authors' code. The paper has no figure and no number of this study;
beside the table stands what it claims of the four graphs of its Figure 2.
"""

from __future__ import annotations

from functools import cache, partial
from pathlib import Path

import networkx as nx
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from .. import graphs, tasks
from ..algorithm import Algorithm
from ..algorithms import DSGD, DSGT, DiNNO
from ..report.curves import Curve, how_to_read, line_and_band
from ..report.style import color, percent, styled
from ..schedules import decaying, geometric, log
from .base import Planned, Records, Reproduction, final_percent, lasting, markdown, select
from .figures import explain, keep

ROUNDS = 1500
SIZES = {(n, 1.0): n for n in (10, 20, 50, 100)}  # (agents, connectivity) -> where it is drawn
LINKS = {(20, c): c for c in (0.1, 0.3, 1.0, 2.0)}
SETTINGS = tuple({**SIZES, **LINKS})
METHODS: dict[str, Algorithm] = {
    "DiNNO": DiNNO(
        rho=geometric(0.5 * 1.0003, 1.0003), lr=log(0.005, 0.0005), local_steps=2
    ),
    "DSGT": DSGT(lr=0.005),
    "DSGD": DSGD(lr=decaying(0.005, 0.001), gradient_at="mixed"),
}  # fmt: skip

PUBLISHED = {
    "DiNNO": "98.5, as centralized, also where connectivity is low",
    "DSGT": "below DiNNO",
    "DSGD": "below DiNNO, poor and with high variance",
}


@cache
def task(agents: int) -> tasks.BaseTask:
    """MNIST, sorted by label and cut into equal chunks, DiNNO's network."""
    return tasks.mnist(agents=agents, partition="label_sorted", model="dinno_cnn", batch_size=64)


@cache
def graph(agents: int, connectivity: float) -> nx.Graph:
    """A random geometric graph on the unit square with about that algebraic connectivity."""
    return graphs.random_geometric(agents, connectivity=connectivity, seed=0)


class DinnoScaling(Reproduction):
    name = "dinno-scaling"
    title = "DiNNO's scaling study on MNIST"

    def plan(self) -> list[Planned]:
        return [
            Planned(
                _group(*setting), label, 0, algorithm, partial(task, setting[0]),
                graph(*setting), ROUNDS, 300,
            )
            for setting in SETTINGS
            for label, algorithm in METHODS.items()
        ]  # fmt: skip

    def shorten(self, plan: list[Planned]) -> list[Planned]:
        small = {_group(10, 1.0), _group(20, 0.1), _group(20, 2.0)}
        return super().shorten([p for p in plan if p.group in small])

    def table(self, records: Records) -> str:
        header = ["agents", "connectivity wanted", "reached", *METHODS]
        claimed = [PUBLISHED[label] for label in METHODS]
        rows = [["published: nothing of this study; of Figure 2, ten agents", "-", "-", *claimed]]
        for agents, wanted in SETTINGS:
            reached = graphs.fiedler_value(graph(agents, wanted))
            group = _group(agents, wanted)
            cells = [final_percent(select(records, group, label)) for label in METHODS]
            rows.append([str(agents), f"{wanted}", f"{reached:.2f}", *cells])
        return markdown(header, rows)

    def draw(self, records: Records, path: Path) -> None:
        with styled():
            figure = Figure(figsize=(9, 4), layout="constrained")
            left, right = figure.subplots(1, 2, sharey=True)
            left.set(xlabel="agents, at algebraic connectivity 1.0", ylabel="test accuracy")
            right.set(xlabel="algebraic connectivity, 20 agents", xscale="log", ylim=(0, 1))
            right.set_xticks(list(LINKS.values()), map(str, LINKS.values()))
            right.minorticks_off()
            left.yaxis.set_major_formatter(percent())
            for number, label in enumerate(METHODS):
                _curve(left, number, records, label, SIZES)
                _curve(right, number, records, label, LINKS)
            handles = {n: Line2D([], [], color=color(i)) for i, n in enumerate(METHODS)}
            caption = f"{how_to_read(1)} A run that diverged is left out."
            explain(figure, handles, self.title, caption)
        keep(figure, path, self.title)


def _curve(axes: Axes, number: int, records: Records, label: str, settings: dict) -> None:
    """The last accuracies over what varies."""
    found = [(x, lasting(select(records, _group(*s), label))) for s, x in settings.items()]
    known = [(x, runs[0].final["accuracy"]) for x, runs in found if runs]
    if known:
        where = np.array([x for x, _ in known])
        of_agents = [[reduce(v) for _, v in known] for reduce in (np.mean, np.min, np.max)]
        mean, low, high = map(np.array, of_agents)
        line_and_band(axes, number, where, Curve(where, mean, low, high, mean[:, None]))
        axes.plot(where, mean, "o", color=color(number))


def _group(agents: int, connectivity: float) -> str:
    return f"{agents}-agents-connectivity-{connectivity}"
