"""Topologies: who can talk to whom.

Every function returns an undirected `networkx.Graph` of the agents 0..n-1 without loops. Random
ones are the same whenever their seed is, and are drawn again until they are connected.
"""

from __future__ import annotations

import inspect
import math
import random
from bisect import bisect_left
from collections.abc import Callable
from functools import partial, wraps
from pathlib import Path
from typing import Any, ParamSpec

import networkx as nx
import numpy as np
from scipy.spatial import KDTree
from scipy.spatial.distance import pdist

from .checks import check_options, choose, listed, positive, probability, undirected, whole
from .spectrum import fiedler_value

ATTEMPTS = 1000  # draws of a random graph before giving up on a connected one
REDRAWS = 100  # draws of the positions before giving up on a wanted connectivity
TOLERANCE = 0.05  # accepted relative distance to the wanted connectivity


Build = ParamSpec("Build")


def _named(build: Callable[Build, nx.Graph]) -> Callable[Build, nx.Graph]:
    """The graph remembers what it is called, for records and reports."""

    @wraps(build)
    def named(*args: Build.args, **kwargs: Build.kwargs) -> nx.Graph:
        graph = build(*args, **kwargs)
        graph.graph["name"] = build.__name__
        return graph

    return named


@_named
def complete(n: int) -> nx.Graph:
    """Everybody talks to everybody."""
    return _numbered(nx.complete_graph(whole("complete", "n", n, 1)))


@_named
def cycle(n: int) -> nx.Graph:
    """A ring: agent i talks to i - 1 and i + 1."""
    return _numbered(nx.cycle_graph(whole("cycle", "n", n, 3)))


@_named
def path(n: int) -> nx.Graph:
    """A cycle cut open."""
    return _numbered(nx.path_graph(whole("path", "n", n, 1)))


@_named
def star(n: int) -> nx.Graph:
    """Agent 0 in the middle talks to the n - 1 others, who talk to nobody else."""
    return _numbered(nx.star_graph(whole("star", "n", n, 2) - 1))


@_named
def wheel(n: int) -> nx.Graph:
    """Agent 0 in the middle of a cycle of the n - 1 others."""
    return _numbered(nx.wheel_graph(whole("wheel", "n", n, 4)))


@_named
def grid(rows: int, columns: int) -> nx.Graph:
    """A rectangle, numbered row by row; each agent talks to those beside, above and below it."""
    whole("grid", "rows", rows, 1)
    return _numbered(nx.grid_2d_graph(rows, whole("grid", "columns", columns, 1)))


@_named
def torus(rows: int, columns: int) -> nx.Graph:
    """A grid whose opposite sides touch: four neighbors for everybody."""
    whole("torus", "rows", rows, 3)
    return _numbered(nx.grid_2d_graph(rows, whole("torus", "columns", columns, 3), periodic=True))


@_named
def hypercube(dimension: int) -> nx.Graph:
    """2^dimension agents; two talk where their numbers differ in one binary digit."""
    return _numbered(nx.hypercube_graph(whole("hypercube", "dimension", dimension, 1)))


@_named
def exponential(n: int) -> nx.Graph:
    """The static exponential graph: agent i talks to i +- 2^k modulo n, for all 2^k < n."""
    hops = range((whole("exponential", "n", n, 2) - 1).bit_length())
    return _numbered(nx.circulant_graph(n, [2**k for k in hops]))


@_named
def bipartite(a: int, b: int) -> nx.Graph:
    """Complete bipartite: each of the first ``a`` agents talks to each of the other ``b``."""
    whole("bipartite", "a", a, 1)
    return _numbered(nx.complete_bipartite_graph(a, whole("bipartite", "b", b, 1)))


@_named
def erdos_renyi(n: int, p: float = 0.3, seed: int = 0) -> nx.Graph:
    """Each pair talks with probability p, drawn again until the graph is connected.

    Raises:
        ValueError: p is no probability, or no connected graph came in `ATTEMPTS` draws.
    """
    whole("erdos_renyi", "n", n, 1)
    probability("erdos_renyi", "p", p)
    draw = partial(nx.fast_gnp_random_graph, n, p, _generator("erdos_renyi", seed))
    return _connected(draw, f"raise p, here {p}, towards log(n) / n = {math.log(n) / n:.3g}")


@_named
def random_regular(n: int, degree: int = 3, seed: int = 0) -> nx.Graph:
    """``degree`` neighbors for everybody, at random."""
    whole("random_regular", "n", n, 2)
    whole("random_regular", "degree", degree, 1, n - 1)
    if n * degree % 2:
        raise ValueError(
            f"random_regular: {n} agents of degree {degree} have half an edge left over; "
            "make one of the two even"
        )
    draw = partial(nx.random_regular_graph, degree, n, _generator("random_regular", seed))
    return _connected(draw, f"raise degree, here {degree}")


@_named
def small_world(n: int, neighbors: int = 4, p: float = 0.2, seed: int = 0) -> nx.Graph:
    """Watts-Strogatz: a ring of the nearest ``neighbors``, each edge rewired with probability p."""
    whole("small_world", "n", n, 3)
    whole("small_world", "neighbors", neighbors, 2, n - 1)
    probability("small_world", "p", p)
    if neighbors % 2:
        raise ValueError(
            f"small_world: neighbors is {neighbors}, expected an even number (half on each side)"
        )
    draw = partial(nx.watts_strogatz_graph, n, neighbors, p, _generator("small_world", seed))
    return _connected(draw, f"lower p, here {p}, or raise neighbors, here {neighbors}")


@_named
def barabasi_albert(n: int, links: int = 2, seed: int = 0) -> nx.Graph:
    """Few hubs, many leaves: each new agent links to ``links`` others, the popular ones first."""
    whole("barabasi_albert", "n", n, 2)
    whole("barabasi_albert", "links", links, 1, n - 1)
    return _numbered(nx.barabasi_albert_graph(n, links, _generator("barabasi_albert", seed)))


@_named
def random_geometric(
    n: int, radius: float | None = None, connectivity: float | None = None, seed: int = 0
) -> nx.Graph:
    """Agents at random in the unit square; two talk where they are within a radius.

    Give exactly one of ``radius`` and ``connectivity``. The node attribute "position" holds (x, y).

    Args:
        n: agents.
        radius: largest distance of two neighbors, at most sqrt(2) makes sense.
        connectivity: wanted algebraic connectivity (`fiedler_value`), more than 0 and at most n.
            It is a step function of the radius, so the radius is bisected to the closest step;
            where that is off by more than 5 %, positions are drawn again.
        seed: of the positions.

    Raises:
        ValueError: not exactly one was given, or no draw gave what was wanted.
    """
    whole("random_geometric", "n", n, 2)
    if (radius is None) == (connectivity is None):
        raise ValueError(
            f"random_geometric: got radius={radius} and connectivity={connectivity}, "
            "expected exactly one of the two"
        )
    generator = np.random.default_rng(whole("random_geometric", "seed", seed, 0))
    if connectivity is not None:
        positive("random_geometric", "connectivity", connectivity, n)
        return _of_connectivity(n, connectivity, generator)

    def draw() -> nx.Graph:
        return near(generator.random((n, 2)), positive("random_geometric", "radius", radius))

    return _connected(draw, f"raise radius, here {radius}")


def near(positions: np.ndarray, radius: float) -> nx.Graph:
    """An edge where two of the positions (n, dimensions) are at most ``radius`` apart."""
    graph = nx.Graph()
    graph.add_nodes_from((i, {"position": tuple(p)}) for i, p in enumerate(positions.tolist()))
    pairs = KDTree(positions).query_pairs(radius, output_type="ndarray")
    graph.add_edges_from(pairs.tolist())
    return graph


def from_edge_list(path: str | Path, n: int | None = None) -> nx.Graph:
    """Read a text file with one edge per line: two agent numbers, counted from 0.

    A comma may stand between them; empty lines and what follows a # are skipped.

    Args:
        path: the file.
        n: agents; the largest number in the file plus one where it is not given.

    Raises:
        ValueError: the file cannot be read, or has lines that are no edges (all are named).
    """
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
        raise ValueError(f"{path} is no edge list: " + listed(mistakes, separator="; "))
    graph = nx.empty_graph(max(map(max, edges)) + 1 if n is None else n)
    graph.add_edges_from(edges)
    return _numbered(graph)


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
            f"these nodes have an edge to themselves: {listed(loops)}; "
            "remove those edges: an agent's weight for itself comes from the weights"
        )
    return _numbered(graph)


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
    choose("graph", name, TOPOLOGIES)
    whole(name, "agents", agents, 1)
    builder = SIZED.get(name, TOPOLOGIES[name])
    check_options(f"graph {name}", options, list(inspect.signature(builder).parameters)[1:])
    return builder(agents, **options)


def _sized_rectangle(
    make: Callable[[int, int], nx.Graph],
    least: int,
    agents: int,
    rows: int | None = None,
    columns: int | None = None,
) -> nx.Graph:
    if rows is None and columns is None:
        rows = max(r for r in range(1, math.isqrt(agents) + 1) if agents % r == 0)
    elif rows is None:
        rows = agents // max(columns or 1, 1)
    columns = agents // max(rows, 1) if columns is None else columns
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


def _numbered(graph: nx.Graph) -> nx.Graph:
    """The same graph with its nodes named and ordered 0..n-1 and its edges in order."""
    agents = range(len(graph))
    labels = agents if set(graph) == set(agents) else list(graph)
    number = {label: agent for agent, label in enumerate(labels)}
    plain = nx.Graph(name=graph.graph.get("name", ""))
    plain.add_nodes_from((number[label], graph.nodes[label]) for label in labels)
    edges = ((number[i], number[j]) for i, j in graph.edges)
    plain.add_edges_from(sorted((min(e), max(e)) for e in edges))
    return plain


def _generator(graph: str, seed: int) -> random.Random:
    return random.Random(whole(graph, "seed", seed, 0))


def _connected(draw: Callable[[], nx.Graph], advice: str) -> nx.Graph:
    for _ in range(ATTEMPTS):
        graph = draw()
        if nx.is_connected(graph):
            return _numbered(graph)
    raise ValueError(f"no connected graph of {len(graph)} agents in {ATTEMPTS} draws; {advice}")


def _of_connectivity(n: int, connectivity: float, generator: np.random.Generator) -> nx.Graph:
    """Positions and the radius that come closest to ``connectivity``, within the tolerance."""
    misses = []
    for _ in range(REDRAWS):
        graph = _bisected(generator.random((n, 2)), connectivity)
        reached = fiedler_value(graph)
        if abs(reached - connectivity) <= TOLERANCE * connectivity:
            return _numbered(graph)
        misses.append(reached)
    closest = min(misses, key=lambda value: abs(value - connectivity))
    raise ValueError(
        f"random_geometric: no radius gives {n} agents the connectivity {connectivity} in "
        f"{REDRAWS} draws; the closest was {closest:.4g}: ask for that, or take another seed"
    )


def _bisected(positions: np.ndarray, connectivity: float) -> nx.Graph:
    """The radius for which connectivity, which never falls with the radius, comes closest."""
    distances = np.sort(pdist(positions))
    radii = np.append((distances[1:] + distances[:-1]) / 2, distances[-1] + 1)  # one edge more each

    def miss(radius: float) -> float:
        return fiedler_value(near(positions, radius)) - connectivity

    first = bisect_left(radii.tolist(), 0.0, key=miss)
    around = radii[max(first - 1, 0) : first + 1]
    return near(positions, min(around, key=lambda radius: abs(miss(radius))))


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
