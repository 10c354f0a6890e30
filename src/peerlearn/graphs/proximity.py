"""Graphs of agents that move: neighbors are those within reach."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, ClassVar, Literal

import networkx as nx
import numpy as np
import scipy

from ..errors import ConfigurationError
from ..values import require_count, require_known, require_positive
from .random_families import near
from .schedule import GraphSchedule, graph_of, parts_of

APART = ("continue", "stop")


@dataclass(frozen=True)
class proximity(GraphSchedule):
    """An edge where two agents are within a radius of each other.

    Agents that move may fall apart into groups for a while. They go on within their groups, each
    with the neighbors that it has; or the run stops. The record tells in which rounds it happened.

    Args:
        agents: how many there are.
        radius: largest distance of two neighbors, in the unit of the positions.
        positions: round -> (agents, dimensions); where it is not given, the positions of each
            round are the task's.
        window: rounds over which the union must be connected, where the positions are known; the
            whole run where they are the task's.
        apart: what to do in a round whose graph falls apart: "continue" or "stop" with an error.
    """

    any_graph: ClassVar[bool] = False
    watched: ClassVar[bool] = True

    agents: int
    radius: float
    positions: Callable[[int], Any] | None = None
    window: int = 1
    apart: Literal["continue", "stop"] = "continue"

    def __post_init__(self) -> None:
        require_known("apart", str(self.apart), APART)
        if self.positions is not None and not callable(self.positions):
            raise ValueError(
                f"proximity: positions is a {type(self.positions).__name__}, expected a function "
                "of the round"
            )
        require_count("proximity: agents", self.agents)
        require_count("proximity: window", self.window)
        require_positive("proximity: radius", self.radius)

    def at(self, round: int, positions: Any = None) -> nx.Graph:
        if self.positions is not None:
            positions = self.positions(max(round, 0))
        if positions is None:
            raise ValueError(
                f"proximity has no positions in round {round}; give it a function of the round, "
                "or a learner that reports where its agents are"
            )
        array = np.asarray(positions, dtype=float)
        if array.ndim != 2 or len(array) != self.agents or not np.isfinite(array).all():
            raise ValueError(
                f"the positions in round {round} have shape {array.shape}, expected "
                f"({self.agents}, dimensions) finite numbers"
            )
        graph = _within(array, self.radius)
        if self.apart == "stop" and not nx.is_connected(graph):
            raise ConfigurationError([
                f"in round {round} the graph falls into {parts_of(graph)}, which is not allowed "
                "with apart='stop'; widen the radius, or let the agents go on with apart='continue'"
            ])  # fmt: skip
        return graph

    @property
    def known(self) -> bool:
        return self.positions is not None

    def placed(self, positions: Callable[[int], Any], rounds: int) -> proximity:
        return self if self.known else replace(self, positions=positions, window=rounds)

    def problem(self, union: nx.Graph) -> str:
        return (
            f"with a radius of {self.radius:g} the graphs of rounds 0 to {self.window - 1} "
            f"together fall into {parts_of(union)}, which never come nearer to each other than "
            f"{self._nearest_pass(union):.3g}; widen the radius"
        )

    def _nearest_pass(self, union: nx.Graph) -> float:
        """How near agents of different parts of the union come, at the nearest."""
        part = np.empty(self.agents, int)
        for number, members in enumerate(nx.connected_components(union)):
            part[list(members)] = number
        strangers = part[:, None] != part
        assert self.positions is not None
        found = (np.asarray(self.positions(k), float) for k in range(self.window))
        return min(float(scipy.spatial.distance.cdist(p, p)[strangers].min()) for p in found)


def _within(positions: np.ndarray, radius: float) -> nx.Graph:
    """`near`; the same graph for the same neighbors, so that engines prepare it once."""
    return _graph_among(len(positions), tuple(near(positions, radius).edges))


@lru_cache(maxsize=64)
def _graph_among(agents: int, edges: tuple[tuple[int, int], ...]) -> nx.Graph:
    return graph_of(agents, edges)
