"""Counts and lists in sentences."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any


def counted(number: int, noun: str) -> str:
    """``1 agent``, ``1,000 agents``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def each_counted(numbers: Sequence[int], noun: str) -> str:
    """``1 round``, ``20 and 1,000 rounds``."""
    *before, last = numbers
    return listed([*(f"{number:,}" for number in before), counted(last, noun)])


def listed(items: Iterable[Any]) -> str:
    """``a, b and c``."""
    *first, last = [*map(str, items)] or [""]
    return f"{', '.join(first)} and {last}" if first else last


def first_few(items: Iterable[Any], most: int = 5, separator: str = ", ") -> str:
    """The first items, with dots where there are more."""
    words = [str(item) for item in items]
    return separator.join(words[:most] + (["..."] if len(words) > most else []))


def agents_named(numbers: Sequence[int], most: int = 10) -> str:
    """``agent 3``, ``agents 0, 1, 2, ...``."""
    return f"{'agent' if len(numbers) == 1 else 'agents'} {first_few(numbers, most)}"
