"""`train`: one network among many agents, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import torch
from torch import Tensor, nn

from . import record as records
from .algorithm import Algorithm
from .checks import require_functions
from .engines import join
from .engines.memory import keep_freed_memory
from .graphs import GraphSchedule
from .learner import Learner
from .record import Record
from .session import Callback, Evaluation, Session
from .setup import Setup, prepare
from .signals import stop_signals
from .tasks import BaseTask
from .team import TIMEOUT_S, Alone, Team

__all__ = ["Evaluation", "Run", "train"]


@dataclass
class Run:
    """A finished (or stopped) run.

    Attributes:
        theta: (A, P), the final networks of the agents hosted here, one row each.
        record: what was measured; ``history`` and ``final`` are taken from it.
        rounds: how many rounds were done.
        agents: (A,) the numbers of the agents hosted here; all, with the stacked engine.
    """

    theta: Tensor
    record: Record
    rounds: int
    agents: Sequence[int]
    _lines: list[dict[str, Any]] = field(repr=False)
    _learner: Learner | None = field(repr=False)

    @property
    def final(self) -> dict[str, np.ndarray]:
        """measure -> (agents,) at the end; see `peerlearn.record` for what is measured."""
        return self.record.final

    @property
    def history(self) -> dict[str, np.ndarray]:
        """measure -> (T, agents), one row for each of ``record.rounds``."""
        return self.record.history

    def model(self, agent: int) -> nn.Module:
        """A copy of agent ``agent``'s network, in evaluation mode.

        Raises:
            ValueError: no such agent is hosted here.
            TypeError: the task's networks are no modules.
        """
        if self._learner is None or agent not in self.agents:
            raise ValueError(f"agent is {agent}: {self._expected()}")
        row = list(self.agents).index(agent)
        return self._learner.module(self.theta[row], row)

    def _expected(self) -> str:
        if not self.agents:
            return "this process hosts no agent"
        if len(self.agents) == 1:
            return f"there is one network here; use run.model({self.agents[0]})"
        return f"expected an agent from {self.agents[0]} to {self.agents[-1]}"


def train(
    task: BaseTask,
    algorithm: Algorithm,
    graph: nx.Graph | GraphSchedule | None = None,
    *,
    rounds: int,
    seed: int = 0,
    weights: Any = "metropolis",
    evaluate_every: int | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    checkpoint_every: int | None = None,
    device: str | torch.device = "auto",
    dtype: torch.dtype | str = torch.float32,
    engine: str = "stacked",
    timeout_s: float = TIMEOUT_S,
    label: str | None = None,
    callback: Callback | None = None,
    on_round: Callable[[int], None] | None = None,
) -> Run:
    """Train one network among the agents of ``task``.

    Args:
        task: what is learned; its number of agents is the team's.
        algorithm: one of `peerlearn.algorithms`, or your own.
        graph: who talks to whom: a networkx graph of the agents 0, 1, ..., or of names, which are
            numbered in the graph's order; or a schedule of graphs. None for algorithms that talk
            to no neighbors.
        rounds: how many rounds.
        seed: of everything random in the run: first network, minibatches, dropout.
        weights: the mixing weights: a rule's name, a rule, or a matrix (A, A).
        evaluate_every: rounds between evaluations (the start and the end are always evaluated); a
            twentieth of the rounds by default.
        out: a folder for the record and the checkpoint; nothing is written without it.
        resume: go on from the checkpoint in ``out``, if there is one; a run that is finished comes
            back as it was. It must be of the same request; functions in it (a loss, a graph of the
            round) are compared by their names, large data by rows spread over them, datasets that
            are no tensors by their length. There may be more rounds than before, or fewer, as far
            as no `Schedule` of the algorithm would have given another rate until now; give
            ``evaluate_every`` then, as its default goes with the rounds.
        checkpoint_every: rounds between checkpoints besides those of the evaluations; by default
            there are no others.
        device: "auto" takes CUDA where there is one.
        dtype: torch.float32 or torch.float64.
        engine: where the agents live: "stacked", all in this process, or "processes", in the
            processes that torchrun started, each of which calls this function.
        timeout_s: seconds of silence after which a process counts as lost, or ten times the longest
            round so far, whichever is longer.
        label: the run's name in records and figures; the algorithm's by default. A run that is
            resumed keeps its own.
        callback: called with each evaluation, a dict of ``round``, ``measures`` (name -> (agents,)
            array), ``team`` and ``seconds``; returning True ends the run there.
        on_round: called after each round with the number of rounds done.

    Returns:
        The final networks of the agents hosted here, and all measures. Ctrl-C (or SIGTERM)
        finishes the round, writes a checkpoint and raises KeyboardInterrupt.

    Raises:
        ConfigurationError: all that is wrong with the request, before anything is trained; later
            only where processes turn out to take different graphs.
        Diverged: a loss or parameter became NaN or infinite; the last good checkpoint stays.
        Lost: another process died or fell silent; the last checkpoint stays.
        Unwritten: a file of the run cannot be written (an OSError); what was there stays.
        KeyboardInterrupt: see above.
    """

    def prepared() -> Setup:
        require_functions(callback=callback, on_round=on_round)
        return prepare(
            task, algorithm, graph, rounds=rounds, seed=seed, weights=weights,
            evaluate_every=evaluate_every, out=out, resume=resume,
            checkpoint_every=checkpoint_every, device=device, dtype=dtype, engine=engine,
            timeout_s=timeout_s, label=label, team=team,
        )  # fmt: skip

    team = join(engine, timeout_s)
    with team.taking_part():
        setup = team.agree(prepared)
        keep_freed_memory()
        with setup.held():
            if algorithm.pools_data and team.size > 1:
                return _by_one(setup, team, callback, on_round)
            return _run(setup, team, callback, on_round)


def _run(
    setup: Setup, team: Team, callback: Callback | None, on_round: Callable[[int], None] | None
) -> Run:
    session = Session(setup, team)
    session.run(callback, on_round)
    lines, learner = session.archive.lines, setup.learner
    record = records.from_lines(lines, setup.out)
    return Run(session.state.theta, record, session.done, learner.agents, lines, learner)


def _by_one(
    setup: Setup, team: Team, callback: Callback | None, on_round: Callable[[int], None] | None
) -> Run:
    """Pooled data have one learner, in the first process; the others hear what it measured."""

    def attending(done: int) -> None:
        team.attend(done)
        if on_round is not None:
            on_round(done)

    with stop_signals(patient=True):  # the others leave when the first one says that it stops
        run = team.stand_by(lambda: _run(setup, Alone(), callback, attending))
        told = team.tell(run and {"lines": run._lines, "rounds": run.rounds})
    if run is not None:
        return run
    record = records.from_lines(told["lines"])
    return Run(torch.empty(0, 0), record, told["rounds"], [], told["lines"], None)
