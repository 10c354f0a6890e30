"""The contract of a learner: where gradients come from, and how networks are judged."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn


class Learner(ABC):
    """The agents' losses. The team minimizes the mean of the agents' mean losses.

    A learner may write into buffers it owns, but what it returns is fresh memory: the caller may
    modify it.
    """

    agents: Sequence[int]  # the numbers of the agents whose losses live here
    losses: Tensor | None = None  # (A,) each agent's latest mean minibatch loss, where known
    rates: Tensor | None = None  # (P,) multipliers of the learning rate, None where all are one
    overlaps: bool = False  # gradients are computed at once, while messages are on their way
    turns: int = 1  # how many minibatches make a round, where agents' minibatches come in turn
    way: str | None = None  # how gradients are computed, where a choice depends on timing
    gather: Callable[[Tensor], Tensor] | None = None  # all rows, where others are elsewhere
    note: str = ""  # how gradients are computed, and why; written into the record

    @abstractmethod
    def initial(self) -> Tensor:
        """The first networks (A, P), one row per agent."""

    def begin_round(self, theta: Tensor, round: int) -> None:
        """Told before each round: a stream advances, agents move, experience is collected.

        The first call, before the algorithm starts, has round -1.
        """

    @abstractmethod
    def gradient(self, theta: Tensor, agents: Sequence[int] | None = None) -> Tensor:
        """The gradient (A, P) of each agent's MEAN loss on its next minibatch, at its own row.

        ``agents`` selects rows of this learner (positions, not numbers); theta then has one row
        for each of them.
        """

    def add_gradient(self, out: Tensor, theta: Tensor, scale: float = 1.0) -> Tensor:
        """out + scale * gradient(theta), written into ``out`` (A, P), which is returned.

        Rows of gradients are then never laid out, which saves two passes over memory.
        """
        return out.add_(self.gradient(theta), alpha=scale)

    def step(self, at: Tensor, lr: float) -> Callable[[Tensor], Tensor]:
        """The step -lr * gradient(at), columns at their own rates, from rows that are known later.

        What is returned writes theta + step into the theta (A, P) that it is given, and returns
        it. It is to be called once, before the next gradient. Where the learner ``overlaps`` with
        messages the gradient is computed now, and else when it can be added at once.
        """
        if self.overlaps or self.rates is not None:
            gradient = self.gradient(at)
            return lambda theta: self.descend(theta, gradient, lr, out=theta)
        return lambda theta: self.add_gradient(theta, at, -lr)

    def descend(
        self, theta: Tensor, direction: Tensor, lr: float, out: Tensor | None = None
    ) -> Tensor:
        """theta - lr * direction, each column at its own rate where columns have rates: (A, P).

        ``out`` may be one of the two, if the caller no longer needs it.
        """
        if self.rates is None:
            return torch.sub(theta, direction, alpha=lr, out=out)
        return torch.addcmul(theta, self.rates, direction, value=-lr, out=out)

    @abstractmethod
    def evaluate(self, theta: Tensor) -> dict[str, Tensor]:
        """Measures of each agent's network: name -> (A,). Draws nothing, changes nothing."""

    def snapshot(self, theta: Tensor) -> dict[str, Tensor]:
        """What is kept of each network at every evaluation, to be drawn: name -> (A, ...)."""
        return {}

    def module(self, theta: Tensor, row: int) -> nn.Module:
        """A module of its own with the parameters ``theta`` (P,) of an agent's row."""
        raise TypeError("this task has no modules; its networks are the rows of run.theta")

    def minimize(self, linear: Tensor, centre: Tensor, weight: Tensor) -> Tensor:
        """argmin over x of loss_i(x) + <linear_i, x> + weight_i ||x - centre_i||^2, exactly.

        Args:
            linear, centre: (A, P).
            weight: (A, 1).
        """
        raise NotImplementedError(f"{type(self).__name__} cannot minimize its losses exactly")

    @property
    def can_minimize(self) -> bool:
        return type(self).minimize is not Learner.minimize

    @property
    def positions(self) -> Tensor | None:
        """Where the agents are in this round (total, dimensions), if they are somewhere."""
        return None

    @property
    def buffers(self) -> Tensor | None:
        """Float buffers (A, Q) to be mixed after each round; None where they stay local."""
        return None

    @buffers.setter
    def buffers(self, value: Tensor) -> None:
        raise NotImplementedError(f"{type(self).__name__} has no buffers to mix")

    @property
    def sizes(self) -> Tensor:
        """(A,) float64 how much data each agent has, for averages weighted by it."""
        return torch.ones(len(self.agents), dtype=torch.float64)

    @property
    def epoch_steps(self) -> Tensor:
        """(A,) int64 how many minibatches make each agent's epoch; 1 where all data are one.

        Raises:
            ValueError: the data are a stream, which has no epochs.
        """
        return torch.ones(len(self.agents), dtype=torch.int64)

    def suffered(self) -> dict[str, Tensor]:
        """What each agent has suffered so far on samples before it learned from them: name -> (A,).

        Of learners from streams that are measured prequentially: ``predictions``, how many
        samples; ``cumulative_loss``, the sum of their losses; ``cumulative_error``, how many were
        predicted wrongly, where that can be said. Nothing of others.
        """
        return {}

    def gradient_evaluations(self) -> Tensor:
        """(A,) how many minibatch gradients each agent has computed so far."""
        raise NotImplementedError

    @abstractmethod
    def state(self) -> dict[str, Tensor]:
        """Everything that moves: samplers, buffers, counters. A checkpoint holds it."""

    @abstractmethod
    def load(self, state: dict[str, Tensor]) -> None:
        """Take back what `state` gave."""
