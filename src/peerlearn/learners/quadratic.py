"""Quadratic losses, with every answer in closed form: for tests, teaching and exact ADMM."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..learner import Learner


class QuadraticLearner(Learner):
    """loss_i(x) = 1/2 (x - b_i)^T H_i (x - b_i), full gradients.

    Args:
        hessians: (A, P, P), symmetric and positive definite.
        optima: (A, P), b_i, where each agent's own loss is least.
        initial: (A, P), the first networks; zeros by default.
        agents: the agents' numbers.
        team: of all agents, whose losses networks are evaluated on; itself by default.
    """

    def __init__(
        self,
        hessians: Tensor,
        optima: Tensor,
        initial: Tensor | None = None,
        agents: Sequence[int] | None = None,
        team: QuadraticLearner | None = None,
    ) -> None:
        self.hessians, self.optima = hessians, optima
        self._team = team or self
        self.agents = range(len(optima)) if agents is None else agents
        self._initial = torch.zeros_like(optima) if initial is None else initial
        self._evaluations = torch.zeros(len(optima), dtype=torch.int64)

    def initial(self) -> Tensor:
        return self._initial.clone()

    def optimum(self) -> Tensor:
        """(P,) where the mean of the losses is least: (sum H_i)^-1 sum H_i b_i."""
        pulled = (self.hessians @ self.optima[..., None]).sum(dim=0)
        return torch.linalg.solve(self.hessians.sum(dim=0), pulled)[:, 0]

    def _pull(self, theta: Tensor, agents: Sequence[int] | slice) -> Tensor:
        offset = theta - self.optima[agents]
        return (self.hessians[agents] @ offset[..., None])[..., 0]

    def loss(self, theta: Tensor, agents: Sequence[int] | slice = slice(None)) -> Tensor:
        """(A,) each agent's own loss at its own row."""
        return ((theta - self.optima[agents]) * self._pull(theta, agents)).sum(dim=1) / 2

    def gradient(self, theta: Tensor, agents: Sequence[int] | None = None) -> Tensor:
        chosen = slice(None) if agents is None else list(agents)
        self._evaluations[chosen] += 1
        losses = self.loss(theta, chosen)
        if agents is not None:  # the others keep theirs
            before = torch.zeros_like(self.optima[:, 0]) if self.losses is None else self.losses
            losses = before.index_put((torch.as_tensor(chosen, dtype=torch.int64),), losses)
        self.losses = losses
        return self._pull(theta, chosen)

    def minimize(self, linear: Tensor, centre: Tensor, weight: Tensor) -> Tensor:
        """Solves (H_i + 2 w_i I) x = H_i b_i + 2 w_i c_i - linear_i."""
        self._evaluations += 1
        identity = torch.eye(centre.shape[1], dtype=centre.dtype, device=centre.device)
        matrix = self.hessians + 2 * weight[..., None] * identity
        pulled = (self.hessians @ self.optima[..., None])[..., 0]
        return torch.linalg.solve(matrix, pulled + 2 * weight * centre - linear)

    def evaluate(self, theta: Tensor) -> dict[str, Tensor]:
        """The team's mean loss at each agent's network, and the network's distance to the best."""
        team, count = self._team, len(self._team.optima)
        everywhere = [team.loss(row.expand(count, -1)).mean() for row in theta]
        return {
            "loss": torch.stack(everywhere),
            "distance": (theta - team.optimum()).norm(dim=1),
        }

    def gradient_evaluations(self) -> Tensor:
        return self._evaluations.clone()

    def state(self) -> dict[str, Tensor]:
        return {"evaluations": self._evaluations.clone()}

    def load(self, state: dict[str, Tensor]) -> None:
        self._evaluations = state["evaluations"].clone()


class QuadraticInTurn(QuadraticLearner):
    """One agent whose k-th gradient is that of agent (k mod m)'s loss."""

    def __init__(self, hessians: Tensor, optima: Tensor, initial: Tensor | None = None) -> None:
        super().__init__(hessians, optima, initial)
        self.agents, self.turns = range(1), len(optima)
        self._initial = self._initial[:1]
        self._evaluations = torch.zeros(1, dtype=torch.int64)

    def gradient(self, theta: Tensor, agents: Sequence[int] | None = None) -> Tensor:
        turn = [int(self._evaluations) % self.turns]
        self._evaluations += 1
        self.losses = self.loss(theta, turn)
        return self._pull(theta, turn)

    def minimize(self, linear: Tensor, centre: Tensor, weight: Tensor) -> Tensor:
        raise NotImplementedError("losses that come in turn are not minimized at once")
