"""The contract of a task: what is learned, by how many agents, and how it is judged."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch

from ..learner import Learner


class BaseTask(ABC):
    """Everything a run needs to know of its subject. A task is not changed by training."""

    name: str = "task"
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
    def pooled(self) -> BaseTask:
        """The same task for one agent that sees everybody's data."""

    @abstractmethod
    def data_bytes(self) -> list[int]:
        """The size of each agent's raw data, in bytes."""

    def problems(self) -> list[str]:
        """What is wrong with the task, one sentence each; found without training."""
        return []

    def describe(self) -> dict[str, Any]:
        """What the record says of the task."""
        return {"name": self.name, "agents": self.agents}
