"""Experience: what a team sees, does and gets in episodes of its environment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..environments.base import Environment, Floats

Act = Callable[[int, Floats], NDArray[Any]]  # step, observations (A, E, O) -> actions (A, E, ...)


class Episodes(NamedTuple):
    """Whole episodes; T is the most steps of one.

    Attributes:
        observations: (T + 1, A, E, O), the last one behind the last action.
        actions: (T, A, E, actions), or (T, A, E) choices.
        rewards: (T, A, E).
        acted: (T, A, E) whether the agent was still there to act.
        valued: (T, A, E) whether what it came to has a value: it was not the end, or only time
            has ended it.
        steps: how many steps the environment took, of all episodes.
        tally: what else the environment counted: name -> (E,).
    """

    observations: Floats
    actions: NDArray[Any]
    rewards: Floats
    acted: NDArray[np.bool_]
    valued: NDArray[np.bool_]
    steps: int
    tally: dict[str, Floats]


def play(
    environment: Environment,
    act: Act,
    episodes: int,
    generator: np.random.Generator,
    watch: Callable[[], None] = lambda: None,
) -> Episodes:
    """Play episodes side by side, each from its start to its end.

    Args:
        environment: where.
        act: what the agents do.
        episodes: how many, E.
        generator: of the environment's random numbers.
        watch: called at the start and after each step.
    """
    size = (environment.steps, environment.agents, episodes)
    choice = () if environment.discrete else (environment.actions,)
    seen = np.zeros((size[0] + 1, *size[1:], environment.observation_size))
    actions = np.zeros(size + choice, np.int64 if environment.discrete else np.float64)
    rewards = np.zeros(size)
    acted, valued = np.zeros(size, bool), np.zeros(size, bool)
    seen[0] = environment.reset(episodes, generator)
    watch()
    acting = np.ones(size[1:], bool)
    for t in range(size[0]):
        acted[t] = acting
        actions[t] = act(t, seen[t])
        seen[t + 1], rewards[t], acting, truncated = environment.step(actions[t])
        valued[t] = acting | truncated
        watch()
        if not acting.any():
            break
    steps = int(acted.any(axis=1).sum())
    return Episodes(seen, actions, rewards, acted, valued, steps, environment.tally())


def rewards_to_go(rewards: Tensor, discount: float) -> Tensor:
    """R_t = r_t + discount R_{t+1} over the first axis (T, ...)."""
    found = rewards.clone()
    for t in range(len(found) - 2, -1, -1):
        found[t].add_(found[t + 1], alpha=discount)
    return found


def generalized_advantages(
    rewards: Tensor,
    values: Tensor,
    valued: Tensor,
    goes_on: Tensor,
    discount: float,
    decay: float,
) -> Tensor:
    """Generalized advantage estimation (Schulman et al. 2016, eqs. 11, 12 and 16): (T, ...).

        delta_t = r_t + discount V_{t+1} - V_t
        A_t = delta_t + discount decay A_{t+1}

    Args:
        rewards: (T, ...).
        values: (T + 1, ...).
        valued: (T, ...) 1 where V_{t+1} counts, 0 where the episode ended there.
        goes_on: (T, ...) 1 where the agent acts at t + 1.
        discount, decay: gamma and lambda.
    """
    found = rewards + discount * valued * values[1:] - values[:-1]
    for t in range(len(found) - 2, -1, -1):
        found[t] += discount * decay * goes_on[t] * found[t + 1]
    return found


def standardized(values: Tensor, weights: Tensor) -> Tensor:
    """(rows, N) with mean 0 and standard deviation 1 in each row, over what has a weight of 1."""
    count = weights.sum(dim=1, keepdim=True)
    mean = (weights * values).sum(dim=1, keepdim=True) / count.clamp_min(1)
    offset = (values - mean) * weights
    variance = offset.square().sum(dim=1, keepdim=True) / (count - 1).clamp_min(1)
    return offset / (variance.sqrt() + 1e-10)


class Batch(NamedTuple):
    """What a gradient is computed from, for each row of networks.

    Attributes:
        observations: (rows, N, O).
        actions: (rows, N, actions), or (rows, N) choices.
        log_probs: (rows, N) of the actions, by the policies that took them.
        advantages, returns: (rows, N).
        weights: (rows, N), 0 for what was not acted; their mean is 1.
    """

    observations: Tensor
    actions: Tensor
    log_probs: Tensor
    advantages: Tensor
    returns: Tensor
    weights: Tensor

    def of(self, rows: Sequence[int]) -> Batch:
        """What some rows learn from."""
        return Batch(*(part[list(rows)] for part in self))

    def minibatch(self, index: Tensor) -> Batch:
        """Of each row, the samples at ``index`` (rows, B), counted round what was acted."""
        acted = self.weights > 0
        first = acted.to(torch.int8).argsort(dim=1, descending=True, stable=True)
        places = first.gather(1, index % acted.sum(dim=1, keepdim=True))
        lines = torch.arange(len(index), device=index.device)[:, None]
        parts = Batch(*(part[lines, places] for part in self))
        return parts._replace(weights=torch.ones_like(parts.weights))
