"""The processes engine: blocks of agents in processes, on one machine or many.

Only rows that a neighbor in another process needs travel, straight to that process, all vectors of
an exchange in one message. What has come stands under the rows of the agents hosted here in one
table, and mixing is the product of a few sparse rows with that table.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, partial
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import networkx as nx
import numpy as np
import scipy.sparse
import torch
import torch.distributed as dist
from torch import Tensor

from ..links import Coordinator, Heard, Links, Neighborhood, Traffic, message_bytes
from ..measure import Clock
from .stacked import KEPT, SparseRows, is_dense, sparse_rows

if TYPE_CHECKING:
    from .process_team import ProcessTeam


@dataclass
class ProcessesEngine:
    """The agents of one process, and their links to those of others.

    Args:
        total: the number of agents of the team.
        weights: the rule that turns a round's graph into the mixing matrix.
        rounds: how many rounds are planned, for schedules.
        device, dtype: where the rows live and what they are made of.
        seed: of the coordinator's generator.
        clock: adds up the seconds of the exchanges.
        traffic: where messages are counted. Every process knows the graph, and counts for all.
        team: the processes.
    """

    has_coordinator: ClassVar[bool] = True

    total: int
    weights: Callable[[nx.Graph], scipy.sparse.csr_array]
    team: ProcessTeam
    rounds: int = 1
    device: torch.device = torch.device("cpu")
    dtype: torch.dtype = torch.float32
    seed: int = 0
    clock: Clock = field(default_factory=Clock)
    traffic: Traffic = None  # type: ignore[assignment]
    _posts: list[Post] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self.traffic = self.traffic or Traffic(self.total)
        self.hosted = self.team.hosted(self.total)
        self._routes = lru_cache(KEPT)(partial(Routes, engine=self))

    def links(self, round: int, graph: nx.Graph | None) -> ProcessLinks:
        """The links of one round. The routes over the latest graphs are kept."""
        return ProcessLinks(round, self._routes(graph), self)

    def post(self, number: int) -> Post:
        """The buffers of the ``number``-th exchange of a round."""
        while len(self._posts) <= number:
            self._posts.append(Post(self))
        return self._posts[number]


@dataclass
class Routes:
    """Over one graph: which rows go to which process, and the matrices over the table."""

    graph: nx.Graph | None
    engine: ProcessesEngine

    @cached_property
    def degrees(self) -> np.ndarray:
        """(total,) of all agents of the team."""
        return np.array([self._graph.degree[i] for i in range(self.engine.total)], np.int64)

    @cached_property
    def degree(self) -> Tensor:
        rows = torch.from_numpy(self.degrees[list(self.engine.hosted)])[:, None]
        return rows.to(self.engine.device, self.engine.dtype)

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
        """The agents whose rows stand in the table: those hosted here, then those received."""
        received = [i for _, agents in self.receives for i in agents]
        return np.array([*self.engine.hosted, *received], np.int64)

    @cached_property
    def mixing(self) -> Tensor | SparseRows:
        return self._operator(self.engine.weights(self._graph))

    @cached_property
    def laplacian(self) -> Tensor | SparseRows:
        every = range(self.engine.total)
        return self._operator(nx.laplacian_matrix(self._graph, nodelist=every, weight=None))

    @cached_property
    def neighbors(self) -> Tensor:
        """(A, D) the neighbors' numbers in order, -1 where there are fewer than the team's most."""
        hosted = self.engine.hosted
        table = torch.full((len(hosted), int(self.degrees.max(initial=0))), -1)
        for row, i in enumerate(hosted):
            table[row, : self.degrees[i]] = torch.tensor(sorted(self._graph[i]), dtype=torch.int64)
        return table.to(self.engine.device)

    @cached_property
    def places(self) -> Tensor:
        """(total,) where each agent's row stands in the table; -1 for those that are not there."""
        places = np.full(self.engine.total, -1)
        places[self.table] = np.arange(len(self.table))
        return torch.from_numpy(places).to(self.engine.device)

    def _others(self) -> list[tuple[int, range]]:
        blocks = self.engine.team.blocks(self.engine.total)
        return [(r, block) for r, block in enumerate(blocks) if r != self.engine.team.rank]

    def _needed(self, senders: range, receivers: range) -> list[int]:
        """The senders with a neighbor among the receivers."""
        return [i for i in senders if any(j in receivers for j in self._graph[i])]

    def _operator(self, matrix: scipy.sparse.csr_array) -> Tensor | SparseRows:
        """The rows of the agents hosted here, over the table.

        The entries of sparse rows keep their order, so sums have the bits of a stack of all agents.
        """
        whole = scipy.sparse.csr_array(matrix)
        csr = whole[list(self.engine.hosted)]
        if is_dense(whole):
            dense = torch.from_numpy(csr.toarray()[:, self.table])
            return dense.to(self.engine.device, self.engine.dtype)
        rows = sparse_rows(csr, self.engine.device, self.engine.dtype)
        return rows._replace(columns=self.places[rows.columns])

    @property
    def _graph(self) -> nx.Graph:
        if self.graph is None:
            raise ValueError("this run has no graph, but its algorithm exchanges with neighbors")
        return self.graph


class Layout(NamedTuple):
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


class Post:
    """The buffers of one exchange, allocated once and used again in every round."""

    def __init__(self, engine: ProcessesEngine) -> None:
        self._engine = engine
        self._memory = torch.empty(0)
        self._layout: Layout | None = None
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
                self._works = _post(layout)
        return layout.table

    def wait(self) -> None:
        """Until everything has come and gone."""
        works, self._works = self._works, []
        if works and self._layout is not None:
            self._engine.team.wait(works, self._layout.peers)

    def _laid_out(self, rows: Sequence[Tensor], routes: Routes) -> Layout:
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
        sends = [(rank, _together(positions)) for rank, positions in routes.sends]
        self._layout = Layout(routes, table, table[:count], parts, sends)
        return self._layout

    def _room(self, size: int, like: Tensor) -> Tensor:
        if self._memory.numel() < size or self._memory.dtype != like.dtype:
            self._memory = like.new_empty(size)
        return self._memory[:size]


def _together(positions: list[int]) -> list[int] | slice:
    """Rows that stand together as a slice, which is sent from where it is."""
    first, last = positions[0], positions[-1]
    return slice(first, last + 1) if last - first + 1 == len(positions) else positions


def _post(layout: Layout) -> list[dist.Work]:
    """All messages of an exchange at once."""
    sends = [(rank, layout.own[positions]) for rank, positions in layout.sends]
    if not layout.table.is_cuda:  # Gloo: without the checks of a batch, a third of a round's calls
        group = dist.group.WORLD
        assert group is not None
        return [
            *(group.recv([part], rank, 0) for rank, part in layout.parts),
            *(group.send([part], rank, 0) for rank, part in sends),
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
        kinds = {r.dtype for r in rows}
        if len(kinds) > 1:
            raise ValueError(f"got rows of {kinds} in one message; make all of one dtype")
        degrees, engine = self._routes.degrees, self._engine
        engine.traffic.count(degrees, degrees, message_bytes(rows))
        post = engine.post(self._exchanges)
        self._exchanges += 1
        with engine.clock("exchange"):
            table = post.send(rows, self._routes)
        sent = Sent(table, [r.shape[1] for r in rows], post)
        return ProcessHeard(sent, self._routes, engine.clock)

    @cached_property
    def coordinator(self) -> ProcessCoordinator:
        return ProcessCoordinator(self._engine, self.round)


class Sent(NamedTuple):
    """An exchange on its way."""

    table: Tensor  # (A + received, sum of P)
    widths: list[int]  # P of each vector
    post: Post


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
            self._sent.post.wait()
            return self._vectors(operator @ self._sent.table)

    def rows(self) -> Neighborhood:
        with self._clock("exchange"):
            self._sent.post.wait()
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

    def _gather(self, rows: Tensor, senders: Tensor) -> tuple[Tensor, Tensor]:
        engine, team = self._engine, self._engine.team
        with engine.clock("exchange"):
            flags = team.share(senders.to(torch.uint8), engine.total).bool()
            numbers = flags.nonzero()[:, 0]
            received = rows.new_empty(len(numbers), *rows.shape[1:])
            works, place = [], 0
            for rank, block in enumerate(team.blocks(engine.total)):
                count = int(flags[block.start : block.stop].sum())
                part = received[place : place + count]
                if rank == team.rank:
                    part.copy_(rows[senders.to(rows.device)])
                if count:
                    works.append(team.broadcast(part, rank))
                place += count
            team.wait(works)
            return numbers, received
