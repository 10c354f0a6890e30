"""Local training: what is common to methods whose agents step by themselves between averages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from ..algorithm import Algorithm
from ..learner import Learner
from ..links import Links
from ..optimizer import LocalOptimizer, Moments
from ..schedules import Rate


class LocalState(NamedTuple):
    theta: Tensor  # (A, P)
    moments: Moments  # stay with their agent, whatever becomes of its network


@dataclass(frozen=True, kw_only=True)
class LocalTraining(Algorithm):
    """Agents that train by themselves, with any elementwise torch.optim optimizer.

    Args:
        lr: the learning rate, or a schedule of it.
        optimizer: the optimizer, by class or name.
        options: the optimizer's further keyword arguments.
    """

    lr: Rate = 0.005
    optimizer: str | type = "adam"
    options: Mapping[str, Any] = field(default_factory=dict)

    consumes_state: ClassVar[bool] = True  # rows and moments are stepped in place
    State: ClassVar[type] = LocalState

    def start(self, theta: Tensor, learner: Learner, links: Links) -> Any:
        return LocalState(theta.clone(), {})

    def learn(
        self,
        theta: Tensor,
        moments: Moments,
        learner: Learner,
        links: Links,
        rows: Tensor | None = None,
    ) -> Moments:
        """One local step in place, of all rows or of those at the positions ``rows``."""
        lr = links.now(self.lr)
        optimizer = LocalOptimizer(self.optimizer, self.options)
        if rows is None or len(rows) == len(theta):
            gradient = learner.gradient(theta)
            return optimizer.step_(theta, gradient, moments, lr, rates=learner.rates)
        chosen, gradient = rows.tolist(), torch.empty_like(theta)
        gradient[chosen] = learner.gradient(theta[chosen], chosen)
        return optimizer.step_(theta, gradient, moments, lr, chosen, learner.rates)
