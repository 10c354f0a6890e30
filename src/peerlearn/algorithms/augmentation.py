"""Whom the coordinator asks next when it balances violations: the augmentation strategies.

A strategy is a function of a `Balancing` that returns the numbers of the agents to add, at least
one. Your own goes into ``DynamicAveraging(augment=...)`` just so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import index

import torch
from torch import Tensor


@dataclass(frozen=True)
class Balancing:
    """What a strategy may know.

    Args:
        outside: the numbers of the k agents that have not sent their networks yet.
        step: how often the set has been augmented since the violations, from 0.
        generator: to draw from; all processes draw the same.
        distances: asks those outside for their squared distances from the reference, (k,) in the
            order of ``outside``; the first time it takes a control message to and from each.
    """

    outside: list[int]
    step: int
    generator: torch.Generator
    distances: Callable[[], Tensor]


Strategy = Callable[[Balancing], Sequence[int] | Tensor]


def random(b: Balancing) -> list[int]:
    """One agent at random."""
    return _drawn(b, 1)


def growing(b: Balancing) -> list[int]:
    """Random agents, twice as many each time: 1, 2, 4, ..."""
    return _drawn(b, 2**b.step)


def farthest(b: Balancing) -> list[int]:
    """The one agent that is farthest from the reference; all are asked how far they are."""
    return [b.outside[int(b.distances().argmax())]]


def all_at_once(b: Balancing) -> list[int]:
    """All agents: every violation leads to a full synchronization."""
    return b.outside


STRATEGIES: dict[str, Strategy] = {
    "random": random,
    "growing": growing,
    "farthest": farthest,
    "all": all_at_once,
}


def augmented(strategy: Strategy, balancing: Balancing) -> list[int]:
    """The numbers that the strategy adds.

    Raises:
        ValueError: none, the same one twice, or one that is not outside.
    """
    found, outside = strategy(balancing), balancing.outside
    try:
        chosen = [index(i) for i in found]
    except TypeError:
        chosen = []
    if not chosen or len({*chosen}.intersection(outside)) < len(chosen):
        raise ValueError(
            f"the augmentation strategy {getattr(strategy, '__name__', strategy)!r} added the "
            f"agents {found}, expected a list of at least one of {outside}, each at most once"
        )
    return chosen


def _drawn(b: Balancing, count: int) -> list[int]:
    """So many of those outside, or all that are left."""
    order = torch.randperm(len(b.outside), generator=b.generator)[:count]
    return [b.outside[k] for k in order.tolist()]
