"""The stacked engine: all agents in one process, one row each, mixing as a matrix product."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, partial
from typing import ClassVar, NamedTuple

import networkx as nx
import numpy as np
import scipy.sparse
import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from ..links import Coordinator, Heard, Links, Neighborhood, Traffic, message_bytes
from ..measure import Clock
from ..team import Alone, Team

DENSE_FROM = 0.4  # share of non-zeros from which a dense product is the faster one,
DENSE_ABOVE = 16  # in teams larger than this
KEPT = 16  # graphs whose matrices are kept, for schedules that come back to them


@dataclass
class StackedEngine:
    """All ``total`` agents in this process.

    Args:
        total: the number of agents.
        weights: the rule that turns a round's graph into the mixing matrix.
        rounds: how many rounds are planned, for schedules.
        device, dtype: where the rows live and what they are made of.
        seed: of the coordinator's generator.
        clock: adds up the seconds of the exchanges.
        traffic: where messages are counted; of ``total`` agents by default.
        team: of one process.
    """

    has_coordinator: ClassVar[bool] = True

    total: int
    weights: Callable[[nx.Graph], scipy.sparse.csr_array]
    rounds: int = 1
    device: torch.device = torch.device("cpu")
    dtype: torch.dtype = torch.float32
    seed: int = 0
    clock: Clock = field(default_factory=Clock)
    traffic: Traffic = None  # type: ignore[assignment]
    team: Team = field(default_factory=Alone)

    def __post_init__(self) -> None:
        self.traffic = self.traffic or Traffic(self.total)
        self._operators = lru_cache(KEPT)(partial(Operators, engine=self))

    def links(self, round: int, graph: nx.Graph | None) -> StackedLinks:
        """The links of one round. The operators of the latest graphs are kept."""
        return StackedLinks(round, self._operators(graph), self)


@dataclass
class Operators:
    """The matrices of one graph, each built when first asked for."""

    graph: nx.Graph | None
    engine: StackedEngine

    @cached_property
    def mixing(self) -> Tensor | SparseRows:
        return self._operator(self.engine.weights(self._graph))

    @cached_property
    def laplacian(self) -> Tensor | SparseRows:
        graph = self._graph
        return self._operator(
            nx.laplacian_matrix(graph, nodelist=range(self.engine.total), weight=None)
        )

    @cached_property
    def degrees(self) -> np.ndarray:
        return np.array([self._graph.degree[i] for i in range(self.engine.total)], np.int64)

    @cached_property
    def degree(self) -> Tensor:
        rows = torch.from_numpy(self.degrees)[:, None]
        return rows.to(self.engine.device, self.engine.dtype)

    @cached_property
    def neighbors(self) -> Tensor:
        """(A, D) the neighbors' numbers in order, -1 where there are fewer than D."""
        table = torch.full((self.engine.total, int(self.degrees.max(initial=0))), -1)
        for i in range(self.engine.total):
            table[i, : self.degrees[i]] = torch.tensor(sorted(self._graph[i]), dtype=torch.int64)
        return table.to(self.engine.device)

    @property
    def _graph(self) -> nx.Graph:
        if self.graph is None:
            raise ValueError("this run has no graph, but its algorithm exchanges with neighbors")
        return self.graph

    def _operator(self, matrix: scipy.sparse.csr_array) -> Tensor | SparseRows:
        """Sparse where that is faster; a row's bits then do not depend on the other rows."""
        csr = scipy.sparse.csr_array(matrix)
        if is_dense(csr):
            dense = torch.from_numpy(csr.toarray())
            return dense.to(self.engine.device, self.engine.dtype)
        return sparse_rows(csr, self.engine.device, self.engine.dtype)


def is_dense(matrix: scipy.sparse.csr_array) -> bool:
    """Whether a dense product with all agents' rows is the faster one."""
    total = matrix.shape[0]
    return total > DENSE_ABOVE and matrix.nnz > DENSE_FROM * total**2


def sparse_rows(
    csr: scipy.sparse.csr_array, device: torch.device, dtype: torch.dtype
) -> SparseRows:
    """A matrix in SciPy's form as one to multiply rows with."""
    return SparseRows(
        torch.from_numpy(csr.indices.astype(np.int64)).to(device),
        torch.from_numpy(csr.indptr.astype(np.int64)).to(device),
        torch.from_numpy(csr.data).to(device, dtype),
    )


class SparseRows(NamedTuple):
    """A sparse matrix to multiply rows with: (A, A) @ (A, P).

    As sums of weighted rows, which torch computes in one pass over the columns: half the time of
    its product with a CSR matrix, where every entry is a pass of its own.
    """

    columns: Tensor  # (entries,) as in a CSR matrix, and so are the others
    starts: Tensor  # (A + 1,)
    values: Tensor  # (entries,)

    def __matmul__(self, rows: Tensor) -> Tensor:
        return embedding_bag(
            self.columns, rows, self.starts, mode="sum", per_sample_weights=self.values,
            include_last_offset=True,
        )  # fmt: skip


class StackedLinks(Links):
    """One round's links among all agents."""

    def __init__(self, round: int, operators: Operators, engine: StackedEngine) -> None:
        self.round, self.rounds = round, engine.rounds
        self.agents, self.total = range(engine.total), engine.total
        self._operators, self._engine = operators, engine

    def exchange(self, *rows: Tensor) -> StackedHeard:
        degrees = self._operators.degrees
        self._engine.traffic.count(degrees, degrees, message_bytes(rows))
        return StackedHeard(rows, self._operators, self._engine.clock)

    @cached_property
    def coordinator(self) -> StackedCoordinator:
        return StackedCoordinator(self._engine.traffic, self.round, self._engine.seed)


class StackedHeard(Heard):
    def __init__(self, rows: Sequence[Tensor], operators: Operators, clock: Clock) -> None:
        self._rows, self._operators, self._clock = rows, operators, clock
        self.degree = operators.degree

    def mix(self) -> tuple[Tensor, ...]:
        with self._clock("exchange"):
            return tuple(self._operators.mixing @ x for x in self._rows)

    def difference(self) -> tuple[Tensor, ...]:
        with self._clock("exchange"):
            return tuple(self._operators.laplacian @ x for x in self._rows)

    def rows(self) -> Neighborhood:
        with self._clock("exchange"):
            agents = self._operators.neighbors
            mask = agents >= 0
            rows = tuple(x[agents.clamp_min(0)] * mask[..., None] for x in self._rows)
            return Neighborhood(rows, mask, agents)


class StackedCoordinator(Coordinator):
    """Counts what would travel to and from the coordinator; moves nothing."""

    def _gather(self, rows: Tensor, senders: Tensor) -> tuple[Tensor, Tensor]:
        numbers = senders.cpu().nonzero()[:, 0]
        if len(numbers) == len(rows):
            return numbers, rows
        return numbers, rows.index_select(0, numbers.to(rows.device))  # faster than rows[numbers]
