"""Short and roomy ways through a world's free space, on a grid much coarser than its image."""

from __future__ import annotations

from itertools import combinations
from typing import NamedTuple

import networkx as nx
import numpy as np
import scipy
from numpy.typing import NDArray
from scipy.sparse import block_diag, coo_array, csr_array
from scipy.sparse.csgraph import connected_components, dijkstra

from ..values import is_positive
from .scans import Floats
from .world import World

Numbers = NDArray[np.int64]

LONGEST_SIDE = 1200  # cells of the grid
CELL = 0.6  # clearances: the middle of the cell of a roomy point has half its room at least
COMFORT = 4.0  # clearances from a wall, where more is no better
EPSILON = 1e-9  # metres; no step has no length


class Grid(NamedTuple):
    """Free places and the steps between neighboring ones that are surely free."""

    places: Floats  # (n, 2)
    clearance: Floats  # (n,)
    graph: csr_array  # (n, n) how long a step is, the longer the closer it comes to walls
    cell: float  # metres
    clearance_m: float  # as asked for


def planning_grid(world: World, clearance_m: float) -> Grid:
    """A grid of places half ``clearance_m`` or more away from walls."""
    if not is_positive(clearance_m):
        raise ValueError(f"clearance_m is {clearance_m!r}, expected a positive number of metres")
    longest = max(world.width, world.height)
    cell = max(world.metres_per_pixel, CELL * clearance_m, longest / LONGEST_SIDE)
    x, y = (np.arange((cell - side) / 2, side / 2, cell) for side in (world.width, world.height))
    places = np.stack(np.meshgrid(x, y), axis=-1) + world.middle  # (rows, columns, 2)
    clearance = world.clearance(places)
    free = clearance >= clearance_m / 2
    number = np.where(free, np.cumsum(free).reshape(free.shape) - 1, -1)
    steps = [
        _steps(number, places, clearance, down, right)
        for down, right in ((0, 1), (1, 0), (1, 1), (1, -1))
    ]
    start, end, length = (np.concatenate(parts) for parts in zip(*steps, strict=True))
    places, clearance = places[free], clearance[free]
    room = np.minimum(np.minimum(clearance[start], clearance[end]) / (COMFORT * clearance_m), 1)
    graph = coo_array((length / room, (start, end)), shape=(len(places),) * 2).tocsr()
    return Grid(places, clearance, (graph + graph.T).tocsr(), cell, clearance_m)


def _steps(
    number: Numbers, places: Floats, clearance: Floats, down: int, right: int
) -> tuple[Numbers, Numbers, Floats]:
    """Steps in one direction that the free discs around their two ends cover."""
    rows, columns = number.shape
    first = np.s_[: rows - down, max(-right, 0) : columns - max(right, 0)]
    second = np.s_[down:, max(right, 0) : columns + min(right, 0)]
    length = np.linalg.norm(places[first] - places[second], axis=-1)
    kept = (number[first] >= 0) & (number[second] >= 0)
    kept &= clearance[first] + clearance[second] >= length
    return number[first][kept], number[second][kept], length[kept]


def largest(graph: csr_array, roomy: NDArray[np.bool_]) -> Numbers:
    """The roomy places of the connected part that has the most of them."""
    if not roomy.any():
        return np.empty(0, np.int64)
    _, part = connected_components(graph, directed=False)
    return np.flatnonzero(roomy & (part == np.bincount(part[roomy]).argmax()))


def ways(world: World, grid: Grid, stops: Floats, shortest: bool) -> list[Floats]:
    """The way from each stop to the next and from the last to the first, each (k, 2).

    In the order of the stops, or in that of a short tour.
    """
    clearance = world.clearance(stops)
    count = len(stops)
    seen = scipy.spatial.KDTree(grid.places).query_ball_point(stops, clearance)  # surely
    start = np.repeat(np.arange(count), [len(nodes) for nodes in seen])
    end = np.concatenate(seen).astype(np.int64)
    length = np.linalg.norm(stops[start] - grid.places[end], axis=1) + EPSILON
    size = count + len(grid.places)
    first = coo_array((length, (start, count + end)), shape=(size, size)).tocsr()
    inner = block_diag([csr_array((count, count)), grid.graph], format="csr")
    away, before = dijkstra(
        first + first.T + inner, indices=np.arange(count), return_predecessors=True
    )
    _require_reachable(away[:, :count], stops)
    order = _tour(away[:, :count]) if shortest else list(range(count))
    places = np.concatenate([stops, grid.places])
    return [
        places[_way(before[i], i, j)] for i, j in zip(order, order[1:] + order[:1], strict=True)
    ]


def _require_reachable(away: Floats, stops: Floats) -> None:
    reached = np.isfinite(away)
    most = int(reached.sum(axis=1).argmax())
    if reached[most].all():
        return
    i = int(np.flatnonzero(~reached[most])[0])
    raise ValueError(
        f"waypoint {i} at ({stops[i, 0]:.2f}, {stops[i, 1]:.2f}) cannot be reached from waypoint "
        f"{most} at ({stops[most, 0]:.2f}, {stops[most, 1]:.2f}); expected free ground between "
        "them: move one, or take a smaller clearance_m for narrower doors"
    )


def _tour(away: Floats) -> list[int]:
    """A short order in which to visit the stops."""
    pairs = [(i, j, away[i, j]) for i, j in combinations(range(len(away)), 2)]
    complete = nx.Graph()
    complete.add_weighted_edges_from(pairs)
    return nx.approximation.christofides(complete)[:-1]


def _way(before: Numbers, start: int, end: int) -> list[int]:
    way = [end]
    while way[-1] != start:
        way.append(int(before[way[-1]]))
    return way[::-1]
