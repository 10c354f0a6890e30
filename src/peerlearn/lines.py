"""What the lines of a record may say: a record is text, which people mend and shorten by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from .errors import short

NUMERIC = {int, float, type(None)}  # null is read as NaN


class Kind(NamedTuple):
    """What a value is expected to be.

    Attributes:
        words: that, in words.
        fits: whether a value is.
        each: of a table, what each of its values is expected to be.
    """

    words: str
    fits: Callable[[Any], bool]
    each: Kind | None = None


def wrong(line: Mapping[str, Any]) -> str:
    """What is wrong with what a line says, if anything; it need not say all that it may."""
    kinds = KINDS.get(line["kind"], {})
    given = {name: line[name] for name in kinds if line.get(name) is not None}
    return next(filter(None, (_misfit(name, v, kinds[name]) for name, v in given.items())), "")


def uneven(line: Mapping[str, Any], counts: dict[str, int]) -> str:
    """Which measure of an evaluation has more or fewer numbers than in those before it.

    Args:
        line: any line of a record.
        counts: measure -> how many numbers it has; what is new is added.
    """
    for name, values in line.get("measures", {}).items():
        if len(values) != counts.setdefault(name, len(values)):
            return f"gives {len(values)} numbers as measures.{name}, expected {counts[name]}"
    return ""


def _misfit(name: str, value: Any, kind: Kind) -> str:
    if not kind.fits(value):
        return f"gives {name} as {short(value)}, expected {kind.words}"
    if kind.each is None:
        return ""
    return next(filter(None, (_misfit(f"{name}.{n}", v, kind.each) for n, v in value.items())), "")


def _all(value: Any, fits: Callable[[Any], bool]) -> bool:
    return isinstance(value, list) and all(map(fits, value))


def _are_numbers(value: Any) -> bool:
    return isinstance(value, list) and {*map(type, value)} <= NUMERIC


def _are_whole(value: Any) -> bool:
    return isinstance(value, list) and {*map(type, value)} <= {int}


def _is_moment(value: Any) -> bool:
    try:
        return bool(datetime.fromisoformat(value))
    except (TypeError, ValueError):
        return False


def _is_graph(value: Any) -> bool:
    """Whether it can be drawn."""
    if not isinstance(value, dict) or not {"name", "agents", "edges"} <= value.keys():
        return False
    agents, name, places = (value.get(n) for n in ("agents", "name", "positions"))
    return (
        type(agents) is int
        and isinstance(name, str | None)
        and _all(value["edges"], lambda edge: _is_edge(edge, agents))
        and (not places or (_all(places, _is_place) and len(places) == agents))
    )


def _is_edge(value: Any, agents: int) -> bool:
    return _are_whole(value) and len(value) == 2 and all(0 <= end < agents for end in value)


def _is_place(value: Any) -> bool:
    return _are_numbers(value) and len(value) == 2 and None not in value


def _table(each: Kind | None = None) -> Kind:
    return Kind("a table", lambda value: isinstance(value, dict), each)


NUMBER = Kind("a number", lambda value: type(value) in NUMERIC)
TEXT = Kind("a text", lambda value: isinstance(value, str))
TRUTH = Kind("true or false", lambda value: isinstance(value, bool))
KINDS: dict[str, dict[str, Kind]] = {
    "start": {
        "settings": _table(),
        "task": _table(),
        "graph": Kind("a table of its name, its agents and the edges between them", _is_graph),
        "drifts": Kind("a list of rounds", _are_whole),
        "falls": _table(TRUTH),
        "versions": _table(),
        "started": Kind("a moment, as 2025-01-31T12:00:00+00:00", _is_moment),
    },
    "evaluation": {
        "measures": _table(Kind("a list of numbers", _are_numbers)),
        "team": _table(NUMBER),
        "seconds": _table(NUMBER),
    },
    "graph": {"parts": Kind("a list of lists of agents", lambda v: _all(v, _are_whole))},
    "stop": {"cause": TEXT},
}
