"""Counts and lists in sentences."""

from __future__ import annotations

import pytest

from peerlearn.words import counted, listed


@pytest.mark.parametrize(
    ("items", "expected"),
    [([], ""), (["a"], "a"), ([1, 2], "1 and 2"), (range(3), "0, 1 and 2")],
)
def test_lists(items: list, expected: str) -> None:
    assert listed(items) == expected


@pytest.mark.parametrize(
    ("number", "expected"), [(0, "0 agents"), (1, "1 agent"), (1000, "1,000 agents")]
)
def test_counts(number: int, expected: str) -> None:
    assert counted(number, "agent") == expected
