"""DiNNO's scaling study: more agents, and more or fewer links."""

from __future__ import annotations

from functools import cache, partial
from pathlib import Path

import networkx as nx
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from .. import graphs, tasks
from ..algorithm import Algorithm
from ..algorithms import DSGD, DSGT, DiNNO
from ..schedules import decaying, geometric, log
from .base import Planned, Records, Reproduction, final_percent, markdown, select
from .figures import COLOURS

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
        rows = []
        for agents, wanted in SETTINGS:
            reached = graphs.fiedler_value(graph(agents, wanted))
            group = _group(agents, wanted)
            cells = [final_percent(select(records, group, label)) for label in METHODS]
            rows.append([str(agents), f"{wanted}", f"{reached:.2f}", *cells])
        return markdown(header, rows)

    def draw(self, records: Records, path: Path) -> None:
        figure = Figure(figsize=(9, 3.6), layout="constrained")
        FigureCanvasAgg(figure)
        left, right = figure.subplots(1, 2, sharey=True)
        for colour, label in zip(COLOURS, METHODS, strict=False):
            for axis, settings in ((left, SIZES), (right, LINKS)):
                points = [(x, select(records, _group(*s), label)) for s, x in settings.items()]
                done = [(x, runs[0].final["accuracy"] * 100) for x, runs in points if runs]
                if done:
                    where = [x for x, _ in done]
                    axis.plot(where, [v.mean() for _, v in done], "o-", color=colour, label=label)
                    axis.fill_between(
                        where, [np.min(v) for _, v in done], [np.max(v) for _, v in done],
                        color=colour, alpha=0.15, lw=0,
                    )  # fmt: skip
        left.set(xlabel="agents, at algebraic connectivity 1.0", ylabel="test accuracy (%)")
        right.set(xlabel="algebraic connectivity, 20 agents", xscale="log")
        for axis in (left, right):
            axis.grid(alpha=0.25)
            axis.legend()
        figure.suptitle(f"{self.title}; line: mean of agents, band: worst to best agent")
        figure.savefig(path.with_suffix(".png"), dpi=130)
        figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})


def _group(agents: int, connectivity: float) -> str:
    return f"{agents}-agents-connectivity-{connectivity}"
