"""Supervised learning: a module, a loss, and one dataset per agent."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.data import ConcatDataset, Dataset, TensorDataset

from ..learners import SupervisedLearner
from ..learners.randomness import preserved, seed_generators
from ..learners.samples import Data, as_tensors, length
from . import checks
from .base import BaseTask
from .fingerprint import digest_of_data, digest_of_model, name_of

Measure = Callable[[Any, Any], Tensor]


@dataclass(frozen=True, kw_only=True)
class Task(BaseTask):
    """Bring your own PyTorch: any module, any loss, any data.

    Args:
        model: a module (its weights, possibly pretrained, are everybody's first ones; its frozen
            parameters stay as they are and are not sent), a function that makes one (called under
            the run's seed), or one module per agent, alike but for the weights.
        loss: (outputs, targets) -> the mean loss of a batch.
        data: one dataset per agent: a torch map-style dataset of (input, target) pairs, or the
            tensors (inputs, targets). Sizes may differ.
        test: what networks are evaluated on: one dataset for all, or one per agent.
        measures: name -> function of (outputs, targets) whose mean over the test set is reported;
            the loss always is.
        evaluate: a function of an agent's module (in evaluation mode) to further measures.
        batch_size: for all, or one per agent; None takes all of an agent's data every time. A
            batch larger than an agent's data is all of them.
        transform: (inputs, targets) -> the same, applied to each training batch under the agent's
            own random numbers.
        buffers: floating point buffers (batch norm) are kept "local", or "mixed" after each round
            over the same links as the networks, and counted as bytes. Integer ones stay local.
        weighting: "equal": the team minimises the mean of the agents' mean losses; "size": the
            agents weigh as much as their data, so that every sample counts alike.
        rates: name of a parameter or submodule -> multiplier of the learning rate.
        gradients: "loop", "vmap", or "auto" for the faster one, found by timing.
        training_sample: at most this many of an agent's training samples are evaluated for the
            generalization gap; None evaluates all.
        sample_bytes: the size of a raw sample, if it is smaller than its tensors (8-bit pixels);
            what centralized training is said to have sent.
        name, details: for the record.

    Example:
        >>> import torch, peerlearn as pl
        >>> data = [(torch.randn(20, 3), torch.randn(20, 1)) for _ in range(4)]
        >>> task = pl.Task(
        ...     model=lambda: torch.nn.Linear(3, 1), loss=torch.nn.functional.mse_loss, data=data
        ... )
        >>> task.agents
        4
    """

    model: nn.Module | Callable[[], nn.Module] | Sequence[nn.Module]
    loss: Callable[[Any, Any], Tensor]
    data: Sequence[Data]
    test: Data | Sequence[Data] | None = None
    measures: Mapping[str, Measure] = field(default_factory=dict)
    evaluate: Callable[[nn.Module], Mapping[str, float]] | None = None
    batch_size: int | Sequence[int] | None = 64
    transform: Callable[[Any, Any], tuple[Any, Any]] | None = None
    buffers: Literal["local", "mixed"] = "local"
    weighting: Literal["equal", "size"] = "equal"
    rates: Mapping[str, float] = field(default_factory=dict)
    gradients: Literal["auto", "loop", "vmap"] = "auto"
    training_sample: int | None = 1000
    sample_bytes: int | None = None
    name: str = "task"
    details: Mapping[str, Any] = field(default_factory=dict)
    # of pooled data: the sizes of the parts, and how many samples a minibatch holds of each
    strata: tuple[list[int], int | None] | None = None

    @property
    def agents(self) -> int:  # type: ignore[override]
        return len(self.data)

    def models(self, seed: int) -> list[nn.Module]:
        """The first network of all, or of each agent."""
        if isinstance(self.model, nn.Module):
            return [self.model]
        if isinstance(self.model, Sequence):
            return list(self.model)
        with preserved(torch.device("cpu")):
            seed_generators(torch.device("cpu"), seed)
            return [self.model()]

    def tests(self) -> list[Data | None]:
        """The test set of all, or of each agent."""
        if isinstance(self.test, list) or (
            isinstance(self.test, tuple) and not isinstance(self.test[0], Tensor)
        ):
            return list(self.test)
        return [self.test]  # type: ignore[list-item]

    def batch_size_of(self, agent: int) -> int | None:
        size = self.batch_size[agent] if isinstance(self.batch_size, Sequence) else self.batch_size
        return None if size is None else min(size, length(self.data[agent]))

    def loss_weights(self) -> Tensor | None:
        """(A,) n_i A / sum n under "size"; None where all weigh one."""
        if self.weighting == "equal" or self.agents == 1:
            return None
        sizes = torch.tensor([length(d) for d in self.data], dtype=torch.float64)
        return sizes * len(sizes) / sizes.sum()

    def learner(
        self,
        seed: int,
        device: torch.device,
        dtype: torch.dtype,
        agents: Sequence[int] | None = None,
    ) -> SupervisedLearner:
        return SupervisedLearner(self, seed, device, dtype, agents)

    def pooled(self) -> Task:
        """One agent with all data and the sum of the batch sizes.

        With agents of different sizes that weigh alike, every batch holds as many samples of each,
        which keeps the objective: the mean of the agents' mean losses.
        """
        sizes = [length(d) for d in self.data]
        batches = [self.batch_size_of(a) for a in range(self.agents)]
        total = None if None in batches else sum(b for b in batches if b is not None)
        uneven = self.weighting == "equal" and len(set(sizes)) > 1
        share = None if total is None else -(-total // len(sizes))
        return replace(
            self,
            model=self.models_of_centre(),
            data=[_pool(self.data)],
            test=self._pooled_test(),
            batch_size=total,
            strata=(sizes, share) if uneven else None,
        )

    def models_of_centre(self) -> nn.Module | Callable[[], nn.Module]:
        """The centre starts from the first agent's network."""
        many = isinstance(self.model, Sequence)
        return self.model[0] if many else self.model  # type: ignore[index, return-value]

    def _pooled_test(self) -> Data | None:
        tests = self.tests()
        return _pool([t for t in tests if t is not None]) if len(tests) > 1 else tests[0]

    def data_bytes(self) -> list[int]:
        if self.sample_bytes is not None:
            return [length(d) * self.sample_bytes for d in self.data]
        return [_bytes(d) for d in self.data]

    def problems(self) -> list[str]:
        return checks.problems(self)

    def describe(self) -> dict[str, Any]:
        each = isinstance(self.batch_size, Sequence)
        sizes: Any = self.batch_size if each else [self.batch_size]
        counts = [None if b is None else int(b) for b in sizes]
        return {
            **super().describe(),
            **self.details,
            "batch_size": counts if each else counts[0],
            "buffers": self.buffers,
            "weighting": self.weighting,
            "gradients": self.gradients,
            "training_sample": self.training_sample and int(self.training_sample),
            "rates": {name: float(rate) for name, rate in self.rates.items()},
            "loss": name_of(self.loss),
            "measures": {name: name_of(measure) for name, measure in self.measures.items()},
            "evaluate": name_of(self.evaluate),
            "transform": name_of(self.transform),
            **self._fingerprints,
        }

    @cached_property
    def _fingerprints(self) -> dict[str, Any]:
        """Of what is too large to write down; a task is not changed, so once is enough."""
        sizes = [length(d) for d in self.data]
        return {
            "samples": {"fewest": min(sizes), "most": max(sizes), "total": sum(sizes)},
            "data": digest_of_data(self.data),
            "test": digest_of_data(self.tests()),
            "network": digest_of_model(self.model, self.models(0)),
        }


def _pool(data: Sequence[Data]) -> Data:
    tensors = [as_tensors(d) for d in data]
    if any(t is None for t in tensors):
        return ConcatDataset([_dataset(d) for d in data])
    inputs, targets = (torch.cat(parts) for parts in zip(*tensors, strict=True))
    return inputs, targets


def _dataset(data: Data) -> Dataset:
    return TensorDataset(*data) if isinstance(data, tuple) else data


def _bytes(data: Data) -> int:
    """The raw size: of the tensors, or of the first item times the number of items."""
    tensors = as_tensors(data)
    if tensors is not None:
        return sum(t.numel() * t.element_size() for t in tensors)
    with preserved(torch.device("cpu")):  # an item may draw random numbers
        parts = [torch.as_tensor(part) for part in data[0]]
    return length(data) * sum(p.numel() * p.element_size() for p in parts)
