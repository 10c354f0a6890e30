"""DSGT (Pu and Nedić, 2021), as DiNNO's experiments use it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from torch import Tensor

from ..algorithm import Algorithm, Needs
from ..learner import Learner
from ..links import Links
from ..schedules import Rate


class DSGTState(NamedTuple):
    theta: Tensor  # (A, P)
    tracker: Tensor  # (A, P), y: an estimate of the mean gradient
    gradient: Tensor  # (A, P), the latest


@dataclass(frozen=True, kw_only=True)
class DSGT(Algorithm):
    """Distributed Stochastic Gradient Tracking: each agent follows the team's mean gradient.

    One gradient a round like DSGD, but messages twice as long; it reaches the optimum with a fixed
    step where DSGD stops short of it.

        theta_i <- sum_j W_ij (theta_j - alpha y_j)                                         (6)
        y_i <- sum_j W_ij y_j + g_i(theta_i^{k+1}) - g_i(theta_i^k)                         (7)

    with y_i = g_i at the start. The mean of y is the mean of the latest gradients, always.

    Args:
        lr: the step alpha, or a schedule of it.

    Source: Yu et al. (2022), equations (6) and (7), after Pu and Nedić, "Distributed stochastic
    gradient tracking methods", Mathematical Programming 187, 2021.
    """

    lr: Rate = 0.2

    needs: ClassVar[Needs] = Needs.DOUBLY_STOCHASTIC
    preserves_average: ClassVar[bool] = True
    exact: ClassVar[bool] = True
    State: ClassVar[type] = DSGTState

    def gradients(self, rounds: int, epoch: int = 1) -> int:
        return rounds + 1  # one at the start

    def start(self, theta: Tensor, learner: Learner, links: Links) -> DSGTState:
        gradient = learner.gradient(theta)
        return DSGTState(theta.clone(), gradient.clone(), gradient)

    def round(self, s: DSGTState, learner: Learner, links: Links) -> DSGTState:
        alpha = links.now(self.lr)
        heard = links.exchange(learner.descend(s.theta, s.tracker, alpha), s.tracker)
        theta, tracker = heard.mix()
        gradient = learner.gradient(theta)
        return DSGTState(theta, tracker + gradient - s.gradient, gradient)

    def vanishing(self, s: DSGTState) -> Tensor:
        return s.tracker - s.gradient
