"""A world: which ground is free and which is wall."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from ..values import is_whole, require_positive
from .scans import Floats

Cells = NDArray[np.bool_]

EIGHT = np.ones((3, 3), np.bool_)  # a pixel and its neighbors


@dataclass(frozen=True, eq=False)
class World:
    """Whole pixels of wall; outside of the image, everything is wall.

    x points right and y up, in metres.

    Args:
        walls: (H, W) bool, row 0 at the top.
        metres_per_pixel: the side of a pixel.
        name: what errors and figures call it.
        middle: x and y of the middle of the image, in metres.
    """

    walls: Cells
    metres_per_pixel: float
    name: str = "world"
    middle: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        require_positive("metres_per_pixel", self.metres_per_pixel)
        walls = np.asarray(self.walls)
        if walls.ndim != 2 or walls.dtype != bool:
            raise ValueError(
                f"walls is an array of {walls.dtype} of shape {walls.shape}, expected bool of "
                "shape (height, width), true where there is a wall"
            )
        if walls.all():
            raise ValueError(
                f"{self.name} has no free ground: all its {walls.shape[1]} x {walls.shape[0]} "
                "pixels are walls; expected some that are free"
            )
        object.__setattr__(self, "walls", walls)

    @property
    def width(self) -> float:
        """In metres."""
        return self.walls.shape[1] * self.metres_per_pixel

    @property
    def height(self) -> float:
        """In metres."""
        return self.walls.shape[0] * self.metres_per_pixel

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Left, right, bottom, top in metres, as matplotlib's ``imshow`` takes them."""
        return around(self.middle, self.width, self.height)

    @cached_property
    def framed(self) -> Cells:
        """(H + 2, W + 2) the walls, in a frame of walls that stands for all that is outside."""
        return np.pad(self.walls, 1, constant_values=True)

    @cached_property
    def gaps(self) -> Floats:
        """(H + 2, W + 2) from each pixel's edge to the edge of the nearest wall's, in metres."""
        touching = scipy.ndimage.binary_dilation(self.framed, EIGHT)  # so centres count as edges
        return scipy.ndimage.distance_transform_edt(~touching) * self.metres_per_pixel

    @cached_property
    def leaps(self) -> NDArray[np.uint8]:
        """(H + 2, W + 2) the way to the nearest wall in moves of a chess king, at most 255.

        So a square of 2 leap - 1 pixels a side around each pixel is free.
        """
        moves = scipy.ndimage.distance_transform_cdt(~self.framed, "chessboard")
        return np.minimum(moves, 255).astype(np.uint8)

    @property
    def wall_m(self) -> float:
        """How thick walls are, in metres: the lower quartile along their middles.

        Exact where that is an odd number of pixels; an even one counts as one less.
        """
        within = scipy.ndimage.distance_transform_cdt(np.pad(self.walls, 1), "chessboard")
        middle = (within > 0) & (within == scipy.ndimage.maximum_filter(within, 3))
        if not middle.any():
            return max(self.width, self.height)
        return float(np.percentile(2 * within[middle] - 1, 25)) * self.metres_per_pixel

    def reachable(self, points: ArrayLike) -> World:
        """The same with the ground that nobody gets to from any of the points (k, 2) as wall."""
        parts, _ = scipy.ndimage.label(~self.framed)
        found = np.isin(parts, np.unique(parts[self._cell(points)])) & ~self.framed
        return replace(self, walls=~found[1:-1, 1:-1])

    def trimmed(self, border: int = 0, outside: Literal["free", "wall"] = "free") -> World:
        """The same with what is not of the building as wall.

        Args:
            border: how many pixels at each edge become wall.
            outside: what free ground is that reaches the edge of the image, or that border, as the
                page around a drawing does: "free" or "wall".
        """
        if not is_whole(border, 0):
            raise ValueError(f"border is {border!r}, expected a whole number of pixels, 0 or more")
        if outside not in ("free", "wall"):
            raise ValueError(f"outside is {outside!r}, expected 'free' or 'wall'")
        height, width = self.walls.shape
        inner = (slice(border, height - border), slice(border, width - border))
        walls = np.ones_like(self.walls)
        walls[inner] = self.walls[inner]
        other = "a smaller border"
        if outside == "wall" and not walls.all():
            walls[inner] |= _open(self.walls[inner])
            other = "outside='free'"
        if walls.all():
            raise ValueError(
                f"{self.name} has no free ground with border={border} and outside={outside!r}; "
                f"expected some, as perhaps with {other}"
            )
        return replace(self, walls=walls)

    def outdoors(self, points: ArrayLike) -> bool:
        """Whether some of the points (k, 2) are perhaps around the building rather than in it.

        They are on ground that reaches the edge of the image, and there is other free ground that
        does not, at least a tenth as much.
        """
        open_ground = _open(self.walls)
        closed = ~self.walls & ~open_ground
        framed = np.pad(open_ground, 1)
        out = framed[self._cell(points)].any()
        return bool(out and 10 * closed.sum() >= open_ground.sum())

    def pixels(self, points: ArrayLike) -> Floats:
        """(..., 2) metres to (..., 2) columns and rows, not rounded; (0, 0) is the top left."""
        x, y = np.moveaxis(np.asarray(points, float) - self.middle, -1, 0)
        rows, columns = self.walls.shape
        return np.stack(
            [x / self.metres_per_pixel + columns / 2, rows / 2 - y / self.metres_per_pixel], axis=-1
        )

    def is_wall(self, points: ArrayLike) -> Cells:
        """(..., 2) metres to (...): inside a wall, or outside of the image."""
        return self.framed[self._cell(points)]

    def clearance(self, points: ArrayLike) -> Floats:
        """(..., 2) metres to (...): metres that are free all around, 0 in walls.

        Measured from the pixel that a point lies in, so up to a pixel's diagonal too small, and
        never too large.
        """
        return self.gaps[self._cell(points)]

    def free_poses(
        self, count: int, generator: np.random.Generator, clearance_m: float = 0.0
    ) -> Floats:
        """(count, 3) uniform over the ground at least so far from walls, with uniform headings."""
        free = ~self.framed & (self.gaps >= clearance_m)
        rows, columns = np.nonzero(free[1:-1, 1:-1])
        if not len(rows):
            raise ValueError(
                f"no ground of {self.name} is {clearance_m:g} m away from all walls, at most "
                f"{self.gaps.max():.3g} m; expected a smaller clearance"
            )
        chosen = generator.integers(len(rows), size=count)
        u, v = np.stack([columns[chosen], rows[chosen]]) + generator.random((2, count))
        height, width = self.walls.shape
        x, y = (u - width / 2) * self.metres_per_pixel, (height / 2 - v) * self.metres_per_pixel
        headings = generator.uniform(-math.pi, math.pi, count)
        return np.stack([x + self.middle[0], y + self.middle[1], headings], axis=1)

    def _cell(self, points: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Row and column within the frame."""
        cells = np.floor(self.pixels(points)) + 1
        rows, columns = self.framed.shape
        return (
            np.clip(cells[..., 1], 0, rows - 1).astype(np.int64),
            np.clip(cells[..., 0], 0, columns - 1).astype(np.int64),
        )


def around(
    middle: tuple[float, float], width: float, height: float
) -> tuple[float, float, float, float]:
    """Left, right, bottom, top of a rectangle."""
    x, y = middle
    return (x - width / 2, x + width / 2, y - height / 2, y + height / 2)


def _open(walls: Cells) -> Cells:
    """(H, W) the free ground from which one can leave the image."""
    parts, _ = scipy.ndimage.label(np.pad(~walls, 1, constant_values=True))
    return (parts == parts[0, 0])[1:-1, 1:-1]
