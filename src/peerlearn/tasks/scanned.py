"""What agents scan on their drives through a plan, and by what maps are judged."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..mapping import Ground, Lidar, Scans, World, ground_of_world
from ..randomness import VALIDATION, generator

CELLS, MOST_CELLS = 160, 1000  # of the longer side of the grid, unless its cells are given
SEEN = 1  # cells around those that a beam has crossed, which count as seen too


@dataclass(frozen=True)
class Scanned:
    """What is driven, and by what it is judged.

    Args:
        ground: what maps are judged by.
        scans: of each agent.
        validation: scans that nobody learns from.
        source: of what all this is made, by which a run that is resumed knows it again.
        raw: of a log, the ground as all its scans together draw it.
        skipped: of a log, how many of its lines are broken.
    """

    ground: Ground
    scans: Sequence[Scans]
    validation: Scans
    source: Sequence[NDArray[Any]]
    raw: Ground | None = None
    skipped: int = 0

    @property
    def unseen(self) -> NDArray[np.bool_]:
        """(agents, H, W) the cells that no beam of an agent's whole drive comes near."""
        crossed = [self.ground.crossed(s) for s in self.scans]
        return ~np.stack([scipy.ndimage.binary_dilation(c, iterations=SEEN) for c in crossed])

    def backdrop(self) -> dict[str, Tensor]:
        """The ground, the agents' ways, and a scan of each; of a log, what all its scans draw."""
        longest = max(map(len, self.scans))
        ways = np.full((len(self.scans), longest, 2), np.nan)
        for way, scans in zip(ways, self.scans, strict=True):
            way[: len(scans)] = scans.poses[:, :2]
        first = [s.poses[0, :2] + np.zeros((1, 2)) for s in self.scans]
        ends = [np.concatenate([f, s[:1].hits]) for f, s in zip(first, self.scans, strict=True)]
        beams = np.full((len(ends), max(map(len, ends)), 2), np.nan)
        for beam, end in zip(beams, ends, strict=True):
            beam[: len(end)] = end
        found = {
            "extent": torch.tensor(self.ground.extent, dtype=torch.float64),
            "wall": torch.from_numpy(self.ground.wall),
            "known": torch.from_numpy(self.ground.known),
            "ways": torch.from_numpy(ways),
            "scan": torch.from_numpy(beams),
        }
        if self.raw is not None:
            found["raw_wall"] = torch.from_numpy(self.raw.wall)
            found["raw_known"] = torch.from_numpy(self.raw.known)
        return found


def of_plan(
    world: World, lidar: Lidar, loops: Sequence[NDArray[np.float64]], validation: int,
    cell_m: float | None, seed: int,
) -> Scanned:  # fmt: skip
    """Simulated on the agents' loops (scans, 3), and from random poses for validation."""
    ways = np.concatenate([loop[:, :2] for loop in loops])
    if world.outdoors(ways):
        warnings.warn(
            f"agents drive on ground that reaches the edge of {world.name}, and never into what "
            'its walls enclose; if they should, say outside="wall"',
            stacklevel=4,
        )
    reachable = world.reachable(ways)
    poses = reachable.free_poses(validation, generator(seed, VALIDATION))
    side = max(world.width, world.height)
    cells = np.clip(side / world.wall_m, CELLS, MOST_CELLS)
    return Scanned(
        ground=ground_of_world(reachable, side / cells if cell_m is None else cell_m),
        scans=[lidar.scan(world, loop) for loop in loops],
        validation=lidar.scan(world, poses),
        source=[np.packbits(world.walls), np.array([world.metres_per_pixel, *world.middle])],
    )


def natural(path: Path) -> list[tuple[int, str]]:
    """By which 2.npy comes before 10.npy."""
    parts = re.split(r"(\d+)", path.name)
    return [(int(p), "") if p.isdigit() else (-1, p) for p in parts]
