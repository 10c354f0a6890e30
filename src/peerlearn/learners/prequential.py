"""What agents suffer on samples of a stream before they learn from them: test, then train."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .minibatches import Group

if TYPE_CHECKING:
    from ..tasks.supervised import Task

Measure = Callable[[Any, Any], Tensor]


class Suffered:
    """How many samples each agent has predicted, and the sums of their loss and of its errors.

    Args:
        task: its loss, and its measure "accuracy", if it has one.
        agents: how many.
        same_loss: whether minibatches are learned from with the task's own loss.
    """

    def __init__(self, task: Task, agents: int, same_loss: bool, device: torch.device) -> None:
        self.observed: list[Measure] = [] if same_loss else [task.loss]
        self._loss_column = len(self.observed)
        self._names = ["predictions", "cumulative_loss"]
        if "accuracy" in task.measures:
            self.observed.append(task.measures["accuracy"])
            self._names.append("cumulative_error")
        self.sums = torch.zeros(agents, len(self._names), dtype=torch.float64, device=device)

    def add(self, rows: Tensor, values: Tensor, groups: Sequence[Group]) -> None:
        """Count minibatches.

        Args:
            rows: (k,) whose.
            values: (k,) or (k, 1 + observed), the training loss and what was observed.
            groups: how many samples each was of.
        """
        values = values.double() if values.dim() > 1 else values.double()[:, None]
        sizes = torch.empty(len(rows), dtype=torch.float64)
        for places, index in groups:
            sizes[torch.from_numpy(places)] = index.shape[1]
        sizes = sizes.to(values.device)
        seen = [sizes, values[:, self._loss_column] * sizes]
        if "cumulative_error" in self._names:
            seen.append(((1 - values[:, -1]) * sizes).round())  # a number of samples
        self.sums.index_add_(0, rows.to(values.device), torch.stack(seen, dim=1))

    def measures(self) -> dict[str, Tensor]:
        """name -> (A,) float64."""
        sums = self.sums.cpu().clone()  # what was given out must not grow
        return {n: sums[:, c] for c, n in enumerate(self._names)}

    def state(self) -> dict[str, Tensor]:
        return {"suffered": self.sums.cpu().clone()}

    def load(self, state: dict[str, Tensor]) -> None:
        self.sums = state["suffered"].to(self.sums.device, copy=True)
