"""Write a method in a few lines, check it, train with it.

Exact diffusion (Yuan, Ying, Zhao and Sayed, 2019) sends as little as DSGD and yet reaches the
optimum with a fixed step: it corrects each mixing by what the previous step changed.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from torch import Tensor

import peerlearn as pl
from peerlearn.learner import Learner
from peerlearn.links import Links
from peerlearn.schedules import Rate
from peerlearn.testing import check_algorithm


class ExactDiffusionState(NamedTuple):
    theta: Tensor  # (A, P)
    stepped: Tensor  # (A, P), psi of the previous round


@dataclass(frozen=True, kw_only=True)
class ExactDiffusion(pl.Algorithm):
    """Adapt, correct, combine.

        psi_i <- theta_i - alpha g_i(theta_i)
        phi_i <- psi_i + theta_i - psi_i of the round before
        theta_i <- sum_j (I + W)_ij / 2 phi_j

    Args:
        lr: the step alpha, or a schedule of it.
    """

    lr: Rate = 0.05

    needs: ClassVar[pl.Needs] = pl.Needs.DOUBLY_STOCHASTIC | pl.Needs.SYMMETRIC
    preserves_average: ClassVar[bool] = True
    exact: ClassVar[bool] = True
    State: ClassVar[type] = ExactDiffusionState

    def start(self, theta: Tensor, learner: Learner, links: Links) -> ExactDiffusionState:
        return ExactDiffusionState(theta.clone(), theta.clone())

    def round(self, s: ExactDiffusionState, learner: Learner, links: Links) -> ExactDiffusionState:
        alpha = links.now(self.lr)
        stepped = learner.descend(s.theta, learner.gradient(s.theta), alpha)
        corrected = stepped + s.theta - s.stepped
        (mixed,) = links.exchange(corrected).mix()
        return ExactDiffusionState((corrected + mixed) / 2, stepped)


def main() -> None:
    check_algorithm(ExactDiffusion())
    print("exact diffusion keeps the contract")

    task = pl.tasks.quadratic(agents=10)
    for method in (pl.DSGD(lr=0.05), ExactDiffusion(lr=0.05)):
        run = pl.train(task, method, pl.graphs.cycle(10), rounds=1000, dtype="float64")
        print(f"{method.name:>14}: distance to the optimum {run.final['distance'].max():.1e}")
    assert run.final["distance"].max() < 1e-9

    run = pl.train(pl.tasks.digits(), ExactDiffusion(lr=0.1), pl.graphs.cycle(10), rounds=300)
    print(f"digits, one class per agent: mean accuracy {run.final['accuracy'].mean():.1%}")


if __name__ == "__main__":
    main()
