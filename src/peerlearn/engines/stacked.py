"""The stacked engine: all agents in one process, one row each, mixing as a matrix product."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial

import networkx as nx
import torch
from torch import Tensor

from ..links import Coordinator, Heard, Links, Neighborhood, as_index, message_bytes
from ..measure import Clock
from .base import KEPT, Engine, Operators


@dataclass
class StackedEngine(Engine):
    """All agents in this process."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._operators = lru_cache(KEPT)(partial(Operators, engine=self))

    def links(self, round: int, graph: nx.Graph | None) -> StackedLinks:
        """The links of one round. The operators of the latest graphs are kept."""
        return StackedLinks(round, self._operators(graph), self)


class StackedLinks(Links):
    """One round's links among all agents."""

    def __init__(self, round: int, operators: Operators, engine: StackedEngine) -> None:
        self.round, self.rounds = round, engine.rounds
        self.agents, self.total = engine.hosted, engine.total
        self._operators, self._engine = operators, engine

    def exchange(self, *rows: Tensor) -> StackedHeard:
        degrees = self._operators.degrees
        self._engine.traffic.count(degrees, degrees, message_bytes(rows))
        return StackedHeard(rows, self._operators, self._engine.clock)

    @cached_property
    def coordinator(self) -> StackedCoordinator:
        return StackedCoordinator(self._engine, self.round)


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

    def __init__(self, engine: StackedEngine, round: int) -> None:
        super().__init__(engine.traffic, round, engine.seed)
        self._clock = engine.clock

    def raised(self, flags: Tensor) -> list[int]:
        with self._clock("exchange"):
            return flags.nonzero()[:, 0].tolist()

    def _gather(self, rows: Tensor, numbers: Sequence[int]) -> Tensor:
        with self._clock("exchange"):
            where = as_index(numbers)
            if isinstance(where, slice):
                return rows[where]
            return rows.index_select(0, torch.tensor(where, device=rows.device))
