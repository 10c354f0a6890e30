"""What engines have in common: their settings, and the matrices of a round's graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar, NamedTuple

import networkx as nx
import numpy as np
import scipy.sparse
import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from ..links import Traffic
from ..measure import Clock
from ..team import Alone, Team

DENSE_FROM = 0.4  # share of non-zeros from which a dense product is the faster one,
DENSE_ABOVE = 16  # in teams larger than this
KEPT = 16  # graphs whose matrices are kept, for schedules that come back to them


@dataclass
class Engine:
    """The agents of one process.

    Args:
        total: the number of agents of the team.
        weights: the rule that turns a round's graph into the mixing matrix.
        rounds: how many rounds are planned, for schedules.
        device, dtype: where the rows live and what they are made of.
        seed: of the coordinator's generator.
        clock: adds up the seconds of the exchanges.
        traffic: where messages are counted, for all agents; of ``total`` agents by default.
        team: the processes that host them; this one alone by default.
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
    team: Team = field(default_factory=Alone, kw_only=True)

    def __post_init__(self) -> None:
        self.traffic = self.traffic or Traffic(self.total)
        self.hosted = self.team.hosted(self.total)


@dataclass
class Operators:
    """The matrices of one graph, each built when first asked for.

    They have a row for each agent hosted here, and a column for each row of the table.
    """

    graph: nx.Graph | None
    engine: Engine

    @cached_property
    def table(self) -> np.ndarray:
        """The agents whose rows are at hand, in their order: those hosted here."""
        return np.array(self.engine.hosted, np.int64)

    @cached_property
    def places(self) -> Tensor:
        """(total,) where each agent's row stands in the table; -1 for those that are not there."""
        places = np.full(self.engine.total, -1)
        places[self.table] = np.arange(len(self.table))
        return torch.from_numpy(places).to(self.engine.device)

    @cached_property
    def mixing(self) -> Tensor | SparseRows:
        return self._operator(self.engine.weights(self._graph))

    @cached_property
    def laplacian(self) -> Tensor | SparseRows:
        every = range(self.engine.total)
        return self._operator(nx.laplacian_matrix(self._graph, nodelist=every, weight=None))

    @cached_property
    def degrees(self) -> np.ndarray:
        """(total,) of all agents of the team."""
        return np.array([self._graph.degree[i] for i in range(self.engine.total)], np.int64)

    @cached_property
    def degree(self) -> Tensor:
        """(A, 1) of those hosted here."""
        rows = torch.from_numpy(self.degrees[list(self.engine.hosted)])[:, None]
        return rows.to(self.engine.device, self.engine.dtype)

    @cached_property
    def neighbors(self) -> Tensor:
        """(A, D) the neighbors' numbers in order, -1 where there are fewer than the team's most."""
        hosted = self.engine.hosted
        table = torch.full((len(hosted), int(self.degrees.max(initial=0))), -1)
        for row, i in enumerate(hosted):
            table[row, : self.degrees[i]] = torch.tensor(sorted(self._graph[i]), dtype=torch.int64)
        return table.to(self.engine.device)

    @property
    def _graph(self) -> nx.Graph:
        if self.graph is None:
            raise ValueError("this run has no graph, but its algorithm exchanges with neighbors")
        return self.graph

    def _operator(self, matrix: scipy.sparse.csr_array) -> Tensor | SparseRows:
        """Sparse where that is faster.

        A row's bits then do not depend on the other rows: its entries keep their order, whichever
        agents stand beside it.
        """
        device, dtype, total = self.engine.device, self.engine.dtype, self.engine.total
        whole = scipy.sparse.csr_array(matrix)
        csr = whole[list(self.engine.hosted)]
        if total > DENSE_ABOVE and whole.nnz > DENSE_FROM * total**2:
            return torch.from_numpy(csr.toarray()[:, self.table]).to(device, dtype)
        return SparseRows(
            self.places[torch.from_numpy(csr.indices.astype(np.int64)).to(device)],
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
