"""An in-memory engine in which every agent lives alone, and whose network may be a bad one.

Each agent has a stack of one row, a learner of its own and a thread of its own. It knows its
neighbors by what they post into its mailbox, and by nothing else. Messages may be dropped, delayed
and reordered. Algorithms run on it unchanged, so it shows that an algorithm never looks at the
rows of others, and that what must stay zero over the team stays zero when messages are lost.

Agents take turns: only one computes at a time, and it hands over where it waits for messages. So
nothing depends on the operating system's timing, and torch's global generators are safe.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import networkx as nx
import numpy as np
import torch
from torch import Tensor

from .. import graphs
from ..links import Coordinator, Heard, Links, Neighborhood, Traffic, message_bytes
from ..values import require_probability

LATEST = 3  # a late message comes at most so many exchanges after its own

Tag = tuple[int, int]
"""Which exchange a message belongs to: the round, and the exchange's number within it."""


class Message(NamedTuple):
    """What one agent says to one neighbor in one exchange."""

    sender: int
    tag: Tag
    rows: tuple[Tensor, ...]  # each (1, P)
    delay: int = 0  # exchanges of the receiver to wait before it arrives


@dataclass
class InMemoryEngine:
    """A team whose agents live alone and send each other messages.

    In an exchange an agent posts its rows to all neighbors, waits until all have posted, takes
    what has arrived, and tells each neighbor whether it heard it. An edge counts only where both
    ends heard each other, so both always agree. The confirmations themselves are never lost. A
    late message arrives during a later exchange of its receiver, where it is stale and discarded.

    Args:
        total: the number of agents.
        weights: the weights' name, a rule, or a matrix.
        rounds: how many rounds are planned, for schedules.
        drop: probability that a message never arrives.
        late: probability that a message that is not dropped arrives too late.
        seed: of everything that happens to messages: losses, delays and the order of delivery.
        timeout_s: how many seconds an agent waits for its neighbors before it gives up.

    Attributes:
        traffic: messages and bytes, sent (whatever became of them) and received in time.
        dropped, stale: how many messages were lost, and how many were discarded as too late.
    """

    has_coordinator: ClassVar[bool] = True

    total: int
    weights: Any = "metropolis"
    rounds: int = 1
    drop: float = 0.0
    late: float = 0.0
    seed: int = 0
    timeout_s: float = 30.0
    traffic: Traffic = field(init=False)
    dropped: int = field(init=False, default=0)
    stale: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        for name in ("drop", "late"):
            require_probability(name, getattr(self, name))
        self.traffic = Traffic(self.total)
        self._rule = graphs.as_rule(self.weights)
        self._turn = threading.Condition()  # whoever computes holds it; waiting hands it over
        self._clear()

    def _clear(self) -> None:
        """Nothing is on its way, and everybody may still speak."""
        self._mailboxes: list[list[Message]] = [[] for _ in range(self.total)]
        self._posted: set[tuple[Tag, int, int]] = set()  # (tag, sender, receiver)
        self._confirmed: dict[tuple[Tag, int, int], bool] = {}  # (tag, who heard, whom)
        self._reports: dict[tuple[Tag, int], Tensor | None] = {}  # (tag, agent), None: nothing
        self._done: set[int] = set()  # agents that will say nothing more
        self._failure: BaseException | None = None

    def run(self, work: Callable[[int], Any]) -> list[Any]:
        """``work(agent)`` for every agent at once, each in its thread.

        Returns:
            What each agent's work returned, in the order of their numbers.

        Raises:
            BaseException: the first error that any agent raised; the others are stopped.
        """
        self._clear()
        results: list[Any] = [None] * self.total
        threads = [
            threading.Thread(target=self._work, args=(work, agent, results), daemon=True)
            for agent in range(self.total)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self._failure is not None:
            raise self._failure
        return results

    def _work(self, work: Callable[[int], Any], agent: int, results: list[Any]) -> None:
        with self._turn:
            try:
                if self._failure is None:
                    results[agent] = work(agent)
            except _Stopped:
                pass
            except BaseException as error:
                self._failure = self._failure or error
            finally:
                self._done.add(agent)
                self._turn.notify_all()

    def links(self, agent: int, round: int, graph: nx.Graph | None) -> AloneLinks:
        """One agent's links in one round."""
        return AloneLinks(self, agent, round, graph)

    def mixing(self, graph: nx.Graph, agent: int) -> np.ndarray:
        """(total,) the agent's row of the weights of a graph."""
        return np.asarray(self._rule(graph)[[agent], :].todense()).ravel()

    # --- what happens to messages -----------------------------------------------------------

    def post(self, message: Message, receivers: Sequence[int]) -> None:
        """Send a message on its way to each receiver."""
        for receiver in receivers:
            draw = self._generator(1, message.tag, message.sender, receiver)
            lost, late = draw.random(2) < (self.drop, self.late)
            if lost:
                self.dropped += 1
            else:
                delay = int(draw.integers(1, LATEST + 1)) if late else 0
                self._mailboxes[receiver].append(message._replace(delay=delay))
            self._posted.add((message.tag, message.sender, receiver))
        self._turn.notify_all()

    def collect(self, agent: int, tag: Tag, senders: Sequence[int]) -> dict[int, Message]:
        """What reached the agent in this exchange, after all its neighbors have posted."""
        self._wait(agent, senders, lambda j: (tag, j, agent) in self._posted)
        arrived = [m for m in self._mailboxes[agent] if m.tag <= tag and m.delay == 0]
        waiting = [m for m in self._mailboxes[agent] if m.tag > tag or m.delay > 0]
        self._mailboxes[agent] = [
            m if m.tag > tag else m._replace(delay=m.delay - 1) for m in waiting
        ]
        arrived.sort(key=lambda m: (m.tag, m.sender))  # threads post in any order
        order = self._generator(2, tag, agent).permutation(len(arrived))
        heard = {arrived[i].sender: arrived[i] for i in order if arrived[i].tag == tag}
        self.stale += len(arrived) - len(heard)
        self._posted -= {(tag, j, agent) for j in senders}
        return heard

    def confirm(self, agent: int, tag: Tag, neighbors: Sequence[int], heard: set[int]) -> set[int]:
        """Tell every neighbor whether it was heard; who was heard and has heard the agent too."""
        for j in neighbors:
            self._confirmed[tag, agent, j] = j in heard
        self._turn.notify_all()
        self._wait(agent, neighbors, lambda j: (tag, j, agent) in self._confirmed)
        return {j for j in neighbors if self._confirmed.pop((tag, j, agent)) and j in heard}

    def report(self, agent: int, tag: Tag, row: Tensor | None) -> dict[int, Tensor]:
        """Tell the coordinator a row, or nothing; the rows that all agents told it, by number."""
        every = range(self.total)
        self._reports[tag, agent] = row
        self._turn.notify_all()
        self._wait(agent, every, lambda j: (tag, j) in self._reports)
        told = {j: self._reports[tag, j] for j in every}
        for key in [k for k in self._reports if k[0] < tag and k[1] == agent]:
            del self._reports[key]  # all have told the next thing, so all have read this one
        return {j: row for j, row in told.items() if row is not None}

    def _wait(self, agent: int, neighbors: Sequence[int], done: Callable[[int], bool]) -> None:
        def missing() -> list[int]:
            return [j for j in neighbors if not done(j)]

        def over() -> bool:
            return not missing() or self._failure is not None or bool(self._done & {*missing()})

        self._turn.wait_for(over, self.timeout_s)
        if self._failure is not None:
            raise _Stopped
        if missing():
            raise TimeoutError(
                f"agent {agent} waited in vain for agents {missing()}; every agent must make the "
                "same exchanges in every round, and the same calls of the coordinator"
            )

    def _generator(self, purpose: int, tag: Tag, *agents: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, purpose, tag[0] + 1, tag[1], *agents])


class _Stopped(Exception):
    """Another agent failed; this one need not go on."""


class AloneLinks(Links):
    """One agent's links in one round."""

    def __init__(
        self, engine: InMemoryEngine, agent: int, round: int, graph: nx.Graph | None
    ) -> None:
        self.round, self.rounds = round, engine.rounds
        self.agents, self.total = [agent], engine.total
        self._engine, self._graph, self._exchanges = engine, graph, 0

    def exchange(self, *rows: Tensor) -> AloneHeard:
        if self._graph is None:
            raise ValueError("this run has no graph, but its algorithm exchanges with neighbors")
        engine, (agent,) = self._engine, self.agents
        neighbors = sorted(self._graph[agent])
        tag = (self.round, self._exchanges)
        self._exchanges += 1
        message = Message(agent, tag, tuple(r.clone() for r in rows))
        engine.post(message, neighbors)
        arrived = engine.collect(agent, tag, neighbors)
        both = engine.confirm(agent, tag, neighbors, set(arrived))
        self._count(rows, len(neighbors), len(arrived))
        heard = [arrived[j] for j in arrived if j in both]  # in the order of delivery
        return AloneHeard(message, heard, engine.mixing(self._graph, agent))

    def _count(self, rows: Sequence[Tensor], sent: int, received: int) -> None:
        here = np.arange(self.total) == self.agents[0]
        self._engine.traffic.count(here * sent, here * received, message_bytes(rows))

    @cached_property
    def coordinator(self) -> AloneCoordinator:
        return AloneCoordinator(self._engine, self.agents[0], self.round)


class AloneCoordinator(Coordinator):
    """The coordinator as one agent knows it. Its messages are never lost.

    All agents make the same calls; those of agent 0 are counted.
    """

    def __init__(self, engine: InMemoryEngine, agent: int, round: int) -> None:
        super().__init__(engine.traffic if agent == 0 else None, round, engine.seed)
        self._engine, self._agent, self._tag = engine, agent, (round, 0)

    def raised(self, flags: Tensor) -> list[int]:
        return list(self._told(flags if bool(flags.any()) else None))

    def _gather(self, rows: Tensor, numbers: Sequence[int]) -> Tensor:
        own = rows.clone() if self._agent in numbers else None
        return torch.cat([rows[:0], *self._told(own).values()])

    def _told(self, row: Tensor | None) -> dict[int, Tensor]:
        told = self._engine.report(self._agent, self._tag, row)
        self._tag = (self._tag[0], self._tag[1] + 1)
        return told


class AloneHeard(Heard):
    """What one agent heard, as stacks of one row."""

    def __init__(self, own: Message, heard: Sequence[Message], weights: np.ndarray) -> None:
        self._own, self._heard, self._weights = own, heard, weights
        self.degree = own.rows[0].new_full((1, 1), len(heard))

    def mix(self) -> tuple[Tensor, ...]:
        itself = self._weights.sum() - sum(self._weights[m.sender] for m in self._heard)
        return tuple(
            itself * own + sum(self._weights[m.sender] * m.rows[k] for m in self._heard)
            for k, own in enumerate(self._own.rows)
        )

    def difference(self) -> tuple[Tensor, ...]:
        return tuple(
            torch.zeros_like(own) + sum(own - m.rows[k] for m in self._heard)
            for k, own in enumerate(self._own.rows)
        )

    def rows(self) -> Neighborhood:
        heard = sorted(self._heard, key=lambda m: m.sender)
        rows = tuple(
            torch.cat([own[:0], *(m.rows[k] for m in heard)])[None]
            for k, own in enumerate(self._own.rows)
        )
        agents = torch.tensor([[m.sender for m in heard]], dtype=torch.int64)
        return Neighborhood(rows, agents >= 0, agents)
