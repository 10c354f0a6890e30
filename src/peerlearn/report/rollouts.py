"""The roll-outs of a report: the last chase of each method, as a strip of frames and moving."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from numpy.typing import NDArray

from ..record import Record
from ..words import each_counted, listed
from .animation import Animation, Film
from .chases import BODIES, Chase, Corners, Rollout, chases
from .style import FAINT, INK, Drawing, shorten, styled

MOVING = ("pursuers", "evaders")
COLORS = {"obstacles": "#2b323a", "pursuers": "#c2182b", "evaders": "#1fa34a"}  # on any page
TRAIL, FAINTNESS = 10, 0.45  # the latest steps of a way are drawn
FRAMES = 6  # of a strip
MOST_FRAMES = 200  # of the animation
FRAME_MS = 100  # of the animation: a step of the world is a tenth of a second
SHADES = 16  # of each color, to white
STRIP_WIDTH = 9.4  # inches
MOVING_WIDTH = 5.2  # of the animation
WORDS = 0.45  # inches above and below a frame
CHARACTERS = 13  # in an inch of a title


def draw(records: Sequence[Record]) -> list[Drawing]:
    """A strip for each chase; none where no run has kept a roll-out."""
    with styled():
        return [_strip(chase) for chase in chases(records)]


def animate(records: Sequence[Record]) -> list[Animation]:
    """Each chase as it goes, the methods side by side."""
    with styled():
        return [_moving(chase) for chase in chases(records)]


def _strip(chase: Chase) -> Drawing:
    """A row for each method."""
    moments = _moments(chase, FRAMES)
    rows, side = len(chase.rollouts), STRIP_WIDTH / len(moments)
    figure = Figure((STRIP_WIDTH, rows * (side + WORDS)), layout="constrained")
    grid = figure.subplots(rows, len(moments), squeeze=False)
    for row, (label, rollout) in zip(grid, chase.rollouts.items(), strict=True):
        for axes, step in zip(row, moments, strict=True):
            _lay_out(axes, rollout, chase.frame)
            _show(axes, rollout, step)
        touch = rollout.first_touch
        found = f"first touch in step {touch}" if touch else "no touch"
        row[0].set_title(f"{shorten(label)} · {found}", loc="left", fontsize="medium")
    name, title = chase.name("rollout-frames"), "The chase, from its start to its end"
    return Drawing(name, figure, title, _caption(chase), wide=True)


def _moving(chase: Chase) -> Animation:
    """Panels in a block that is about as high as wide."""
    count = len(chase.rollouts)
    columns = math.ceil(math.sqrt(count))
    rows, side = math.ceil(count / columns), MOVING_WIDTH / columns
    figure = Figure((MOVING_WIDTH, rows * (side + WORDS)), layout="constrained")
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in grid[count:]:
        axes.set_axis_off()
    for axes, (label, rollout) in zip(grid, chase.rollouts.items(), strict=False):
        _lay_out(axes, rollout, chase.frame)
        axes.set_title(textwrap.fill(shorten(label), round(CHARACTERS * side)), fontsize="medium")
    film = Film(figure, _colors())
    for step in _moments(chase, MOST_FRAMES):
        shown = [
            artist
            for axes, rollout in zip(grid, chase.rollouts.values(), strict=False)
            for artist in _show(axes, rollout, step)
        ]
        film.take()
        for artist in shown:
            artist.remove()
    name, title = chase.name("rollout-chase"), "The chase, step by step"
    return Animation(name, film.gif(FRAME_MS), title, _caption(chase))


def _moments(chase: Chase, most: int) -> list[int]:
    """The first step, the last, and of those between as many as there is room for."""
    chosen = np.linspace(0, chase.steps, min(chase.steps + 1, most))
    return [round(step) for step in chosen]


def _lay_out(axes: Axes, rollout: Rollout, frame: Corners) -> None:
    """The ground, which is white on any page, and what does not move."""
    across, up = frame.T
    axes.set(xlim=across, ylim=up, xticks=[], yticks=[], aspect="equal", facecolor="white")
    axes.spines[:].set(visible=True, color=FAINT)
    for place in rollout.places["obstacles"][0]:
        _body(axes, "obstacles", place)


def _show(axes: Axes, rollout: Rollout, step: int) -> list[Artist]:
    """Who moves, after a step, and the latest part of the ways that led there."""
    axes.set_xlabel(f"step {step}")
    shown: list[Artist] = []
    for name in MOVING:
        ways = rollout.places[name][max(0, step - TRAIL) : step + 1].swapaxes(0, 1)
        for way in ways:
            shown += axes.plot(*way.T, color=COLORS[name], alpha=FAINTNESS, linewidth=1.2)
            shown.append(_body(axes, name, way[-1]))
    return shown


def _body(axes: Axes, name: str, place: NDArray[np.float32]) -> Artist:
    order = 3 if name in MOVING else 1  # ways lie between
    circle = Circle(
        (place[0], place[1]), BODIES[name].radius, color=COLORS[name], linewidth=0, zorder=order
    )
    return axes.add_artist(circle)  # unlike a patch it is not asked for its limits


def _colors() -> NDArray[np.float64]:
    """All colors of a frame: those of bodies and words, down to white."""
    shades = np.linspace(0, 1, SHADES)[:, None]
    pure = [np.array(to_rgb(c)) for c in (*COLORS.values(), INK, FAINT)]
    return np.concatenate([c + (1 - c) * shades for c in pure])


def _caption(chase: Chase) -> str:
    """What is seen, in a sentence."""
    rollouts = chase.rollouts.values()
    rounds = each_counted(sorted({r.round for r in rollouts}), "round")
    seeds = listed(sorted({r.record.seed for r in rollouts}))
    same = ", from the same start for all methods" if len(rollouts) > 1 else ""
    places = next(iter(rollouts)).places
    hunted = "the evader" if places["evaders"].shape[1] == 1 else "evaders"
    among = " among obstacles (black)" if places["obstacles"].size else ""
    unseen = " Who leaves a frame goes farther than it shows." if chase.leaves_frame else ""
    return (
        f"The most likely actions of the policies after {rounds}, seed {seeds}{same}: "
        f"pursuers (red) hunt {hunted} (green){among}; lines are their ways in the last {TRAIL} "
        f"steps.{unseen}"
    )
