"""Where agents drive: waypoints from files, or closed loops planned through a world's free space.

A drive is the cubic spline through its waypoints (`smooth`). `planned` and `through` return
waypoints close enough to each other that their spline stays out of all walls.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import scipy
from numpy.typing import ArrayLike
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra

from ..values import require_count
from ..words import counted
from .scans import Floats
from .ways import Grid, Numbers, largest, planning_grid, ways
from .world import World

FINE = 16  # points of the spline per waypoint or pose, to measure its length
OVERLAP = 2.5  # the agents' regions together, in sizes of the free space
KEPT = 0.5  # clearances that a planned loop keeps where it can
SPACINGS = (8, 4, 2, 1)  # cells between the waypoints of a planned loop
SAME = 1e-9  # metres between places that count as one
SHOWN = 5


def load_waypoints(path: str | Path, scale: tuple[float, float] = (1.0, 1.0)) -> Floats:
    """(k, 2) waypoints from a .npy or .csv file of two columns, a csv one with or without header.

    Args:
        path: the file.
        scale: what x and y are multiplied by, to get metres. For published files, which hold
            parts of half an image with y down: half its width and minus half its height in metres.

    Raises:
        ValueError: the file cannot be read, or has no two waypoints of two finite numbers.
    """
    name = Path(path)
    try:
        if name.suffix.lower() == ".npy":
            values = np.asarray(np.load(name, allow_pickle=False), dtype=np.float64)
        elif name.suffix.lower() == ".csv":
            values = _csv(name)
        else:
            raise ValueError("its name ends with neither .npy nor .csv")
    except (OSError, EOFError, TypeError, ValueError) as error:
        raise ValueError(
            f"cannot read waypoints from {path} ({error}); expected a .npy or .csv file of two "
            "columns, x and y"
        ) from error
    return _waypoints(values, str(path)) * np.asarray(scale, dtype=np.float64)


def smooth(waypoints: ArrayLike, points: int, closed: bool = True) -> Floats:
    """(points, 3) poses evenly along the cubic spline through the waypoints, heading along it.

    A closed drive leads from the last waypoint back to the first, which may be repeated at the
    end; its last pose is one step before its first. Of waypoints in one place, one is kept.

    Args:
        waypoints: (k, 2) metres, two different ones at least.
        points: how many poses.
        closed: whether the drive ends where it began.

    Raises:
        ValueError: fewer than two different waypoints, or some that are not finite.
    """
    spline = _spline(_waypoints(waypoints, "waypoints"), closed)
    require_count("smooth: points", points)
    fine = np.linspace(0, spline.x[-1], FINE * (points + len(spline.x)))
    lengths = _along(spline(fine))
    even = np.linspace(0, lengths[-1], points, endpoint=not closed)
    at = np.interp(even, lengths, fine)
    motion = spline(at, 1)
    return np.column_stack([spline(at), np.arctan2(motion[:, 1], motion[:, 0])])


def check_free(world: World, points: ArrayLike, label: str = "waypoint") -> None:
    """ValueError that names those of the (k, 2) or (k, 3) points that are inside a wall."""
    places = _waypoints(np.asarray(points)[..., :2], label)
    inside = np.flatnonzero(world.is_wall(places))
    if not len(inside):
        return
    left, right, bottom, top = world.extent
    named = ", ".join(f"{i} at ({places[i, 0]:.2f}, {places[i, 1]:.2f})" for i in inside[:SHOWN])
    more = f" and {len(inside) - SHOWN} more" if len(inside) > SHOWN else ""
    raise ValueError(
        f"inside a wall of {world.name} or outside it: {label} {named}{more}, in metres; expected "
        f"free ground, x from {left:.2f} to {right:.2f} and y from {bottom:.2f} to {top:.2f}: move "
        "them, or check the metres per pixel and what the waypoints are multiplied by"
    )


def check_way(world: World, waypoints: ArrayLike, label: str = "the way") -> None:
    """ValueError that says where the closed spline through the waypoints runs into walls."""
    places = _finely(world, _waypoints(waypoints, label))
    inside = np.flatnonzero(world.is_wall(places))
    entries = inside[np.diff(inside, prepend=-2) > 1]
    if not len(entries):
        return
    named = ", ".join(f"({x:.2f}, {y:.2f})" for x, y in places[entries[:SHOWN]])
    more = f" and {len(entries) - SHOWN} more" if len(entries) > SHOWN else ""
    raise ValueError(
        f"{label} runs into walls of {world.name} at {named}{more}, in metres; "
        "expected a smooth curve through the waypoints that stays on free ground: set more of them "
        "there, or let ways around the walls be planned"
    )


def through(world: World, waypoints: ArrayLike, clearance_m: float = 0.3) -> Floats:
    """(k, 2) a closed loop that visits the waypoints in their order, by short and roomy ways.

    Args:
        world: what to drive through.
        waypoints: (n, 2) metres, two different ones at least.
        clearance_m: how far the waypoints are from all walls. Between them the loop keeps half of
            that where its curves allow it, more where there is room, and takes no narrower gap.

    Raises:
        ValueError: a waypoint is in a wall, too close to one, or cannot be reached.
    """
    stops = _waypoints(waypoints, "waypoints")
    check_free(world, stops)
    tight = np.flatnonzero(world.clearance(stops) < clearance_m)
    if len(tight):
        i = int(tight[0])
        raise ValueError(
            f"waypoint {i} at ({stops[i, 0]:.2f}, {stops[i, 1]:.2f}) is "
            f"{float(world.clearance(stops[i])):.2f} m from a wall, expected at least clearance_m, "
            f"{clearance_m}; move it, or take a smaller clearance_m"
        )
    return _loop(world, planning_grid(world, clearance_m), stops, shortest=False)


def planned(
    world: World,
    agents: int = 7,
    seed: int = 0,
    waypoints_each: int = 6,
    clearance_m: float = 0.3,
) -> list[Floats]:
    """A closed loop (k, 2) for each agent, a tour of its part of the world.

    The parts lie around places far from each other and overlap, so that agents meet. Each loop
    goes by a short tour through random waypoints spread over its part.

    Args:
        world: what to drive through.
        agents: how many loops.
        seed: of the waypoints.
        waypoints_each: how many places each loop visits.
        clearance_m: see `through`.

    Raises:
        ValueError: the largest connected free space is too small.
    """
    require_count("planned: agents", agents)
    require_count("planned: waypoints_each", waypoints_each, 2)
    generator = np.random.default_rng(seed)
    grid = planning_grid(world, clearance_m)
    roomy = largest(grid.graph, grid.clearance >= clearance_m)
    if len(roomy) < max(agents, waypoints_each):
        raise ValueError(
            f"got {counted(agents, 'agent')}, but the free space at least {clearance_m} m from "
            f"walls has room for {len(roomy)} waypoints, expected {max(agents, waypoints_each)}; "
            "take a larger world, a smaller clearance_m, fewer agents or waypoints"
        )
    size = max(waypoints_each, math.ceil(OVERLAP / agents * len(roomy)))
    loops = []
    for away in _homes(grid.graph, roomy, agents, generator):
        region = roomy[np.argsort(away[roomy], kind="stable")[:size]]
        stops = _spread(grid.places[region], waypoints_each, generator)
        loops.append(_loop(world, grid, stops, shortest=True))
    return loops


def _homes(
    graph: csr_array, roomy: Numbers, agents: int, generator: np.random.Generator
) -> list[Floats]:
    """For each agent (n,) how far all places are from its home; each far from those before."""
    start = dijkstra(graph, indices=generator.choice(roomy))
    nearest, away = start, []
    for _ in range(agents):
        home = roomy[nearest[roomy].argmax()]
        away.append(dijkstra(graph, indices=home))
        nearest = away[0] if len(away) == 1 else np.minimum(nearest, away[-1])
    return away


def _spread(places: Floats, count: int, generator: np.random.Generator) -> Floats:
    """So many of some random places, one after another the farthest from those before."""
    some = generator.permutation(places)[: 8 * count]
    chosen = [0]
    nearest = np.full(len(some), np.inf)
    while len(chosen) < count:
        nearest = np.minimum(nearest, np.linalg.norm(some - some[chosen[-1]], axis=1))
        chosen.append(int(nearest.argmax()))
    return some[chosen]


def _loop(world: World, grid: Grid, stops: Floats, shortest: bool) -> Floats:
    """The waypoints of the loop through the stops, as few as keep their spline off walls."""
    found = ways(world, grid, stops, shortest)
    tried = []
    for spacing in SPACINGS:
        loop = np.concatenate([_thinned(way, spacing * grid.cell) for way in found])
        tried.append((_room(world, loop), loop))
        if tried[-1][0] >= KEPT * grid.clearance_m:
            return loop
    room, loop = max(tried, key=lambda t: t[0])
    if room > 0:
        return loop
    raise ValueError(
        f"no smooth loop through the waypoints stays out of all walls of {world.name}; move the "
        "waypoints away from walls, or take a larger clearance_m or a smaller plan"
    )


def _thinned(way: Floats, spacing: float) -> Floats:
    """Points evenly along the way, about so far apart, without its end."""
    lengths = _along(way)
    pieces = max(1, round(lengths[-1] / spacing))
    even = np.linspace(0, lengths[-1], pieces, endpoint=False)
    return np.column_stack([np.interp(even, lengths, axis) for axis in way.T])


def _room(world: World, loop: Floats) -> float:
    """Metres that are surely free around the whole spline; 0 or less where it may touch a wall."""
    return float(world.clearance(_finely(world, loop)).min()) - world.metres_per_pixel / 4


def _finely(world: World, loop: Floats) -> Floats:
    """(k, 2) places along the whole spline, at most half a pixel apart."""
    spline = _spline(loop, closed=True)
    length = _along(spline(np.linspace(0, spline.x[-1], FINE * len(spline.x))))[-1]
    return smooth(loop, math.ceil(2 * length / world.metres_per_pixel))[:, :2]


def _spline(waypoints: Floats, closed: bool) -> scipy.interpolate.CubicSpline:
    """The centripetal one (Lee, Computer-Aided Design 21(6), 1989), which hardly overshoots."""
    distinct = _distinct(waypoints, closed)
    ends = np.concatenate([distinct, distinct[:1]]) if closed else distinct
    roots = np.sqrt(np.linalg.norm(np.diff(ends, axis=0), axis=1))
    times = np.concatenate([[0.0], roots.cumsum()])
    return scipy.interpolate.CubicSpline(
        times, ends, bc_type="periodic" if closed else "not-a-knot"
    )


def _distinct(waypoints: Floats, closed: bool) -> Floats:
    """Without those in the place of the next; after the last comes the first if closed."""
    moved = np.linalg.norm(waypoints - np.roll(waypoints, -1, axis=0), axis=1) > SAME
    moved[-1] |= not closed
    if moved.sum() < 2:
        raise ValueError(
            f"the {len(waypoints)} waypoints are all in one place; expected two different ones"
        )
    return waypoints[moved]


def _waypoints(values: ArrayLike, name: str) -> Floats:
    given = np.asarray(values, dtype=np.float64)
    if given.ndim != 2 or given.shape[1] != 2 or len(given) < 2:
        raise ValueError(
            f"{name} has the shape {given.shape}, expected (k, 2): x and y of two waypoints or more"
        )
    broken = np.flatnonzero(~np.isfinite(given).all(axis=1))
    if len(broken):
        raise ValueError(
            f"waypoint {broken[0]} of {name} is {given[broken[0]].tolist()}, expected finite "
            "numbers; correct it or leave it out"
        )
    return given


def _csv(path: Path) -> Floats:
    """(k, 2); the first line may name the columns, in words without a digit."""
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), start=1):
        try:
            x, y = map(float, line.split(","))
            rows.append((x, y))
        except ValueError as error:
            if line.strip() and (number > 1 or any(c.isdigit() for c in line)):
                raise ValueError(f"line {number} is {line[:60]!r}") from error
    return np.array(rows).reshape(-1, 2)


def _along(places: Floats) -> Floats:
    """(k,) how far it is to each place from the first along all between."""
    steps = np.linalg.norm(np.diff(places, axis=0), axis=1)
    return np.concatenate([[0.0], steps.cumsum()])
