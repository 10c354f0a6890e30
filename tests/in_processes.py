"""What every process of a team runs, one case after the other, for test_processes.py.

Usage: python in_processes.py FOLDER. Its folder named for the number of processes gets a folder for
each case, with what each process has to show. FOLDER/1/halves holds runs that one process has
stopped, to go on with; FOLDER/4/halves those that four have.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import networkx as nx
import numpy as np
import torch
from helpers import (
    CLASSES,
    FEATURES,
    METHODS,
    classification,
    line_fit,
    needs_quadratic,
    samples,
    with_everything,
)
from scipy import sparse
from torch import nn

import peerlearn as pl
from peerlearn.algorithm import Algorithm, ThetaState
from peerlearn.data import Deferred
from peerlearn.errors import ConfigurationError, Diverged

SIZES = (5, 3, 8, 6, 7)  # samples of each agent: blocks of processes are unequal, too
ROUNDS, HALF = 8, 4
RANK, PROCESSES = (int(os.environ.get(name, 0)) for name in ("RANK", "WORLD_SIZE"))


@dataclass(frozen=True, kw_only=True)
class Median(Algorithm):
    """A method of one's own: the median of oneself and the neighbors, then a gradient step.

    It posts two exchanges before it waits for any, and never waits for a third.
    """

    lr: float = 0.05
    State: ClassVar[type] = ThetaState

    def start(self, theta, learner, links):
        return ThetaState(theta.clone())

    def round(self, s, learner, links):
        heard, doubled = links.exchange(s.theta), links.exchange(2 * s.theta, s.theta)
        links.exchange(s.theta[:, :1])
        (rows,), mask, _ = heard.rows()
        unheard = torch.tensor(float("nan"), dtype=rows.dtype)
        rows = torch.cat([s.theta[:, None], rows.where(mask[..., None], unheard)], dim=1)
        twice, once = doubled.difference()
        step = 0.05 / max(1, mask.shape[1]) * (twice - once) + self.lr * learner.gradient(s.theta)
        return ThetaState(rows.nanmedian(dim=1).values - step)


def network():
    """48 parameters, of which eight fit a register.

    What is left over at the end of a tensor torch's Adam computes in another way, and where that
    is depends on the stack; so with other widths it gives the same bits only up to rounding.
    """
    return nn.Sequential(nn.Linear(FEATURES, 6), nn.Tanh(), nn.Linear(6, CLASSES, bias=False))


class Case(NamedTuple):
    """One run, as all engines carry it out."""

    algorithm: Algorithm
    task: Callable[[], Any] = partial(classification, SIZES, network, initial_spread=0.5)
    graph: Callable[[], Any] = lambda: failing(pl.graphs.wheel(5))

    def train(self, engine: str, **options: Any) -> pl.Run:
        settings = {"rounds": ROUNDS, "evaluate_every": 4, "dtype": "float64", "device": "cpu"}
        graph = self.graph() if self.algorithm.communicates else None
        return pl.train(
            self.task(), self.algorithm, graph, engine=engine, **{**settings, **options}
        )


def failing(graph):
    return pl.graphs.link_failures(graph, p=0.3, seed=2)


def quadratic():
    return pl.tasks.quadratic(5, 3, seed=1)


def linear():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10, bias=False), nn.LogSoftmax(dim=-1))


def stream():
    return pl.tasks.digits_stream(
        5, [1, 2, 3, 2, 1], model=linear, drift="labels", drift_rounds=[3], gradients="loop"
    )


def elsewhere(agent):
    """The data of an agent, which only the process that hosts it can load."""
    blocks = np.array_split(range(5), PROCESSES or 1)
    assert agent in blocks[RANK], f"process {RANK} loads the data of agent {agent}"
    return samples(SIZES[agent], seed=agent)


def deferred():
    data = [Deferred(n, partial(elsewhere, a)) for a, n in enumerate(SIZES)]
    return classification(model=network, data=data)


def drive():
    return pl.tasks.mapping(
        5, width_m=10.0, height_m=8.0, scans=40, window=8, validation=3, batch_size=7,
        features=8, hidden=[4], samples=5, gradients="loop",
    )  # fmt: skip


def chase():
    return pl.tasks.pursuit(
        5, steps=6, episodes=2, rounds_per_collection=2, hidden=[8], obstacles=2, gae=0.9
    )


def in_any_order(module):
    """Measures whose order is another one in every process."""
    weight = next(module.parameters()).detach()
    found = {"total": float(weight.sum()), "largest": float(weight.max()), "one": 1.0}
    names = sorted(found)
    return {name: found[name] for name in names[RANK % 3 :] + names[: RANK % 3]}


uneven = partial(classification, SIZES, network, batch_size=[1, 2, 3, 2, 1])
noisy = partial(classification, SIZES, with_everything, buffers="mixed")
of_all = partial(classification, SIZES, gradients="vmap")
every = {
    name: Case(method(), quadratic) if needs_quadratic(method) else Case(method())
    for name, method in METHODS.items()
}
eager = pl.DynamicAveraging(delta=0.3, period=1, optimizer="adam", lr=0.02)
exact = {
    **every,
    "mixed buffers": Case(pl.DSGT(), noisy),
    "averaged buffers": Case(pl.FedAvg(fraction=0.4), noisy),
    "stream": Case(eager, stream),
    "drive": Case(pl.DSGT(lr=0.1), drive, lambda: pl.graphs.proximity(5, 5.0)),
    "stream in turn": Case(pl.Serial(), stream),
    "unequal batches": Case(pl.DSGD(), partial(uneven, weighting="size")),
    "one selected": Case(pl.FedAvg(fraction=0.2, optimizer="adam", lr=0.01), uneven),
    "epochs": Case(pl.FedAvg(fraction=0.4, local_epochs=2, unselected="train"), uneven),
    "violations": Case(eager),
    "own method": Case(Median()),
    "one peer": Case(pl.DSGT(), graph=lambda: pl.graphs.one_peer_exponential(5)),
    "complete": Case(pl.DiNNO(), graph=lambda: pl.graphs.complete(5)),
    "deferred": Case(pl.DSGD(), deferred),
    "measures": Case(pl.DSGD(), partial(classification, SIZES, network, evaluate=in_any_order)),
}
rounded = {
    "DiNNO, vmap": Case(pl.DiNNO(), of_all),
    "DSGT, vmap": Case(pl.DSGT(), of_all),
    "FedAvg, vmap": Case(pl.FedAvg(), of_all),
    "dense product": Case(
        pl.DSGT(), partial(classification, (3,) * 18), lambda: pl.graphs.complete(18)
    ),
    "Adam, any width": Case(pl.Isolated(), partial(classification, SIZES)),
    "DSGD, quadratic": Case(pl.DSGD(lr=0.02), quadratic),
    "pursuit": Case(pl.DSGT(lr=0.02), chase),
    "pursuit, pooled": Case(pl.Centralized(optimizer="sgd"), chase),
}


resumed = {
    **every, **{name: exact[name] for name in ("mixed buffers", "stream")},
    "pursuit": rounded["pursuit"],
}  # fmt: skip
THOROUGH = ("DiNNO", "DynamicAveraging", "Centralized", "mixed buffers", "stream")


def resumptions(name: str, size: int) -> list[str]:
    """By how many processes the halves were done with which so many go on."""
    if name in THOROUGH:
        return sorted({"1", "4", str(size)})
    return ["4"] if size == 2 else []


def spoiled():
    """One sample of agent 3, met in some later round, has no finite loss."""
    data = [samples(n, seed=a) for a, n in enumerate(SIZES)]
    data[3][0][1] = float("inf")
    return classification(data=data, batch_size=1, training_sample=1)


DIVERGE = {
    "diverges everywhere": Case(pl.DSGD(lr=1e24), partial(line_fit, SIZES)),
    "diverges in one": Case(pl.DSGD(), spoiled),
}


# --- requests that differ between the processes -----------------------------------------------


def wide(width):
    return classification(SIZES, lambda: nn.Linear(FEATURES, width))


def miscounted():
    """Agent 4, of the last process, has one sample less than declared."""
    data = [Deferred(n, partial(samples, n - (a == 4))) for a, n in enumerate(SIZES)]
    return classification(data=data)


def declared(more):
    data = [Deferred(n + more, partial(samples, n + more)) for n in SIZES]
    return classification(data=data)


LATE = ("twentieth graph", "other measures")  # which are found only after training has begun


def refused(last: bool) -> dict[str, tuple[Case, dict[str, Any]]]:
    """Requests with which something is wrong in the last process, or in all."""
    cycle = pl.graphs.cycle(5)
    other = cycle.copy()
    other.add_edges_from([(0, 2)] if last else [])
    apart = nx.empty_graph(5)  # no message is late or other, from the twentieth round on
    apart.add_edges_from([] if last else [(0, 1)])
    weight = 0.2 if last else 0.3

    def own_weights(graph: nx.Graph) -> sparse.csr_array:
        laplacian = nx.laplacian_matrix(graph, nodelist=range(5))
        return sparse.csr_array(sparse.eye(5) - weight * laplacian)

    def later(first: int, other: nx.Graph = other) -> pl.graphs.GraphSchedule:
        return pl.graphs.function(lambda round: other if round >= first else cycle, agents=5)

    def measured(module: nn.Module) -> dict[str, float]:
        return {"height": 1.0} | ({"width": 2.0} if last else {})

    return {
        "weights": (Case(pl.DSGD()), {"weights": own_weights}),
        "fifth graph": (Case(pl.DSGD(), graph=partial(later, 4)), {}),
        LATE[0]: (Case(pl.DSGD(), graph=partial(later, 20, apart)), {"rounds": 40}),
        LATE[1]: (Case(pl.DSGD(), partial(classification, SIZES, evaluate=measured)), {}),
        "seed": (Case(pl.DSGD()), {"seed": int(last)}),
        "edges": (Case(pl.DSGD(), graph=lambda: other), {}),
        "width": (Case(pl.DSGD(), partial(wide, 3 + last)), {}),
        "method": (Case(pl.DSGT() if last else pl.DSGD()), {}),
        "declared": (Case(pl.DSGD(), partial(declared, last)), {}),
        "samples": (Case(pl.DSGD(), miscounted), {}),
        "one is wrong": (Case(pl.DSGD()), {"rounds": 0 if last else 8}),
        "too many": (
            Case(
                pl.DSGD(), partial(classification, (4,) * (PROCESSES - 1)),
                lambda: pl.graphs.complete(PROCESSES - 1),
            ),
            {},
        ),
    }  # fmt: skip


# --- what a process has to show ---------------------------------------------------------------


def numbers(run: pl.Run) -> dict[str, np.ndarray]:
    """Rows, networks with their buffers, and all measures."""
    rows = {"theta": run.theta.numpy(), "agents": np.array(run.agents)}
    try:
        rows["networks"] = np.array([_flat(run.model(a)) for a in run.agents])
    except TypeError:  # a task without modules
        rows["networks"] = rows["theta"]
    return {**rows, **measures(run.record)}


def _flat(module: nn.Module) -> np.ndarray:
    return torch.cat([v.double().flatten() for v in module.state_dict().values()]).numpy()


def measures(record: pl.record.Record) -> dict[str, np.ndarray]:
    """All but the seconds."""
    team = {f"team {name}": values for name, values in record.team.items()}
    return {"rounds": record.rounds, **record.history, **team}


def show(folder: Path, run: pl.Run) -> None:
    np.savez(folder / f"{RANK}.npz", **numbers(run))


def show_error(folder: Path, train: Callable[[], pl.Run]) -> None:
    told: dict[str, Any] = {"kind": "none"}
    folder.mkdir(exist_ok=True)
    try:
        train()
    except (ConfigurationError, Diverged) as error:
        told = {"kind": type(error).__name__, "sentences": str(error).split("\n")}
        told |= {n: getattr(error, n) for n in ("round", "agents") if hasattr(error, n)}
    (folder / f"{RANK}.json").write_text(json.dumps(told))


def refusal(run: pl.Run, agent: int) -> str:
    """What is said where the network of another process's agent is asked for."""
    try:
        return str(run.model(agent))
    except ValueError as error:
        return str(error)


def half(case: Case, engine: str, out: Path) -> None:
    """The first half of a run, and its checkpoint."""
    case.train(engine, out=out, callback=lambda e: e["round"] == HALF)


def go_on(case: Case, halves: Path, folder: Path) -> pl.Run:
    """The other half, of a copy."""
    folder.mkdir(exist_ok=True)
    if RANK == 0:
        shutil.copytree(halves, folder / "run")
    engine = "processes" if PROCESSES else "stacked"
    return case.train(engine, out=folder / "run", resume=True)


def main(folder: Path) -> None:
    """Everything, in the order in which all processes do it."""
    own = folder / str(PROCESSES)
    for name, case in {**exact, **rounded}.items():
        (own / name).mkdir(exist_ok=True)
        run = case.train("processes", out=own / name / "run")
        show(own / name, run)
        if name == "DSGD":
            (own / name / f"{RANK}.txt").write_text(refusal(run, (run.agents[0] + 3) % 5))
    for name, case in DIVERGE.items():
        show_error(own / name, partial(case.train, "processes", out=own / name / "run"))
    for name, (case, options) in refused(RANK == PROCESSES - 1).items():
        out = own / name / "run"
        show_error(own / name, partial(case.train, "processes", out=out, **options))
    for name, case in resumed.items():
        if PROCESSES == 4 or name in THOROUGH:
            half(case, "processes", own / "halves" / name)
        for stopped in resumptions(name, PROCESSES):
            to = own / f"{name}, half by {stopped}"
            show(to, go_on(case, folder / stopped / "halves" / name, to))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
