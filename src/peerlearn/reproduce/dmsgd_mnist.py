"""DMSGD's Figure 1 on MNIST: three topologies, the sweep of omega, iid and non-iid data.

The paper shows the sweep on CIFAR-10 with an unnamed network and states neither the number of
agents nor the rates; here are ten agents, MNIST and DiNNO's network for all of it.
"""

from __future__ import annotations

from functools import cache, partial
from pathlib import Path

import networkx as nx

from .. import graphs, tasks
from ..algorithm import Algorithm
from ..algorithms import CDSGD, DMSGD
from .base import Planned, Records, Reproduction, final_percent, markdown, select
from .figures import panels

AGENTS, ROUNDS, SEEDS = 10, 1000, (0, 1, 2)
RATE, BETA = 0.01, 0.9  # at 0.05 non-iid training falls apart for omega 0 and 0.5 alike
OMEGAS = (0.0, 0.25, 0.5, 0.75, 0.99)
SWEEP: dict[str, Algorithm] = {
    "CDSGD": CDSGD(lr=RATE),
    **{f"omega {w}": DMSGD(lr=RATE, beta=BETA, omega=w) for w in OMEGAS},
}
DATA = {"iid": "iid", "non-iid": "chunks"}
# section 5 gives no numbers, only these words: on CIFAR-10 for omega, on MNIST for the topologies
PUBLISHED = {
    "CDSGD": "as good as DMSGD on iid data, worse on non-iid",
    "omega 0.0": "very bad on non-iid data",
    "omega 0.25": "nothing said",
    "omega 0.5": "better than 0.75",
    "omega 0.75": "worse than 0.5",
    "omega 0.99": "does not converge",
}
PUBLISHED_TOPOLOGIES = {
    "complete": "better than bipartite",
    "ring": "nothing said",
    "bipartite": "worse than complete (theirs has very sparse links, ours all between two halves)",
}


@cache
def task(partition: str) -> tasks.BaseTask:
    return tasks.mnist(agents=AGENTS, partition=partition, model="dinno_cnn", batch_size=64)


def topologies() -> dict[str, nx.Graph]:
    return {
        "complete": graphs.complete(AGENTS),
        "ring": graphs.cycle(AGENTS),
        "bipartite": graphs.bipartite(AGENTS // 2, AGENTS - AGENTS // 2),
    }


class DmsgdMnist(Reproduction):
    name = "dmsgd-mnist"
    title = "DMSGD on MNIST, ten agents"

    def plan(self) -> list[Planned]:
        runs = []
        for seed in SEEDS:
            for kind, partition in DATA.items():
                make = partial(
                    Planned, seed=seed, task=partial(task, partition), rounds=ROUNDS,
                    evaluate_every=100,
                )  # fmt: skip
                for label, algorithm in SWEEP.items():
                    graph = topologies()["ring"]
                    runs.append(make(f"ring-{kind}", label, algorithm=algorithm, graph=graph))
                for name in ("complete", "bipartite"):
                    half = SWEEP["omega 0.5"]
                    graph = topologies()[name]
                    runs.append(make(f"{name}-{kind}", "omega 0.5", algorithm=half, graph=graph))
        return runs

    def table(self, records: Records) -> str:
        header = ["test accuracy, %", "published, CIFAR-10", *(f"ring, {kind}" for kind in DATA)]
        rows = [[label, said, *_cells(records, "ring", label)] for label, said in PUBLISHED.items()]
        topology_header = ["omega 0.5, test accuracy, %", "published, MNIST", *DATA]
        second = [
            [name, said, *_cells(records, name, "omega 0.5")]
            for name, said in PUBLISHED_TOPOLOGIES.items()
        ]
        return markdown(header, rows) + "\n" + markdown(topology_header, second)

    def draw(self, records: Records, path: Path) -> None:
        contents = {
            f"ring, {kind}": {n: select(records, f"ring-{kind}", n) for n in SWEEP} for kind in DATA
        }
        for kind in DATA:
            contents[f"omega 0.5, {kind}"] = {
                f"{n} graph": select(records, f"{n}-{kind}", "omega 0.5") for n in topologies()
            }
        panels(contents, path, self.title)


def _cells(records: Records, topology: str, label: str) -> list[str]:
    return [final_percent(select(records, f"{topology}-{kind}", label)) for kind in DATA]
