"""CDMSGD (Jiang et al., 2017)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

from torch import Tensor

from ..algorithm import BELOW_ONE, Algorithm, Limit, Needs
from ..learner import Learner
from ..links import Links
from ..schedules import Rate


class CDMSGDState(NamedTuple):
    theta: Tensor  # (A, P)
    momentum: Tensor  # (A, P), b: stays with its agent


@dataclass(frozen=True, kw_only=True)
class CDMSGD(Algorithm):
    """Consensus-based Distributed Momentum SGD: CDSGD with Polyak's or Nesterov's momentum.

    The momentum buffer b stays outside the consensus:

        b_j <- mu b_j + g_j(x_j)
        x_j <- sum_l Pi_jl x_l - alpha b_j                      (Polyak)
        x_j <- sum_l Pi_jl x_l - alpha (g_j(x_j) + mu b_j)      (Nesterov)

    Momentum on displacements, alpha g + beta (x - x_previous) instead, is DMSGD with omega = 1.

    Args:
        lr: the step alpha, or a schedule of it.
        momentum: mu, less than one.
        kind: "nesterov", as in the paper's experiments, or "polyak".

    Source: Jiang et al. (2017), Section 3.1; its recursions stand in a supplement, and are written
    here as in the PyTorch code that the same group published later.
    """

    lr: Rate = 0.002
    momentum: float = 0.95
    kind: Literal["nesterov", "polyak"] = "nesterov"

    needs: ClassVar[Needs] = Needs.ASSUMPTION_2
    preserves_average: ClassVar[bool] = True
    limits: ClassVar[Mapping[str, Limit]] = {"momentum": BELOW_ONE}
    State: ClassVar[type] = CDMSGDState

    def start(self, theta: Tensor, learner: Learner, links: Links) -> CDMSGDState:
        return CDMSGDState(theta.clone(), theta.new_zeros(theta.shape))

    def round(self, s: CDMSGDState, learner: Learner, links: Links) -> CDMSGDState:
        alpha = links.now(self.lr)
        heard = links.exchange(s.theta)
        gradient = learner.gradient(s.theta)
        momentum = self.momentum * s.momentum + gradient
        step = momentum if self.kind == "polyak" else gradient + self.momentum * momentum
        (mixed,) = heard.mix()
        return CDMSGDState(learner.descend(mixed, step, alpha), momentum)
