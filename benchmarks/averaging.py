"""What averaging over the coordinator adds to a round of local training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import median

from cases import NETWORKS, session
from speed import fastest_bare, interleaved, repeated

import peerlearn as pl
from peerlearn.algorithms.dynamic_averaging import DynamicState
from peerlearn.learner import Learner
from peerlearn.links import Links
from peerlearn.session import Session

AGENTS, BATCH = 200, 10
ROUNDS = 5  # of a block
BOUND = 1.25  # a round over the gradients and optimizer steps in it
LR = 0.001  # so small that no agent leaves the safe zone of PUSHED by its own step
DELTA = 1e-2


@dataclass(frozen=True, kw_only=True)
class Pushed(pl.DynamicAveraging):
    """One agent, pushed so far away that only the mean of all is in the safe zone again.

    In every round the coordinator asks for the network of every other agent. The push goes back
    and forth, so that the networks stay where they are.

    Args:
        far: how far the agent is pushed, in radii of the safe zone.
        lean: how far all agents are from the reference, in the same direction. The closer to the
            border they are, the less does each of them bring the mean back.
    """

    far: float
    lean: float = 0.0

    def synchronize(self, s: DynamicState, learner: Learner, links: Links) -> DynamicState:
        radius = (self.delta / s.theta.shape[1]) ** 0.5  # in each parameter
        radius *= 1 if links.round % 2 else -1
        s.theta[0] += self.far * radius
        s = s._replace(reference=s.reference - self.lean * radius)
        return super().synchronize(s, learner, links)


METHODS: dict[str, tuple[pl.Algorithm, str, int]] = {
    "periodic": (
        pl.PeriodicAveraging(period=1, lr=LR),
        "PeriodicAveraging(period=1)",
        0,
    ),
    "all violate": (
        pl.DynamicAveraging(delta=1e-12, period=1, lr=LR),
        "DynamicAveraging, all agents violate",
        0,
    ),
    "far away": (
        Pushed(far=1.5 * AGENTS, delta=DELTA, period=1, lr=LR),
        "DynamicAveraging, one violates by far",
        AGENTS - 1,
    ),
    "one by one": (
        Pushed(far=4.0, lean=0.985, delta=DELTA, period=1, lr=LR),
        "DynamicAveraging, one violates, the others are asked one by one",
        AGENTS - 1,
    ),
}
"""name -> the method, in words, and how many agents it asks in a round."""


@dataclass(frozen=True)
class Averaging:
    """One row of the table: a round over the round of `Isolated` with the same steps.

    Attributes:
        method: in words.
        round_ms: one round of all agents.
        ratio: over the round without averaging that was measured just before.
    """

    method: str
    round_ms: float
    ratio: float

    @property
    def met(self) -> bool:
        return self.ratio <= BOUND


def measure(budget_s: float) -> tuple[float, list[Averaging]]:
    """A round without averaging in ms, and the methods': blocks of the same rounds in turn."""
    task = NETWORKS["MNIST CNN"].task(AGENTS, BATCH)
    way, _ = fastest_bare(task, BATCH)
    task = replace(task, gradients=way)  # one for all, or ways would be compared, not methods
    runs = {"alone": session(task, pl.Isolated(lr=LR, optimizer="sgd"))}
    runs |= {name: session(task, method) for name, (method, _, _) in METHODS.items()}
    blocks: dict[str, Callable[[], object]] = {
        name: repeated(run._round, ROUNDS) for name, run in runs.items()
    }
    times = interleaved(blocks, budget_s)
    for name, (_, _, asked) in METHODS.items():
        _require_full_synchronizations(runs[name], asked)
    alone = times["alone"]
    found = [
        Averaging(
            words,
            1e3 * median(times[name]) / ROUNDS,
            median(t / a for t, a in zip(times[name], alone, strict=True)),
        )
        for name, (_, words, _) in METHODS.items()
    ]
    return 1e3 * median(alone) / ROUNDS, found


def _require_full_synchronizations(run: Session, asked: int) -> None:
    """What was measured is what the table says: all send in each round, so many because asked.

    Raises:
        AssertionError: the agents did not behave so.
    """
    traffic = run.engine.traffic
    down = int(traffic.coordinator_messages_sent[0])
    assert (traffic.messages_sent == run.done).all(), "not every agent sent in every round"
    assert down == run.done * (AGENTS + asked), f"{down} messages down in {run.done} rounds"
