"""A world: which ground is free and which is wall, from an image or from a map of ROS."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from scipy import ndimage

from ..values import is_number, is_positive, is_whole, require_positive
from .scans import Floats

Cells = NDArray[np.bool_]

EIGHT = np.ones((3, 3), np.bool_)  # a pixel and its neighbors
WHITE, UNKNOWN = 255, 127  # what is seen through transparent pixels
SAVED_UNKNOWN = 205  # what ROS's map savers write
_OTHER = {"dark": "light", "light": "dark"}
ROS_KEYS = ("image", "resolution", "origin", "negate", "occupied_thresh", "free_thresh")
UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)  # by Pillow


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
        touching = ndimage.binary_dilation(self.framed, EIGHT)  # so centres count as edges
        return ndimage.distance_transform_edt(~touching) * self.metres_per_pixel

    @cached_property
    def leaps(self) -> NDArray[np.uint8]:
        """(H + 2, W + 2) the way to the nearest wall in moves of a chess king, at most 255.

        So a square of 2 leap - 1 pixels a side around each pixel is free.
        """
        moves = ndimage.distance_transform_cdt(~self.framed, "chessboard")
        return np.minimum(moves, 255).astype(np.uint8)

    @property
    def wall_m(self) -> float:
        """How thick walls are, in metres: the lower quartile along their middles."""
        within = ndimage.distance_transform_cdt(np.pad(self.walls, 1), "chessboard")
        middle = (within > 0) & (within == ndimage.maximum_filter(within, 3))
        if not middle.any():
            return max(self.width, self.height)
        return float(np.percentile(2 * within[middle] - 1, 25)) * self.metres_per_pixel

    def reachable(self, points: ArrayLike) -> World:
        """The same with the ground that nobody gets to from any of the points (k, 2) as wall."""
        parts, _ = ndimage.label(~self.framed)
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
        inner = (slice(border, max(border, height - border)), slice(border, width - border))
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
        return bool(framed[self._cell(points)].any()) and 10 * closed.sum() >= open_ground.sum()

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


def from_image(
    path: str | Path,
    metres_per_pixel: float,
    walls: Literal["light", "dark"] = "dark",
    threshold: float = 0.5,
) -> World:
    """A world from any image that Pillow reads; what is transparent counts as white.

    Args:
        path: of the image.
        metres_per_pixel: the side of a pixel.
        walls: whether walls are the dark pixels or the light ones.
        threshold: what divides dark from light, between 0 (black) and 1 (white).

    Raises:
        ValueError: the file cannot be read, has no free ground, or arguments cannot be.
    """
    require_positive("metres_per_pixel", metres_per_pixel)
    if walls not in ("light", "dark"):
        raise ValueError(f"walls is {walls!r}, expected 'light' or 'dark'")
    if not is_positive(threshold) or threshold >= 1:
        raise ValueError(f"threshold is {threshold!r}, expected a number between 0 and 1")
    brightness = _brightness(Path(path), WHITE)
    found = brightness < threshold if walls == "dark" else brightness >= threshold
    if found.all():
        raise ValueError(
            f"{path} has no free ground: with walls={walls!r} and threshold={threshold:g} all of "
            f"its pixels are walls; expected some that are free, as perhaps with "
            f"walls={_OTHER[walls]!r}"
        )
    return World(found, metres_per_pixel, Path(path).stem)


def _open(walls: Cells) -> Cells:
    """(H, W) the free ground from which one can leave the image."""
    parts, _ = ndimage.label(np.pad(~walls, 1, constant_values=True))
    return (parts == parts[0, 0])[1:-1, 1:-1]


def from_ros(path: str | Path) -> World:
    """A world from a map of ROS's map_server: a .yaml beside its image.

    Cells that are not known to be free count as walls: nothing is seen or driven through them.
    Places are in the map's own frame, whose origin the .yaml gives.

    Map savers write 205 where they know nothing, an occupancy of 0.196. A larger free_thresh makes
    that free ground, here as in ROS; a warning tells.

    Raises:
        ValueError: a file cannot be read, lacks a key, or leaves no free ground.
    """
    path = Path(path)
    options = _ros_options(path)
    brightness = _brightness(path.parent / options["image"], UNKNOWN)
    occupied = brightness if options["negate"] else 1 - brightness
    walls = occupied >= options["free_thresh"]
    unknown = np.isclose(brightness, SAVED_UNKNOWN / 255)
    if (unknown & ~walls).any():
        warnings.warn(
            f"{unknown.mean():.0%} of {path} has the value {SAVED_UNKNOWN}, which map savers write "
            f"for unknown ground, and is free with free_thresh={options['free_thresh']:g}; it "
            "counts as wall with free_thresh: 0.196",
            stacklevel=2,
        )
    if walls.all():
        raise ValueError(
            f"{path} has no free ground: no cell's occupancy is below free_thresh="
            f"{options['free_thresh']:g}; expected some that are free, as perhaps with another "
            "negate"
        )
    metres = options["resolution"]
    left, bottom, _ = options["origin"]
    middle = (left + walls.shape[1] * metres / 2, bottom + walls.shape[0] * metres / 2)
    return World(walls, metres, path.stem, middle)


def _ros_options(path: Path) -> dict[str, Any]:
    """What the .yaml says, after checking it."""
    try:
        options = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(
            f"{path} cannot be read as yaml ({_first_line(error)}); expected the .yaml of a map of "
            "ROS"
        ) from error
    known = options if isinstance(options, dict) else {}
    if missing := [key for key in ROS_KEYS if key not in known]:
        raise ValueError(
            f"{path} does not say {', '.join(missing)}; expected the .yaml of a map of ROS with "
            f"{', '.join(ROS_KEYS)}"
        )
    if (mode := known.get("mode", "trinary")) not in ("trinary", "scale"):
        raise ValueError(f"{path}: mode is {mode!r}, expected 'trinary' or 'scale'; save it so")
    if not isinstance(known["image"], str):
        raise ValueError(f"{path}: image is {known['image']!r}, expected the name of a file")
    if known["negate"] not in (0, 1):
        raise ValueError(f"{path}: negate is {known['negate']!r}, expected 0 or 1")
    require_positive(f"{path}: resolution", known["resolution"])
    for key in ("free_thresh", "occupied_thresh"):
        if not is_number(known[key], 0, 1):
            raise ValueError(f"{path}: {key} is {known[key]!r}, expected a number from 0 to 1")
    match known["origin"]:
        case [x, y, yaw] if all(map(is_number, (x, y, yaw))):
            if yaw != 0:
                raise ValueError(
                    f"{path}: origin has the yaw {yaw!r}, expected 0; save the map without turning "
                    "it"
                )
        case other:
            raise ValueError(
                f"{path}: origin is {other!r}, expected x, y and yaw of the lower left corner: "
                "three finite numbers"
            )
    return known


def _brightness(path: Path, background: int) -> Floats:
    """(H, W) from 0 (black) to 1 (white)."""
    try:
        with Image.open(path) as image:
            if image.mode.startswith("I"):  # 16 bits
                return np.asarray(image, float) / 65535
            if image.mode == "F":
                return np.asarray(image, float)
            return np.asarray(_opaque(image, background).convert("L"), float) / 255
    except FileNotFoundError as error:
        raise ValueError(f"there is no file {path}; expected an image of a floor plan") from error
    except UNREADABLE as error:
        raise ValueError(
            f"{path} cannot be read as an image ({_first_line(error)}); expected a format that "
            "Pillow knows, such as png or pgm"
        ) from error


def _opaque(image: Image.Image, background: int) -> Image.Image:
    if not image.has_transparency_data:
        return image
    behind = Image.new("RGBA", image.size, (background, background, background, 255))
    return Image.alpha_composite(behind, image.convert("RGBA"))


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def around(
    middle: tuple[float, float], width: float, height: float
) -> tuple[float, float, float, float]:
    """Left, right, bottom, top of a rectangle."""
    x, y = middle
    return (x - width / 2, x + width / 2, y - height / 2, y + height / 2)
