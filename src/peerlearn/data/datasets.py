"""Datasets: tensors, or any torch dataset; their samples and bytes, and when they are loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, Dataset, TensorDataset

from ..errors import ConfigurationError, in_short
from ..randomness import preserved


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
        ConfigurationError: it cannot be loaded, is no dataset, or has other samples than declared.
    """
    if not isinstance(data, Deferred):
        return data
    try:
        content = data.content
    except (ValueError, OSError):
        raise
    except Exception as error:
        raise ConfigurationError([
            f"loading the data of agent {agent} failed: {in_short(error)}; check the function that "
            "loads them"
        ]) from error  # fmt: skip
    found = dataset_problems(content, f"what was loaded for agent {agent}")
    found = found or unequal_problems(content, f"agent {agent}")
    if not found and length(content) != data.samples:
        found = [
            f"agent {agent} has {length(content)} samples, but {data.samples} were declared; "
            "declare as many as it has, in all processes"
        ]
    if found:
        raise ConfigurationError(found)
    return content


def dataset_problems(data: Any, what: str) -> list[str]:
    """Why something is no dataset, in a sentence that begins with what it is."""
    wanted = "expected a tuple of the tensors (inputs, targets), or a torch dataset"
    if isinstance(data, tuple):
        kinds = [type(part).__name__ for part in data]
        if len(data) != 2 or not all(isinstance(part, Tensor) for part in data):
            return [f"{what} is a tuple of {', '.join(kinds) or 'nothing'}; {wanted}"]
        rows = all(part.dim() for part in data)
        return [] if rows else [f"{what} has a tensor without rows; give one for each sample"]
    if isinstance(data, TensorDataset) and len(data.tensors) != 2:
        return [f"{what} has {len(data.tensors)} tensors, expected two: inputs and targets"]
    indexed = hasattr(data, "__getitem__") and hasattr(data, "__len__")
    if isinstance(data, Tensor | str | dict) or not indexed:
        return [f"{what} is a {type(data).__name__}; {wanted} with a length"]
    return []


def unequal_problems(data: Any, who: str) -> list[str]:
    """Tensors of which one has more rows than the other."""
    if not isinstance(data, tuple) or len(data[0]) == len(data[1]):
        return []
    return [f"{who} has {len(data[0])} inputs and {len(data[1])} targets; give as many of both"]


def as_tensors(data: Data) -> tuple[Tensor, Tensor] | None:
    """(inputs, targets) where the data are held as tensors, else None."""
    if isinstance(data, TensorDataset) and len(data.tensors) == 2:
        return data.tensors[0], data.tensors[1]
    return data if isinstance(data, tuple) else None


def concatenated(data: Sequence[Data | Deferred]) -> Data:
    """The data of all agents as one dataset.

    Raises:
        ConfigurationError: their samples have not one shape.
    """
    whole = [loaded(d, agent) for agent, d in enumerate(data)]
    tensors = [as_tensors(d) for d in whole]
    known = [pair for pair in tensors if pair is not None]
    if len(known) < len(whole):
        return ConcatDataset([_dataset(d) for d in whole])
    shapes = [[tuple(t.shape[1:]) for t in pair] for pair in known]
    odd = next((agent for agent, shape in enumerate(shapes) if shape != shapes[0]), None)
    if odd is not None:
        raise ConfigurationError([
            f"the data cannot be pooled: input and target of agent {odd} have the shapes "
            f"{shapes[odd]}, those of agent 0 {shapes[0]}; give all agents samples of one shape"
        ])  # fmt: skip
    inputs, targets = (torch.cat(parts) for parts in zip(*known, strict=True))
    return inputs, targets


def _dataset(data: Data) -> Dataset:
    return TensorDataset(*data) if isinstance(data, tuple) else data


def stored_bytes(data: Data) -> int:
    """The raw size: of the tensors, or of the first item times the number of items."""
    tensors = as_tensors(data)
    if tensors is not None:
        return sum(t.numel() * t.element_size() for t in tensors)
    with preserved(torch.device("cpu")):  # an item may draw random numbers
        return length(data) * _item_bytes(data[0])


def _item_bytes(item: Any) -> int:
    """The size of the tensors and numbers in an item, however they are nested."""
    if isinstance(item, Mapping):
        return sum(map(_item_bytes, item.values()))
    if isinstance(item, list | tuple):
        return sum(map(_item_bytes, item))
    try:
        tensor = torch.as_tensor(item)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"a sample holds a {type(item).__name__}, whose size in bytes is not known; give the "
            "task the size of a raw sample, sample_bytes"
        ) from error
    return tensor.numel() * tensor.element_size()
