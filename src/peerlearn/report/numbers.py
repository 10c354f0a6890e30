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


def show(number: Number | None, measure: str = "", unit: str = "") -> str:
    """A number in words: ``96.1 ± 0.3 %``, ``38.5 kB``.

    Args:
        number: the number.
        measure: what it is a value of; how it is written is told by the name.
        unit: of a number that is no measure, a key of `WAYS`.
    """
    if number is None:
        return NOTHING
    share = "%" if is_share(measure) else ""
    write, sign = WAYS.get(unit or UNITS.get(measure, share), (_plain, ""))
    spread = f" ± {write(number.spread)}" if number.spread else ""
    return f"{write(number.mean)}{spread}{sign}"


def _plain(x: float) -> str:
    """Three digits, but no power of ten where a person would write all digits."""
    return f"{x:,.0f}" if 1000 <= abs(x) < 1e6 else f"{x:.3g}"


WAYS: dict[str, tuple[Callable[[float], str], str]] = {  # of writing numbers, and their signs
    "%": (lambda x: f"{100 * x:.1f}", "\N{NO-BREAK SPACE}%"),
    "points": (lambda x: f"{100 * x:.1f}", "\N{NO-BREAK SPACE}points"),
    "bytes": (lambda x: filesize.decimal(round(x)), ""),
    "count": (lambda x: f"{x:,.0f}", ""),
    "tenths": (lambda x: f"{x:,.1f}", ""),
}
UNITS = {  # of the library's own measures; nobody knows those of a task
    "bytes_sent": "bytes", "bytes_received": "bytes",
    "messages_sent": "count", "messages_received": "count", "gradient_evaluations": "count",
    "reward": "tenths", "team_reward": "tenths",
}  # fmt: skip
