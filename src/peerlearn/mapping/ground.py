"""The ground that maps are judged by: a grid of cells of which it is known what they are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import scipy
from numpy.typing import NDArray

from ..values import require_positive
from .scans import Floats, Scans
from .world import EIGHT, around

if TYPE_CHECKING:
    from .world import World

Cells = NDArray[np.bool_]
MOST_CELLS = 4_000_000
TOGETHER = 500_000  # points whose cells are found at once


@dataclass(frozen=True, eq=False)
class Ground:
    """A grid of square cells, row 0 at the top.

    Args:
        extent: left, right, bottom, top, in metres.
        wall: (H, W) where there are walls.
        known: (H, W) where that is known; the rest is not judged.
    """

    extent: tuple[float, float, float, float]
    wall: Cells
    known: Cells

    @property
    def cell_m(self) -> float:
        """The side of a cell."""
        return (self.extent[1] - self.extent[0]) / self.wall.shape[1]

    @property
    def places(self) -> Floats:
        """(H, W, 2) the cells' centres."""
        return _places(self.extent, self.wall.shape)

    def crossed(self, scans: Scans) -> Cells:
        """(H, W) the cells that beams have crossed or ended in."""
        return _crossed(scans, self.extent, self.wall.shape)

    def scores(self, wall: Cells, where: Cells | None = None) -> dict[str, float]:
        """How well a map (H, W) finds the walls of the known cells, or of those of them ``where``.

        iou = tp / (tp + fp + fn), precision = tp / (tp + fp), recall = tp / (tp + fn), each 0
        where nothing is found; NaN where there is no wall to find.
        """
        judged = self.known if where is None else self.known & where
        found, real = wall[judged], self.wall[judged]
        hit = int((found & real).sum())
        either, claimed, there = (int(x.sum()) for x in (found | real, found, real))
        if there == 0:
            return dict.fromkeys(("iou", "precision", "recall"), math.nan)
        return {"iou": hit / either, "precision": hit / max(claimed, 1), "recall": hit / there}


def ground_of_world(world: World, cell_m: float) -> Ground:
    """Of a world: its free ground, and the walls about it.

    A cell is a wall where its centre is one; cells larger than walls are thick miss some of them.
    Walls further than two cells from free ground cannot be seen, and are not judged.
    """
    rows, columns = shape = _shape(world.width, world.height, cell_m)
    size = (columns * cell_m, rows * cell_m)
    # centres may lie on edges of pixels: which side is theirs must not depend on the origin
    wall = replace(world, middle=(0.0, 0.0)).is_wall(_places(around((0.0, 0.0), *size), shape))
    near = scipy.ndimage.binary_dilation(~wall, EIGHT, iterations=2)
    return Ground(around(world.middle, *size), wall, near)


def ground_of_scans(scans: Scans, cell_m: float, extent: Sequence[float] | None = None) -> Ground:
    """Of scans: a wall where beams ended, free where they only crossed; the rest is unknown.

    Args:
        scans: what is trusted.
        cell_m: the side of a cell.
        extent: what the grid covers at least; all hits by default.

    Raises:
        ValueError: no beam hits anything, or there would be too many cells.
    """
    hits = scans.hits
    if not len(hits):
        raise ValueError("no beam of the scans hits anything; judge by scans that see walls")
    low, high = hits.min(axis=0), hits.max(axis=0)
    given = extent or (low[0], high[0], low[1], high[1])
    left, right, bottom, top = map(float, given)
    rows, columns = shape = _shape(right - left, top - bottom, cell_m)
    covered = (left, left + columns * cell_m, top - rows * cell_m, top)
    ends = _counted(hits, covered, shape) > 0
    return Ground(covered, ends, ends | _crossed(scans, covered, shape))


def _shape(width: float, height: float, cell_m: float) -> tuple[int, int]:
    """(H, W), at least one cell.

    Raises:
        ValueError: there would be too many of them.
    """
    require_positive("cell_m", cell_m)
    columns, rows = (max(1, math.ceil(side / cell_m - 1e-9)) for side in (width, height))
    if columns * rows > MOST_CELLS:
        raise ValueError(
            f"with cell_m {cell_m:g} the grid of {width:.4g} m x {height:.4g} m would have "
            f"{columns * rows:,} cells, expected at most {MOST_CELLS:,}; take larger cells"
        )
    return rows, columns


def _crossed(scans: Scans, extent: Sequence[float], shape: tuple[int, ...]) -> Cells:
    """(H, W) the cells that beams have crossed or ended in, by points half a cell apart."""
    found = np.zeros(shape, np.int64)
    cell_m = (extent[1] - extent[0]) / shape[1]
    along = max(1, math.ceil(2 * scans.reach / cell_m))  # points on a beam
    step = max(1, TOGETHER // (along * len(scans.angles)))
    for first in range(0, len(scans), step):
        points = scans[first : first + step].points(along)
        found += _counted(points.places, extent, shape)
    return found > 0


def _places(extent: Sequence[float], shape: tuple[int, ...]) -> Floats:
    left, right, bottom, top = extent
    rows, columns = shape
    x = left + (np.arange(columns) + 0.5) * (right - left) / columns
    y = top - (np.arange(rows) + 0.5) * (top - bottom) / rows
    return np.stack(np.meshgrid(x, y), axis=-1)


def _counted(points: Floats, extent: Sequence[float], shape: tuple[int, ...]) -> NDArray[np.int64]:
    """(H, W) how many of the points (k, 2) lie in each cell; the grid's border is in its cells."""
    left, right, bottom, top = extent
    rows, columns = shape
    column = _cell((points[:, 0] - left) / (right - left) * columns, columns)
    row = _cell((top - points[:, 1]) / (top - bottom) * rows, rows)
    inside = (column >= 0) & (column < columns) & (row >= 0) & (row < rows)
    flat = row[inside] * columns + column[inside]
    return np.bincount(flat, minlength=rows * columns).reshape(rows, columns)


def _cell(along: Floats, count: int) -> NDArray[np.int64]:
    """The cell at a place counted in cells; the last one ends with its border."""
    cell = np.floor(along).astype(np.int64)
    return np.where((cell == count) & (along < count + 1e-9), count - 1, cell)
