"""Counts and lists in sentences."""

from __future__ import annotations

import pytest

from peerlearn.words import agents_named, counted, each_counted, listed


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


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [([1], "1 round"), ([20], "20 rounds"), ([1, 20, 1000], "1, 20 and 1,000 rounds")],
)
def test_several_counts(numbers: list, expected: str) -> None:
    assert each_counted(numbers, "round") == expected


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [([3], "agent 3"), (range(2), "agents 0, 1"), (range(9), "agents 0, 1, ...")],
)
def test_agents(numbers: list, expected: str) -> None:
    assert agents_named(numbers, most=2) == expected
