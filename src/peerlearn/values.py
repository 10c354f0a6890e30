"""Whether a value that was given is such a number, name or option as was asked for."""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

from .errors import unknown

LARGEST = sys.float_info.max
MOST_AGENTS = 1_000_000  # of a team; nobody has memory for more


def is_whole(value: Any, least: int = 1, most: float = math.inf) -> bool:
    """A whole number in [least, most]; NumPy's are whole numbers, too, and truth is none."""
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    return whole and least <= int(value) <= most


def is_number(value: Any, least: float = -math.inf, most: float = math.inf) -> bool:
    """A finite number in [least, most]."""
    real = isinstance(value, Real) and not isinstance(value, bool)
    return real and -LARGEST <= value <= LARGEST and least <= value <= most


def is_positive(value: Any, most: float = math.inf) -> bool:
    """A finite number in (0, most]."""
    return is_number(value, 0.0, most) and value > 0


def is_list(value: Any) -> bool:
    """A sequence that is no text."""
    return isinstance(value, Sequence) and not isinstance(value, str)


def as_python(value: Any) -> Any:
    """A number of NumPy's or another kind as Python's own; anything else as it is."""
    if isinstance(value, bool | int | float) or not isinstance(value, Real):
        return value
    return int(value) if isinstance(value, Integral) else float(value)


def count_problems(name: str, value: Any, least: int = 1, most: float = math.inf) -> list[str]:
    """Why a value is no whole number in [least, most]."""
    if is_whole(value, least, most):
        return []
    limit = "" if most == math.inf else f" and at most {most}"
    return [f"{name} is {value!r}, expected a whole number of at least {least}{limit}"]


def positive_problems(name: str, value: Any, most: float = math.inf) -> list[str]:
    """Why a value is no finite number in (0, most]."""
    if is_positive(value, most):
        return []
    kind = "finite number" if most == math.inf else f"number of at most {most}"
    return [f"{name} is {value!r}, expected a positive {kind}"]


def require_count(name: str, value: Any, least: int = 1, most: float = math.inf) -> int:
    """The value; raise ValueError unless it is a whole number in [least, most]."""
    for problem in count_problems(name, value, least, most):
        raise ValueError(problem)
    return int(value)


def require_positive(name: str, value: Any, most: float = math.inf) -> float:
    """The value; raise ValueError unless it is a finite number in (0, most]."""
    for problem in positive_problems(name, value, most):
        raise ValueError(problem)
    return float(value)


def require_probability(name: str, value: Any) -> float:
    """The value; raise ValueError unless it is a number in [0, 1]."""
    if not is_number(value, 0, 1):
        raise ValueError(f"{name} is {value!r}, expected a probability from 0 to 1")
    return float(value)


def require_mapping(name: str, value: Any) -> dict[str, Any]:
    """Names and values; none where nothing is given."""
    if value is not None and not isinstance(value, Mapping):
        raise ValueError(f"{name} is {value!r}, expected a dict of names and values")
    return dict(value or {})


def require_known(kind: str, name: str, known: Collection[str]) -> None:
    """Raise ValueError unless the name is a known one; the nearest is named."""
    if name not in known:
        raise unknown(kind, name, known)


def require_options(
    owner: str, function: Callable[..., Any], options: Iterable[str], given: int = 0
) -> None:
    """Raise ValueError unless a function can be called with such keyword arguments.

    Args:
        owner: whose options they are, for the sentence.
        function: that takes them.
        options: their names.
        given: so many of its first arguments do not come from the options.
    """
    takes = list(inspect.signature(function).parameters.values())[given:]
    for option in options:
        require_known(f"option of {owner}", option, [p.name for p in takes])
    missing = [p.name for p in takes if p.default is p.empty and p.name not in options]
    if missing:
        raise ValueError(f"{owner} has no {', '.join(missing)}; add it to its options")
