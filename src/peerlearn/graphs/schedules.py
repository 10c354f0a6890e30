"""Graphs that change from round to round.

A schedule gives the graph of a round as a pure function of its seed and the round's number, so
that resumed runs and other processes see the same graphs. A round's graph may fall apart; over
``window`` rounds the union of the graphs must be connected. Round -1, before the first, counts as
round 0.
"""

from __future__ import annotations

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, ClassVar, Literal

import networkx as nx
import numpy as np
from scipy.spatial.distance import cdist

from ..errors import ConfigurationError
from ..values import (
    require_count,
    require_known,
    require_options,
    require_positive,
    require_probability,
)
from .checks import listed, undirected
from .random_families import near
from .topologies import from_networkx, of_round


class GraphSchedule(ABC):
    """Who talks to whom in each round.

    Attributes:
        agents: how many there are, in every round.
        window: rounds over which the union of the graphs must be connected.
        watched: whether a record tells in which rounds the graph falls apart; there is no use in
            it where that is the schedule's nature.
        apart: what to do in a round whose graph falls apart: "continue" or "stop" with an error.
    """

    agents: int
    window: int
    watched: ClassVar[bool] = False
    apart: str = "continue"

    @abstractmethod
    def at(self, round: int, positions: Any = None) -> nx.Graph:
        """The graph of one round, with the agents 0..n-1.

        Args:
            round: counted from 0.
            positions: (n, dimensions) where the agents are now; only `proximity` asks for them.
        """


@dataclass(frozen=True)
class _OfGraph(GraphSchedule):
    """Schedules that begin with a graph: the whole of it, or some of its edges."""

    graph: nx.Graph

    def __post_init__(self) -> None:
        object.__setattr__(self, "graph", from_networkx(undirected(self.graph)))

    @cached_property
    def agents(self) -> int:  # type: ignore[override]
        return len(self.graph)

    @cached_property
    def edges(self) -> np.ndarray:
        """(E, 2)"""
        return np.array(self.graph.edges, np.int64).reshape(-1, 2)


@dataclass(frozen=True)
class static(_OfGraph):
    """The same graph in every round."""

    window = 1

    def at(self, round: int, positions: Any = None) -> nx.Graph:
        return self.graph


@dataclass(frozen=True)
class link_failures(_OfGraph):
    """Each edge fails in each round with probability p, independently of all else.

    Args:
        graph: all edges.
        p: probability of a failure, at least 0 and less than 1.
        seed: of the failures.
    """

    p: float
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_count(f"{type(self).__name__}: seed", self.seed, 0)
        if require_probability("link_failures: p", self.p) == 1:
            raise ValueError(
                "link_failures: p is 1, so nobody would ever be heard; expected less than 1"
            )

    @cached_property
    def window(self) -> int:  # type: ignore[override]
        return _rounds_to_see_all(len(self.edges), self.p)

    def at(self, round: int, positions: Any = None) -> nx.Graph:
        alive = _generator(self.seed, round).random(len(self.edges)) >= self.p
        return _graph_of(self.agents, self.edges[alive].tolist())


@dataclass(frozen=True)
class random_matchings(_OfGraph):
    """A random maximal matching of the graph's edges in each round: at most one neighbor each.

    Edges are taken in random order, unless one of their ends is already taken.
    """

    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_count(f"{type(self).__name__}: seed", self.seed, 0)

    @cached_property
    def window(self) -> int:  # type: ignore[override]
        # An edge is surely taken if it comes before the at most 2 d_max - 2 that share an end.
        rivals = max(0, 2 * max(degree for _, degree in self.graph.degree) - 2)
        return _rounds_to_see_all(len(self.edges), rivals / (rivals + 1))

    def at(self, round: int, positions: Any = None) -> nx.Graph:
        order = _generator(self.seed, round).permutation(len(self.edges))
        taken: set[int] = set()
        pairs = []
        for i, j in self.edges[order].tolist():
            if i not in taken and j not in taken:
                taken.update((i, j))
                pairs.append((i, j))
        return _graph_of(self.agents, pairs)


@dataclass(frozen=True)
class one_peer_exponential(GraphSchedule):
    """At most one neighbor per round, at distances 1, 2, 4, ... in turn.

    In round k the hop is h = 2^(k mod L), L = ceil(log2 n). The hops fall into cycles i, i + h,
    i + 2h, ... modulo n; neighbors along a cycle are paired, beginning one place further in each
    sweep through the hops, and one agent sits out where a cycle is odd. Pairs are mutual, so the
    schedule serves every method. Where n is a power of two, one sweep of L rounds with Metropolis
    weights gives the exact average.

    Source: the one-peer exponential graph of Ying et al., "Exponential graph is provably efficient
    for decentralized deep training" (2021), made undirected.
    """

    agents: int

    def __post_init__(self) -> None:
        require_count("one_peer_exponential: agents", self.agents, 2)

    @property
    def hops(self) -> int:
        """L, the rounds of one sweep."""
        return (self.agents - 1).bit_length()

    @cached_property
    def window(self) -> int:  # type: ignore[override]
        return 2 * self.hops  # in two sweeps the pairs of hop 1 alone join everybody

    def at(self, round: int, positions: Any = None) -> nx.Graph:
        sweep, k = divmod(max(round, 0), self.hops)
        length = self.agents // math.gcd(self.agents, 2**k)
        return _pairs(self.agents, 2**k, sweep % (length if length % 2 else 2))


@lru_cache(maxsize=64)
def _pairs(agents: int, hop: int, first: int) -> nx.Graph:
    """The neighbors along the cycles of a hop, paired from the ``first`` place of each.

    The same graph for the same pairs, so that engines prepare it once.
    """
    cycles = math.gcd(agents, hop)
    length = agents // cycles
    steps = (first + np.arange(length // 2 * 2)) * hop
    members = (np.arange(cycles)[:, None] + steps) % agents  # one row per cycle
    return _graph_of(agents, members.reshape(-1, 2).tolist())


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

    watched: ClassVar[bool] = True

    agents: int
    radius: float
    positions: Callable[[int], Any] | None = None
    window: int = 1
    apart: Literal["continue", "stop"] = "continue"

    def __post_init__(self) -> None:
        require_known("what to do in a graph that fell apart,", str(self.apart), APART)
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
                f"in round {round} the graph falls into {_parts(graph)}, which is not allowed with "
                "apart='stop'; widen the radius, or let the agents go on with apart='continue'"
            ])  # fmt: skip
        return graph


def _within(positions: np.ndarray, radius: float) -> nx.Graph:
    """`near`; the same graph for the same neighbors, so that engines prepare it once."""
    return _graph_among(len(positions), tuple(near(positions, radius).edges))


@lru_cache(maxsize=64)
def _graph_among(agents: int, edges: tuple[tuple[int, int], ...]) -> nx.Graph:
    return _graph_of(agents, edges)


@dataclass(frozen=True)
class function(GraphSchedule):
    """Any function of the round.

    Args:
        function: round -> networkx graph of ``agents`` nodes; the same graph whenever it is asked
            for the same round.
        agents: how many there are.
        window: rounds over which the union must be connected.
    """

    function: Callable[[int], nx.Graph]
    agents: int
    window: int = 1

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise ValueError(f"function: function is {self.function!r}, expected a function")
        require_count("function: agents", self.agents)
        require_count("function: window", self.window)

    def at(self, round: int, positions: Any = None) -> nx.Graph:
        return of_round(self.function(max(round, 0)), round, self.agents)


APART = ("continue", "stop")

SCHEDULES: dict[str, Callable[..., GraphSchedule]] = {
    "static": static,
    "link_failures": link_failures,
    "random_matchings": random_matchings,
    "one_peer_exponential": one_peer_exponential,
    "proximity": proximity,
}


def build_schedule(name: str, graph: nx.Graph | int, **options: Any) -> GraphSchedule:
    """The schedule ``name``, as experiment files ask for it.

    Args:
        name: a key of `SCHEDULES`.
        graph: the graph that the schedule thins out, or the number of agents where it needs none.
        **options: the schedule's other arguments.

    Raises:
        ValueError: unknown name or option (the nearest valid one is named), or a bad value.
    """
    require_known("schedule", name, SCHEDULES)
    require_options(f"schedule {name}", SCHEDULES[name], options, given=1)
    first = next(iter(inspect.signature(SCHEDULES[name]).parameters))
    if first == "agents" and isinstance(graph, nx.Graph):
        graph = len(graph)
    return SCHEDULES[name](graph, **options)


def as_schedule(graph: nx.Graph | GraphSchedule) -> GraphSchedule:
    """A schedule as it is; a networkx graph as the same graph in every round."""
    return graph if isinstance(graph, GraphSchedule) else static(graph)


def problems(graph: nx.Graph | GraphSchedule) -> list[str]:
    """Why agents could not agree on this graph, in sentences; nothing where they can.

    A graph that stays must be connected, a schedule in the union over its first ``window`` rounds.
    Proximity without known positions cannot be judged beforehand.
    """
    try:
        schedule = as_schedule(graph)
        if isinstance(schedule, proximity) and schedule.positions is None:
            return []
        union = _union(schedule)
    except ValueError as error:
        return [str(error)]
    if nx.is_connected(union):
        return []
    if isinstance(schedule, proximity):
        return [
            f"with a radius of {schedule.radius:g} the graphs of rounds 0 to {schedule.window - 1} "
            f"together fall into {_parts(union)}, which never come nearer to each other than "
            f"{_nearest_pass(schedule, union):.3g}; widen the radius"
        ]
    if isinstance(schedule, static):
        return [f"the graph falls into {_parts(union)}; add edges between them"]
    return [
        f"the union of the graphs of rounds 0 to {schedule.window - 1} falls into {_parts(union)}; "
        "add edges between them, or widen the window if they meet later"
    ]


def _union(schedule: GraphSchedule) -> nx.Graph:
    """All edges of the first rounds, until they connect everybody or the window ends.

    Where no round's graph may fall apart all of them are asked for, and say so.
    """
    union = nx.empty_graph(schedule.agents)
    for round in range(schedule.window):
        union.add_edges_from(schedule.at(round).edges)
        if nx.is_connected(union) and schedule.apart != "stop":
            break
    return union


def _nearest_pass(schedule: proximity, union: nx.Graph) -> float:
    """How near agents of different parts of the union come, at the nearest."""
    part = np.empty(schedule.agents, int)
    for number, members in enumerate(nx.connected_components(union)):
        part[list(members)] = number
    strangers = part[:, None] != part
    assert schedule.positions is not None
    found = (np.asarray(schedule.positions(k), float) for k in range(schedule.window))
    return min(float(cdist(p, p)[strangers].min()) for p in found)


def _parts(graph: nx.Graph, most: int = 4) -> str:
    """'3 parts: agents 0, 1, 2; agents 3, 4; agent 5', shortened."""
    parts = [sorted(part) for part in nx.connected_components(graph)]
    told = [("agents " if len(p) > 1 else "agent ") + listed(p, most) for p in parts[:most]]
    return f"{len(parts)} parts: " + "; ".join(told) + ("; ..." if len(parts) > most else "")


def _generator(seed: int, round: int) -> np.random.Generator:
    return np.random.default_rng([seed, max(round, 0)])


def _graph_of(agents: int, edges: Iterable[Any]) -> nx.Graph:
    graph = nx.empty_graph(agents)
    graph.add_edges_from(edges)
    return graph


def _rounds_to_see_all(edges: int, missing: float) -> int:
    """Rounds after which each edge has been there once, but for one chance in a million.

    ``missing`` is the probability that a certain edge is absent from a certain round.
    """
    if edges == 0 or missing <= 0:
        return 1
    return max(1, math.ceil(math.log(1e6 * edges) / -math.log(missing)))
