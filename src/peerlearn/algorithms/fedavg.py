"""Federated averaging (McMahan et al., 2017)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from ..algorithm import Limit, Needs, Shared
from ..learner import Learner
from ..links import Links
from ..optimizer import LocalOptimizer, Moments
from ..schedules import Rate
from .averages import average, average_buffers, everyone, first_mean, mean
from .local import LocalTraining

PART = Limit(lambda part: 0 < part <= 1, "more than 0 and at most 1")


class FedAvgState(NamedTuple):
    theta: Tensor  # (A, P); where the unselected idle, all rows are the global network
    moments: Moments
    sizes: Shared  # (m,) n_i, how much data each agent has


@dataclass(frozen=True, kw_only=True)
class FedAvg(LocalTraining):
    """Federated Averaging: a random part of the agents trains for a while and is averaged.

    One round is one round of communication, also for a stream, which drifts in rounds and not in
    gradients: all local steps of a round see the same concept. S is a set of C m agents,
    rounded and at least one, drawn at random, and n_i the size of agent i's data. With
    ``unselected="idle"``, as in McMahan et al.:

        w_i <- w                                    for i in S: the global network, sent down
        w_i <- w_i + step(g_i(w_i))                 b times, or for E epochs
        w <- sum_{i in S} n_i w_i / sum_{i in S} n_i            after S has sent its networks up

    The others neither compute nor draw data; every row holds w, as its agent would receive it when
    it is next selected. With ``unselected="train"``, as Kamp et al. compare with, all agents train
    all the time; S sends its networks up and receives their average, the others keep their own.

    The choice where many agents are seldom reached: the fewest messages a gradient. With data that
    differ much, more local steps pull the agents apart. Leave the task's own weighting "equal", for
    the average weighs the agents already.

    Args:
        lr: the learning rate, or a schedule of it over the rounds.
        optimizer: any elementwise torch.optim optimizer, by class or name; its moments stay with
            their agent, and do not move while it sits out.
        options: the optimizer's further keyword arguments.
        fraction: C, the part of the agents that is averaged in a round, in (0, 1].
        local_steps: b, gradient steps a round; 5 if neither it nor ``local_epochs`` is given.
        local_epochs: E, passes over its own data that an agent makes in a round, instead of b.
        unselected: what the others do: "idle" or "train".

    Source: McMahan et al., "Communication-Efficient Learning of Deep Networks from Decentralized
    Data", AISTATS 2017, Algorithm 1; Kamp et al., ECML PKDD 2018, Section 5.
    """

    lr: Rate = 0.2
    optimizer: str | type = "sgd"
    fraction: float = 0.5
    local_steps: int | None = None
    local_epochs: int | None = None
    unselected: Literal["idle", "train"] = "idle"

    needs: ClassVar[Needs] = Needs.COORDINATOR
    communicates: ClassVar[bool] = False
    limits: ClassVar[Mapping[str, Limit]] = {"fraction": PART}
    State: ClassVar[type] = FedAvgState

    def __post_init__(self) -> None:
        if self.local_steps is None and self.local_epochs is None:
            object.__setattr__(self, "local_steps", 5)
        super().__post_init__()

    def problems(self) -> list[str]:
        found = super().problems()
        if self.local_steps is not None and self.local_epochs is not None:
            found.append(
                f"got local_steps={self.local_steps} and local_epochs={self.local_epochs}, which "
                "both say how long an agent trains; give one of them, and the other as None"
            )
        return found

    @property
    def counts_epochs(self) -> bool:
        return self.local_epochs is not None

    def gradients(self, rounds: int, epoch: int = 1) -> int:
        return rounds * (self.local_steps or (self.local_epochs or 1) * epoch)

    def start(self, theta: Tensor, learner: Learner, links: Links) -> FedAvgState:
        sizes = links.coordinator.ask_number(learner.sizes, everyone(links))
        self._steps(learner)  # complains at once where there are no epochs
        idle = self.unselected == "idle"
        theta = first_mean(theta, links).expand_as(theta).clone() if idle else theta.clone()
        if idle and learner.buffers is not None:
            learner.buffers = first_mean(learner.buffers, links).expand_as(learner.buffers)
        moments = LocalOptimizer(self.optimizer, self.options).fresh(theta)
        return FedAvgState(theta, moments, sizes)

    def round(self, s: FedAvgState, learner: Learner, links: Links) -> FedAvgState:
        selected = self._select(links)
        weights = s.sizes[selected]
        if self.unselected == "idle":
            moments = self._from_global(s, selected, weights, learner, links)
        else:
            moments = self._all_train(s, selected, weights, learner, links)
        return s._replace(moments=moments)

    def _select(self, links: Links) -> list[int]:
        """The numbers of those whose networks are averaged in this round."""
        count = max(1, round(self.fraction * links.total))
        drawn = torch.randperm(links.total, generator=links.coordinator.generator)
        return sorted(drawn[:count].tolist())

    def _from_global(
        self, s: FedAvgState, selected: list[int], weights: Tensor, learner: Learner, links: Links
    ) -> Moments:
        """McMahan's: the selected start from the global network, the others wait."""
        here, buffers = links.hosted(selected), learner.buffers
        links.coordinator.send(s.theta[0], selected)
        if buffers is not None:
            links.coordinator.send(buffers[0], selected)
        moments = self._train(s.theta, s.moments, here.nonzero()[:, 0], learner, links)
        received = links.coordinator.receive(s.theta, selected)
        s.theta.copy_(mean(received, weights).expand_as(s.theta))
        buffers = learner.buffers  # have moved
        if buffers is not None:
            received = links.coordinator.receive(buffers, selected)
            learner.buffers = mean(received, weights).expand_as(buffers)
        return moments

    def _all_train(
        self, s: FedAvgState, selected: list[int], weights: Tensor, learner: Learner, links: Links
    ) -> Moments:
        """Kamp's: all train, the selected are averaged."""
        every = torch.arange(len(s.theta))
        moments = self._train(s.theta, s.moments, every, learner, links)
        average(s.theta, selected, links, weights)
        average_buffers(learner, selected, links, weights)
        return moments

    def _train(
        self, theta: Tensor, moments: Moments, rows: Tensor, learner: Learner, links: Links
    ) -> Moments:
        """The local steps of these rows; who has done its epochs sits out the rest."""
        steps = self._steps(learner)[rows]
        for step in range(int(steps.max()) if len(rows) else 0):
            moments = self.learn(theta, moments, learner, links, rows[steps > step])
        return moments

    def _steps(self, learner: Learner) -> Tensor:
        """(A,) how many gradient steps each agent takes in a round."""
        if self.local_epochs is not None:
            return self.local_epochs * learner.epoch_steps
        return torch.full((len(learner.agents),), self.local_steps or 1)
