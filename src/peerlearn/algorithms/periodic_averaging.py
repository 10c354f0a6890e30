"""Periodic and continuous averaging."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..algorithm import Needs
from ..learner import Learner
from ..links import Links
from ..schedules import Rate
from .averages import average, average_buffers, everyone
from .local import LocalState, LocalTraining


@dataclass(frozen=True, kw_only=True)
class PeriodicAveraging(LocalTraining):
    """Agents train by themselves, and every b-th round all networks are averaged.

    With b = ``period`` and any local step, in each round t = 1, 2, ...:

        f_i <- f_i + step(g_i(f_i))
        f_i <- 1/m sum_j f_j      if b divides t                               (sigma_b)

    The simplest method with a coordinator: m networks up and m down every b rounds, whether the
    agents have learned something or not. `DynamicAveraging` talks when it pays. period = 1 is
    continuous averaging, sigma_1. With plain SGD and equal starts it is training on the m
    minibatches of B samples together (Proposition 3). The paper sums gradients, so its serial rate
    is eta / m; gradients here are means over the minibatch, so the rate of the batch of mB samples
    is eta itself.

    Args:
        lr: the learning rate eta, or a schedule of it.
        optimizer: any elementwise torch.optim optimizer, by class or name; its moments stay with
            their agent.
        options: the optimizer's further keyword arguments.
        period: b, rounds between averages.

    Source: Kamp et al., "Efficient Decentralized Deep Learning by Dynamic Model Averaging", ECML
    PKDD 2018, Section 4.
    """

    lr: Rate = 0.2
    optimizer: str | type = "sgd"
    period: int = 1

    needs: ClassVar[Needs] = Needs.COORDINATOR
    communicates: ClassVar[bool] = False
    preserves_average: ClassVar[bool] = True

    def round(self, s: LocalState, learner: Learner, links: Links) -> LocalState:
        moments = self.learn(s.theta, s.moments, learner, links)
        if (links.round + 1) % self.period == 0:
            average(s.theta, everyone(links), links)
            average_buffers(learner, everyone(links), links)
        return LocalState(s.theta, moments)
