"""What a lidar has seen, simulated or real, and the points that a map is learned from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SAME_RAD = 1e-4  # angles that differ by no more are those of one lidar


@dataclass(frozen=True, eq=False)
class Scans:
    """Scans from known poses, in one frame.

    Args:
        poses: (n, 3) x, y in metres, heading in radians.
        angles: (beams,) of the beams, from the heading, counter-clockwise.
        ranges: (n, beams) metres to the hit; inf: nothing in range; nan: a broken reading.
        range_m: how far the lidar sees.
    """

    poses: Floats
    angles: Floats
    ranges: Floats
    range_m: float

    def __len__(self) -> int:
        return len(self.poses)

    def __getitem__(self, chosen: slice | NDArray[np.int64]) -> Scans:
        return Scans(self.poses[chosen], self.angles, self.ranges[chosen], self.range_m)

    def same_beams(self, other: Scans) -> bool:
        """Whether both are of lidars with beams at the same angles."""
        return same_angles(self.angles, other.angles)

    @property
    def directions(self) -> Floats:
        """(n, beams, 2) unit vectors."""
        angles = self.poses[:, 2:] + self.angles
        return np.stack([np.cos(angles), np.sin(angles)], axis=-1)

    @property
    def reach(self) -> float:
        """How far the farthest beam went, in metres."""
        told = self.ranges[~np.isnan(self.ranges)]
        return float(np.minimum(told, self.range_m).max(initial=0))

    @property
    def hits(self) -> Floats:
        """(k, 2) where the beams hit something, scan after scan."""
        met = np.isfinite(self.ranges)
        ends = self.poses[:, None, :2] + np.where(met, self.ranges, 0)[..., None] * self.directions
        return ends[met]

    def points(self, samples: int) -> Points:
        """So many points along each beam, evenly up to its end: free, and a wall where it hits.

        A beam that hits nothing is free up to the range; a broken one tells nothing.
        """
        seen = np.minimum(self.ranges, self.range_m)[..., None, None]  # (n, beams, 1, 1)
        along = np.linspace(0, 1, samples + 1)[1:, None] * self.directions[:, :, None]
        places = self.poses[:, None, None, :2] + seen * along  # (n, beams, samples, 2)
        walls = np.zeros(places.shape[:-1], bool)
        walls[..., -1] = np.isfinite(self.ranges)
        told = ~np.isnan(self.ranges)
        counts = samples * told.sum(axis=1)
        return Points(
            places[told].reshape(-1, 2), walls[told].ravel(), np.concatenate([[0], counts.cumsum()])
        )


def same_angles(one: Floats, other: Floats) -> bool:
    """Whether both are the angles of one lidar's beams."""
    return len(one) == len(other) and np.allclose(one, other, rtol=0, atol=SAME_RAD)


def joined(parts: Sequence[Scans]) -> Scans:
    """All scans, one part after another, of lidars with the same beams."""
    poses, ranges = (
        np.concatenate(x) for x in zip(*((p.poses, p.ranges) for p in parts), strict=True)
    )
    return Scans(poses, parts[0].angles, ranges, max(p.range_m for p in parts))


class Points(NamedTuple):
    """Where scans say that there is a wall, or none."""

    places: Floats  # (k, 2) metres
    walls: NDArray[np.bool_]  # (k,)
    starts: NDArray[np.int64]  # (n + 1,) where the points of each scan begin, and where all end
