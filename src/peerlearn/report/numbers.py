"""Numbers over seeds, and how they are written."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable
from typing import NamedTuple

from rich import filesize

from .measures import is_share

NOTHING = "\N{EN DASH}"


class Number(NamedTuple):
    """A number over seeds.

    Attributes:
        mean: its mean over the seeds.
        spread: its standard deviation over the seeds (n - 1 in the denominator); None for one seed.
    """

    mean: float
    spread: float | None = None


def over_seeds(values: Iterable[float]) -> Number | None:
    """Mean and spread of one number per seed; those that are not finite do not count."""
    known = [v for v in values if math.isfinite(v)]
    if not known:
        return None
    return Number(statistics.fmean(known), statistics.stdev(known) if len(known) > 1 else None)


def show(number: Number | None, measure: str = "") -> str:
    """A number in words: ``96.1 ± 0.3 %``, ``38.5 kB``."""
    if number is None:
        return NOTHING
    write, unit = _format(measure)
    spread = f" ± {write(number.spread)}" if number.spread else ""
    return f"{write(number.mean)}{spread}{unit}"


def _format(measure: str) -> tuple[Callable[[float], str], str]:
    """How a measure is written, and its unit."""
    if is_share(measure):
        return lambda x: f"{100 * x:.1f}", "\N{NO-BREAK SPACE}%"
    if measure == "points":
        return lambda x: f"{100 * x:.1f}", "\N{NO-BREAK SPACE}points"
    if measure.endswith("reward"):
        return lambda x: f"{x:,.1f}", ""
    if measure.startswith("bytes"):
        return lambda x: filesize.decimal(round(x)), ""
    if measure.startswith(("messages", "gradient")):
        return lambda x: f"{x:,.0f}", ""
    return (lambda x: f"{x:,.1f}" if measure == "s" else _plain(x)), ""


def _plain(x: float) -> str:
    """Three digits, but no power of ten where a person would write all digits."""
    return f"{x:,.0f}" if 1000 <= abs(x) < 1e6 else f"{x:.3g}"
