"""Learners around learners: weight decay and clipping, and a clock."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..learner import Learner
from ..measure import Clock


class Wrapped(Learner):
    """Passes everything on to another learner."""

    def __init__(self, inner: Learner) -> None:
        self.inner = inner
        self.agents = inner.agents
        self.rates = inner.rates

    @property
    def losses(self) -> Tensor | None:  # type: ignore[override]
        return self.inner.losses

    @property
    def note(self) -> str:  # type: ignore[override]
        return self.inner.note

    def initial(self) -> Tensor:
        return self.inner.initial()

    def begin_round(self, theta: Tensor, round: int) -> None:
        self.inner.begin_round(theta, round)

    def gradient(self, theta: Tensor, agents: Sequence[int] | None = None) -> Tensor:
        return self.inner.gradient(theta, agents)

    def add_gradient(self, out: Tensor, theta: Tensor, scale: float = 1.0) -> Tensor:
        return self.inner.add_gradient(out, theta, scale)

    def evaluate(self, theta: Tensor) -> dict[str, Tensor]:
        return self.inner.evaluate(theta)

    def snapshot(self, theta: Tensor) -> dict[str, Tensor]:
        return self.inner.snapshot(theta)

    def minimize(self, linear: Tensor, centre: Tensor, weight: Tensor) -> Tensor:
        return self.inner.minimize(linear, centre, weight)

    @property
    def can_minimize(self) -> bool:
        return self.inner.can_minimize

    @property
    def positions(self) -> Tensor | None:
        return self.inner.positions

    @property
    def buffers(self) -> Tensor | None:
        return self.inner.buffers

    @buffers.setter
    def buffers(self, value: Tensor) -> None:
        self.inner.buffers = value

    @property
    def turns(self) -> int:  # type: ignore[override]
        return self.inner.turns

    @property
    def sizes(self) -> Tensor:
        return self.inner.sizes

    @property
    def epoch_steps(self) -> Tensor:
        return self.inner.epoch_steps

    def suffered(self) -> dict[str, Tensor]:
        return self.inner.suffered()

    def gradient_evaluations(self) -> Tensor:
        return self.inner.gradient_evaluations()

    def state(self) -> dict[str, Tensor]:
        return self.inner.state()

    def load(self, state: dict[str, Tensor]) -> None:
        self.inner.load(state)


class Regularized(Wrapped):
    """g <- g min(1, clip / ||g||) for each agent, then g <- g + weight_decay theta."""

    def __init__(self, inner: Learner, clip: float | None, weight_decay: float) -> None:
        super().__init__(inner)
        self._clip, self._weight_decay = clip, weight_decay

    def gradient(self, theta: Tensor, agents: Sequence[int] | None = None) -> Tensor:
        gradient = self.inner.gradient(theta, agents)
        if self._clip is not None:
            norm = gradient.norm(dim=1, keepdim=True)
            gradient.mul_(torch.clamp(self._clip / norm.clamp_min(1e-30), max=1.0))
        if self._weight_decay:
            gradient.add_(theta, alpha=self._weight_decay)
        return gradient

    def add_gradient(self, out: Tensor, theta: Tensor, scale: float = 1.0) -> Tensor:
        if self._clip is not None or self._weight_decay:
            return Learner.add_gradient(self, out, theta, scale)
        return self.inner.add_gradient(out, theta, scale)

    def minimize(self, linear: Tensor, centre: Tensor, weight: Tensor) -> Tensor:
        """With decay d: d/2 |x|^2 + w |x - c|^2 is (w + d/2) |x - w c / (w + d/2)|^2 + constant."""
        total = weight + self._weight_decay / 2
        return self.inner.minimize(linear, centre * weight / total, total)


class Timed(Wrapped):
    """Notes the seconds spent in gradients and evaluation."""

    def __init__(self, inner: Learner, clock: Clock) -> None:
        super().__init__(inner)
        self._clock = clock

    def gradient(self, theta: Tensor, agents: Sequence[int] | None = None) -> Tensor:
        with self._clock("gradient"):
            return self.inner.gradient(theta, agents)

    def add_gradient(self, out: Tensor, theta: Tensor, scale: float = 1.0) -> Tensor:
        with self._clock("gradient"):
            return self.inner.add_gradient(out, theta, scale)

    def minimize(self, linear: Tensor, centre: Tensor, weight: Tensor) -> Tensor:
        with self._clock("gradient"):
            return self.inner.minimize(linear, centre, weight)

    def evaluate(self, theta: Tensor) -> dict[str, Tensor]:
        with self._clock("evaluation"):
            return self.inner.evaluate(theta)
