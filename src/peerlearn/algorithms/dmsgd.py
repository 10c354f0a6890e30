"""DMSGD (Balu et al., 2021)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

from torch import Tensor

from ..algorithm import BELOW_ONE, UP_TO_ONE, Algorithm, Limit, Needs
from ..learner import Learner
from ..links import Links
from ..schedules import Rate


class DMSGDState(NamedTuple):
    theta: Tensor  # (A, P), x_k
    previous: Tensor  # (A, P), x_{k-1}
    mixed: Tensor  # (A, P), v_{k-1}


@dataclass(frozen=True, kw_only=True)
class DMSGD(Algorithm):
    """Decentralized Momentum SGD: consensus accelerated by momentum (Algorithm 1).

        v_k = Pi x_k                                                             consensus
        delta_k = omega (x_k - x_{k-1}) + (1 - omega) (v_k - v_{k-1})            momentum
        x_{k+1} = v_k - alpha g(x_k) + beta delta_k                              local gradient

    omega = 1 is the classical momentum on displacements, omega = 0 a momentum on the consensus
    variables alone, beta = 0 is CDSGD. The consensus bound weakens as omega grows to one
    (Proposition 1, Remark 1).

    With ``consensus="momentum"`` the last line starts at x_k instead of v_k, so that consensus
    enters through the momentum alone. That variant has fixed points where every agent's OWN
    gradient vanishes: it does not lead to a common optimum, and with omega = 1 nothing that is
    heard is used at all. It is here because the paper describes it.

    Args:
        lr: the step alpha, or a schedule of it.
        beta: weight of the momentum, less than one.
        omega: trade-off between the two momentum terms, in [0, 1].
        consensus: "step", Algorithm 1, or "momentum", the paper's alternative.

    Source: Balu, Jiang, Tan, Hegde, Lee and Sarkar, "Decentralized Deep Learning using
    Momentum-Accelerated Consensus", ICASSP 2021. As there, x_0 = x_1: the first momentum is zero.
    """

    lr: Rate = 0.2
    beta: float = 0.5
    omega: float = 0.5
    consensus: Literal["step", "momentum"] = "step"

    needs: ClassVar[Needs] = Needs.ASSUMPTION_2
    limits: ClassVar[Mapping[str, Limit]] = {"omega": UP_TO_ONE, "beta": BELOW_ONE}
    State: ClassVar[type] = DMSGDState

    @property
    def reaches_consensus(self) -> bool:
        return self.consensus == "step"

    def start(self, theta: Tensor, learner: Learner, links: Links) -> DMSGDState:
        # v_0 = Pi x_0 is x_0 where the agents start alike; else the first momentum uses v_0 = v_1
        return DMSGDState(theta.clone(), theta.clone(), theta.clone())

    def round(self, s: DMSGDState, learner: Learner, links: Links) -> DMSGDState:
        alpha = links.now(self.lr)
        heard = links.exchange(s.theta)
        gradient = learner.gradient(s.theta)
        (mixed,) = heard.mix()
        before = mixed if links.round == 0 else s.mixed
        momentum = self.omega * (s.theta - s.previous) + (1 - self.omega) * (mixed - before)
        base = mixed if self.consensus == "step" else s.theta
        theta = learner.descend(base, gradient, alpha) + self.beta * momentum
        return DMSGDState(theta, s.theta.clone(), mixed)
