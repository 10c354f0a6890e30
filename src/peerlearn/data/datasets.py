"""Datasets: tensors, or any torch dataset; how many samples they have, and when they are loaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor
from torch.utils.data import Dataset, TensorDataset


@dataclass
class Deferred:
    """Data that are loaded only where their agent lives: the others know how many they are.

    Args:
        samples: how many there are.
        load: a function that loads them: a map-style torch dataset, or a tuple of tensors.

    Example:
        >>> import torch
        >>> own = Deferred(20, lambda: (torch.zeros(20, 3), torch.zeros(20)))
        >>> len(own), len(own.content)
        (20, 2)
    """

    samples: int
    load: Callable[[], Any]

    def __len__(self) -> int:
        return self.samples

    @cached_property
    def content(self) -> Any:
        """What was loaded, once."""
        return self.load()


Data = Dataset | tuple[Tensor, Tensor]
"""A map-style torch dataset of (input, target) pairs, or the two as tensors with equal lengths."""


def length(data: Data | Deferred) -> int:
    """The number of samples."""
    return len(data[0]) if isinstance(data, tuple) else len(data)  # type: ignore[arg-type]


def loaded(data: Data | Deferred, agent: int) -> Data:
    """The data of an agent itself.

    Raises:
        ValueError: there are more or fewer than was declared.
    """
    if not isinstance(data, Deferred):
        return data
    found = length(data.content)
    if found != data.samples:
        raise ValueError(
            f"agent {agent} has {found} samples, but {data.samples} were declared; declare as many "
            "as it has, in all processes"
        )
    return data.content


def as_tensors(data: Data) -> tuple[Tensor, Tensor] | None:
    """(inputs, targets) where the data are held as tensors, else None."""
    if isinstance(data, TensorDataset) and len(data.tensors) == 2:
        return data.tensors[0], data.tensors[1]
    return data if isinstance(data, tuple) else None
