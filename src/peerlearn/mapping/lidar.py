"""A lidar in a world: exact distances along all beams of all scans at once."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..values import require_count, require_positive
from .scans import Floats, Scans
from .world import World

TOGETHER = 1 << 16  # rays cast at once: some ten megabytes
SLOWEST = 1e-300  # along an axis; not 0, for what comes after is out of reach but a number


@dataclass(frozen=True)
class Lidar:
    """Beams that measure the distance to the first wall.

    Args:
        beams: how many, counter-clockwise.
        range_m: how far each one sees.
        field_of_view_deg: 360: evenly all around, the first one straight ahead; less: the first
            and the last one at its borders, half of it to the right and half to the left.
    """

    beams: int = 20
    range_m: float = 5.0
    field_of_view_deg: float = 360.0

    def __post_init__(self) -> None:
        require_count("lidar: beams", self.beams)
        require_positive("range_m", self.range_m)
        require_positive("field_of_view_deg", self.field_of_view_deg)
        if self.field_of_view_deg > 360:
            raise ValueError(
                f"field_of_view_deg is {self.field_of_view_deg}, expected at most 360, all around"
            )

    @property
    def angles(self) -> Floats:
        """(beams,) from the heading, in radians."""
        view = math.radians(self.field_of_view_deg)
        if self.field_of_view_deg == 360:
            return np.arange(self.beams) * view / self.beams
        if self.beams == 1:
            return np.zeros(1)
        return np.linspace(-view / 2, view / 2, self.beams, dtype=np.float64)

    def scan(self, world: World, poses: ArrayLike) -> Scans:
        """What the lidar sees from poses (n, 3), or from places (n, 2) with heading 0.

        A range ends exactly where the beam enters the first pixel of wall, or the image's edge; it
        is 0 in walls and outside of the image, and inf where there is no wall within ``range_m``.
        """
        poses = _as_poses(poses)
        scans = Scans(poses, self.angles, np.empty((len(poses), self.beams)), self.range_m)
        starts, leaps = world.pixels(poses[:, :2]), world.leaps
        step = max(1, TOGETHER // self.beams)
        for first in range(0, len(poses), step):
            part = slice(first, first + step)
            ways = scans[part].directions.reshape(-1, 2) * (1, -1)  # rows count downwards
            begins = np.repeat(starts[part], self.beams, axis=0)
            distances = _cast(leaps, begins.T, ways.T, self.range_m / world.metres_per_pixel)
            scans.ranges[part] = distances.reshape(-1, self.beams) * world.metres_per_pixel
        return scans


def _as_poses(poses: ArrayLike) -> Floats:
    """(n, 3), after checking what was given."""
    given = np.asarray(poses, float)
    if given.ndim != 2 or given.shape[1] not in (2, 3):
        raise ValueError(
            f"poses has the shape {given.shape}, expected (n, 3): x, y in metres and the heading "
            "in radians, or (n, 2) without it"
        )
    if not np.isfinite(given).all():
        number = int(np.flatnonzero(~np.isfinite(given).all(axis=1))[0])
        raise ValueError(f"pose {number} is {given[number].tolist()}, expected finite numbers")
    return np.pad(given, ((0, 0), (0, 3 - given.shape[1])))


def _cast(leaps: NDArray[np.uint8], start: Floats, way: Floats, limit: float) -> Floats:
    """How far each ray goes until it enters a wall; inf beyond the limit. All in pixels.

    A ray goes from square to square: it leaves the free square around its pixel through one of two
    sides, and enters the pixel behind. Next to a wall the square is the pixel itself, and this is
    the traversal of Amanatides and Woo (1987). A square shares a side with the next pixel, never
    only a corner, so no ray slips between walls that touch at their corners. Each distance is
    computed from the start, so that no errors add up.

    Args:
        leaps: (H + 2, W + 2) of the world.
        start: (2, rays) column and row.
        way: (2, rays) unit vectors.
        limit: the largest distance.
    """
    height, width = leaps.shape
    cell = np.clip(np.floor(start), -1, [[width - 2], [height - 2]])
    # Axes that a ray runs down are mirrored, so that all run up.
    down = way < 0
    start, way, cell = np.where(down, -start, start), abs(way), np.where(down, -1 - cell, cell)
    strides = np.where(down, -1, 1) * [[1], [width]]
    base = np.where(down, 0, strides).sum(axis=0)
    slowness = 1 / np.maximum(way, SLOWEST)
    flat, distance, ray = leaps.ravel(), np.zeros(base.shape), np.arange(base.size)
    found = np.full(base.shape, np.inf)
    while ray.size:
        leap = flat[base + (strides * cell).sum(axis=0).astype(np.int64)]
        met = (leap == 0) & (distance <= limit)
        found[ray[met]] = distance[met]
        on = (leap > 0) & (distance <= limit)
        start, way, slowness, cell, strides = (
            x[:, on] for x in (start, way, slowness, cell, strides)
        )
        base, ray, leap = base[on], ray[on], leap[on]
        side = cell + leap
        reach = (side - start) * slowness
        distance = reach.min(axis=0)
        cell = np.clip(np.floor(start + distance * way), cell, side - 1)
        across = reach[0] <= reach[1]
        cell = np.where([across, ~across], side, cell)
    return found
