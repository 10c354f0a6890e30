"""Streams of samples that exist: a dataset per agent, or one pool dealt to all."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import default_collate

from ...randomness import DEAL, generator
from ..datasets import Data, as_tensors, length
from ..drift import Change, Drift
from .base import NEVER, Batch, Numbers, Stream, require_kind

UNCHANGED = Change()


class _Pool(Stream):
    """A stream of the samples of one pool, changed by the concept."""

    def __init__(
        self,
        pool: Batch,
        agents: int,
        test: Data | None,
        drift: Drift,
        change: Change,
        sample_bytes: int | None,
    ) -> None:
        require_kind("change", change, Change, "drift.labels()")
        self.inputs, self.targets = pool
        self.held_out = None if test is None else _tensors(test, "the test set")
        self.change = change.fitted(self.targets)
        for held in (pool, self.held_out):
            if held is not None and (found := self.change.problems(*held)):
                raise ValueError("; ".join(found))
        each = sum(t[0].numel() * t.element_size() for t in pool)
        super().__init__(agents, drift, each if sample_bytes is None else sample_bytes)

    @abstractmethod
    def places(
        self, seed: int, agents: Numbers, first: Numbers, size: int, concept: int
    ) -> Numbers:
        """(k, size) which samples of the pool."""

    def take(self, seed: int, agents: Numbers, first: Numbers, size: int, round: int) -> Batch:
        concept = self.concept(seed, round)
        places = torch.from_numpy(self.places(seed, agents, first, size, concept))
        inputs, targets = (t.index_select(0, places.flatten()) for t in (self.inputs, self.targets))
        inputs, targets = self.change.apply(inputs, targets, seed, concept)
        return inputs.unflatten(0, places.shape), targets.unflatten(0, places.shape)

    def test(self, seed: int, round: int) -> Batch | None:
        if self.held_out is None:
            return None
        concept = self.concept(seed, round)
        inputs, targets = self.held_out
        shown = self.change.shown(targets, concept)
        if shown is not None:
            inputs, targets = inputs[shown], targets[shown]
        return self.change.apply(inputs, targets, seed, concept)

    def describe(self) -> dict[str, Any]:
        own = {"samples": len(self.targets), "change": self.change.describe()}
        return {**super().describe(), **own}

    def tensors(self) -> list[Tensor]:
        return [self.inputs, self.targets, *(self.held_out or ())]


class finite(_Pool):
    """Every agent sees each sample of its own dataset once, in the order given; then it ends.

    Args:
        data: one dataset per agent.
        test, drift, change, sample_bytes: as of `dealt`; all samples are shown whatever the
            concept.
    """

    def __init__(
        self,
        data: Sequence[Data],
        test: Data | None = None,
        drift: Drift = NEVER,
        change: Change = UNCHANGED,
        sample_bytes: int | None = None,
    ) -> None:
        parts = [_tensors(d, f"the dataset of agent {a}") for a, d in enumerate(data)]
        self.sizes = np.array([len(targets) for _, targets in parts], np.int64)
        self.starts = np.cumsum([0, *self.sizes])
        super().__init__(_joined(parts), len(parts), test, drift, change, sample_bytes)
        if self.change.shown(self.targets, 0) is not None:
            raise ValueError(
                f"a finite stream shows every sample once, in its order: {change!r} cannot hide "
                "some; deal the data instead"
            )

    def length(self, agent: int) -> int | None:
        return int(self.sizes[agent])

    def places(
        self, seed: int, agents: Numbers, first: Numbers, size: int, concept: int
    ) -> Numbers:
        late = first + size > self.sizes[agents]
        if late.any():
            agent = int(agents[late][0])
            raise ValueError(
                f"the stream of agent {agent} has ended after {self.sizes[agent]} samples; give "
                "it more, or train for fewer rounds"
            )
        return (self.starts[agents] + first)[:, None] + np.arange(size)

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "sizes": self.sizes.tolist()}


class dealt(_Pool):
    """One pool of samples, shuffled and dealt to the agents anew every epoch, without end.

    Of m agents, agent i gets as its t-th sample number t m + i of the epochs put one after another.
    So agents that draw alike together see every sample once in every epoch. Where a concept shows
    only a part of the pool, that part is dealt.

    Args:
        data: the pool.
        agents: how many agents it is dealt to.
        shuffle: whether each epoch has its own order, drawn under the run's seed.
        test: what networks are evaluated on, as the concept has it.
        drift: in which rounds the concept changes.
        change: what a concept does to the data, such as `drift.labels`; needed for a drift to mean
            anything.
        sample_bytes: the size of a raw sample, if it is smaller than its tensors.

    Example:
        >>> import torch, peerlearn as pl
        >>> from peerlearn.data import drift, streams
        >>> pool = torch.randn(40, 3), torch.arange(40) % 2
        >>> stream = streams.dealt(pool, 4, drift=drift.at([100]), change=drift.labels())
        >>> task = pl.Task(
        ...     model=lambda: torch.nn.Linear(3, 2), loss=torch.nn.functional.cross_entropy,
        ...     data=stream, batch_size=[1, 1, 2, 2],
        ... )
        >>> task.drifts(seed=0, rounds=200)
        [100]
    """

    def __init__(
        self,
        data: Data,
        agents: int,
        shuffle: bool = True,
        test: Data | None = None,
        drift: Drift = NEVER,
        change: Change = UNCHANGED,
        sample_bytes: int | None = None,
    ) -> None:
        self.shuffle = shuffle
        pool = _tensors(data, "the pool of the stream")
        super().__init__(pool, agents, test, drift, change, sample_bytes)
        self._shown = lru_cache(maxsize=1)(partial(_shown, self.change, self.targets))

    def places(
        self, seed: int, agents: Numbers, first: Numbers, size: int, concept: int
    ) -> Numbers:
        part = self._shown(concept)
        place = (first[:, None] + np.arange(size)) * self.agents + agents[:, None]  # (k, size)
        epochs, place = np.divmod(place, len(part))
        if self.shuffle:
            for epoch in np.unique(epochs).tolist():
                here = epochs == epoch
                place[here] = _permutation(seed, epoch, len(part))[place[here]]
        return part[place]

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "shuffle": self.shuffle}


def _shown(change: Change, targets: Tensor, concept: int) -> Numbers:
    """The numbers of the samples that the concept shows."""
    shown = change.shown(targets, concept)
    return np.arange(len(targets)) if shown is None else shown.numpy()


@lru_cache(maxsize=16)
def _permutation(seed: int, epoch: int, count: int) -> Numbers:
    return generator(seed, DEAL, epoch).permutation(count)


def _tensors(data: Data, what: str) -> Batch:
    """(inputs, targets) of any dataset, on the CPU."""
    if length(data) == 0:
        raise ValueError(f"{what} is empty; give it at least one sample")
    found = as_tensors(data)
    if found is None:
        items = [data[i] for i in range(length(data))]
        found = () if isinstance(items[0], Tensor) else tuple(default_collate(items))
    if len(found) != 2 or not all(isinstance(part, Tensor) for part in found):
        raise ValueError(
            f"{what} holds no pairs (input, target); give a dataset of such pairs, or a tuple of "
            "the tensors (inputs, targets)"
        )
    inputs, targets = found
    if len(inputs) != len(targets):
        raise ValueError(
            f"{what} has {len(inputs)} inputs and {len(targets)} targets; give as many of both"
        )
    return inputs.cpu(), targets.cpu()


def _joined(parts: Sequence[Batch]) -> Batch:
    if not parts:
        raise ValueError("the stream has no datasets; give one per agent")
    kinds = {(x.shape[1:], x.dtype, y.shape[1:], y.dtype) for x, y in parts}
    if len(kinds) > 1:
        raise ValueError("the agents' samples differ in shape or type; a stream needs one for all")
    inputs, targets = (torch.cat(parts) for parts in zip(*parts, strict=True))
    return inputs, targets
