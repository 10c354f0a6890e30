"""What agents get of a supervised task to learn from: samples, minibatches and their weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..data.datasets import loaded
from .minibatches import Consecutive, ConsecutiveInTurn, Draws, InTurn, Minibatches, Together
from .samples import Datasets, Samples, Streamed

if TYPE_CHECKING:
    from ..tasks.supervised import Task


def samples_of(
    task: Task, agents: Sequence[int], seed: int, device: torch.device, dtype: torch.dtype
) -> Samples:
    """The data of those agents."""
    if task.stream is not None:
        return Streamed(task.stream, agents, seed, device, dtype)
    return Datasets([loaded(task.datasets[a], a) for a in agents], device, dtype)


def minibatches_of(task: Task, agents: Sequence[int], seed: int) -> Draws | Together:
    """Which of its samples each of those agents draws; of pooled data, by its parts."""
    parts, every = task.parts, task.sizes()
    sizes = [every[a] for a in agents]
    if task.stream is not None:
        if parts is not None and parts.in_turn:
            return ConsecutiveInTurn(parts.sizes)
        return Consecutive(agents, sizes)
    if parts is not None and parts.batch_sizes is not None:
        own = Minibatches(range(len(parts.sizes)), parts.sizes, parts.batch_sizes, seed)
        starts = np.cumsum([0, *parts.sizes[:-1]]).tolist()
        return (InTurn if parts.in_turn else Together)(own, starts)
    return Minibatches(agents, sizes, [task.batch_size_of(a) for a in agents], seed)


def weights_of(task: Task, agents: Sequence[int]) -> Tensor | None:
    """(A, 1) what each agent's loss weighs in the team's mean; None where all weigh one.

    Of parts whose minibatches come in turn, (m, 1).
    """
    if task.parts is not None and task.parts.in_turn:
        weights = task.parts.weights
        return None if weights is None else weights[:, None]
    weights = task.loss_weights()
    return None if weights is None else weights[list(agents), None]


def epoch_steps_of(task: Task, agents: Sequence[int]) -> Tensor:
    """(A,) how many minibatches make each agent's epoch.

    Raises:
        ValueError: the data are a stream.
    """
    if task.stream is not None:
        raise ValueError(
            "a stream has no epochs; say how many local steps a round has, not how many epochs"
        )
    parts = task.parts
    if parts is not None and parts.in_turn and parts.batch_sizes is not None:
        pairs = zip(parts.sizes, parts.batch_sizes, strict=True)
        return torch.tensor([sum(_steps(n, b) for n, b in pairs)])
    sizes = task.sizes()
    return torch.tensor([_steps(sizes[a], task.batch_size_of(a)) for a in agents])


def _steps(samples: int, batch_size: int | None) -> int:
    return 1 if batch_size is None else -(-samples // batch_size)
