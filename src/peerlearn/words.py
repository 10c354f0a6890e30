"""Counts and lists in sentences."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def counted(number: int, noun: str) -> str:
    """``1 agent``, ``1,000 agents``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def listed(items: Iterable[Any]) -> str:
    """``a, b and c``."""
    *first, last = [*map(str, items)] or [""]
    return f"{', '.join(first)} and {last}" if first else last
