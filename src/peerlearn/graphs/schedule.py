"""The contract of graphs that change from round to round."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import networkx as nx

from ..words import agents_named


class GraphSchedule(ABC):
    """Who talks to whom in each round.

    Attributes:
        agents: how many there are, in every round.
        window: rounds over which the union of the graphs must be connected.
        any_graph: whether a round may have any graph. It is then checked in each round, and
            weights for certain graphs only may fit.
        watched: whether a record tells in which rounds the graph falls apart; there is no use in
            it where that is the schedule's nature.
        apart: what to do in a round whose graph falls apart: "continue" or "stop" with an error.
    """

    agents: int
    window: int
    any_graph: ClassVar[bool] = True
    watched: ClassVar[bool] = False
    apart: str = "continue"

    @abstractmethod
    def at(self, round: int, positions: Any = None) -> nx.Graph:
        """The graph of one round, with the agents 0..n-1.

        Args:
            round: counted from 0.
            positions: (n, dimensions) where the agents are now; only `proximity` asks for them.
        """

    def __init_subclass__(cls, **settings: Any) -> None:
        super().__init_subclass__(**settings)
        if "at" in vars(cls) and "any_graph" not in vars(cls):
            cls.any_graph = True  # whatever its base says of its own graphs

    @property
    def known(self) -> bool:
        """Whether its graphs are known before the agents begin to move."""
        return True

    def placed(self, positions: Callable[[int], Any], rounds: int) -> GraphSchedule:
        """The same schedule of agents whose positions in all rounds of a run are known."""
        return self

    def union(self) -> nx.Graph:
        """All edges of the first rounds, until they connect everybody or the window ends.

        Where no round's graph may fall apart all of them are asked for, and say so.
        """
        union = nx.empty_graph(self.agents)
        for round in range(self.window):
            union.add_edges_from(self.at(round).edges)
            if nx.is_connected(union) and self.apart != "stop":
                break
        return union

    def problem(self, union: nx.Graph) -> str:
        """What is wrong where the union of the graphs over the window falls apart."""
        return (
            f"the union of the graphs of rounds 0 to {self.window - 1} falls into "
            f"{parts_of(union)}; add edges between them, or widen the window if they meet later"
        )


def graph_of(agents: int, edges: Iterable[Any]) -> nx.Graph:
    graph = nx.empty_graph(agents)
    graph.add_edges_from(edges)
    return graph


def parts_of(graph: nx.Graph, most: int = 4) -> str:
    """'3 parts: agents 0, 1, 2; agents 3, 4; agent 5', shortened."""
    parts = [sorted(part) for part in nx.connected_components(graph)]
    told = [agents_named(part, most) for part in parts[:most]]
    return f"{len(parts)} parts: " + "; ".join(told) + ("; ..." if len(parts) > most else "")
