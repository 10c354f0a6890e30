"""What `train` is asked to do, checked as a whole before anything runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import networkx as nx
import torch

from . import checkpoint as checkpoints
from . import graphs, record, resuming
from .algorithm import Algorithm, Needs
from .checkpoint import Checkpoint
from .checks import (
    coordinator_problems,
    find_device,
    find_dtype,
    folder_problems,
    graph_problems,
    name_problems,
    number_problems,
    out_problems,
    placed,
    rate_problems,
    require_kinds,
    seed_problems,
    stream_problems,
    team_problems,
)  # fmt: skip
from .describe import describe_graph, digest, fingerprint_of, plain, settings_of, versions
from .engines import ENGINES
from .errors import ConfigurationError
from .graphs import GraphSchedule
from .learner import Learner
from .links import Traffic
from .lock import holding
from .measure import Clock
from .schedules import Schedule, value_at
from .tasks import BaseTask
from .team import Alone, Team, timeout_problems

COMPARED = 16  # rounds whose graphs the processes of a team compare before they train


@dataclass
class Setup:
    """A request that can be carried out."""

    task: BaseTask
    algorithm: Algorithm
    schedule: GraphSchedule | None
    weights: Any
    rounds: int
    seed: int
    evaluate_every: int
    checkpoint_every: int
    out: Path | None
    device: torch.device
    dtype: torch.dtype
    engine: str
    label: str
    team: Team
    kept: bool  # whether anything is written, if only by the first process
    resume: bool
    timeout_s: float
    checkpoint: Checkpoint | None = None

    @property
    def trained(self) -> BaseTask:
        """The task as the algorithm sees it."""
        algorithm = self.algorithm
        return self.task.pooled(algorithm.in_turn) if algorithm.pools_data else self.task

    @property
    def rows(self) -> int:
        """How many networks are trained: one of each agent, or one from the pooled data."""
        return 1 if self.algorithm.pools_data else self.task.agents

    @property
    def trains(self) -> bool:
        """Whether this process hosts any of them."""
        return self.team.leads or not self.algorithm.pools_data

    @property
    def record_path(self) -> Path | None:
        return self.out / record.FILE_NAME if self.out else None

    @property
    def checkpoint_path(self) -> Path | None:
        return self.out / checkpoints.FILE_NAME if self.out else None

    def find_checkpoint(self) -> None:
        """The one to go on from, if the run is to go on."""
        self.checkpoint = None
        if self.out is not None and self.resume:
            self.checkpoint = resuming.latest(self.out, self.configuration, self._other_rates)

    def _other_rates(self, done: int, rounds: int) -> list[str]:
        """The rates that would have been others until now if so many rounds had been planned."""

        def values(rate: Schedule, planned: int) -> list[float]:
            return [value_at(rate, k, planned) for k in range(done)]

        rates = {n: r for n, r in vars(self.algorithm).items() if isinstance(r, Schedule)}
        return [n for n, r in rates.items() if values(r, rounds) != values(r, self.rounds)]

    @contextmanager
    def held(self) -> Iterator[None]:
        """While the folder is written, by this process alone.

        Raises:
            ConfigurationError: another one writes it; all processes of the team raise it.
        """
        with ExitStack() as stack:
            self.team.agree(lambda: self._take(stack))
            yield

    def _take(self, stack: ExitStack) -> Setup:
        """What was found in the folder may have changed before it was held."""
        if self.out is None:
            return self
        self.describe()  # first, so that no folder is left behind where a learner fails
        stack.enter_context(holding(self.out))
        if problems := folder_problems(self.out, self.resume):
            raise ConfigurationError(problems)
        self.find_checkpoint()
        return self

    @cached_property
    def learner(self) -> Learner:
        alone = self.team.size == 1 or self.algorithm.pools_data
        agents = None if alone else self.team.hosted(self.rows)
        return self.trained.learner(self.seed, self.device, self.dtype, agents)

    def build_engine(self, clock: Clock) -> Any:
        return ENGINES[self.engine](
            total=self.rows, weights=graphs.as_rule(self.weights), rounds=self.rounds,
            device=self.device, dtype=self.dtype, seed=self.seed, clock=clock,
            traffic=Traffic(self.task.agents), team=self.team,
        )  # fmt: skip

    def graph_at(self, round: int, positions: Any) -> nx.Graph | None:
        if self.schedule is None or not self.algorithm.communicates:
            return None
        graph = self.schedule.at(round, positions)
        if self.schedule.any_graph:
            return graphs.topologies.of_round(graph, round, self.task.agents)
        return graph

    def fingerprint(self, graph: nx.Graph) -> str:
        """Of a round's graph, and of the weights where a function of the user's own makes them."""
        return fingerprint_of([graph], self.mixing_rule if callable(self.weights) else None)

    def count_raw_data(self, traffic: Traffic, gradients: int, done: int) -> None:
        """Pooling data means that every agent has sent its own: at once, or as a stream brings it.

        It went to the coordinator, which is the one that learns.

        Args:
            traffic: where it is written.
            gradients: how many minibatches of the pooled data have been drawn.
            done: in so many rounds.
        """
        if not self.algorithm.pools_data:
            return
        streamed = self.task.stream_bytes(gradients, self.algorithm.in_turn, done - 1)
        raw = self.task.data_bytes() if streamed is None else streamed
        messages = self.task.stream_messages(gradients, self.learner.turns, done - 1)
        traffic.messages_sent[:], traffic.bytes_sent[:] = messages, raw
        traffic.coordinator_messages_received[:] = traffic.messages_sent.sum()
        traffic.coordinator_bytes_received[:] = traffic.bytes_sent.sum()

    @property
    def mixing_rule(self) -> graphs.Rule | None:
        """What turns a graph into weights; None for methods that do not talk."""
        return graphs.as_rule(self.weights) if self.algorithm.communicates else None

    @cached_property
    def configuration(self) -> dict[str, Any]:
        """What a checkpoint must agree with to be resumed."""
        return {
            "algorithm": self.algorithm.name,
            "settings": settings_of(self.algorithm),
            "task": plain(self.task.describe()),
            "agents": self.task.agents,
            "parameters": self.learner.initial().shape[1] if self.trains else None,
            "graph": describe_graph(self.schedule, self.mixing_rule),
            "weights": digest(self.weights),
            "rounds": self.rounds,
            "seed": self.seed,
            "dtype": str(self.dtype).removeprefix("torch."),
            "evaluate_every": self.evaluate_every,
        }

    def agreement(self) -> dict[str, Any]:
        """What the processes of a team must agree on before they train."""
        told = {
            **self.configuration,
            "graphs": self._first_graphs(),
            "label": self.label,
            "checkpoint_every": self.checkpoint_every,
            "out": "a folder" if self.kept else "none",
            "resume": self.resume,
            "timeout_s": self.timeout_s,
            "device": self.device.type,
            **{name: v for name, v in versions().items() if name != "python"},
        }
        if self.algorithm.pools_data:
            told.pop("parameters")  # the other processes make no network
        return told

    def _first_graphs(self) -> str | None:
        """Edges and weights of the first rounds, in sixteen digits, where they are known."""
        if self.schedule is None or self.mixing_rule is None or not self.schedule.known:
            return None
        rounds = 1 if isinstance(self.schedule, graphs.static) else min(self.rounds, COMPARED)
        return fingerprint_of([self.schedule.at(k, None) for k in range(rounds)], self.mixing_rule)

    def describe(self) -> dict[str, Any]:
        """The start line of the record."""
        declared = {"falls": dict(self.task.falls)} if self.task.falls else {}
        return {
            **self.configuration,
            "label": self.label,
            "device": str(self.device),
            "engine": self.engine,
            "processes": self.team.size,
            "gradients": self.learner.note,
            "drifts": self.task.drifts(self.seed, self.rounds),
            **declared,
            "versions": versions(),
        }


def prepare(
    task: BaseTask,
    algorithm: Algorithm,
    graph: nx.Graph | GraphSchedule | None,
    *,
    rounds: int,
    seed: int,
    weights: Any,
    evaluate_every: int | None,
    out: str | Path | None,
    resume: bool,
    checkpoint_every: int | None,
    device: str | torch.device,
    dtype: torch.dtype | str,
    engine: str,
    timeout_s: float,
    label: str | None,
    team: Team | None = None,
) -> Setup:
    """Check everything and gather what is wrong; the first process also looks at the folder.

    Raises:
        ConfigurationError: with every mistake found.
    """
    team = team or Alone()
    require_kinds(task, algorithm)
    graph = placed(graph, task, rounds)
    problems = [*task.problems(), *number_problems(rounds, evaluate_every, checkpoint_every)]
    problems += seed_problems(seed) + timeout_problems(timeout_s)
    problems += name_problems(engine, dtype, device, label)
    problems += graph_problems(task, algorithm, graph, weights, rounds)
    problems += coordinator_problems(algorithm, engine)
    if not problems:
        problems += stream_problems(task, algorithm, rounds)
        problems += rate_problems(algorithm, rounds, find_dtype(dtype))
    problems += team_problems(team.size, task.agents)
    wrong = out_problems(out)
    problems += wrong
    folder = Path(out) if out is not None and team.leads and not wrong else None
    if team.leads and not wrong:
        problems += folder_problems(folder, resume)
    if problems:
        raise ConfigurationError(problems)
    rounds = int(rounds)  # a number of NumPy's is none that JSON knows
    every = int(evaluate_every or max(1, rounds // 20))
    setup = Setup(
        task=task, algorithm=algorithm,
        schedule=None if graph is None else graphs.as_schedule(graph), weights=weights,
        rounds=rounds, seed=int(seed), evaluate_every=every,
        checkpoint_every=int(checkpoint_every or every),
        out=folder, device=team.device(find_device(device)), dtype=find_dtype(dtype),
        engine=engine, label=label or algorithm.name, team=team,
        kept=out is not None, resume=resume, timeout_s=float(timeout_s),
    )  # fmt: skip
    problems = _learner_problems(setup) if setup.trains else []
    if problems:
        raise ConfigurationError(problems)
    setup.find_checkpoint()
    return setup


def _learner_problems(setup: Setup) -> list[str]:
    """What the task's learner cannot do; it is built only where it is asked."""
    found, name = [], setup.algorithm.name
    if Needs.MINIMIZE in setup.algorithm.needs and not setup.learner.can_minimize:
        found.append(
            f"{name} needs a task whose losses can be minimized exactly, which "
            f"{setup.task.name!r} is not; use DiNNO, whose primal steps are approximate"
        )
    if setup.algorithm.pools_data and setup.task.stream is None:
        try:
            setup.task.data_bytes()
        except ValueError as error:
            found.append(str(error))
    if setup.schedule and not setup.schedule.known and setup.learner.positions is None:
        found.append(
            f"proximity has no positions, because the task {setup.task.name!r} does not report "
            "where its agents are; give proximity a function of the round, or use another schedule"
        )
    return found
