"""CDSGD (Jiang et al., 2017)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ..algorithm import Algorithm, Needs, ThetaState
from ..learner import Learner
from ..links import Links
from ..schedules import Rate


@dataclass(frozen=True, kw_only=True)
class CDSGD(Algorithm):
    """Consensus-based Distributed SGD over a fixed topology.

    With weights Pi that fulfil Assumption 2 and the gradient at the agent's own network
    (equation 5, Algorithm 1):

        w_j <- sum_l Pi_jl x_l
        x_j <- w_j - alpha_k g_j(x_j)

    It is gradient descent on the Lyapunov function V(x) = sum_j f_j(x_j) + ||x||^2_{I - Pi} /
    (2 alpha) (equations 8 and 9). With a fixed step the agents stay within
    alpha L / (1 - lambda), lambda = max(|lambda_2|, |lambda_N|), of their mean if they start
    alike and L bounds the norm of the stacked gradients (16); with
    ``lr=diminishing(alpha, scale, power)`` the error goes on falling.

    Args:
        lr: the step alpha: fixed, or ``schedules.diminishing``.

    Source: Jiang, Balu, Hegde and Sarkar, "Collaborative Deep Learning in Fixed Topology
    Networks", NeurIPS 2017.
    """

    lr: Rate = 0.5

    needs: ClassVar[Needs] = Needs.ASSUMPTION_2
    preserves_average: ClassVar[bool] = True
    State: ClassVar[type] = ThetaState

    def start(self, theta: Tensor, learner: Learner, links: Links) -> ThetaState:
        return ThetaState(theta.clone())

    def round(self, s: ThetaState, learner: Learner, links: Links) -> ThetaState:
        alpha = links.now(self.lr)
        heard = links.exchange(s.theta)
        step = learner.step(s.theta, alpha)
        (mixed,) = heard.mix()
        return ThetaState(step(mixed))
