"""Topologies: who can talk to whom.

Every function returns an undirected `networkx.Graph` of the agents 0..n-1 without loops, and raises
ValueError where there is no such graph of the sizes that were given.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import networkx as nx

from ..values import require_count, require_known, require_options
from ..words import first_few
from .checks import require_agents, undirected
from .naming import named, numbered
from .random_families import (
    barabasi_albert,
    erdos_renyi,
    random_geometric,
    random_regular,
    small_world,
)


@named
def complete(n: int) -> nx.Graph:
    """Everybody talks to everybody."""
    return numbered(nx.complete_graph(require_count("complete: n", n)))


@named
def cycle(n: int) -> nx.Graph:
    """A ring: agent i talks to i - 1 and i + 1."""
    return numbered(nx.cycle_graph(require_count("cycle: n", n, 3)))


@named
def path(n: int) -> nx.Graph:
    """A cycle cut open."""
    return numbered(nx.path_graph(require_count("path: n", n)))


@named
def star(n: int) -> nx.Graph:
    """Agent 0 in the middle talks to the n - 1 others, who talk to nobody else."""
    return numbered(nx.star_graph(require_count("star: n", n, 2) - 1))


@named
def wheel(n: int) -> nx.Graph:
    """Agent 0 in the middle of a cycle of the n - 1 others."""
    return numbered(nx.wheel_graph(require_count("wheel: n", n, 4)))


@named
def grid(rows: int, columns: int) -> nx.Graph:
    """A rectangle, numbered row by row; each agent talks to those beside, above and below it."""
    require_count("grid: rows", rows)
    return numbered(nx.grid_2d_graph(rows, require_count("grid: columns", columns)))


@named
def torus(rows: int, columns: int) -> nx.Graph:
    """A grid whose opposite sides touch: four neighbors for everybody."""
    require_count("torus: rows", rows, 3)
    return numbered(
        nx.grid_2d_graph(rows, require_count("torus: columns", columns, 3), periodic=True)
    )


@named
def hypercube(dimension: int) -> nx.Graph:
    """2^dimension agents; two talk where their numbers differ in one binary digit."""
    return numbered(nx.hypercube_graph(require_count("hypercube: dimension", dimension)))


@named
def exponential(n: int) -> nx.Graph:
    """The static exponential graph: agent i talks to i +- 2^k modulo n, for all 2^k < n."""
    hops = range((require_count("exponential: n", n, 2) - 1).bit_length())
    return numbered(nx.circulant_graph(n, [2**k for k in hops]))


@named
def bipartite(a: int, b: int) -> nx.Graph:
    """Complete bipartite: each of the first ``a`` agents talks to each of the other ``b``."""
    require_count("bipartite: a", a)
    return numbered(nx.complete_bipartite_graph(a, require_count("bipartite: b", b)))


def from_edge_list(path: str | Path, n: int | None = None) -> nx.Graph:
    """Read a text file with one edge per line: two agent numbers, counted from 0.

    A comma may stand between them; empty lines and what follows a # are skipped.

    Args:
        path: the file, from the current folder if it is relative.
        n: agents; the largest number in the file plus one where it is not given.

    Raises:
        ValueError: the file cannot be read, or has lines that are no edges (all are named).
    """
    if n is not None:
        require_count("edge list: n", n)
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeError) as error:
        raise ValueError(f"cannot read {path} ({error}); expected a text file of edges") from error
    edges, mistakes = [], []
    for number, line in enumerate(lines, start=1):
        words = line.split("#")[0].replace(",", " ").split()
        mistake = _edge_mistake(words, n)
        if mistake:
            mistakes.append(f"line {number}: got {line.strip()!r}, {mistake}")
        elif words:
            edges.append((int(words[0]), int(words[1])))
    if not edges and not mistakes:
        mistakes.append("it holds no edge; expected one per line, as in '0 1'")
    if mistakes:
        raise ValueError(f"{path} is no edge list: " + first_few(mistakes, separator="; "))
    graph = nx.empty_graph(max(map(max, edges)) + 1 if n is None else n)
    graph.add_edges_from(edges)
    graph.graph["name"] = Path(path).stem
    return numbered(graph)


def from_networkx(graph: nx.Graph) -> nx.Graph:
    """Any undirected networkx graph, its nodes renamed to the agents 0..n-1.

    Nodes that are already named 0..n-1 keep their numbers; others are numbered in the graph's
    order. Node attributes stay, edge attributes (weights too) are left out.

    Raises:
        ValueError: the graph is directed, a multigraph, empty, or has edges from a node to itself.
    """
    undirected(graph)
    if not len(graph):
        raise ValueError("the graph has no nodes, expected one for each agent")
    loops = [node for node, _ in nx.selfloop_edges(graph)]
    if loops:
        raise ValueError(
            f"these nodes have an edge to themselves: {first_few(loops)}; "
            "remove those edges: an agent's weight for itself comes from the weights"
        )
    return numbered(graph)


def of_round(graph: Any, round: int, agents: int) -> nx.Graph:
    """A round's graph out of a function or a schedule of the user's own, checked and copied.

    The copy is the round's alone, whatever becomes of the graph later.
    """
    found = from_networkx(undirected(graph))
    if len(found) != agents:
        raise ValueError(
            f"the graph of round {round} has {len(found)} agents, expected {agents} in every "
            "round; an agent that sits out is a node without edges"
        )
    require_agents(graph, f"the graph of round {round}")
    return found


TOPOLOGIES: dict[str, Callable[..., nx.Graph]] = {
    "complete": complete,
    "cycle": cycle,
    "path": path,
    "star": star,
    "wheel": wheel,
    "grid": grid,
    "torus": torus,
    "hypercube": hypercube,
    "exponential": exponential,
    "bipartite": bipartite,
    "erdos_renyi": erdos_renyi,
    "random_regular": random_regular,
    "small_world": small_world,
    "barabasi_albert": barabasi_albert,
    "random_geometric": random_geometric,
    "edge_list": from_edge_list,
}


def build(name: str, agents: int, **options: Any) -> nx.Graph:
    """The topology ``name`` for ``agents`` agents, as experiment files ask for it.

    Args:
        name: a key of `TOPOLOGIES`.
        agents: how many there are. A grid or torus becomes as square as it can, unless ``rows`` or
            ``columns`` say otherwise; a bipartite graph is halved, unless ``a`` or ``b`` do.
        **options: the function's other arguments.

    Raises:
        ValueError: unknown name or option (the nearest valid one is named), or impossible sizes.
    """
    require_known("graph", name, TOPOLOGIES)
    require_count(f"{name}: agents", agents)
    builder = SIZED.get(name, TOPOLOGIES[name])
    require_options(f"graph {name}", builder, options, given=1)
    return builder(agents, **options)


def _sized_rectangle(
    make: Callable[[int, int], nx.Graph],
    least: int,
    agents: int,
    rows: int | None = None,
    columns: int | None = None,
) -> nx.Graph:
    for side, length in (("rows", rows), ("columns", columns)):
        if length is not None:
            require_count(f"{make.__name__}: {side}", length, least)
    if columns is not None:
        rows = agents // columns if rows is None else rows
    elif rows is None:
        rows = max(r for r in range(1, math.isqrt(agents) + 1) if agents % r == 0)
    columns = agents // rows if columns is None else columns
    if rows * columns != agents or min(rows, columns) < least:
        raise ValueError(
            f"{make.__name__}: {agents} agents in {rows} rows and {columns} columns, expected "
            f"rows x columns = {agents} with at least {least} of each; change agents or sides"
        )
    return make(rows, columns)


def _sized_hypercube(agents: int) -> nx.Graph:
    if agents < 2 or agents & (agents - 1):
        below = 2 ** max(1, agents.bit_length() - 1)
        raise ValueError(
            f"hypercube: got {agents} agents, expected a power of two; "
            f"take {below} or {2 * below}, or the graph 'exponential', which takes any number"
        )
    return hypercube(agents.bit_length() - 1)


def _sized_bipartite(agents: int, a: int | None = None, b: int | None = None) -> nx.Graph:
    if a is None:
        a = agents // 2 if b is None else agents - b
    b = agents - a if b is None else b
    if a + b != agents:
        raise ValueError(f"bipartite: {a} and {b} are {a + b}, expected {agents} agents")
    return bipartite(a, b)


def _sized_edge_list(agents: int, path: str | Path | None = None) -> nx.Graph:
    if path is None:
        raise ValueError("edge_list: no path was given; expected path = the file with the edges")
    return from_edge_list(path, agents)


SIZED: dict[str, Callable[..., nx.Graph]] = {  # those whose first argument is not their size
    "grid": partial(_sized_rectangle, grid, 1),
    "torus": partial(_sized_rectangle, torus, 3),
    "hypercube": _sized_hypercube,
    "bipartite": _sized_bipartite,
    "edge_list": _sized_edge_list,
}


def _edge_mistake(words: list[str], n: int | None) -> str:
    """What is wrong with a line of an edge list, or nothing."""
    if not words:
        return ""
    if len(words) != 2 or not all(w.isascii() and w.isdigit() for w in words):
        return "expected two agent numbers, as in '0 1'"
    if n is not None and max(map(int, words)) >= n:
        return f"expected numbers from 0 to {n - 1}, because there are {n} agents"
    if int(words[0]) == int(words[1]):
        return "expected two different agents"
    return ""
