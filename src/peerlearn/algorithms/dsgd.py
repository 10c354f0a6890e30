"""DSGD (Lian et al., 2017), as DiNNO's experiments use it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from ..algorithm import Algorithm, Needs, ThetaState
from ..learner import Learner
from ..links import Links
from ..schedules import Rate, decaying


@dataclass(frozen=True, kw_only=True)
class DSGD(Algorithm):
    """Decentralized Stochastic Gradient Descent: mix, then step.

    The cheapest method: one message and one gradient a round, no state. With a fixed step and
    different data it stops at an error in proportion to the step.

        theta_i <- sum_j W_ij theta_j - alpha_k g_i(theta_i)                                (5)

    Args:
        lr: the step alpha_k; by default DiNNO's decaying one,
            alpha_k = alpha_{k-1} (1 - mu alpha_{k-1}).
        gradient_at: where the gradient is taken: at the agent's "own" network, as in (5), or at
            the "mixed" one, as in the code of DiNNO's authors.

    Source: Yu et al. (2022), equation (5), after Lian et al., "Can decentralized algorithms
    outperform centralized algorithms?", NeurIPS 2017.
    """

    lr: Rate = decaying(0.5, mu=0.01)
    gradient_at: Literal["own", "mixed"] = "own"

    needs: ClassVar[Needs] = Needs.DOUBLY_STOCHASTIC
    preserves_average: ClassVar[bool] = True
    State: ClassVar[type] = ThetaState

    def start(self, theta: Tensor, learner: Learner, links: Links) -> ThetaState:
        return ThetaState(theta.clone())

    def round(self, s: ThetaState, learner: Learner, links: Links) -> ThetaState:
        alpha = links.now(self.lr)
        heard = links.exchange(s.theta)
        if self.gradient_at == "own":
            step = learner.step(s.theta, alpha)
            (mixed,) = heard.mix()
        else:
            (mixed,) = heard.mix()
            step = learner.step(mixed, alpha)
        return ThetaState(step(mixed))
