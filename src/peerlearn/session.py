"""One run in progress: the only loop, what moves in it, and what is written about it."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache, partial
from typing import Any

import networkx as nx
import numpy as np
import torch
from torch import Tensor

from .algorithm import flatten, shared, unflatten
from .archive import Archive
from .checkpoint import Checkpoint
from .checks import is_true
from .engines.base import KEPT
from .errors import ConfigurationError, Diverged, Lost, PeerlearnError, in_short
from .learner import Learner
from .learners import Regularized, Timed
from .measure import Clock, consensus_error, consensus_error_normalized
from .meetings import Meetings
from .setup import Setup
from .signals import stop_signals
from .team import Team
from .words import agents_named

Evaluation = dict[str, Any]
"""What a callback sees: ``round``, ``measures`` (name -> (A,) array), ``team``, ``seconds``."""

Callback = Callable[[Evaluation], Any]

JUDGED = {"loss": "loss on the test set", "train_loss": "loss on the training data"}


class Session:
    """Rounds of an algorithm over a graph, evaluated, recorded and resumable.

    Every process of the team runs the same session with the agents that it hosts. They meet after
    some rounds, after all of them where there is one process only, and always before something is
    measured or kept: there they hear of faults and of the wish to stop.

    Args:
        setup: what to do.
        team: the processes that do it.
    """

    def __init__(self, setup: Setup, team: Team) -> None:
        self.setup, self.team = setup, team
        # on a GPU a clock waits for all that was asked for: in a team, for its messages too
        self.clock = Clock(setup.device if team.size == 1 else None)
        self.engine = setup.build_engine(self.clock)
        algorithm = setup.algorithm
        learner = Regularized(setup.learner, algorithm.clip, algorithm.weight_decay)
        self.learner: Learner = Timed(learner, self.clock)
        self.learner.overlaps = team.size > 1
        if team.size > 1:
            self.learner.gather = partial(team.share, total=setup.rows)
        self.archive = Archive(setup, team)
        self.state: Any = None
        self.done = 0
        self._total = setup.rows
        self._meetings = Meetings(team, len(self.learner.agents), self._total)
        self._fingerprint = lru_cache(KEPT)(setup.fingerprint)
        self._parts: list[list[int]] | None = None  # of the latest graph, where it is watched

    def run(self, callback: Callback | None, on_round: Callable[[int], None] | None) -> None:
        """All rounds that are left, or those until the callback asks for the end."""
        finished = False
        patient = self.team.size > 1
        with stop_signals(patient) as stopped, self.archive.opened(), self._noting_why():
            if not self._resume():
                begun = time.perf_counter()
                self._start()
                finished = self._evaluate(callback)
                self._meetings.started(time.perf_counter() - begun)
            elif self.done == self.setup.rounds and self._unmeasured():
                finished = self._evaluate(callback)  # it was to have more rounds
            while self.done < self.setup.rounds and not finished:
                begun = time.perf_counter()
                self._round()
                stop = self._meets() and self._meet(stopped.is_set())
                if self._due(self.setup.evaluate_every):
                    finished = self._evaluate(callback)
                elif self._due(self.setup.checkpoint_every):
                    self._check_state()
                    self._save()
                if on_round is not None:
                    on_round(self.done)
                took_s = time.perf_counter() - begun
                self._meetings.took(took_s, self._due(self.setup.evaluate_every))
                stop |= self.team.size == 1 and stopped.is_set()  # nobody else needs to know
                if stop and self.done < self.setup.rounds:
                    self._interrupt()
            self._end()
            # asked to stop in the last round, too: whoever runs several, stops
            if self._meetings.anybody(stopped.is_set()):
                raise self.team.common(KeyboardInterrupt(f"stopped after round {self.done}"))

    # --- the rounds -----------------------------------------------------------------------

    def _start(self) -> None:
        self.learner.way = self.team.tell(self.learner.way)
        theta = self.learner.initial()
        self.learner.begin_round(theta, -1)
        links = self.engine.links(-1, self.setup.graph_at(0, self.learner.positions))
        self.state = self.setup.algorithm.start(theta, self.learner, links)

    def _round(self) -> None:
        self.learner.begin_round(self.state.theta, self.done)
        graph = self.setup.graph_at(self.done, self.learner.positions)
        self._watch(graph)
        if graph is not None and self.team.size > 1:
            self.team.takes(self._fingerprint(graph))
        links = self.engine.links(self.done, graph)
        with self._diverging():
            self.state = self.setup.algorithm.round(self.state, self.learner, links)
        buffers = self.learner.buffers
        if buffers is not None and self.setup.algorithm.communicates:
            (mixed,) = links.exchange(buffers).mix()
            self.learner.buffers = torch.where(buffers.isfinite(), mixed, buffers)  # masks of -inf
        self.done += 1
        self.team.round = self.done
        self._look_for_faults()

    @contextmanager
    def _noting_why(self) -> Iterator[None]:
        """Whatever ends the run early, it stands in the record."""
        try:
            yield
        except Exception as error:
            causes = {Diverged: "diverged", Lost: "lost"}
            cause = causes.get(type(error), "failed")
            own = isinstance(error, PeerlearnError)
            said = str(error) if own else in_short(error)
            with suppress(OSError):  # it may be that the record itself cannot be written
                self.archive.write(
                    "stop", round=getattr(error, "round", self.done), cause=cause, reason=said
                )
            raise

    @contextmanager
    def _diverging(self) -> Iterator[None]:
        """Losses that refuse what is no number fail where others would only become NaN."""
        try:
            yield
        except (RuntimeError, ValueError) as error:
            bad = ~self.state.theta.isfinite().flatten(1).all(dim=1)
            if not bool(bad.any()):
                raise
            agents = [self.learner.agents[row] for row in bad.nonzero()[:, 0].tolist()]
            raise self._divergence(self.done, agents, "parameters") from error

    def _watch(self, graph: nx.Graph | None) -> None:
        """Tell in the record when the graph falls apart, and when it is whole again."""
        if graph is None or not self.setup.schedule or not self.setup.schedule.watched:
            return
        parts = sorted(sorted(part) for part in nx.connected_components(graph))
        if parts != (self._parts or [list(range(self._total))]):
            self.archive.write("graph", round=self.done, parts=parts)
        self._parts = parts

    def _unmeasured(self) -> bool:
        """Whether the team was not evaluated after the latest round."""
        last = self.archive.latest("evaluation")
        return last is None or last["round"] != self.done

    def _due(self, every: int) -> bool:
        return self.done % every == 0 or self.done == self.setup.rounds

    # --- meeting the other processes --------------------------------------------------------

    def _meets(self) -> bool:
        """Whether all processes look at each other after this round; one alone sees its own."""
        setup = self.setup
        if self.team.size == 1:
            return self._meetings.faulty
        due = self._due(setup.evaluate_every) or self._due(setup.checkpoint_every)
        return due or self._meetings.due(self.done)

    def _meet(self, stop: bool) -> bool:
        """Whether anybody asks to stop; what went wrong is found by all at the same time."""
        news = self._meetings.hold(self.done, stop)
        if news.fault is not None:
            what = "parameters" if self.learner.losses is None else "loss"
            self._diverged(*news.fault, what)
        if news.cut_off:
            self._give_up()
        return news.stop

    def _look_for_faults(self) -> None:
        """Mark the round in which an agent's loss, or else its network, is no longer finite."""
        losses = self.learner.losses
        rows = self.state.theta if losses is None else losses
        if math.isfinite(float(rows.sum())):
            return  # one pass; a sum may also be infinite where all its terms are finite
        finite = rows.isfinite()
        if not bool(finite.all()):
            self._meetings.mark(~finite.reshape(len(finite), -1).all(dim=1).cpu(), self.done)

    def _check_state(self) -> None:
        """Nothing that is not finite may reach a checkpoint, in whatever the method remembers."""
        tensors = self._tensors()
        alike = shared(self.setup.algorithm.State)
        bad = torch.zeros(len(self.learner.agents), len(tensors), dtype=torch.int64)
        for column, (name, value) in enumerate(tensors.items()):
            finite = value.isfinite()
            if not bool(finite.all()):
                rows = finite.all() if name in alike else finite.flatten(1).all(dim=1)
                bad[:, column] = (~rows).cpu()
        everywhere = self.team.share(bad, self._total)
        for name, agents in zip(tensors, everywhere.T, strict=True):
            if bool(agents.any()):
                what = "parameters" if name == "theta" else name
                self._diverged(self.done, agents.nonzero()[:, 0].tolist(), what)

    def _check_measured(self, measures: Mapping[str, np.ndarray]) -> None:
        """Data that are not finite show where networks are judged, if they are never drawn."""
        for name, where in JUDGED.items():
            bad = np.flatnonzero(~np.isfinite(measures.get(name, 0.0)))
            if len(bad) and self.done:
                self._diverged(self.done, bad.tolist(), where)
            if len(bad):
                pooled = self.setup.algorithm.pools_data
                whose = "" if pooled else f" of {agents_named(bad.tolist())}"
                raise self.team.common(ConfigurationError([
                    f"before any training the {where}{whose} is NaN or infinite; remove what is "
                    "not finite from the data, or begin with another network"
                ]))  # fmt: skip

    def _tensors(self) -> dict[str, Tensor]:
        """The state, in an order that is the same in every process.

        That of an optimizer's moments depends on which of the agents hosted here have stepped.
        """
        found, fields = flatten(self.state), self.state._fields
        order = sorted(found, key=lambda name: (fields.index(name.partition(".")[0]), name))
        return {name: found[name] for name in order}

    def _diverged(self, round: int, agents: list[int], what: str) -> None:
        raise self.team.common(self._divergence(round, agents, what))

    def _divergence(self, round: int, agents: list[int], what: str) -> Diverged:
        """Of pooled data there is one learner, which is none of the agents."""
        whose = [] if self.setup.algorithm.pools_data else agents
        return Diverged(self.setup.label, round, whose, what)

    # --- what is measured and kept --------------------------------------------------------

    def _evaluate(self, callback: Callback | None) -> bool:
        """Measure, write, checkpoint; whether a callback asks to stop."""
        self._check_state()
        evaluation = {
            "round": self.done,
            "measures": self._measures(),
            "team": self.engine.traffic.team(),
            "seconds": self.team.tell(self.clock.read()),
        }
        self._check_measured(evaluation["measures"])
        self.archive.write("evaluation", **evaluation)
        if self.setup.kept:  # before the checkpoint, after which it would not be made again
            self.archive.draw(self.done, self.learner.snapshot(self.state.theta))
        self._save()
        asked = callback(copy.deepcopy(evaluation)) if callback is not None else None
        return self._meetings.anybody(is_true(asked))

    def _measures(self) -> dict[str, np.ndarray]:
        """measure -> one value for each agent of the team."""
        theta, learner = self.state.theta, self.learner
        own = {
            **learner.evaluate(theta),
            **learner.suffered(),
            "gradient_evaluations": learner.gradient_evaluations(),
        }
        names = self._common_names(own)
        columns = torch.stack([own[name].cpu().double() for name in names], dim=1)
        measured = dict(zip(names, self.team.share(columns, self._total).T, strict=True))
        gradients = int(measured["gradient_evaluations"][0])
        self.setup.count_raw_data(self.engine.traffic, gradients, self.done)
        found = {**measured, **self._consensus(), **self.engine.traffic.agents()}
        return {name: np.asarray(values, float) for name, values in found.items()}

    def _common_names(self, own: Mapping[str, Tensor]) -> list[str]:
        """The measures in the order of the first process; all measure the same."""
        names = self.team.tell(list(own))
        others = self._meetings.share(set(names) != set(own)).nonzero()[:, 0].tolist()
        if others:
            raise self.team.common(ConfigurationError([
                f"the process that hosts agent {others[0]} measures other things than the first "
                f"process, which measures {', '.join(names)}; let evaluate and measures give the "
                "same names in all processes"
            ]))  # fmt: skip
        return names

    def _consensus(self) -> dict[str, Any]:
        """How far the networks are from their mean, which only the first process can tell."""
        theta = self.team.collect({"theta": self.state.theta}, self._total).get("theta")
        errors = {} if theta is None else {
            "consensus_error": consensus_error(theta).tolist(),
            "consensus_error_normalized": consensus_error_normalized(theta).tolist(),
        }  # fmt: skip
        return self.team.tell(errors)

    def _save(self) -> None:
        if self.archive.lacks(self.done):
            self.archive.save(
                Checkpoint(
                    round=self.done,
                    configuration=self.setup.configuration,
                    seconds=self.clock.read(),
                    state=self._tensors(),
                    learner=self.learner.state(),
                    traffic=self.engine.traffic.state(),
                )
            )

    def _resume(self) -> bool:
        """Go back to the checkpoint, if there is one."""
        kept = self.archive.restored([*self.engine.traffic.state()])
        if kept is None:
            return False
        state = {n: t.to(self.setup.device) for n, t in kept.state.items()}
        self.state = unflatten(self.setup.algorithm.State, state)
        self.learner.load(kept.learner)
        self.engine.traffic.load(kept.traffic)
        self.clock.resume(kept.seconds)
        apart = self.archive.latest("graph")
        self._parts = None if apart is None else apart["parts"]
        self.done = self.team.round = kept.round
        return True

    # --- how it ends ------------------------------------------------------------------------

    def _interrupt(self) -> None:
        self._check_state()
        self._save()
        self.archive.write("stop", round=self.done, cause="interrupted", reason="interrupted")
        raise self.team.common(KeyboardInterrupt(f"stopped after round {self.done}"))

    def _give_up(self) -> None:
        """Whoever would be lost from now on could not be named."""
        self._check_state()
        self._save()
        reason = "the store in which the processes leave signs of life is out of reach"
        raise self.team.common(Lost([], self.done, f"stopped after round {self.done}: {reason}"))

    def _end(self) -> None:
        if self.done == self.setup.rounds:
            self.archive.write("end", round=self.done)
        else:
            reason = "the callback asked for it"
            self.archive.write("stop", round=self.done, cause="callback", reason=reason)
