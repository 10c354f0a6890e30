"""The two ends of the scale: one learner with all the data, and learners that never talk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

from torch import Tensor

from ..algorithm import Algorithm
from ..learner import Learner
from ..links import Links
from ..optimizer import LocalOptimizer, Moments
from ..schedules import Rate, at


class AloneState(NamedTuple):
    theta: Tensor  # (A, P)
    moments: Moments


@dataclass(frozen=True, kw_only=True)
class Isolated(Algorithm):
    """Every agent trains on its own data and talks to nobody; also called nosync.

        theta_i <- theta_i + step(g_i(theta_i)),  the step of a torch.optim optimizer

    What an agent reaches without the team: the floor for every other method.

    Args:
        lr: the learning rate, or a schedule of it.
        local_steps: gradient steps a round.
        optimizer: any elementwise torch.optim optimizer, by class or name.
        options: the optimizer's further keyword arguments.
    """

    lr: Rate = 0.005
    local_steps: int = 1
    optimizer: str | type = "adam"
    options: Mapping[str, Any] = field(default_factory=dict)

    communicates: ClassVar[bool] = False
    State: ClassVar[type] = AloneState

    def start(self, theta: Tensor, learner: Learner, links: Links) -> AloneState:
        return AloneState(theta.clone(), {})

    def round(self, s: AloneState, learner: Learner, links: Links) -> AloneState:
        lr = at(self.lr, links.round, links.rounds)
        optimizer = LocalOptimizer(self.optimizer, self.options)
        theta, moments = s
        for _ in range(self.local_steps):
            gradient = learner.gradient(theta)
            theta, moments = optimizer.step(theta, gradient, moments, lr, rates=learner.rates)
        return AloneState(theta, moments)


@dataclass(frozen=True, kw_only=True)
class Centralized(Isolated):
    """One learner that has collected all the data: what the team could reach at best.

    The same steps as `Isolated`, by one agent whose minibatches are drawn from the pooled data and
    are as large as the agents' together. Its traffic is the raw data, sent once. The arguments are
    those of `Isolated`.
    """

    pools_data: ClassVar[bool] = True
    exact: ClassVar[bool] = True
