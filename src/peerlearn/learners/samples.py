"""The agents' data: quickly from tensors, or item by item from any torch dataset."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import default_collate

from ..data import Stream
from ..data.datasets import Data, as_tensors, length


def move(value: Any, device: torch.device, dtype: torch.dtype) -> Any:
    """Everything to the device, floating point numbers to the dtype."""
    if isinstance(value, Tensor):
        return value.to(device, dtype if value.is_floating_point() else value.dtype)
    if isinstance(value, dict):
        return {k: move(v, device, dtype) for k, v in value.items()}
    if isinstance(value, list | tuple):
        make = getattr(type(value), "_make", type(value))  # of a named tuple
        return make(move(v, device, dtype) for v in value)
    return value


def pick(data: Data, index: Sequence[int], device: torch.device, dtype: torch.dtype) -> Any:
    """One batch (inputs, targets) of any data."""
    tensors = as_tensors(data)
    if tensors is None:
        batch = default_collate([data[int(i)] for i in index])
    else:
        batch = tuple(t[torch.as_tensor(index, device=t.device)] for t in tensors)
    return move(batch, device, dtype)


def transformed(inputs: Any, targets: Any, transform: Callable | None) -> tuple[Any, Any]:
    """A batch as the task's transform makes it."""
    if transform is None:
        return inputs, targets
    made = transform(inputs, targets)
    if not isinstance(made, tuple | list) or len(made) != 2:
        kind = type(made).__name__
        raise ValueError(f"the transform gave a {kind}, expected a pair (inputs, targets)")
    return made[0], made[1]


class Samples(ABC):
    """What the agents hosted here learn from; ``agent`` is the position of one among them."""

    device: torch.device
    dtype: torch.dtype
    uniform: bool  # whether all agents' batches are tensors of one kind

    def begin_round(self, round: int) -> None:
        """Told before each round."""

    @property
    def concept(self) -> int:
        """The number of what the data show in this round, where they change."""
        return 0

    @abstractmethod
    def unlike(self) -> list[int]:
        """The first of the agents, and the first of each kind whose samples have another shape."""

    @abstractmethod
    def batches(self, agents: np.ndarray, index: Tensor) -> tuple[Tensor, Tensor]:
        """(k, B, ...) inputs and targets of ``agents`` (k,) at ``index`` (k, B), if uniform."""

    @abstractmethod
    def batch(self, agent: int, index: Tensor, transform: Callable | None) -> tuple[Any, Any]:
        """One agent's batch, transformed."""

    def own(self, agent: int) -> Data | None:
        """All of an agent's samples, where they are kept."""
        return None

    def test(self) -> Data | None:
        """What networks are evaluated on in this round, rather than on the task's test set."""
        return None

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint holds of them."""
        return {}

    def load(self, state: dict[str, Tensor]) -> None:
        """Take back what `state` gave."""


class Datasets(Samples):
    """A dataset of each agent.

    Where all are tensors of one kind, they are kept as one tensor, and a batch of all agents is
    one look-up.
    """

    def __init__(self, data: Sequence[Data], device: torch.device, dtype: torch.dtype) -> None:
        self.data, self.device, self.dtype = list(data), device, dtype
        self.offsets = torch.tensor([0, *np.cumsum([length(d) for d in data])[:-1]])
        self.stacked = self._stack()
        self.uniform = self.stacked is not None

    def _stack(self) -> tuple[Tensor, Tensor] | None:
        tensors = [as_tensors(d) for d in self.data]
        kinds = {
            (x.shape[1:], x.dtype, y.shape[1:], y.dtype) for pair in tensors if pair
            for x, y in [pair]
        }  # fmt: skip
        if None in tensors or len(kinds) != 1:
            return None
        inputs, targets = (torch.cat(parts) for parts in zip(*tensors, strict=True))
        return move((inputs, targets), self.device, self.dtype)

    def unlike(self) -> list[int]:
        if self.uniform:
            return [0]
        pairs = [as_tensors(d) for d in self.data]
        shapes = [p and tuple((t.shape[1:], t.dtype) for t in p) for p in pairs]
        return [row for row, shape in enumerate(shapes) if shape not in shapes[:row]]

    def batches(self, agents: np.ndarray, index: Tensor) -> tuple[Tensor, Tensor]:
        assert self.stacked is not None
        inputs, targets = self.stacked
        places = (index + self.offsets[torch.from_numpy(agents)][:, None]).to(self.device)
        return _rows(inputs, places), _rows(targets, places)

    def batch(self, agent: int, index: Tensor, transform: Callable | None) -> tuple[Any, Any]:
        inputs, targets = pick(self.data[agent], index.tolist(), self.device, self.dtype)
        return transformed(inputs, targets, transform)

    def own(self, agent: int) -> Data:
        return self.data[agent]


class Streamed(Samples):
    """What the agents hosted here see of a stream.

    Args:
        stream: of all agents.
        agents: the numbers of those hosted here.
        seed: of the run.
    """

    uniform = True

    def __init__(
        self,
        stream: Stream,
        agents: Sequence[int],
        seed: int,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self.stream, self.seed, self.device, self.dtype = stream, seed, device, dtype
        self.numbers = np.array(agents, np.int64)
        self.round = -1

    def begin_round(self, round: int) -> None:
        self.round = round

    def unlike(self) -> list[int]:
        return [0]

    @property
    def concept(self) -> int:
        return self.stream.concept(self.seed, self.round)

    def batches(self, agents: np.ndarray, index: Tensor) -> tuple[Tensor, Tensor]:
        first, size = index[:, 0].numpy(), index.shape[1]  # the others follow
        batch = self.stream.take(self.seed, self.numbers[agents], first, size, self.round)
        return move(batch, self.device, self.dtype)

    def batch(self, agent: int, index: Tensor, transform: Callable | None) -> tuple[Any, Any]:
        inputs, targets = self.batches(np.array([agent]), index[None])
        return transformed(inputs[0], targets[0], transform)

    def test(self) -> Data | None:
        return self.stream.test(self.seed, self.round)

    def state(self) -> dict[str, Tensor]:
        return {"round": torch.tensor(self.round)}

    def load(self, state: dict[str, Tensor]) -> None:
        self.round = int(state["round"])


def _rows(values: Tensor, places: Tensor) -> Tensor:
    """values[places], several times faster: whole rows are copied, not element after element."""
    return values.index_select(0, places.flatten()).unflatten(0, places.shape)
