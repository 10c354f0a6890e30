"""The processes engine: blocks of agents in processes, on one machine or many.

Only rows that a neighbor in another process needs travel, straight to that process, all vectors of
an exchange in one message. What has come stands under the rows of the agents hosted here in one
table, and mixing is the product of a few sparse rows with that table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, partial
from typing import TYPE_CHECKING, NamedTuple

import networkx as nx
import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from ..links import Coordinator, Heard, Links, Neighborhood, as_index, message_bytes
from ..measure import Clock
from .base import KEPT, Engine, Operators, SparseRows

if TYPE_CHECKING:
    from .process_team import ProcessTeam


@dataclass
class ProcessesEngine(Engine):
    """The agents of one process, and their links to those of others.

    Every process knows the graph, and counts the traffic of all agents.
    """

    team: ProcessTeam = field(kw_only=True)
    _mailboxes: list[Mailbox] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._routes = lru_cache(KEPT)(partial(Routes, engine=self))

    def links(self, round: int, graph: nx.Graph | None) -> ProcessLinks:
        """The links of one round. The routes over the latest graphs are kept."""
        return ProcessLinks(round, self._routes(graph), self)

    def mailbox(self, number: int) -> Mailbox:
        """The buffers of the ``number``-th exchange of a round."""
        while len(self._mailboxes) <= number:
            self._mailboxes.append(Mailbox(self))
        return self._mailboxes[number]


class Routes(Operators):
    """Over one graph: which rows go to which process, and the matrices over the table."""

    @cached_property
    def sends(self) -> list[tuple[int, list[int]]]:
        """To each process the positions of the rows that it needs."""
        first = self.engine.hosted[0]
        needed = [(rank, self._needed(self.engine.hosted, block)) for rank, block in self._others()]
        return [(rank, [i - first for i in agents]) for rank, agents in needed if agents]

    @cached_property
    def receives(self) -> list[tuple[int, list[int]]]:
        """From each process the agents whose rows come, in the order in which they come."""
        needed = [(rank, self._needed(block, self.engine.hosted)) for rank, block in self._others()]
        return [(rank, agents) for rank, agents in needed if agents]

    @cached_property
    def table(self) -> np.ndarray:
        """The agents whose rows are at hand: those hosted here, then those received."""
        received = [i for _, agents in self.receives for i in agents]
        return np.array([*self.engine.hosted, *received], np.int64)

    def _others(self) -> list[tuple[int, range]]:
        blocks = self.engine.team.blocks(self.engine.total)
        return [(r, block) for r, block in enumerate(blocks) if r != self.engine.team.rank]

    def _needed(self, senders: range, receivers: range) -> list[int]:
        """The senders with a neighbor among the receivers."""
        return [i for i in senders if any(j in receivers for j in self._graph[i])]


class TableLayout(NamedTuple):
    """Where the rows of one exchange stand."""

    routes: Routes
    table: Tensor  # (A + received, sum of P)
    own: Tensor  # (A, sum of P), its beginning
    parts: list[tuple[int, Tensor]]  # from each process the rows that come, in the table
    sends: list[tuple[int, list[int] | slice]]  # to each process the rows that it needs

    @property
    def peers(self) -> list[int]:
        """The process at the other end of each message, those that come before those that go."""
        return [rank for rank, _ in (*self.parts, *self.sends)]


class Mailbox:
    """The buffers of one exchange, allocated once and used again in every round."""

    def __init__(self, engine: ProcessesEngine) -> None:
        self._engine = engine
        self._memory = torch.empty(0)
        self._layout: TableLayout | None = None
        self._works: list[dist.Work] = []

    def send(self, rows: Sequence[Tensor], routes: Routes) -> Tensor:
        """Begin the exchange.

        Args:
            rows: the vectors, each (A, P).
            routes: of this round.

        Returns:
            The table, (A + received, sum of P): complete after `wait`.
        """
        self.wait()  # nobody may have asked for the answers of the last round
        layout = self._laid_out(rows, routes)
        torch.cat(list(rows), dim=1, out=layout.own)
        if layout.sends:
            with self._engine.team.reaching(layout.peers):
                self._works = _begun(layout, self._engine.team.tag)
        return layout.table

    def wait(self) -> None:
        """Until everything has come and gone."""
        works, self._works = self._works, []
        if works and self._layout is not None:
            self._engine.team.wait(works, self._layout.peers)

    def _laid_out(self, rows: Sequence[Tensor], routes: Routes) -> TableLayout:
        """That of the last round, where it will do."""
        width, count, known = sum(r.shape[1] for r in rows), len(rows[0]), self._layout
        same = known is not None and known.routes is routes and known.own.shape[1] == width
        if known is not None and same and known.table.dtype == rows[0].dtype:
            return known
        table = self._room(len(routes.table) * width, rows[0]).view(-1, width)
        parts, place = [], count
        for rank, agents in routes.receives:
            parts.append((rank, table[place : place + len(agents)]))
            place += len(agents)
        sends = [(rank, as_index(positions)) for rank, positions in routes.sends]
        self._layout = TableLayout(routes, table, table[:count], parts, sends)
        return self._layout

    def _room(self, size: int, like: Tensor) -> Tensor:
        if self._memory.numel() < size or self._memory.dtype != like.dtype:
            self._memory = like.new_empty(size)
        return self._memory[:size]


def _begun(layout: TableLayout, tag: int) -> list[dist.Work]:
    """All messages of an exchange, begun at once. NCCL knows no tags."""
    sends = [(rank, layout.own[positions]) for rank, positions in layout.sends]
    if not layout.table.is_cuda:  # Gloo: without the checks of a batch, a third of a round's calls
        group = dist.group.WORLD
        assert group is not None
        return [
            *(group.recv([part], rank, tag) for rank, part in layout.parts),
            *(group.send([part], rank, tag) for rank, part in sends),
        ]
    return dist.batch_isend_irecv([
        *(dist.P2POp(dist.irecv, part, rank) for rank, part in layout.parts),
        *(dist.P2POp(dist.isend, part, rank) for rank, part in sends),
    ])  # fmt: skip


class ProcessLinks(Links):
    """One round's links of the agents hosted here."""

    def __init__(self, round: int, routes: Routes, engine: ProcessesEngine) -> None:
        self.round, self.rounds = round, engine.rounds
        self.agents, self.total = engine.hosted, engine.total
        self._routes, self._engine, self._exchanges = routes, engine, 0

    def exchange(self, *rows: Tensor) -> ProcessHeard:
        degrees, engine = self._routes.degrees, self._engine
        engine.traffic.count(degrees, degrees, message_bytes(rows))
        mailbox = engine.mailbox(self._exchanges)
        self._exchanges += 1
        with engine.clock("exchange"):
            table = mailbox.send(rows, self._routes)
        sent = Sent(table, [r.shape[1] for r in rows], mailbox)
        return ProcessHeard(sent, self._routes, engine.clock)

    @cached_property
    def coordinator(self) -> ProcessCoordinator:
        return ProcessCoordinator(self._engine, self.round)


class Sent(NamedTuple):
    """An exchange on its way."""

    table: Tensor  # (A + received, sum of P)
    widths: list[int]  # P of each vector
    mailbox: Mailbox


class ProcessHeard(Heard):
    """The views of one exchange, which wait for it."""

    def __init__(self, sent: Sent, routes: Routes, clock: Clock) -> None:
        self._sent, self._routes, self._clock = sent, routes, clock
        self.degree = routes.degree

    def mix(self) -> tuple[Tensor, ...]:
        return self._product(self._routes.mixing)

    def difference(self) -> tuple[Tensor, ...]:
        return self._product(self._routes.laplacian)

    def _product(self, operator: Tensor | SparseRows) -> tuple[Tensor, ...]:
        with self._clock("exchange"):
            self._sent.mailbox.wait()
            return self._vectors(operator @ self._sent.table)

    def rows(self) -> Neighborhood:
        with self._clock("exchange"):
            self._sent.mailbox.wait()
            agents = self._routes.neighbors
            mask = agents >= 0
            places = self._routes.places[agents.clamp_min(0)].clamp_min(0)
            rows = self._vectors(self._sent.table[places] * mask[..., None])
            return Neighborhood(rows, mask, agents)

    def _vectors(self, wide: Tensor) -> tuple[Tensor, ...]:
        """Each vector in memory of its own."""
        parts = wide.split(self._sent.widths, dim=-1)
        return (wide,) if len(parts) == 1 else tuple(p.clone() for p in parts)


class ProcessCoordinator(Coordinator):
    """The same coordinator in every process: all rows that are sent to it go to all processes."""

    def __init__(self, engine: ProcessesEngine, round: int) -> None:
        super().__init__(engine.traffic, round, engine.seed)
        self._engine = engine

    def raised(self, flags: Tensor) -> list[int]:
        with self._engine.clock("exchange"):
            everyone = self._engine.team.share(flags.to(torch.uint8), self._engine.total)
            return everyone.nonzero()[:, 0].tolist()

    def _gather(self, rows: Tensor, numbers: Sequence[int]) -> Tensor:
        engine, team = self._engine, self._engine.team
        with engine.clock("exchange"):
            received = rows.new_empty(len(numbers), *rows.shape[1:])
            works, place = [], 0
            for rank, block in enumerate(team.blocks(engine.total)):
                here = [i - block.start for i in numbers if i in block]
                part = received[place : place + len(here)]
                if here and rank == team.rank:
                    part.copy_(rows[as_index(here)])
                if here:
                    works.append(team.broadcast(part, rank))
                place += len(here)
            team.wait(works)
            return received
