"""The contract of a task: what is learned, by how many agents, and how it is judged."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..learner import Learner


class BaseTask(ABC):
    """Everything a run needs to know of its subject. A task is not changed by training.

    Attributes:
        stream: where its data arrive over time, a `peerlearn.data.Stream`.
        falls: name of a measure -> whether less of it is better. It goes into the record; of
            measures that are not named a report tells by their names.
    """

    name: str = "task"
    stream: Any = None
    falls: Mapping[str, bool] = {}
    agents: int

    @abstractmethod
    def learner(
        self,
        seed: int,
        device: torch.device,
        dtype: torch.dtype,
        agents: Sequence[int] | None = None,
    ) -> Learner:
        """The learner of the agents hosted here."""

    @abstractmethod
    def pooled(self, in_turn: bool = False) -> BaseTask:
        """The same task for one agent that sees everybody's data.

        Its minibatches are drawn from the pool and as large as the agents' together; with
        ``in_turn`` the k-th minibatch is agent (k mod m)'s own next one.
        """

    @abstractmethod
    def data_bytes(self) -> list[int]:
        """The size of each agent's raw data, in bytes."""

    def drifts(self, seed: int, rounds: int) -> list[int]:
        """The rounds in which the distribution of a stream changes; none for fixed data."""
        return []

    def positions(self, round: int) -> NDArray[np.float64] | None:
        """(agents, dimensions) where they are in a round, if that is known before training."""
        return None

    def scene(self) -> dict[str, Tensor]:
        """What pictures of the run show behind its snapshots; written once."""
        return {}

    def stream_bytes(self, gradients: int, in_turn: bool, round: int) -> list[int] | None:
        """Each agent's raw data in so many minibatches of the pooled task; None for fixed data.

        The round is the one that has just ended.
        """
        return None

    def stream_messages(self, gradients: int, turns: int, round: int) -> int:
        """In how many messages each agent has sent them: by default, all in one."""
        return 1

    def stream_problems(self, gradients: int, rounds: int) -> list[str]:
        """Why a stream cannot feed so many gradients of each agent, in so many rounds."""
        return []

    def problems(self) -> list[str]:
        """What is wrong with the task, one sentence each; found without training."""
        return []

    def describe(self) -> dict[str, Any]:
        """What the record says of the task."""
        return {"name": self.name, "agents": self.agents}
