"""Consensus ADMM with exact primal steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from torch import Tensor

from ..algorithm import Algorithm, Needs
from ..learner import Learner
from ..links import Links
from ..schedules import Rate


class ADMMState(NamedTuple):
    theta: Tensor  # (A, P)
    dual: Tensor  # (A, P)


@dataclass(frozen=True, kw_only=True)
class ConsensusADMM(Algorithm):
    """Consensus ADMM (CADMM): DiNNO's equations with the primal problem solved exactly.

    For losses whose primal step has a solution, such as least squares; the learner must offer
    ``minimize``. In each round, with d_i neighbors N_i of agent i:

        p_i <- p_i + rho sum_{j in N_i} (theta_i - theta_j)                               (4a)
        theta_i <- argmin_theta  l_i(theta) + <theta, p_i>
                                 + rho sum_{j in N_i} ||theta - (theta_i + theta_j) / 2||^2  (4b)

    The penalty is rho d_i ||theta - c_i||^2 and a constant, c_i the mean of the midpoints. An
    agent that hears nobody in a round keeps its network: without the penalty, (4b) may have no
    solution.

    Args:
        rho: weight of the penalty and step of the dual, or a schedule of it.

    Source: Yu et al. (2022), equations (4a) and (4b), after Chang, Hong and Wang, "Multi-agent
    distributed optimization via inexact consensus ADMM", IEEE Transactions on Signal Processing
    63(2), 2015.
    """

    rho: Rate = 0.5

    needs: ClassVar[Needs] = Needs.MINIMIZE
    exact: ClassVar[bool] = True
    State: ClassVar[type] = ADMMState

    def start(self, theta: Tensor, learner: Learner, links: Links) -> ADMMState:
        return ADMMState(theta.clone(), theta.new_zeros(theta.shape))

    def round(self, s: ADMMState, learner: Learner, links: Links) -> ADMMState:
        rho = links.now(self.rho)
        heard = links.exchange(s.theta)
        (difference,) = heard.difference()
        dual = s.dual + rho * difference
        degree = heard.degree.clamp_min(1)
        centre = s.theta - difference / (2 * degree)
        theta = learner.minimize(dual, centre, rho * degree)
        return ADMMState(theta.where(heard.degree > 0, s.theta), dual)

    def vanishing(self, s: ADMMState) -> Tensor:
        return s.dual
