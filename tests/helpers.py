"""Small problems that several test files share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss
from torch.utils.data import Dataset

import peerlearn as pl
from peerlearn import algorithms
from peerlearn.algorithm import Algorithm, Needs
from peerlearn.learner import Learner

CPU = torch.device("cpu")
FEATURES, CLASSES = 4, 3
METHODS = {a.__name__: a for a in algorithms.ALGORITHMS}


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(FEATURES, 5), nn.Tanh(), nn.Linear(5, CLASSES))


def with_dropout() -> nn.Module:
    layers = (nn.Linear(FEATURES, 5), nn.Tanh(), nn.Dropout(0.4), nn.Linear(5, CLASSES))
    return nn.Sequential(*layers)


def with_batch_norm() -> nn.Module:
    layers = (nn.Linear(FEATURES, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, CLASSES))
    return nn.Sequential(*layers)


def with_everything() -> nn.Module:
    """Dropout and batch norm, so that generators and buffers move."""
    layers = (nn.Linear(FEATURES, 5), nn.BatchNorm1d(5), nn.Dropout(0.3), nn.Linear(5, CLASSES))
    return nn.Sequential(*layers)


def samples(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Random inputs (count, FEATURES) and classes (count,)."""
    draw = torch.Generator().manual_seed(seed)
    inputs = torch.randn(count, FEATURES, generator=draw, dtype=torch.float64)
    return inputs, torch.randint(CLASSES, (count,), generator=draw)


class Items(Dataset):
    """A map-style dataset that gives a tensor and a plain int."""

    def __init__(self, inputs: Tensor, targets: Tensor) -> None:
        self.inputs, self.targets = inputs, targets.tolist()

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.inputs[index], self.targets[index]


def classification(
    sizes: Sequence[int] = (6, 6, 6, 6), model: Callable[[], nn.Module] = network, **options: Any
) -> pl.Task:
    """A tiny classification task; agent a has ``sizes[a]`` samples."""
    settings: dict[str, Any] = {
        "loss": cross_entropy,
        "data": [samples(n, seed=a) for a, n in enumerate(sizes)],
        "test": samples(10, seed=99),
        "batch_size": 2,
        "gradients": "loop",
        **options,
    }
    return pl.Task(model=model, **settings)


def line_fit(sizes: Sequence[int] = (5, 5, 5), **options: Any) -> pl.Task:
    """Least squares with one weight per feature: gradients are easy to write down."""
    settings: dict[str, Any] = {
        "model": lambda: nn.Linear(FEATURES, 1),
        "data": [(samples(n, seed=a)[0], samples(n, seed=a + 50)[0][:, :1]) for a, n in
                 enumerate(sizes)],
        "batch_size": None,
        "gradients": "loop",
        **options,
    }  # fmt: skip
    return pl.Task(loss=mse_loss, **settings)


def hosted(
    task: pl.Task, agents: Sequence[int] | None = None, seed: int = 0, dtype: Any = torch.float64
) -> Any:
    """The task's learner of some agents, on the CPU."""
    return task.learner(seed, CPU, dtype, agents)


def scattered(learner: Learner, seed: int = 0) -> Tensor:
    """Different networks (A, P) for a learner's agents; row a depends on the agent alone."""
    rows = []
    for agent, row in zip(learner.agents, learner.initial(), strict=True):
        draw = torch.Generator().manual_seed(1000 * seed + agent)
        rows.append(row + 0.1 * torch.randn(row.shape, generator=draw, dtype=row.dtype))
    return torch.stack(rows)


def needs_quadratic(method: type[Algorithm]) -> bool:
    return Needs.MINIMIZE in method.needs


def graph_for(method: type[Algorithm] | Algorithm, agents: int = 4) -> Any:
    return pl.graphs.cycle(agents) if method.communicates else None


def same_history(first: pl.Run, second: pl.Run) -> None:
    """All measures of two runs are equal, bit for bit."""
    assert first.record.rounds.tolist() == second.record.rounds.tolist()
    assert first.history.keys() == second.history.keys()
    for name, values in first.history.items():
        np.testing.assert_array_equal(values, second.history[name], err_msg=name)
    for name, values in first.record.team.items():
        np.testing.assert_array_equal(values, second.record.team[name], err_msg=name)


def recorded(folder: Path) -> dict[str, Any]:
    """The measures in a folder's record."""
    found = pl.record.read(folder)
    return {"rounds": found.rounds, **found.history}
