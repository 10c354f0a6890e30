"""Dynamic model averaging (Kamp et al., 2018)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from ..algorithm import Limit, Needs, Shared
from ..errors import nearest
from ..learner import Learner
from ..links import Links
from ..optimizer import Moments
from ..schedules import Rate
from .augmentation import STRATEGIES, Balancing, augmented
from .averages import average_buffers, first_mean, overwrite
from .local import LocalTraining

POSITIVE = Limit(
    lambda delta: delta > 0, "a positive number; to average always, use PeriodicAveraging"
)


class DynamicState(NamedTuple):
    theta: Tensor  # (A, P)
    moments: Moments
    reference: Shared  # (P,) r, the mean at the last full synchronization
    violations: Shared  # (1,) int64, v, how many there were since


@dataclass(frozen=True, kw_only=True)
class DynamicAveraging(LocalTraining):
    """Dynamic model averaging: agents train by themselves, and average when it pays.

    The divergence of the networks f_1, ..., f_m is  1/m sum_i ||f_i - mean(f)||^2  (2). A dynamic
    averaging operator with threshold delta and period b (Definition 2) leaves the networks alone
    unless b divides the round, and otherwise (i) leaves their mean as it is and (ii) leaves a
    divergence of at most delta. This one (Algorithm 1) needs no messages as long as every agent
    stays in the safe zone  ||f_i - r||^2 <= delta  around a common reference r, because the
    divergence is then at most delta. In every b-th round, v counting violations:

        each i with ||f_i - r||^2 > delta sends f_i                  the violators, B; v <- v + |B|
        if v >= m:  B <- [m]
        while B != [m] and ||mean_B(f) - r||^2 > delta:  add agents to B, which send their networks
        each i in B gets mean_B(f)
        if B = [m]:  r <- mean_B(f), v <- 0                                   a full synchronization

    The first reference is the mean of the first networks. A query is a control message, and so is
    an answer that is no network.

    Choose it where messages are expensive and may come unevenly: where little is learned,
    little is said, and after a drift of the data the agents talk again. delta is a squared
    distance of networks, so it depends on the network: try powers of ten, and compare what is lost
    with what is sent. Small ones come to `PeriodicAveraging` with the same period, large ones to
    `Isolated`.

    Args:
        lr: the learning rate, or a schedule of it.
        optimizer: any elementwise torch.optim optimizer, by class or name; its moments stay with
            their agent.
        options: the optimizer's further keyword arguments.
        delta: the divergence threshold, a positive squared distance.
        period: b, rounds between checks.
        augment: whom to add to B: "random" (one by one), "growing" (random, 1, 2, 4, ... of them),
            "farthest" (from r, first), "all" (at once), or a function of a
            `augmentation.Balancing`. Of a function, a run to be resumed remembers no more than the
            name, which all lambdas share.

    Source: Kamp et al., "Efficient Decentralized Deep Learning by Dynamic Model Averaging", ECML
    PKDD 2018, Algorithm 1, where v restarts only if it is m exactly: it can jump over m, and here
    it restarts at every full synchronization.
    """

    lr: Rate = 0.2
    optimizer: str | type = "sgd"
    delta: float = 0.05
    period: int = 2
    augment: str | Callable = "random"

    needs: ClassVar[Needs] = Needs.COORDINATOR
    communicates: ClassVar[bool] = False
    preserves_average: ClassVar[bool] = True
    limits: ClassVar[Mapping[str, Limit]] = {"delta": POSITIVE}
    State: ClassVar[type] = DynamicState

    def problems(self) -> list[str]:
        found = super().problems()
        if not callable(self.augment) and self.augment not in STRATEGIES:
            found.append(f"augment is {self.augment!r}; {nearest(str(self.augment), STRATEGIES)}")
        return found

    def start(self, theta: Tensor, learner: Learner, links: Links) -> DynamicState:
        none = torch.zeros(1, dtype=torch.int64, device=theta.device)
        return DynamicState(theta.clone(), {}, first_mean(theta, links), none)

    def round(self, s: DynamicState, learner: Learner, links: Links) -> DynamicState:
        s = s._replace(moments=self.learn(s.theta, s.moments, learner, links))
        return self.synchronize(s, learner, links) if (links.round + 1) % self.period == 0 else s

    def synchronize(self, s: DynamicState, learner: Learner, links: Links) -> DynamicState:
        """The operator sigma_{delta, b} in a round in which the conditions are checked."""
        away = (s.theta - s.reference).square_().sum(dim=1)  # (A,)
        violators = links.coordinator.raised(away > self.delta)
        if not violators:
            return s
        violations = s.violations + len(violators)
        members = Members(violators, s.theta, s.reference, links)
        if int(violations) >= links.total:
            members.choose(members.outside)
            members.ask()
        self._balance(members, away, links)
        mean = links.coordinator.send(members.mean, members.numbers)
        overwrite(s.theta, links.hosted(members.numbers), mean)
        average_buffers(learner, members.numbers, links)
        if members.outside:
            return s._replace(violations=violations)
        return s._replace(reference=mean, violations=torch.zeros_like(violations))

    def _balance(self, members: Members, away: Tensor, links: Links) -> None:
        """Add agents until the mean of all members is in the safe zone.

        As many as it takes in any case are chosen one after the other, and asked together.
        """
        strategy = self.augment if callable(self.augment) else STRATEGIES[self.augment]
        generator, distances = links.coordinator.generator, Distances(away, links)
        step = 0
        while missing := members.missing(self.delta):
            while missing > 0:
                outside = members.outside
                ask = partial(distances.of, outside)
                added = augmented(strategy, Balancing(outside, step, generator, ask))
                members.choose(added)
                missing, step = missing - len(added), step + 1
            members.ask()


class Members:
    """B, whose networks the coordinator has.

    It keeps the sum of their differences from the reference, sum_B (f_i - r), and no network.

    Args:
        violators: who sends its network unasked.
        theta: (A, P) the networks of the agents hosted here.
        reference: (P,) r.
        links: of the round.
    """

    def __init__(
        self, violators: list[int], theta: Tensor, reference: Tensor, links: Links
    ) -> None:
        self._theta, self._reference, self._links = theta, reference, links
        self._away, self._count = torch.zeros_like(reference), 0
        self._add(links.coordinator.receive(theta, violators))
        self._outside = dict.fromkeys(range(links.total))
        self._chosen: list[int] = []
        for i in violators:
            del self._outside[i]

    @property
    def numbers(self) -> list[int]:
        return [i for i in range(self._links.total) if i not in self._outside]

    @property
    def mean(self) -> Tensor:
        """(P,) of the members' networks."""
        return self._reference + self._away / self._count

    @property
    def outside(self) -> list[int]:
        """The numbers of all other agents."""
        return list(self._outside)

    def missing(self, delta: float) -> int:
        """How many agents it takes at least until ||mean - r||^2 <= delta.

        The sum of k differences must be no longer than k sqrt(delta). That of an agent from outside
        is no longer than sqrt(delta), so with each the sum gets shorter by no more than that, and
        the bound grows by as much.
        """
        excess = math.sqrt(float(self._away.dot(self._away)) / delta) - self._count
        left = self._links.total - self._count
        return 0 if excess <= 0 else int(min(left, max(1, excess / 2)))

    def choose(self, numbers: list[int]) -> None:
        """Take those agents in; they are still to be asked."""
        for i in numbers:
            del self._outside[i]
        self._chosen += numbers

    def ask(self) -> None:
        """Ask the chosen for their networks."""
        self._add(self._links.coordinator.ask(self._theta, sorted(self._chosen)))
        self._chosen.clear()

    def _add(self, rows: Tensor) -> None:
        count = len(rows)
        self._away += rows[0] if count == 1 else rows.sum(dim=0)  # a sum of one takes longer
        self._away.sub_(self._reference, alpha=count)
        self._count += count


class Distances:
    """The squared distances (A,) from the reference, which the coordinator asks for once."""

    def __init__(self, away: Tensor, links: Links) -> None:
        self._away, self._links = away, links
        self._known = torch.zeros(0, dtype=torch.float64)

    def of(self, numbers: list[int]) -> Tensor:
        """Those agents' distances (k,)."""
        if not len(self._known):
            told = self._links.coordinator.ask_number(self._away, numbers)
            self._known = torch.zeros(self._links.total, dtype=torch.float64)
            self._known[numbers] = told.double()
        return self._known[numbers]
