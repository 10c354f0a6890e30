"""Learners around learners: weight decay and clipping, and a clock."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..learner import Learner
from ..measure import Clock


def _passed_on(name: str) -> Any:
    """An attribute or a method that is the inner learner's, read and written."""
    return property(
        lambda self: getattr(self.inner, name), lambda self, value: setattr(self.inner, name, value)
    )


class Wrapped(Learner):
    """Passes everything on to another learner, but for `step` and `descend`, built on the rest."""

    def __init__(self, inner: Learner) -> None:
        self.inner = inner

    agents = _passed_on("agents")
    losses = _passed_on("losses")
    rates = _passed_on("rates")
    turns = _passed_on("turns")
    way = _passed_on("way")
    gather = _passed_on("gather")
    note = _passed_on("note")
    can_minimize = _passed_on("can_minimize")
    positions = _passed_on("positions")
    buffers = _passed_on("buffers")
    sizes = _passed_on("sizes")
    epoch_steps = _passed_on("epoch_steps")
    initial = _passed_on("initial")
    begin_round = _passed_on("begin_round")
    gradient = _passed_on("gradient")
    add_gradient = _passed_on("add_gradient")
    minimize = _passed_on("minimize")
    evaluate = _passed_on("evaluate")
    snapshot = _passed_on("snapshot")
    module = _passed_on("module")
    suffered = _passed_on("suffered")
    gradient_evaluations = _passed_on("gradient_evaluations")
    state = _passed_on("state")
    load = _passed_on("load")


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
        if not self._weight_decay:
            return self.inner.minimize(linear, centre, weight)
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
