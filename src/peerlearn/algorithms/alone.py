"""The ends of the scale: one learner with all the data, and learners that never talk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..learner import Learner
from ..links import Links
from ..schedules import Rate
from .local import LocalState, LocalTraining


@dataclass(frozen=True, kw_only=True)
class Isolated(LocalTraining):
    """Every agent trains on its own data and talks to nobody; also called nosync.

        theta_i <- theta_i + step(g_i(theta_i)),  the step of a torch.optim optimizer

    What an agent reaches without the team: the floor for every other method.

    Args:
        lr: the learning rate, or a schedule of it.
        optimizer: any elementwise torch.optim optimizer, by class or name.
        options: the optimizer's further keyword arguments.
        local_steps: gradient steps a round.
    """

    local_steps: int = 1

    communicates: ClassVar[bool] = False

    def gradients(self, rounds: int, epoch: int = 1) -> int:
        return rounds * self.local_steps

    def round(self, s: LocalState, learner: Learner, links: Links) -> LocalState:
        theta, moments = s
        for _ in range(self.local_steps):
            moments = self.learn(theta, moments, learner, links)
        return LocalState(theta, moments)


@dataclass(frozen=True, kw_only=True)
class Centralized(Isolated):
    """One learner that has collected all the data: what the team could reach at best.

    The same steps as `Isolated`, by one agent whose minibatches are drawn from the pooled data and
    are as large as the agents' together. Its traffic is the raw data, sent once. The arguments are
    those of `Isolated`.

        theta <- theta + step(1/N sum_i g_i(theta))

    Source: the centralized baseline of Yu et al., "DiNNO", RA-L 2022, Section V.
    """

    pools_data: ClassVar[bool] = True
    exact: ClassVar[bool] = True


@dataclass(frozen=True, kw_only=True)
class Serial(LocalTraining):
    """One learner that sees the agents' minibatches one after another, in order.

    m sequential steps a round where the agents take one each:

        theta <- theta + step(g_i(theta)),  i = 0, 1, ..., m - 1

    The yardstick of learning from streams: it takes as many steps as there are minibatches, where
    `Centralized` takes one on all of them together. Its traffic is the raw data that it would have
    had to collect.

    Args:
        lr: the learning rate, or a schedule of it.
        optimizer: any elementwise torch.optim optimizer, by class or name.
        options: the optimizer's further keyword arguments.

    Source: "serial learning" in Kamp et al., ECML PKDD 2018, Sections 2 and 5.
    """

    lr: Rate = 0.1
    optimizer: str | type = "sgd"

    communicates: ClassVar[bool] = False
    pools_data: ClassVar[bool] = True
    in_turn: ClassVar[bool] = True

    def round(self, s: LocalState, learner: Learner, links: Links) -> LocalState:
        theta, moments = s
        for _ in range(learner.turns):
            moments = self.learn(theta, moments, learner, links)
        return LocalState(theta, moments)
