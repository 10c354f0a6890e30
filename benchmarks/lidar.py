"""Scans per second of the simulated lidar, beside a plain march along one beam at a time.

python benchmarks/lidar.py             20 beams of 433 pixels, on one core

On the floor plan in $PEERLEARN_DATA/floorplan/plan32.png if it is there, otherwise on one of the
same size drawn by the library.
"""

from __future__ import annotations

import math
import os
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
from speed import interleaved

from peerlearn.mapping.floor_plan import floor_plan
from peerlearn.mapping.lidar import Lidar
from peerlearn.mapping.plans import from_image
from peerlearn.mapping.scans import Floats
from peerlearn.mapping.world import World

BEAMS, RANGE = 20, 433  # pixels
WIDTH, HEIGHT = 2167, 1608  # pixels, of the built-in plan
SCALE = 0.05  # metres per pixel
TOGETHER = (1, 7, 100, 10_000)  # scans in one call
MARCHED = 50  # scans
BUDGET_S = 4.0
BOUND = 5000  # scans per second where many are asked for at once


def main() -> None:
    world = plan()
    lidar = Lidar(BEAMS, RANGE * SCALE)
    poses = world.free_poses(max(TOGETHER), np.random.default_rng(0))
    size = "{1} x {0}".format(*world.walls.shape)
    print(f"{world.name}, {size} pixels; {BEAMS} beams of at most {RANGE} pixels\n")
    blocks = {f"peerlearn, {n:,} a call": partial(lidar.scan, world, poses[:n]) for n in TOGETHER}
    blocks["one beam at a time"] = partial(march, world, lidar, poses[:MARCHED])
    times = interleaved(blocks, BUDGET_S)
    counts = dict(zip(blocks, (*TOGETHER, MARCHED), strict=True))
    rates = {name: counts[name] / median(times[name]) for name in blocks}
    plain = rates["one beam at a time"]
    for name, rate in rates.items():
        print(f"{name:28} {rate:9,.0f} scans per second {rate / plain:7.1f} times")
    most = rates[f"peerlearn, {max(TOGETHER):,} a call"]
    print(f"\nbound {BOUND:,}: {'met' if most >= BOUND else 'NOT MET'}")
    print(agreement(world, lidar, poses[:MARCHED]))


def plan() -> World:
    path = Path(os.environ.get("PEERLEARN_DATA", "")) / "floorplan" / "plan32.png"
    if path.is_file():
        return from_image(path, SCALE, walls="light")
    return floor_plan(WIDTH * SCALE, HEIGHT * SCALE, metres_per_pixel=SCALE)


def march(world: World, lidar: Lidar, poses: Floats) -> Floats:
    """The first point in a wall, of points a pixel apart on each beam."""
    ranges = np.full((len(poses), lidar.beams), np.inf)
    along = np.arange(0, RANGE + 1)
    height, width = world.walls.shape
    for scan, (x, y, heading) in enumerate(poses):
        column, row = x / SCALE + width / 2, height / 2 - y / SCALE
        for beam, angle in enumerate(heading + lidar.angles):
            columns = np.floor(column + along * math.cos(angle)).astype(int)
            rows = np.floor(row - along * math.sin(angle)).astype(int)
            outside = (columns < 0) | (columns >= width) | (rows < 0) | (rows >= height)
            columns, rows = columns.clip(0, width - 1), rows.clip(0, height - 1)
            met = outside | world.walls[rows, columns]
            if met.any():
                ranges[scan, beam] = met.argmax() * SCALE
    return ranges


def agreement(world: World, lidar: Lidar, poses: Floats) -> str:
    """How many beams end within the march's own step of a pixel, in words.

    Raises:
        AssertionError: a beam ends later than the march found a wall, or where there is none.
    """
    scans, marched = lidar.scan(world, poses), march(world, lidar, poses)
    with np.errstate(invalid="ignore"):  # inf - inf
        late = (scans.ranges - marched) / SCALE
    assert not (late > 1).any(), "a beam has passed a wall"
    ends = scans.hits + 1e-6 * scans.directions[np.isfinite(scans.ranges)]
    assert world.is_wall(ends).all(), "a beam ends where there is no wall"
    past = int((late < -1.0001).sum())
    return f"{past} of {late.size:,} beams end at a corner that the march stepped past"


if __name__ == "__main__":
    main()
