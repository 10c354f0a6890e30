"""DiNNO's Figure 2: MNIST, ten agents with one digit each, four graphs."""

from __future__ import annotations

from functools import cache, partial
from pathlib import Path
from typing import ClassVar

import networkx as nx
import numpy as np
import scipy.sparse

from .. import graphs, tasks
from ..algorithm import Algorithm, Needs
from ..algorithms import DSGD, DSGT, Centralized, DiNNO, Isolated
from ..schedules import decaying, geometric, log
from .base import Planned, Records, Reproduction, final_percent, markdown, select
from .figures import panels

AGENTS, ROUNDS, SEEDS = 10, 2000, (0, 1, 2)
RATE = log(0.005, 0.0005)


class InPlaceDSGD(DSGD):
    """For the record: DSGD with weights that are no longer doubly stochastic."""

    needs: ClassVar[Needs] = Needs.NOTHING


class InPlaceDSGT(DSGT):
    """For the record: DSGT with weights that are no longer doubly stochastic."""

    needs: ClassVar[Needs] = Needs.NOTHING


def mixed_in_place(graph: nx.Graph) -> scipy.sparse.csr_array:
    """What Metropolis weights W become when agents mix one after the other, in place.

    Later agents read rows that are already mixed: x+ = L x+ + U x with L the part of W below the
    diagonal and U the rest, so the matrix in effect is (I - L)^-1 U.
    """
    mixing = graphs.metropolis(graph).toarray()
    below = np.tril(mixing, -1)
    return scipy.sparse.csr_array(np.linalg.solve(np.eye(len(mixing)) - below, mixing - below))


@cache
def task() -> tasks.BaseTask:
    """MNIST, one digit class for each of the ten agents, DiNNO's network."""
    return tasks.mnist(agents=AGENTS, partition="by_class", model="dinno_cnn", batch_size=64)


def topologies() -> dict[str, nx.Graph]:
    """The four graphs; the random ones are Erdos-Renyi, p = 0.3, redrawn until connected."""
    return {
        "complete": graphs.complete(AGENTS),
        "cycle": graphs.cycle(AGENTS),
        "random-1": graphs.erdos_renyi(AGENTS, p=0.3, seed=1),
        "random-2": graphs.erdos_renyi(AGENTS, p=0.3, seed=2),
    }


METHODS: dict[str, Algorithm] = {
    "DiNNO": DiNNO(rho=geometric(0.5 * 1.0003, 1.0003), lr=RATE, local_steps=2),
    "DiNNO (rho x 1.003)": DiNNO(rho=geometric(0.5 * 1.003, 1.003), lr=RATE, local_steps=2),
    "DSGT": DSGT(lr=0.005),
    "DSGD": DSGD(lr=decaying(0.005, 0.001), gradient_at="mixed"),
    "DSGD (own point)": DSGD(lr=decaying(0.005, 0.001), gradient_at="own"),
}
ALONE: dict[str, Algorithm] = {
    "Centralized": Centralized(lr=RATE),
    "Isolated": Isolated(lr=RATE),
}
IN_PLACE: dict[str, Algorithm] = {
    "DSGT in place": InPlaceDSGT(lr=0.005),
    "DSGD in place": InPlaceDSGD(lr=decaying(0.005, 0.001), gradient_at="mixed"),
}
PUBLISHED = {
    "DiNNO": "98.5 (as centralized)",
    "DSGT": "in words: below DiNNO",
    "DSGD": "in words: poor, with high variance",
    "Centralized": "98.5",
    "Isolated": "about 10",
}


class DinnoMnist(Reproduction):
    name = "dinno-mnist"
    title = "DiNNO, Figure 2: ten agents, one digit each"

    def plan(self) -> list[Planned]:
        runs = []
        make = partial(Planned, task=task, rounds=ROUNDS, evaluate_every=100)
        for seed in SEEDS:
            runs += [make("alone", n, seed, a, graph=None) for n, a in ALONE.items()]
            for group, graph in topologies().items():
                runs += [make(group, n, seed, a, graph=graph) for n, a in METHODS.items()]
            runs += [
                make("cycle", n, seed, a, graph=topologies()["cycle"], weights=mixed_in_place)
                for n, a in IN_PLACE.items()
            ]
        return runs

    def table(self, records: Records) -> str:
        found = topologies()
        header = ["test accuracy, %", "published"]
        header += [f"{n} (Fiedler {graphs.fiedler_value(g):.2f})" for n, g in found.items()]
        rows = [
            [label, PUBLISHED.get(label, "read off the figure only")]
            + [final_percent(select(records, group, label)) for group in found]
            for label in METHODS
        ]
        for label in ALONE:
            same = final_percent(select(records, "alone", label))
            rows.append([label, PUBLISHED[label], same, *["the same"] * (len(found) - 1)])
        for label in IN_PLACE:
            only = final_percent(select(records, "cycle", label))
            rows.append([f"{label} (for the record)", "their code's mixing", "-", only, "-", "-"])
        return markdown(header, rows)

    def draw(self, records: Records, path: Path) -> None:
        alone = {label: select(records, "alone", label) for label in ALONE}
        contents = {
            f"{group} graph, Fiedler value {graphs.fiedler_value(graph):.2f}": {
                **{label: select(records, group, label) for label in METHODS},
                **alone,
            }
            for group, graph in topologies().items()
        }
        panels(contents, path, self.title)
