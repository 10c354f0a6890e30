"""What pictures of maps are put together from: panels with a building, agents and their ways.

A map keeps its shades on a dark page, and so does all that lies on it: those colors are none of
the page's own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from numpy.typing import NDArray

from .mapped import Arrays
from .style import NUMBERED

SHADES = colormaps["bone_r"]  # of the probability of a wall: white to black
UNJUDGED = (0.80, 0.82, 0.85)  # of cells that are not judged
VEIL = 0.65  # how much of it lies over a map
AGENTS = (
    "#0a6cb0", "#c4480a", "#06805c", "#9a6a00", "#a83a7a", "#5a4fc0", "#7a4a2a", "#3b7d8c",
)  # fmt: skip
WIDTH = 9.4  # inches, of a figure with several panels
PANEL = 4.7  # of one panel, at most
BAR = 0.7  # of the color bar and its words
TITLE = 0.27  # above a panel
TALLEST = 2.0  # of a panel's room, height over width
LOWEST_BAR = 1.9  # inches, of a figure with a color bar: its words need them


def panels(count: int, scene: Arrays, across: int = 1) -> tuple[Figure, list[Axes]]:
    """Empty panels in the shape of the building, in rows of at most ``across``.

    Several of them share a color bar.
    """
    columns, bar = min(count, across), BAR if across > 1 else 0
    rows = math.ceil(count / columns)
    left, right, bottom, top = scene["extent"]
    width = min(PANEL, (WIDTH - bar) / across)
    height = rows * (width * min((top - bottom) / (right - left), TALLEST) + TITLE)
    size = columns * width + bar, max(height, LOWEST_BAR if bar else 0)
    figure = Figure(size, layout="constrained")
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in grid:
        axes.set_axis_off()
        axes.grid(False)
    if bar:
        key = figure.colorbar(
            ScalarMappable(cmap=SHADES), ax=grid, fraction=0.04, pad=0.01, shrink=0.7, aspect=25
        )
        key.set_label("probability of a wall")
        key.ax.spines["outline"].set_visible(False)
    return figure, grid[:count]


def show(axes: Axes, scene: Arrays, pixels: NDArray[Any], title: str = "") -> None:
    """Pixels (H, W, 3) that cover the building."""
    axes.imshow(pixels, extent=tuple(scene["extent"]), origin="upper", interpolation="none")
    axes.set_title(title, loc="left", fontsize="medium")


def truth(scene: Arrays) -> NDArray[Any]:
    """(H, W, 3) the walls as they are; gray where cells are not judged."""
    pixels = SHADES(scene["wall"].astype(float))[..., :3]
    return np.where(scene["known"][..., None], pixels, UNJUDGED)


def shades(scene: Arrays, wall: NDArray[Any]) -> NDArray[Any]:
    """(H, W, 3) a probability of walls (H, W), veiled where cells are not judged."""
    pixels = SHADES(wall)[..., :3]
    veiled = (1 - VEIL) * pixels + VEIL * np.array(UNJUDGED)
    return np.where(scene["known"][..., None], pixels, veiled)


def color(agent: int) -> str:
    """The color of an agent on a map, white or gray."""
    return AGENTS[agent % len(AGENTS)]


def draw_ways(axes: Axes, scene: Arrays, alpha: float) -> None:
    """The agents' ways as lines."""
    for agent, way in enumerate(scene["ways"]):
        axes.plot(*way.T, color=color(agent), linewidth=1.2, alpha=alpha)


def draw_agents(axes: Axes, places: Sequence[Any] | NDArray[Any]) -> None:
    """Agents at their places (agents, 2) as numbered dots."""
    numbered = len(places) <= NUMBERED
    for agent, (x, y) in enumerate(places):
        size = 10 if numbered else 4
        axes.plot(x, y, "o", color=color(agent), markersize=size, markeredgecolor="white", zorder=3)
        if numbered and np.isfinite([x, y]).all():
            axes.text(x, y, str(agent), color="white", size=6.5, ha="center", va="center_baseline")
