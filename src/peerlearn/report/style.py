"""How figures look, and how they are written: as files on white, and inside a page of any color.

Drawn with matplotlib's objects, never through pyplot, so that nothing is shared with the figures
of whoever calls. Colors are those of Okabe and Ito (2008), which color-blind readers can tell
apart, the pale ones darkened for white paper; a second set serves dark pages.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.style
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter, PercentFormatter

from ..files import replacing, writing

LIGHT = ("#0072b2", "#d55e00", "#009e73", "#c48700", "#b85c91", "#3aa0d8")
DARK = ("#4aa8e8", "#f07f35", "#25bd92", "#f0b429", "#e093bf", "#a5dcfa")
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.5)))  # further turns through the colors
INK = "#1c2128"  # of text and axes; inside a page it becomes the page's own color of text
FAINT = "#8b949e"  # of edges: visible on white and on black
CHARACTERS_ACROSS = 70  # of a figure, about
LONGEST_LABEL = 40  # characters; a longer one would push the axes aside
USUAL_LINES = 3  # of names above the axes, for which there is room
LINE_IN = 0.19  # inches, of a line of names
NUMBERED = 60  # with more agents than these their numbers could not be read
STYLE: dict[str, Any] = {
    "figure.figsize": (4.7, 3.3),
    "font.size": 8.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "none",
    "axes.grid": True,
    "grid.alpha": 0.13,
    "grid.color": INK,
    "grid.linewidth": 0.7,
    "lines.linewidth": 1.7,
    "legend.columnspacing": 1.3,
    "legend.frameon": False,
    "legend.handlelength": 1.6,
    "text.parse_math": False,  # a label may hold a dollar sign
    "svg.fonttype": "none",  # text stays text: small, and it can be searched and read aloud
    "svg.hashsalt": "peerlearn",  # the same numbers give the same file
    **dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK
    ),
}


class Drawing(NamedTuple):
    """A figure with its name (of the file), its title and what is seen on it, in words.

    One that is wide takes the whole width of a page.
    """

    name: str
    figure: Figure
    title: str
    caption: str
    wide: bool = False


@contextmanager
def styled() -> Iterator[None]:
    """Draw and write figures in here: one look, whatever the caller's matplotlibrc says."""
    with warnings.catch_warnings(), matplotlib.style.context(STYLE, after_reset=True):
        # a label may be in any script; a browser finds the signs that matplotlib's font lacks
        warnings.filterwarnings("ignore", r"Glyph .* missing from", UserWarning)
        yield


def save(drawing: Drawing, folder: Path) -> str:
    """Write ``NAME.png`` and ``NAME.svg``, on white; the same numbers give the same bytes.

    Returns:
        The figure as an SVG element for a page that defines the colors ``--series-NUMBER``.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    text = StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with styled():
        drawing.figure.savefig(text, format="svg", facecolor="none", metadata=nothing)
        drawing.figure.set_layout_engine("none")  # it is laid out already
        png = folder / f"{drawing.name}.png"
        with replacing(png) as scratch:
            drawing.figure.savefig(
                scratch, format="png", dpi=200, facecolor="white", metadata={"Software": None}
            )
    svg = text.getvalue()
    on_white = svg.replace("<svg ", '<svg style="background: white" ', 1)
    with replacing(png.with_suffix(".svg")) as scratch:
        scratch.write_text(on_white, encoding="utf-8")
    return _inline(drawing, svg[svg.index("<svg") :])


def _inline(drawing: Drawing, svg: str) -> str:
    svg = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", svg, count=2)  # HTML knows what SVG is
    # a name is unique in its figure, but a page holds several figures
    svg = re.sub(r'(<\w+ id="|url\(#|href="#)', rf"\g<1>{drawing.name}-", svg)
    svg = svg.replace(INK, "currentColor")
    for number, light in enumerate(LIGHT):
        svg = svg.replace(light, f"var(--series-{number})")
    return svg


def color(number: int) -> str:
    """The color on white of the algorithm with this number."""
    return LIGHT[number % len(LIGHT)]


def dashes(number: int) -> Any:
    """The line style of the algorithm with this number."""
    return DASHES[number // len(LIGHT) % len(DASHES)]


def legend(figure: Figure, handles: Mapping[str, Artist]) -> None:
    """Name what is drawn, above the axes, in as many columns as there is room for.

    The figure grows with the names, so that the axes keep their room.
    """
    names = [shorten(label) for label in handles]
    columns = _columns([_room(name) for name in names])
    further = max(0, math.ceil(len(names) / columns) - USUAL_LINES)
    figure.set_figheight(figure.get_figheight() + further * LINE_IN)
    made = figure.legend(
        list(handles.values()), ["."] * len(names), loc="outside upper left", ncols=columns
    )
    for text, name in zip(made.get_texts(), names, strict=True):
        text.set_text(name)  # only now: matplotlib would leave out a label that begins with "_"


def _room(name: str) -> int:
    """How wide a name is, in characters of usual width; capitals are a third wider."""
    return math.ceil(len(name) + sum(c.isupper() for c in name) / 3)


def _columns(lengths: list[int]) -> int:
    """How many columns of names fit; 6 is the room of a line and two gaps, in characters."""
    if sum(lengths) + 6 * len(lengths) <= CHARACTERS_ACROSS:
        return len(lengths)
    return max(1, CHARACTERS_ACROSS // (max(lengths) + 6))


def shorten(label: str) -> str:
    label = " ".join(label.split())
    return label if len(label) <= LONGEST_LABEL else f"{label[: LONGEST_LABEL - 1]}…"


def percent(decimals: int | None = None) -> PercentFormatter:
    """Writes 0.96 as 96 %."""
    return PercentFormatter(1.0, decimals, symbol="\N{NO-BREAK SPACE}%")


def logarithmic(axes: Axes) -> None:
    """A logarithmic y axis whose numbers are plain text."""
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(_Powers(labelOnlyBase=False))
    axes.yaxis.set_minor_formatter(_Powers(minor_thresholds=(1, 0.4)))


class _Powers(LogFormatter):
    """``10⁻³`` and ``2·10⁻³``: matplotlib's own way needs its mathematics, switched off above."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        if not super().__call__(x, pos):
            return ""
        factor, power = f"{x:.2e}".split("e")
        raised = str(int(power)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
        if abs(int(power)) < 3:
            return f"{x:g}"
        return f"10{raised}" if float(factor) == 1 else f"{float(factor):g}·10{raised}"
