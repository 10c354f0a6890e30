"""The contract of streams: data that arrive over time, perhaps from a changing source."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ...values import MOST_AGENTS, require_count
from ..drift import Drift, at

Numbers = NDArray[np.int64]
Batch = tuple[Tensor, Tensor]

NEVER = at()


class Stream(ABC):
    """What the agents see, sample by sample.

    Args:
        agents: how many agents draw from it.
        drift: in which rounds the concept changes.
        sample_bytes: the size of one raw sample.

    Attributes:
        prequential: whether what agents suffer on samples before they learn from them is counted;
            it means little where samples come again.
    """

    prequential: ClassVar[bool] = True

    def __init__(self, agents: int, drift: Drift, sample_bytes: int) -> None:
        require_count("agents", agents, most=MOST_AGENTS)
        require_count("sample_bytes", sample_bytes)
        require_kind("drift", drift, Drift, "drift.at([100])")
        self.agents, self.drift, self.sample_bytes = agents, drift, sample_bytes

    def length(self, agent: int) -> int | None:
        """How many samples the agent gets; None for a stream without end."""
        return None

    @abstractmethod
    def take(self, seed: int, agents: Numbers, first: Numbers, size: int, round: int) -> Batch:
        """The next samples of some agents, as tensors (k, size, ...) on the CPU.

        Args:
            seed: of the run.
            agents: (k,) their numbers, perhaps one several times.
            first: (k,) the number of each one's first sample.
            size: how many samples of each.
            round: the round, from 0; at the start of a run, -1.
        """

    def test(self, seed: int, round: int) -> Batch | None:
        """What networks are evaluated on while the round's concept holds, if there is such."""
        return None

    def positions(self, round: int) -> NDArray[np.float64] | None:
        """(agents, dimensions) where they are in a round, if they are somewhere."""
        return None

    def raw_bytes(self, agent: int, samples: int, round: int) -> int:
        """The size of what an agent has gathered when it has drawn so many samples by a round."""
        return samples * self.sample_bytes

    def concept(self, seed: int, round: int) -> int:
        """The number of what samples are drawn from in a round; -1 counts as round 0."""
        return self.drift.concept(seed, round)

    def drifts(self, seed: int, rounds: int) -> list[int]:
        """The rounds, of so many, in which the concept changes."""
        return self.drift.rounds(seed, rounds)

    def describe(self) -> dict[str, Any]:
        """What the stream is: values that JSON has, or functions, whose names stand for them."""
        return {"kind": type(self).__name__, "drift": self.drift.describe()}

    def tensors(self) -> list[Tensor]:
        """What is too large to describe, and is compared by its digest."""
        return []


def require_kind(name: str, value: Any, kind: type, example: str) -> None:
    if not isinstance(value, kind):
        raise ValueError(f"{name} is {value!r}, expected one such as {example}")
