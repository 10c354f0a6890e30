"""Random topologies: the same whenever their seed is, and drawn again until they are connected.

Like the others they raise ValueError for sizes that cannot be, and where no draw is connected.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_left
from collections.abc import Callable
from functools import partial

import networkx as nx
import numpy as np
import scipy

from ..values import require_count, require_positive, require_probability
from .naming import named, numbered
from .spectrum import fiedler_value

ATTEMPTS = 1000  # draws of a random graph before giving up on a connected one
REDRAWS = 100  # draws of the positions before giving up on a wanted connectivity
TOLERANCE = 0.05  # accepted relative distance to the wanted connectivity


@named
def erdos_renyi(n: int, p: float = 0.3, seed: int = 0) -> nx.Graph:
    """Each pair talks with probability p, drawn again until the graph is connected.

    Raises:
        ValueError: p is no probability, or no connected graph came in `ATTEMPTS` draws.
    """
    require_count("erdos_renyi: n", n)
    require_probability("erdos_renyi: p", p)
    draw = partial(nx.fast_gnp_random_graph, n, p, _generator("erdos_renyi", seed))
    return _connected(draw, f"raise p, here {p}, towards log(n) / n = {math.log(n) / n:.3g}")


@named
def random_regular(n: int, degree: int = 3, seed: int = 0) -> nx.Graph:
    """``degree`` neighbors for everybody, at random."""
    require_count("random_regular: n", n, 2)
    require_count("random_regular: degree", degree, 1, n - 1)
    if n * degree % 2:
        raise ValueError(
            f"random_regular: {n} agents of degree {degree} have half an edge left over; "
            "make one of the two even"
        )
    draw = partial(nx.random_regular_graph, degree, n, _generator("random_regular", seed))
    return _connected(draw, f"raise degree, here {degree}")


@named
def small_world(n: int, neighbors: int = 4, p: float = 0.2, seed: int = 0) -> nx.Graph:
    """Watts-Strogatz: a ring of the nearest ``neighbors``, each edge rewired with probability p."""
    require_count("small_world: n", n, 3)
    require_count("small_world: neighbors", neighbors, 2, n - 1)
    require_probability("small_world: p", p)
    if neighbors % 2:
        raise ValueError(
            f"small_world: neighbors is {neighbors}, expected an even number (half on each side)"
        )
    draw = partial(nx.watts_strogatz_graph, n, neighbors, p, _generator("small_world", seed))
    return _connected(draw, f"lower p, here {p}, or raise neighbors, here {neighbors}")


@named
def barabasi_albert(n: int, links: int = 2, seed: int = 0) -> nx.Graph:
    """Few hubs, many leaves: each new agent links to ``links`` others, the popular ones first."""
    require_count("barabasi_albert: n", n, 2)
    require_count("barabasi_albert: links", links, 1, n - 1)
    return numbered(nx.barabasi_albert_graph(n, links, _generator("barabasi_albert", seed)))


@named
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
    require_count("random_geometric: n", n, 2)
    if (radius is None) == (connectivity is None):
        raise ValueError(
            f"random_geometric: got radius={radius} and connectivity={connectivity}, "
            "expected exactly one of the two"
        )
    generator = np.random.default_rng(require_count("random_geometric: seed", seed, 0))
    if connectivity is not None:
        require_positive("random_geometric: connectivity", connectivity, n)
        return _of_connectivity(n, connectivity, generator)

    def draw() -> nx.Graph:
        return near(generator.random((n, 2)), require_positive("random_geometric: radius", radius))

    return _connected(draw, f"raise radius, here {radius}")


def near(positions: np.ndarray, radius: float) -> nx.Graph:
    """An edge where two of the positions (n, dimensions) are at most ``radius`` apart."""
    graph = nx.Graph()
    graph.add_nodes_from((i, {"position": tuple(p)}) for i, p in enumerate(positions.tolist()))
    pairs = scipy.spatial.KDTree(positions).query_pairs(radius, output_type="ndarray")
    graph.add_edges_from(pairs.tolist())
    return graph


def _generator(graph: str, seed: int) -> random.Random:
    return random.Random(require_count(f"{graph}: seed", seed, 0))


def _connected(draw: Callable[[], nx.Graph], advice: str) -> nx.Graph:
    for _ in range(ATTEMPTS):
        graph = draw()
        if nx.is_connected(graph):
            return numbered(graph)
    raise ValueError(f"no connected graph of {len(graph)} agents in {ATTEMPTS} draws; {advice}")


def _of_connectivity(n: int, connectivity: float, generator: np.random.Generator) -> nx.Graph:
    """Positions and the radius that come closest to ``connectivity``, within the tolerance."""
    misses = []
    for _ in range(REDRAWS):
        graph = _bisected(generator.random((n, 2)), connectivity)
        reached = fiedler_value(graph)
        if abs(reached - connectivity) <= TOLERANCE * connectivity:
            return numbered(graph)
        misses.append(reached)
    closest = min(misses, key=lambda value: abs(value - connectivity))
    raise ValueError(
        f"random_geometric: no radius gives {n} agents the connectivity {connectivity} in "
        f"{REDRAWS} draws; the closest was {closest:.4g}: ask for that, or take another seed"
    )


def _bisected(positions: np.ndarray, connectivity: float) -> nx.Graph:
    """The radius for which connectivity, which never falls with the radius, comes closest."""
    distances = np.sort(scipy.spatial.distance.pdist(positions))
    radii = np.append((distances[1:] + distances[:-1]) / 2, distances[-1] + 1)  # one edge more each

    def miss(radius: float) -> float:
        return fiedler_value(near(positions, radius)) - connectivity

    first = bisect_left(radii.tolist(), 0.0, key=miss)
    around = radii[max(first - 1, 0) : first + 1]
    return near(positions, min(around, key=lambda radius: abs(miss(radius))))
