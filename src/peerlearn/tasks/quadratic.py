"""Random strongly convex quadratics: a problem whose answer is known."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import ConfigurationError
from ..learners import QuadraticInTurn, QuadraticLearner
from ..values import MOST_AGENTS, count_problems, positive_problems
from .base import BaseTask
from .fingerprint import digest_of_tensors


@dataclass(frozen=True)
class QuadraticTask(BaseTask):
    """Agent i minimizes 1/2 (x - b_i)^T H_i (x - b_i), with H_i and b_i its own.

    Args:
        hessians: (A, P, P).
        optima: (A, P).
        first: (A, P), the first networks; zeros by default.
        in_turn: one agent sees the losses, one after another.
        team: whose losses networks are evaluated on, where they are not these agents'.
    """

    hessians: Tensor
    optima: Tensor
    first: Tensor | None = None
    name: str = "quadratic"
    in_turn: bool = False
    team: QuadraticTask | None = None

    @property
    def agents(self) -> int:  # type: ignore[override]
        return 1 if self.in_turn else len(self.optima)

    def learner(
        self,
        seed: int,
        device: torch.device,
        dtype: torch.dtype,
        agents: Sequence[int] | None = None,
    ) -> QuadraticLearner:
        hessians, optima = (t.to(device, dtype) for t in (self.hessians, self.optima))
        first = None if self.first is None else self.first.to(device, dtype)
        if self.in_turn:
            return QuadraticInTurn(hessians, optima, first)
        if self.team is not None:
            team = self.team.learner(seed, device, dtype)
            return QuadraticLearner(hessians, optima, first, team=team)
        team = QuadraticLearner(hessians, optima, first)
        if agents is None:
            return team
        own = list(agents)
        own_first = None if first is None else first[own]
        return QuadraticLearner(hessians[own], optima[own], own_first, own, team)

    def pooled(self, in_turn: bool = False) -> QuadraticTask:
        """The mean of the losses is a quadratic again, up to a constant; evaluated is the mean."""
        if in_turn:
            return dataclasses.replace(self, in_turn=True)
        whole = QuadraticLearner(self.hessians, self.optima)
        first = None if self.first is None else self.first[:1]
        mean = self.hessians.mean(dim=0, keepdim=True)
        return QuadraticTask(mean, whole.optimum()[None], first, team=self)

    def data_bytes(self) -> list[int]:
        each = self.hessians[0].numel() + self.optima[0].numel()
        return [each * self.optima.element_size()] * self.agents

    def describe(self) -> dict[str, Any]:
        data = digest_of_tensors([self.hessians, self.optima, self.first])
        return {**super().describe(), "dimension": self.optima.shape[1], "data": data}


def quadratic(
    agents: int = 10,
    dimension: int = 5,
    smoothness: float = 10.0,
    convexity: float = 1.0,
    seed: int = 0,
) -> QuadraticTask:
    """Random quadratics with the eigenvalues of every H_i between ``convexity`` and ``smoothness``.

    Every agent's least and greatest eigenvalue are those two (in one dimension its only one is the
    smoothness), its optimum is drawn from a normal distribution.

    Raises:
        ConfigurationError: with everything that is wrong with the arguments.
    """
    found = [
        *count_problems("agents", agents, most=MOST_AGENTS),
        *count_problems("dimension", dimension),
        *count_problems("seed", seed, least=0),
        *_curvature(smoothness, convexity),
    ]
    if found:
        raise ConfigurationError(found)
    draw = torch.Generator().manual_seed(seed)
    shape = (agents, dimension, dimension)
    bases, _ = torch.linalg.qr(torch.randn(shape, generator=draw, dtype=torch.float64))
    eigenvalues = torch.rand(agents, dimension, generator=draw, dtype=torch.float64)
    eigenvalues = convexity + (smoothness - convexity) * eigenvalues
    eigenvalues[:, 0], eigenvalues[:, -1] = convexity, smoothness
    hessians = bases @ torch.diag_embed(eigenvalues) @ bases.mT
    optima = torch.randn(agents, dimension, generator=draw, dtype=torch.float64)
    return QuadraticTask((hessians + hessians.mT) / 2, optima)


def _curvature(smoothness: Any, convexity: Any) -> list[str]:
    found = [
        *positive_problems("smoothness", smoothness),
        *positive_problems("convexity", convexity),
    ]
    if not found and convexity > smoothness:
        found.append(f"convexity is {convexity}, expected at most the smoothness, {smoothness}")
    return found
