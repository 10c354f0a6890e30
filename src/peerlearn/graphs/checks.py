"""Checks of values, with sentences that say what would be accepted."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import networkx as nx

from ..values import is_number, is_positive, is_whole


def whole(owner: str, name: str, value: Any, least: int, most: int | None = None) -> int:
    """``value``, after checking that it is a whole number in [least, most]."""
    if not is_whole(value, least) or (most is not None and value > most):
        limit = "" if most is None else f" and at most {most}"
        raise ValueError(
            f"{owner}: {name} is {value!r}, expected a whole number of at least {least}{limit}"
        )
    return int(value)


def probability(owner: str, name: str, value: Any) -> float:
    """``value``, after checking that it is a number in [0, 1]."""
    if not is_number(value, 0, 1):
        raise ValueError(f"{owner}: {name} is {value!r}, expected a probability from 0 to 1")
    return float(value)


def positive(owner: str, name: str, value: Any, most: float = math.inf) -> float:
    """``value``, after checking that it is a number in (0, most]."""
    if not is_positive(value, most):
        limit = "" if most == math.inf else f" and at most {most}"
        raise ValueError(f"{owner}: {name} is {value!r}, expected a number above 0{limit}")
    return float(value)


def undirected(graph: Any) -> nx.Graph:
    """``graph``, after checking that it is a networkx graph without directions or parallels."""
    if not isinstance(graph, nx.Graph) or graph.is_directed() or graph.is_multigraph():
        raise ValueError(
            f"got a {type(graph).__name__}, expected an undirected networkx.Graph without parallel "
            "edges, such as peerlearn.graphs.cycle(10); networkx.Graph(...) converts most things"
        )
    return graph


def listed(items: Iterable[Any], most: int = 5, separator: str = ", ") -> str:
    """The first items, with dots where there are more."""
    words = [str(item) for item in items]
    return separator.join(words[:most] + (["..."] if len(words) > most else []))
