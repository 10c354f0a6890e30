"""Worlds from files: the image of a floor plan, or a map of ROS."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml
from PIL import Image

from ..errors import first_line
from ..values import is_number, is_positive, require_positive
from .scans import Floats
from .world import World

WHITE, UNKNOWN = 255, 127  # what is seen through transparent pixels
SAVED_UNKNOWN = 205  # what ROS's map savers write
_OTHER = {"dark": "light", "light": "dark"}
ROS_KEYS = ("image", "resolution", "origin", "negate", "occupied_thresh", "free_thresh")
UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)  # by Pillow


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
            f"{path} cannot be read as yaml ({first_line(error)}); expected the .yaml of a map of "
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
            f"{path} cannot be read as an image ({first_line(error)}); expected a format that "
            "Pillow knows, such as png or pgm"
        ) from error


def _opaque(image: Image.Image, background: int) -> Image.Image:
    if not image.has_transparency_data:
        return image
    behind = Image.new("RGBA", image.size, (background, background, background, 255))
    return Image.alpha_composite(behind, image.convert("RGBA"))
