"""The problems on which an algorithm is checked, and how it is run on them."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .. import graphs
from ..algorithm import Algorithm, Needs, flatten
from ..engines import StackedEngine
from ..graphs import GraphSchedule
from ..learner import Learner
from ..learners import QuadraticLearner, Regularized
from ..randomness import seeded
from ..tasks import BaseTask, QuadraticTask, Task, quadratic
from .alone import advance, begin, copied

CPU = torch.device("cpu")
AGENTS, ROUNDS, SEED = 4, 3, 3


@dataclass(frozen=True)
class Case:
    """One method on one problem."""

    method: Algorithm
    task: BaseTask
    graph: GraphSchedule | None
    dtype: torch.dtype
    rounds: int
    seed: int

    def require(self, holds: bool, complaint: str) -> None:
        """Raise AssertionError with the complaint, unless it holds."""
        if not holds:
            where = "links that fail" if isinstance(self.graph, graphs.link_failures) else "a cycle"
            dtype = str(self.dtype).removeprefix("torch.")
            raise AssertionError(
                f"{self.method.name} {complaint} (task {self.task.name!r}, {where}, {dtype})"
            )

    def setting(self) -> Setting:
        return Setting(self)


class Setting:
    """A fresh copy of the method with a fresh learner and engine."""

    def __init__(self, case: Case, task: BaseTask | None = None) -> None:
        self.case, self.task = case, task or case.task
        self.method = copy.deepcopy(case.method)  # so that nothing kept on it outlives a run
        self.inner = self.task.learner(case.seed, CPU, case.dtype)
        self.learner: Learner = Regularized(self.inner, self.method.clip, self.method.weight_decay)
        self.engine = StackedEngine(
            self.task.agents, graphs.as_rule("metropolis"), case.rounds, CPU, case.dtype, case.seed
        )

    def links(self, round: int) -> Any:
        schedule = self.case.graph
        graph = None if schedule is None else schedule.at(round, self.inner.positions)
        return self.engine.links(round, graph)

    def begin(self) -> Any:
        return begin(self.method, self.learner, self.links(-1))

    def advance(self, state: Any, round: int) -> Any:
        return advance(self.method, state, self.learner, self.links(round))

    def run(self) -> list[dict[str, Tensor]]:
        """Every tensor of the state, at the start and after each round."""
        state = self.begin()
        states = [copies(state)]
        for round in range(self.case.rounds):
            state = self.advance(state, round)
            states.append(copies(state))
        return states


def cases(
    method: Algorithm, tasks: Sequence[BaseTask] | None, rounds: int, seed: int
) -> Iterator[Case]:
    for task in _tasks(method) if tasks is None else tasks:
        trained = task.pooled(method.in_turn) if method.pools_data else task
        for graph in _graphs(method, task.agents):
            yield Case(method, trained, graph, torch.float64, rounds, seed)
        yield Case(method, trained, graph, torch.float32, rounds, seed)


def _tasks(method: Algorithm) -> list[BaseTask]:
    if Needs.MINIMIZE in method.needs:
        return [_quadratic()]
    return [_quadratic(), _network()]


def _graphs(method: Algorithm, agents: int) -> list[GraphSchedule | None]:
    if not method.communicates:
        return [None]
    cycle = graphs.cycle(agents)
    return [graphs.static(cycle), graphs.link_failures(cycle, p=0.4, seed=1)]


def _quadratic() -> QuadraticTask:
    """Quadratics whose agents start apart."""
    draw = torch.Generator().manual_seed(SEED)
    task = quadratic(AGENTS, dimension=3, smoothness=2.0, convexity=0.5, seed=SEED)
    first = torch.randn(task.optima.shape, generator=draw, dtype=torch.float64)
    return dataclasses.replace(task, first=first)


def _network() -> Task:
    """A small network on random data, unequal in size, whose agents start apart."""
    draw = np.random.default_rng(SEED)
    data = [
        (torch.from_numpy(draw.normal(size=(n, 3))), torch.from_numpy(draw.normal(size=(n, 2))))
        for n in range(5, 5 + AGENTS)
    ]
    with seeded(CPU, SEED):
        models = [nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)) for _ in range(AGENTS)]
    return Task(
        model=models, loss=nn.functional.mse_loss, data=data, batch_size=3, gradients="loop",
        name="network",
    )  # fmt: skip


class _FlatTask(QuadraticTask):
    """Losses that are the same everywhere: all gradients are zero."""

    def learner(
        self, seed: int, device: torch.device, dtype: torch.dtype, agents: Any = None
    ) -> QuadraticLearner:
        learner = super().learner(seed, device, dtype, agents)
        learner.hessians = torch.zeros_like(learner.hessians)
        return learner


def flat_task(agents: int) -> BaseTask:
    task = _quadratic()
    assert task.first is not None
    return _FlatTask(task.hessians[:agents], task.optima[:agents], task.first[:agents], "flat")


def copies(state: Any) -> dict[str, Tensor]:
    """Every tensor of a state, in memory of its own."""
    return flatten(copied(state, type(state)))
