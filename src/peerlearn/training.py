"""The only loop: rounds of an algorithm over a graph, evaluated, recorded and resumable."""

from __future__ import annotations

import datetime
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import torch
from torch import Tensor, nn

from . import checkpoint as checkpoints
from . import record as records
from .algorithm import Algorithm, flatten, unflatten
from .engines.memory import keep_freed_memory
from .errors import Diverged
from .graphs import GraphSchedule
from .learner import Learner
from .learners import Regularized, SupervisedLearner, Timed
from .measure import Clock, consensus_error, consensus_error_normalized
from .record import Record, Recorder
from .setup import Setup, prepare
from .tasks import BaseTask

Evaluation = dict[str, Any]
"""What a callback sees: ``round``, ``measures`` (name -> (A,) array) and ``seconds``."""


@dataclass
class Run:
    """A finished (or stopped) run.

    Attributes:
        theta: (A, P), the final networks, one row per agent.
        record: what was measured; ``history`` and ``final`` are taken from it.
        rounds: how many rounds were done.
    """

    theta: Tensor
    record: Record
    rounds: int
    _learner: Learner = field(repr=False)

    @property
    def final(self) -> dict[str, np.ndarray]:
        """measure -> (A,) at the end."""
        return self.record.final

    @property
    def history(self) -> dict[str, np.ndarray]:
        """measure -> (T, A), one row for each of ``record.rounds``."""
        return self.record.history

    def model(self, agent: int) -> nn.Module:
        """A copy of agent ``agent``'s network, in evaluation mode."""
        if not isinstance(self._learner, SupervisedLearner):
            raise TypeError("this task has no modules; its networks are the rows of run.theta")
        count = len(self.theta)
        if not 0 <= agent < count:
            one = "there is one network, as in centralized training; use run.model(0)"
            many = f"expected an agent from 0 to {count - 1}"
            raise ValueError(f"agent is {agent}: {one if count == 1 else many}")
        return self._learner.module(self.theta[agent], agent)


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
    label: str | None = None,
    callback: Callable[[Evaluation], Any] | None = None,
    on_round: Callable[[int], None] | None = None,
) -> Run:
    """Train one network among the agents of ``task``.

    Args:
        task: what is learned; its number of agents is the team's.
        algorithm: one of `peerlearn.algorithms`, or your own.
        graph: who talks to whom: a networkx graph of the agents 0, 1, ..., or a schedule of
            graphs. None for algorithms that talk to no neighbors.
        rounds: how many rounds.
        seed: of everything random in the run: first network, minibatches, dropout.
        weights: the mixing weights: a rule's name, a rule, or a matrix (A, A).
        evaluate_every: rounds between evaluations (the start and the end are always evaluated); a
            twentieth of the rounds by default.
        out: a folder for the record and the checkpoint; nothing is written without it.
        resume: go on from the checkpoint in ``out``, if there is one.
        checkpoint_every: rounds between checkpoints; with every evaluation by default.
        device: "auto" takes CUDA where there is one.
        dtype: torch.float32 or torch.float64.
        engine: where the agents live.
        label: the run's name in records and figures; the algorithm's by default.
        callback: called with each evaluation; returning True ends the run there.
        on_round: called after each round with the number of rounds done.

    Returns:
        The final networks and all measures. Ctrl-C (or SIGTERM) finishes the round, writes a
        checkpoint and raises KeyboardInterrupt.

    Raises:
        ConfigurationError: all that is wrong with the request, before anything is trained.
        Diverged: a loss or parameter became NaN or infinite; the last good checkpoint stays.
    """
    setup = prepare(
        task, algorithm, graph, rounds=rounds, seed=seed, weights=weights,
        evaluate_every=evaluate_every, out=out, resume=resume, checkpoint_every=checkpoint_every,
        device=device, dtype=dtype, engine=engine, label=label,
    )  # fmt: skip
    keep_freed_memory()
    return _Session(setup).run(callback, on_round)


class _Session:
    """One run in progress: what moves, and what is written about it."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.clock = Clock(setup.device)
        self.engine = setup.build_engine(self.clock)
        self.inner = setup.learner
        algorithm = setup.algorithm
        learner = Regularized(self.inner, algorithm.clip, algorithm.weight_decay)
        self.learner = Timed(learner, self.clock)
        self.lines: list[dict[str, Any]] = []
        self.recorder: Recorder | None = None
        self.state: Any = None
        self.done = 0
        self._saved = -1

    def run(
        self,
        callback: Callable[[Evaluation], Any] | None,
        on_round: Callable[[int], None] | None,
    ) -> Run:
        finished = False
        with _stop_signals() as stopped, self._record():
            if not self._resume():
                self._start()
                finished = self._evaluate(callback)
            while self.done < self.setup.rounds and not finished:
                self._round()
                if self._due(self.setup.evaluate_every):
                    finished = self._evaluate(callback)
                elif self._due(self.setup.checkpoint_every):
                    self._save()
                if on_round is not None:
                    on_round(self.done)
                if stopped.is_set() and self.done < self.setup.rounds:
                    self._interrupt()
            self._end()
        record = records.from_lines(self.lines, self.setup.out)
        return Run(self.state.theta, record, self.done, self.inner)

    # --- the rounds -----------------------------------------------------------------------

    def _start(self) -> None:
        theta = self.learner.initial()
        self.learner.begin_round(theta, -1)
        links = self.engine.links(-1, self.setup.graph_at(0, self.inner.positions))
        self.state = self.setup.algorithm.start(theta, self.learner, links)
        self._check_finite(self.state.theta, "parameters")

    def _round(self) -> None:
        self.learner.begin_round(self.state.theta, self.done)
        graph = self.setup.graph_at(self.done, self.inner.positions)
        links = self.engine.links(self.done, graph)
        self.state = self.setup.algorithm.round(self.state, self.learner, links)
        buffers = self.inner.buffers
        if buffers is not None and self.setup.algorithm.communicates:
            (self.inner.buffers,) = links.exchange(buffers).mix()
        self.done += 1
        losses = self.inner.losses
        if losses is None:
            self._check_finite(self.state.theta, "parameters")
        else:
            self._check_finite(losses, "loss")

    def _check_finite(self, rows: Tensor, what: str) -> None:
        if bool(rows.isfinite().all()):
            return
        bad = (~rows.reshape(len(rows), -1).isfinite().all(dim=1)).nonzero()[:, 0].tolist()
        names = [int(self.inner.agents[i]) for i in bad]
        error = Diverged(self.setup.label, self.done, names, what)
        self._write("stop", round=self.done, cause="diverged", reason=str(error))
        raise error

    def _check_state(self) -> None:
        """Nothing that is not finite may reach a checkpoint, in whatever the method remembers."""
        for name, rows in flatten(self.state).items():
            self._check_finite(rows, "parameters" if name == "theta" else name)

    def _due(self, every: int) -> bool:
        return self.done % every == 0 or self.done == self.setup.rounds

    # --- what is measured and kept --------------------------------------------------------

    def _evaluate(self, callback: Callable[[Evaluation], Any] | None) -> bool:
        """Measure, write, checkpoint; whether the callback asks to stop."""
        theta = self.state.theta
        self._check_state()
        evaluations = self.learner.gradient_evaluations()
        self.setup.count_raw_data(self.engine.traffic, int(evaluations[0]))
        measured = {
            **self.learner.evaluate(theta),
            **self.learner.suffered(),
            "consensus_error": consensus_error(theta),
            "consensus_error_normalized": consensus_error_normalized(theta),
            "gradient_evaluations": evaluations,
            **self.engine.traffic.agents(),
        }
        evaluation = {
            "round": self.done,
            "measures": {n: np.asarray(v.cpu(), float) for n, v in measured.items()},
            "team": self.engine.traffic.team(),
            "seconds": self.clock.read(),
        }
        self._write("evaluation", **evaluation)
        self._save()
        return bool(callback(evaluation)) if callback is not None else False

    def _write(self, kind: str, **fields: Any) -> None:
        self.lines.append({"kind": kind, **fields})
        if self.recorder is not None:
            self.recorder.write(kind, **fields)

    def _save(self) -> None:
        path = self.setup.checkpoint_path
        if path is None or self._saved == self.done:
            return
        self._check_state()
        kept = checkpoints.Checkpoint(
            round=self.done,
            configuration=self.setup.configuration,
            seconds=self.clock.read(),
            state={n: t.cpu() for n, t in flatten(self.state).items()},
            learner=self.learner.state(),
            traffic=self.engine.traffic.state(),
        )
        checkpoints.save(path, kept)
        self._saved = self.done

    def _interrupt(self) -> None:
        self._save()
        self._write("stop", round=self.done, cause="interrupted", reason="interrupted")
        raise KeyboardInterrupt(f"stopped after round {self.done}")

    def _end(self) -> None:
        if self.done == self.setup.rounds:
            self._write("end", round=self.done)
        else:
            reason = "the callback asked for it"
            self._write("stop", round=self.done, cause="callback", reason=reason)

    # --- records and resuming -------------------------------------------------------------

    @contextmanager
    def _record(self) -> Iterator[None]:
        """The record, open while the run goes on."""
        path, kept = self.setup.record_path, self.setup.checkpoint
        start = self.setup.describe()  # first, so that no folder is left behind where it fails
        if path is not None and kept is not None:
            self.lines = records.cut(path, kept.round)
        elif path is not None:
            path.unlink(missing_ok=True)
        self.recorder = Recorder(path) if path is not None else None
        if kept is None:
            now = datetime.datetime.now(datetime.timezone.utc).isoformat()
            self._write("start", schema=records.SCHEMA, started=now, **start)
        try:
            yield
        finally:
            if self.recorder is not None:
                self.recorder.close()

    def _resume(self) -> bool:
        """Go back to the checkpoint, if there is one."""
        kept, setup = self.setup.checkpoint, self.setup
        if kept is None:
            return False
        state = {n: t.to(setup.device) for n, t in kept.state.items()}
        self.state = unflatten(setup.algorithm.State, state)
        self.learner.load(kept.learner)
        self.engine.traffic.load(kept.traffic)
        self.clock.resume(kept.seconds)
        self.done = self._saved = kept.round
        if self.done < setup.rounds:
            self._write("resume", round=self.done)
        return True


@contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    """SIGINT and SIGTERM ask the loop to stop after its round; a second one stops it at once."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    previous = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}

    def ask(number: int, frame: Any) -> None:
        asked.set()
        for s, handler in previous.items():
            signal.signal(s, handler)

    for s in previous:
        signal.signal(s, ask)
    try:
        yield asked
    finally:
        for s, handler in previous.items():
            signal.signal(s, handler)
