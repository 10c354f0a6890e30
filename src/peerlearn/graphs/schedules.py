"""Graphs that change from round to round.

A schedule gives the graph of a round as a pure function of its seed and the round's number, so
that resumed runs and other processes see the same graphs. A round's graph may fall apart; over
``window`` rounds the union of the graphs must be connected. Round -1, before the first, counts as
round 0. Arguments that cannot be are a ValueError.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from numbers import Integral
from typing import Any, ClassVar

import networkx as nx
import numpy as np

from ..values import require_count, require_known, require_options, require_probability
from .checks import require_agents, undirected
from .proximity import proximity
from .schedule import GraphSchedule, graph_of, parts_of
from .topologies import from_networkx, of_round


@dataclass(frozen=True)
class _OfGraph(GraphSchedule):
    """Schedules that begin with a graph: the whole of it, or some of its edges."""

    graph: nx.Graph

    def __post_init__(self) -> None:
        graph = undirected(self.graph)
        if any(isinstance(node, Integral) for node in graph):  # names are numbered in their order
            require_agents(graph)
        object.__setattr__(self, "graph", from_networkx(graph))

    @cached_property
    def agents(self) -> int:  # type: ignore[override]
        return len(self.graph)

    @cached_property
    def edges(self) -> np.ndarray:
        """(E, 2)"""
        return np.array(self.graph.edges, np.int64)

    def union(self) -> nx.Graph:
        """A schedule that thins out a graph brings each of its edges in time, however seldom."""
        return super().union() if self.any_graph else self.graph


@dataclass(frozen=True)
class static(_OfGraph):
    """The same graph in every round."""

    any_graph: ClassVar[bool] = False
    window = 1

    def at(self, round: int, positions: Any = None) -> nx.Graph:
        return self.graph

    def problem(self, union: nx.Graph) -> str:
        return f"the graph falls into {parts_of(union)}; add edges between them"


@dataclass(frozen=True)
class link_failures(_OfGraph):
    """Each edge fails in each round with probability p, independently of all else.

    Args:
        graph: all edges.
        p: probability of a failure, at least 0 and less than 1.
        seed: of the failures.
    """

    any_graph: ClassVar[bool] = False

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
        return graph_of(self.agents, self.edges[alive].tolist())


@dataclass(frozen=True)
class random_matchings(_OfGraph):
    """A random maximal matching of the graph's edges in each round: at most one neighbor each.

    Edges are taken in random order, unless one of their ends is already taken.

    Args:
        graph: all edges.
        seed: of the orders.
    """

    any_graph: ClassVar[bool] = False

    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_count(f"{type(self).__name__}: seed", self.seed, 0)

    @cached_property
    def window(self) -> int:  # type: ignore[override]
        # An edge is surely taken if it comes before the at most 2 d_max - 2 that share an end.
        rivals = 2 * max(degree for _, degree in self.graph.degree) - 2
        return _rounds_to_see_all(len(self.edges), rivals / (rivals + 1))

    def at(self, round: int, positions: Any = None) -> nx.Graph:
        order = _generator(self.seed, round).permutation(len(self.edges))
        taken: set[int] = set()
        pairs = []
        for i, j in self.edges[order].tolist():
            if i not in taken and j not in taken:
                taken.update((i, j))
                pairs.append((i, j))
        return graph_of(self.agents, pairs)


@dataclass(frozen=True)
class one_peer_exponential(GraphSchedule):
    """At most one neighbor per round, at distances 1, 2, 4, ... in turn.

    In round k the hop is h = 2^(k mod L), L = ceil(log2 n). The hops fall into cycles i, i + h,
    i + 2h, ... modulo n; neighbors along a cycle are paired, beginning one place further in each
    sweep through the hops, and one agent sits out where a cycle is odd. Pairs are mutual, so the
    schedule serves every method. Where n is a power of two, one sweep of L rounds with Metropolis
    weights gives the exact average.

    Args:
        agents: n, at least two.

    Source: the one-peer exponential graph of Ying et al., "Exponential graph is provably efficient
    for decentralized deep training" (2021), made undirected.
    """

    any_graph: ClassVar[bool] = False

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
    return graph_of(agents, members.reshape(-1, 2).tolist())


@dataclass(frozen=True)
class function(GraphSchedule):
    """Any function of the round.

    Args:
        function: round -> networkx graph whose nodes are the agents 0, 1, ..., also those without
            edges; the same graph whenever it is asked for the same round.
        agents: how many there are.
        window: rounds over which the union must be connected; before a run the first ones are
            looked at.
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
    if of_agents(name) and isinstance(graph, nx.Graph):
        graph = len(graph)
    return SCHEDULES[name](graph, **options)


def of_agents(name: str) -> bool:
    """Whether the schedule ``name`` draws edges of its own among so many agents, without a graph.

    Its first argument tells.
    """
    return next(iter(inspect.signature(SCHEDULES[name]).parameters)) == "agents"


def as_schedule(graph: nx.Graph | GraphSchedule) -> GraphSchedule:
    """A schedule as it is; a networkx graph as the same graph in every round."""
    return graph if isinstance(graph, GraphSchedule) else static(graph)


def problems(graph: nx.Graph | GraphSchedule) -> list[str]:
    """Why agents could not agree on this graph, in sentences; nothing where they can.

    A graph that stays must be connected, a schedule in the union over its first ``window`` rounds.
    Agents whose positions are not known yet cannot be judged beforehand.
    """
    try:
        schedule = as_schedule(graph)
        if not schedule.known:
            return []
        union = schedule.union()
    except ValueError as error:
        return [str(error)]
    return [] if nx.is_connected(union) else [schedule.problem(union)]


def _generator(seed: int, round: int) -> np.random.Generator:
    return np.random.default_rng([seed, max(round, 0)])


def _rounds_to_see_all(edges: int, missing: float) -> int:
    """Rounds after which each edge has been there once, but for one chance in a million.

    ``missing`` is the probability that a certain edge is absent from a certain round.
    """
    if edges == 0 or missing <= 0:
        return 1
    return math.ceil(math.log(1e6 * edges) / -math.log(missing))
