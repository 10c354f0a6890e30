"""The contract of an environment: a team acts in many episodes of one world at once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Step(NamedTuple):
    """What the agents see and get after they have acted.

    Attributes:
        observations: (A, E, O) of each agent in each episode.
        rewards: (A, E) of this step; 0 for agents that no longer act.
        acting: (A, E) whether the agent acts again.
        truncated: (A, E) whether time alone has ended the agent's episode in this step, so that
            its last state has a value.
    """

    observations: Floats
    rewards: Floats
    acting: NDArray[np.bool_]
    truncated: NDArray[np.bool_]


class Environment(ABC):
    """Agents that are alike in what they see and do, in many episodes side by side.

    Attributes:
        agents: how many act, A.
        observation_size: how many numbers an agent sees, O.
        actions: how many numbers an action has; where they are ``discrete``, among how many an
            agent chooses.
        discrete: whether an action is one of a few, and not a vector.
        steps: the most steps an episode has.
        turns: how many act in a step, scripted ones included.
        measures: the names of what `tally` reports.
        falls: name of one of them -> whether less of it is better; else a report tells by the name.
    """

    agents: int
    observation_size: int
    actions: int
    discrete: bool
    steps: int
    turns: int
    measures: ClassVar[tuple[str, ...]] = ()
    falls: ClassVar[Mapping[str, bool]] = {}

    @abstractmethod
    def reset(self, episodes: int, generator: np.random.Generator) -> Floats:
        """Begin so many episodes: the first observations (A, E, O)."""

    @abstractmethod
    def step(self, actions: NDArray[Any]) -> Step:
        """One step of all episodes.

        Args:
            actions: (A, E, actions), or (A, E) whole numbers where they are discrete.
        """

    def tally(self) -> dict[str, Floats]:
        """What else the episodes so far amount to, by the names in ``measures``: name -> (E,)."""
        return {}

    def scene(self) -> dict[str, Floats]:
        """Where everything is, to be drawn: name -> (things, E, 2); {} without places."""
        return {}

    def describe(self) -> dict[str, Any]:
        """What the environment is: values that JSON has."""
        return {}
