"""DiNNO (Yu, Vincent and Schwager, 2022)."""

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


class DiNNOState(NamedTuple):
    theta: Tensor  # (A, P)
    dual: Tensor  # (A, P)
    moments: Moments  # of the primal optimizer, empty where it is fresh each round


@dataclass(frozen=True, kw_only=True)
class DiNNO(Algorithm):
    """Distributed Neural Network Optimization: consensus ADMM with approximate primal steps.

    The first choice where agents see different data: it needs the fewest rounds, at B gradients a
    round. With the neighbors N_i of agent i, in each round k (equations 4a, 4b; Algorithm 1):

        p_i <- p_i + rho sum_{j in N_i} (theta_i - theta_j)                               (4a)
        theta_i <- argmin_theta  l_i(theta) + <theta, p_i>
                                 + rho sum_{j in N_i} ||theta - (theta_i + theta_j) / 2||^2  (4b)

    where the argmin is replaced by B = ``local_steps`` minibatch steps of an optimizer, each with
    the gradient  g_i(psi) + p_i + 2 rho sum_j (psi - (theta_i + theta_j) / 2).

    Theorem 1 takes the step 1 / L, which diverges already for moderate rho; with d_i neighbors the
    safe step of plain gradient descent is 1 / (L + 2 rho d_i).

    Args:
        rho: weight of the penalty and step of the dual, or a schedule of it.
        lr: learning rate of the primal optimizer, or a schedule of it.
        local_steps: B, gradient steps a round; typically 2 to 10.
        optimizer: any elementwise torch.optim optimizer, by class or name.
        options: the optimizer's further keyword arguments.
        persistent: keep the optimizer's moments over rounds; by default they start at zero in
            each round, as in the published experiments.

    Source: Yu et al., "DiNNO: Distributed Neural Network Optimization for Multi-Robot
    Collaborative Learning", IEEE Robotics and Automation Letters 7(2), 2022. In line 10 of its
    Algorithm 1 the sign of the dual step is reversed; equation (4a) is right.

    Example:
        >>> import peerlearn as pl
        >>> pl.DiNNO(rho=pl.schedules.geometric(0.5, 1.003), local_steps=2).local_steps
        2
    """

    rho: Rate = 0.5
    lr: Rate = 0.005
    local_steps: int = 2
    optimizer: str | type = "adam"
    options: Mapping[str, Any] = field(default_factory=dict)
    persistent: bool = False

    consumes_state: ClassVar[bool] = True  # the rows are too large to copy in each round
    exact: ClassVar[bool] = True
    State: ClassVar[type] = DiNNOState

    def gradients(self, rounds: int, epoch: int = 1) -> int:
        return rounds * self.local_steps

    def start(self, theta: Tensor, learner: Learner, links: Links) -> DiNNOState:
        return DiNNOState(theta.clone(), theta.new_zeros(theta.shape), {})

    def round(self, s: DiNNOState, learner: Learner, links: Links) -> DiNNOState:
        rho, lr = links.now(self.rho), links.now(self.lr)
        primal = LocalOptimizer(self.optimizer, self.options)
        heard = links.exchange(s.theta)
        (difference,) = heard.difference()
        dual = s.dual.add_(difference, alpha=rho)  # (4a)
        # p_i + 2 rho sum_j (psi - (theta_i + theta_j) / 2) = pull + 2 rho d_i psi
        pull = torch.add(dual, difference, alpha=rho, out=difference)
        pull.addcmul_(s.theta, heard.degree, value=-2 * rho)
        psi, moments, gradient = s.theta, s.moments, torch.empty_like(pull)
        for _ in range(self.local_steps):
            torch.addcmul(pull, psi, heard.degree, value=2 * rho, out=gradient)
            learner.add_gradient(gradient, psi)
            moments = primal.step_(psi, gradient, moments, lr, rates=learner.rates)
        return DiNNOState(psi, dual, moments if self.persistent else {})

    def vanishing(self, s: DiNNOState) -> Tensor:
        return s.dual
