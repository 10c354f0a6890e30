"""One process of the benchmark: rounds of peerlearn, the bare floor under them, and DDP.

A case says ``network`` (a name in `NETWORKS`, or the width of an MLP), ``agents``, their ``degree``
and the ``engine``. The graph is a circulant one: a cycle where the degree is two.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial

import networkx as nx
import torch
import torch.distributed as dist
from cases import NETWORKS, Network
from process_group import Case, serve
from torch import Tensor
from torch.nn.functional import nll_loss
from torch.nn.parallel import DistributedDataParallel

import peerlearn as pl
from peerlearn.engines import join
from peerlearn.engines.memory import keep_freed_memory
from peerlearn.learners.gradients import LoopGradient
from peerlearn.learners.modules import Layout
from peerlearn.session import Session
from peerlearn.setup import prepare
from peerlearn.tasks.models import mlp
from peerlearn.team import Team

BATCH = 64
TIMEOUT_S = 120.0
LR = 0.01
ROUNDS = 10**6  # more than are ever measured


def circulant(agents: int, degree: int) -> nx.Graph:
    """Every agent linked with the nearest on a ring, and where odd with the opposite one."""
    offsets = [*range(1, degree // 2 + 1), *([agents // 2] if degree % 2 else [])]
    return nx.circulant_graph(agents, offsets)


def pairs_in_turn(agents: int) -> pl.graphs.GraphSchedule:
    """A cycle of which each agent uses one link a round: the ring of Decent-DP."""
    cycle = nx.cycle_graph(agents)
    halves = [nx.Graph([(i, (i + 1) % agents) for i in range(s, agents, 2)]) for s in (0, 1)]
    for half in halves:
        half.add_nodes_from(cycle)
    return pl.graphs.function(lambda round: halves[round % 2], agents=agents, window=2)


class Rounds:
    """The blocks of one case, each made when it is first asked for."""

    def __init__(self, case: Case) -> None:
        self.case = case
        network = case["network"]
        if isinstance(network, int):
            found = Network(partial(mlp, 784, (network, network), 10), True, 0.0, {})
        else:
            found = NETWORKS[network]
        self.task = replace(found.task(case["agents"], BATCH), gradients="loop")
        self.graph = circulant(case["agents"], case["degree"])
        self.team: Team = join(case.get("engine", "processes"), TIMEOUT_S)

    def block(self, name: str) -> Callable[[], object]:
        """One round."""
        return {
            "own": lambda: self.session(pl.DSGD(lr=LR))._round,
            "mixed": lambda: self.session(pl.DSGD(lr=LR, gradient_at="mixed"))._round,
            "no overlap": lambda: self.session(pl.DSGD(lr=LR), overlaps=False)._round,
            "in turn": lambda: self.session(pl.DSGD(lr=LR), in_turn=True)._round,
            "gradient": lambda: self.bare.gradient,
            "floor": lambda: self.bare.after_each_other,
            "floor, overlapped": lambda: self.bare.at_the_same_time,
            "ddp": lambda: data_parallel(self.task),
            "train": lambda: self.train,
        }[name]()

    def session(
        self, algorithm: pl.Algorithm, overlaps: bool | None = None, in_turn: bool = False
    ) -> Session:
        """A run started as `peerlearn.train` starts it, whose rounds are called one by one."""
        graph = pairs_in_turn(self.task.agents) if in_turn else self.graph
        setup = self.team.agree(lambda: prepare(
            self.task, algorithm, graph, rounds=ROUNDS, seed=0, weights="metropolis",
            evaluate_every=ROUNDS, out=None, resume=False, checkpoint_every=None, device="cpu",
            dtype="float32", engine=self.case.get("engine", "processes"), timeout_s=TIMEOUT_S,
            label=None, team=self.team,
        ))  # fmt: skip
        started = Session(setup, self.team)
        if overlaps is not None:
            started.learner.overlaps = overlaps
        started._start()
        return started

    def train(self) -> int:
        """A whole run; the bytes that its record says all agents have sent."""
        run = pl.train(
            self.task, pl.DSGD(lr=LR), self.graph, rounds=self.case["rounds"], device="cpu",
            evaluate_every=self.case["rounds"], engine="processes", timeout_s=TIMEOUT_S,
        )  # fmt: skip
        return int(run.final["bytes_sent"].sum())

    @cached_property
    def bare(self) -> Bare:
        return Bare.of(self.task, self.graph, self.team)


@dataclass
class Bare:
    """The gradients of the agents hosted here and the messages between processes, nothing else.

    The batches lie ready, the rows to be sent stand together, and nothing is done with those
    received.
    """

    gradient: Callable[[], object]
    sends: list[tuple[int, Tensor]]
    receives: list[tuple[int, Tensor]]

    @classmethod
    def of(cls, task: pl.Task, graph: nx.Graph, team: Team) -> Bare:
        mine = team.hosted(task.agents)
        module = task.models(0)[0]
        layout = Layout(module)
        theta = layout.row(module).expand(len(mine), -1).clone()
        inputs, targets = (torch.stack([task.data[a][i][:BATCH] for a in mine]) for i in (0, 1))
        loop = LoopGradient(module, task.loss, layout)

        def rows(senders: range, receivers: range) -> Tensor:
            needed = sum(any(j in receivers for j in graph[i]) for i in senders)
            return torch.zeros(needed, layout.width)

        others = [(r, b) for r, b in enumerate(team.blocks(task.agents)) if r != team.rank]
        sends = [(rank, rows(mine, block)) for rank, block in others]
        receives = [(rank, rows(block, mine)) for rank, block in others]
        return cls(
            partial(loop, theta, inputs, targets),
            [(rank, part) for rank, part in sends if len(part)],
            [(rank, part) for rank, part in receives if len(part)],
        )

    def post(self) -> list[dist.Work]:
        works = [dist.irecv(part, rank) for rank, part in self.receives]
        return [*works, *(dist.isend(part, rank) for rank, part in self.sends)]

    def after_each_other(self) -> None:
        self.gradient()
        _wait(self.post())

    def at_the_same_time(self) -> None:
        works = self.post()
        self.gradient()
        _wait(works)


def _wait(works: list[dist.Work]) -> None:
    for work in works:
        work.wait()


def data_parallel(task: pl.Task) -> Callable[[], None]:
    """A plain step of torch's DistributedDataParallel, on a batch that lies ready."""
    model = DistributedDataParallel(task.models(0)[0])
    optimizer = torch.optim.SGD(model.parameters(), lr=LR)
    inputs, targets = (t[:BATCH] for t in task.data[0])

    def one() -> None:
        optimizer.zero_grad()
        nll_loss(model(inputs), targets).backward()
        optimizer.step()

    return one


def main() -> None:
    keep_freed_memory()  # as train does
    if int(os.environ["WORLD_SIZE"]) > 1:
        join("processes", TIMEOUT_S)

    @cache
    def rounds(case: str) -> Rounds:
        return Rounds(json.loads(case))

    @cache
    def block(case: str, name: str) -> Callable[[], object]:
        return rounds(case).block(name)

    serve(lambda case, name: block(json.dumps(case), name), {"torch": torch.__version__})


if __name__ == "__main__":
    main()
