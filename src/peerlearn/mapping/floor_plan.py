"""A floor plan drawn by the library: rooms on both sides of corridors, with doors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..values import require_count, require_positive
from .world import Cells, World

SMALLEST_M = 7.0  # a corridor between two rows of rooms of 2 m
COARSEST_M = 0.25  # metres per pixel: a door is three or four pixels wide
MOST_PIXELS = 20_000  # a side
WALL_M, CORRIDOR_M, DOOR_M = 0.15, (1.8, 2.2), (0.9, 1.2)
ROOM_M, BAY_M, WING_M = 4.5, 14.0, 40.0  # typical: a room's width, rows and corridor, a wing


@dataclass(frozen=True)
class Room:
    """A rectangle of free pixels; ``down`` if its corridor lies below it."""

    left: int
    right: int
    top: int
    bottom: int
    down: bool

    @property
    def width(self) -> int:
        return self.right - self.left

    @property
    def depth(self) -> int:
        return self.bottom - self.top


def floor_plan(
    width_m: float = 24.0, height_m: float = 18.0, seed: int = 0, metres_per_pixel: float = 0.05
) -> World:
    """A building with rooms of many sizes along corridors; all of it can be reached.

    Walls are about 0.15 m thick, doors 0.9 to 1.2 m wide and corridors about 2 m. Corridors run
    along the longer side. The larger the building the more of them there are, joined by others
    across. Some rooms are open to the corridor, some have a second door, a room behind, a pillar
    or part of a wall.

    Args:
        width_m, height_m: of the whole building, each at least 7 m.
        seed: of all that is drawn by chance.
        metres_per_pixel: at most 0.25.

    Raises:
        ValueError: a building that is too small or would have too many pixels.
    """
    for name, value in (("width_m", width_m), ("height_m", height_m)):
        require_positive(name, value)
        if value < SMALLEST_M:
            raise ValueError(
                f"{name} is {value:g}, expected at least {SMALLEST_M:g} m: there must be room for "
                "a corridor between two rows of rooms"
            )
    require_count("floor_plan: seed", seed, 0)
    require_positive("metres_per_pixel", metres_per_pixel)
    if metres_per_pixel > COARSEST_M:
        raise ValueError(
            f"metres_per_pixel is {metres_per_pixel:g}, expected at most {COARSEST_M:g}, or doors "
            "and walls could not be drawn"
        )
    columns, rows = (round(side / metres_per_pixel) for side in (width_m, height_m))
    if max(columns, rows) > MOST_PIXELS:
        raise ValueError(
            f"the plan would have {columns} x {rows} pixels, expected at most {MOST_PIXELS} a "
            "side; use more metres_per_pixel or a smaller building"
        )
    draughtsman = Draughtsman(
        max(rows, columns), min(rows, columns), metres_per_pixel, np.random.default_rng(seed)
    )
    draughtsman.draw()
    walls = draughtsman.walls if columns >= rows else draughtsman.walls.T.copy()
    return World(walls, metres_per_pixel, f"floor plan {seed}")


class Draughtsman:
    """Draws a building that is at least as long as it is wide, by carving it out of solid wall."""

    def __init__(
        self, length: int, width: int, metres_per_pixel: float, generator: np.random.Generator
    ) -> None:
        self.walls: Cells = np.ones((width, length), bool)
        self.metres_per_pixel = metres_per_pixel
        self.generator = generator
        self.wall = self.pixels(WALL_M)

    def pixels(self, metres: float) -> int:
        return max(1, round(metres / self.metres_per_pixel))

    def between(self, low: float, high: float) -> int:
        """A random length in pixels, given in metres."""
        return self.pixels(self.generator.uniform(low, high))

    def perhaps(self, chance: float) -> bool:
        return bool(self.generator.random() < chance)

    def carve(self, left: int, right: int, top: int, bottom: int) -> None:
        self.walls[top:bottom, left:right] = False

    def draw(self) -> None:
        length = self.walls.shape[1]
        corridors, rows = self.bands()
        across = self.crossings() if len(corridors) > 1 else []
        for top, bottom in corridors:
            self.carve(self.wall, length - self.wall, top, bottom)
        for left, right in across:
            self.carve(left, right, corridors[0][0], corridors[-1][1])
        for number, (top, bottom) in enumerate(rows):
            inner = 0 < number < len(rows) - 1
            for left, right in self.stretches(across if inner else []):
                self.row(left, right, top, bottom, down=number % 2 == 0)

    def bands(self) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """Corridors and rows of rooms, tops and bottoms: a row, a corridor, a row, a row, ..."""
        width = len(self.walls)
        count = max(1, round(width * self.metres_per_pixel / BAY_M))
        halls = [self.between(*CORRIDOR_M) for _ in range(count)]
        depths = iter(
            self.shares(width - (3 * count + 1) * self.wall - sum(halls), 2 * count, 0.15)
        )
        corridors: list[tuple[int, int]] = []
        rows: list[tuple[int, int]] = []
        top = self.wall
        for hall in halls:
            for size, kind in ((next(depths), rows), (hall, corridors), (next(depths), rows)):
                kind.append((top, top + size))
                top += size + self.wall
        return corridors, rows

    def crossings(self) -> list[tuple[int, int]]:
        """The corridors across, lefts and rights."""
        length = self.walls.shape[1]
        count = max(1, round(length * self.metres_per_pixel / WING_M))
        wings = np.cumsum(self.shares(length, count + 1, 0.3))[:-1]
        sizes = [self.between(*CORRIDOR_M) for _ in wings]
        return [(int(m) - s // 2, int(m) - s // 2 + s) for m, s in zip(wings, sizes, strict=True)]

    def stretches(self, across: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
        """What corridors across leave of a row."""
        left = self.wall
        for start, end in across:
            yield left, start - self.wall
            left = end + self.wall
        yield left, self.walls.shape[1] - self.wall

    def row(self, left: int, right: int, top: int, bottom: int, down: bool) -> None:
        """Rooms side by side, each with its way to the corridor."""
        count = max(1, round((right - left) * self.metres_per_pixel / ROOM_M))
        rooms = []
        for width in self.shares(right - left - (count - 1) * self.wall, count, 0.4):
            rooms.append(Room(left, left + width, top, bottom, down))
            left += width + self.wall
        for number, room in enumerate(rooms):
            self.room(room)
            if number + 1 < count and room.depth >= self.pixels(3) and self.perhaps(0.2):
                self.side_door(room)

    def room(self, room: Room) -> None:
        self.carve(room.left, room.right, room.top, room.bottom)
        height = room.bottom if room.down else room.top - self.wall
        if self.perhaps(0.15):
            margin = self.pixels(0.4)
            self.carve(room.left + margin, room.right - margin, height, height + self.wall)
        else:
            self.door(room.left, room.right, height)
        if room.depth >= self.pixels(6) and self.perhaps(0.4):
            self.divide(room)
        elif min(room.width, room.depth) >= self.pixels(3) and self.perhaps(0.5):
            self.furnish(room)

    def door(self, left: int, right: int, top: int) -> None:
        """A gap in a wall that runs from left to right."""
        start, end = self.gap(left, right)
        self.carve(start, end, top, top + self.wall)

    def side_door(self, room: Room) -> None:
        """To the room at its right, in the half near the corridor: no wall meets it there."""
        middle = (room.top + room.bottom) // 2
        top, bottom = self.gap(*((middle, room.bottom) if room.down else (room.top, middle)))
        self.carve(room.right, room.right + self.wall, top, bottom)

    def gap(self, low: int, high: int) -> tuple[int, int]:
        """Where a door is, somewhere between the ends of a wall."""
        size, margin = self.between(*DOOR_M), self.pixels(0.1)
        size = min(size, high - low - 2 * margin)
        start = int(self.generator.integers(low + margin, high - margin - size, endpoint=True))
        return start, start + size

    def divide(self, room: Room) -> None:
        """A wall with a door, and a room behind it."""
        front = int(room.depth * self.generator.uniform(0.52, 0.65))
        top = room.top + front if not room.down else room.bottom - front - self.wall
        self.walls[top : top + self.wall, room.left : room.right] = True
        self.door(room.left, room.right, top)

    def furnish(self, room: Room) -> None:
        """A pillar, or a wall from the back; a person can pass on all sides."""
        if self.perhaps(0.5):
            size = self.between(0.3, 0.5)
            left, top = room.left + (room.width - size) // 2, room.top + (room.depth - size) // 2
            self.walls[top : top + size, left : left + size] = True
            return
        margin = self.pixels(1.2)
        left = int(self.generator.integers(room.left + margin, room.right - margin - self.wall))
        size = int(room.depth * self.generator.uniform(0.3, 0.6))
        top = room.top if room.down else room.bottom - size
        self.walls[top : top + size, left : left + self.wall] = True

    def shares(self, total: int, count: int, spread: float) -> list[int]:
        """``total`` pixels in so many parts, which differ by so much of a part at random."""
        weights = self.generator.uniform(1 - spread, 1 + spread, count)
        ends = np.rint(np.cumsum(weights) / weights.sum() * total)
        parts: NDArray[np.int64] = np.diff(ends, prepend=0).astype(np.int64)
        return parts.tolist()
