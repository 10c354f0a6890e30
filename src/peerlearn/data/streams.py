"""Streams: data that arrive over time, each sample seen once, perhaps from a changing source.

A stream is a function: the samples number first, first + 1, ... of an agent depend on the run's
seed, the agent, their numbers and the concept of the round, and on nothing else. So all there is
to remember is how many samples each agent has drawn.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import default_collate

from ..learners.randomness import DEAL, HELD_OUT, SAMPLE, generator
from ..learners.samples import Data, as_tensors, length
from ..values import require_count
from .drift import Change, Drift, at

Numbers = NDArray[np.int64]
Batch = tuple[Tensor, Tensor]
Draw = Callable[[np.random.Generator, int, int], tuple[Any, Any]]

NEVER = at()
UNCHANGED = Change()


class Stream(ABC):
    """What the agents see, sample by sample.

    Args:
        agents: how many agents draw from it.
        drift: in which rounds the concept changes.
        sample_bytes: the size of one raw sample.

    Attributes:
        prequential: whether what agents suffer on samples before they learn from them is counted;
            it means little where samples come again.
    """

    prequential: ClassVar[bool] = True

    def __init__(self, agents: int, drift: Drift, sample_bytes: int) -> None:
        require_count("agents", agents)
        require_count("sample_bytes", sample_bytes)
        _require_kind("drift", drift, Drift, "drift.at([100])")
        self.agents, self.drift, self.sample_bytes = agents, drift, sample_bytes

    def length(self, agent: int) -> int | None:
        """How many samples the agent gets; None for a stream without end."""
        return None

    @abstractmethod
    def take(self, seed: int, agents: Numbers, first: Numbers, size: int, round: int) -> Batch:
        """The next samples of some agents, as tensors (k, size, ...) on the CPU.

        Args:
            seed: of the run.
            agents: (k,) their numbers, perhaps one several times.
            first: (k,) the number of each one's first sample.
            size: how many samples of each.
            round: the round, from 0; at the start of a run, -1.
        """

    def test(self, seed: int, round: int) -> Batch | None:
        """What networks are evaluated on while the round's concept holds, if there is such."""
        return None

    def positions(self, round: int) -> NDArray[np.float64] | None:
        """(agents, dimensions) where they are in a round, if they are somewhere."""
        return None

    def raw_bytes(self, agent: int, samples: int, round: int) -> int:
        """The size of what an agent has gathered when it has drawn so many samples by a round."""
        return samples * self.sample_bytes

    def concept(self, seed: int, round: int) -> int:
        return self.drift.concept(seed, round)

    def drifts(self, seed: int, rounds: int) -> list[int]:
        """The rounds, of so many, in which the concept changes."""
        return self.drift.rounds(seed, rounds)

    def describe(self) -> dict[str, Any]:
        """What the stream is: values that JSON has, or functions, whose names stand for them."""
        return {"kind": type(self).__name__, "drift": self.drift.describe()}

    def tensors(self) -> list[Tensor]:
        """What is too large to describe, and is compared by its digest."""
        return []


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
        _require_kind("change", change, Change, "drift.labels(10)")
        self.inputs, self.targets = pool
        self.held_out = None if test is None else _tensors(test, "the test set")
        self.change = change
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
        change: what a concept does to the data; needed for a drift to mean anything.
        sample_bytes: the size of a raw sample, if it is smaller than its tensors.

    Example:
        >>> import torch, peerlearn as pl
        >>> from peerlearn.data import drift, streams
        >>> pool = torch.randn(40, 3), torch.arange(40) % 2
        >>> stream = streams.dealt(pool, 4, drift=drift.at([100]), change=drift.labels(2))
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
        self._part: tuple[int, Numbers] = (-1, np.zeros(0, np.int64))

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

    def _shown(self, concept: int) -> Numbers:
        """The numbers of the samples that the concept shows; those of the latest are kept."""
        if self._part[0] != concept:
            shown = self.change.shown(self.targets, concept)
            part = np.arange(len(self.targets)) if shown is None else shown.numpy()
            self._part = (concept, part)
        return self._part[1]

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "shuffle": self.shuffle}


@lru_cache(maxsize=16)
def _permutation(seed: int, epoch: int, count: int) -> Numbers:
    return generator(seed, DEAL, epoch).permutation(count)


class generated(Stream):
    """Samples drawn from a function, without end.

    Args:
        draw: (generator, count, concept) -> (inputs, targets), arrays or tensors of ``count``
            samples, drawn from the NumPy generator alone.
        agents: how many agents draw.
        drift: in which rounds the concept changes.
        test_size: so many samples of the concept are what networks are evaluated on.
        ahead: so many samples of an agent are drawn at once; they depend on it.
        sample_bytes: the size of a raw sample, if it is smaller than its tensors.
    """

    def __init__(
        self,
        draw: Draw,
        agents: int,
        drift: Drift = NEVER,
        test_size: int = 1000,
        ahead: int = 256,
        sample_bytes: int | None = None,
    ) -> None:
        for name, value in (("agents", agents), ("test_size", test_size), ("ahead", ahead)):
            require_count(name, value)
        if not callable(draw):
            raise ValueError(f"draw is {draw!r}, expected a function (generator, count, concept)")
        self.draw, self.test_size, self.ahead = draw, test_size, ahead
        one = self._drawn(1, 0, 0, SAMPLE)
        each = sum(t[0].numel() * t.element_size() for t in one)
        super().__init__(agents, drift, each if sample_bytes is None else sample_bytes)
        self._kept = tuple(t.new_empty((agents, ahead, *t.shape[1:])) for t in one)
        self._keys = np.full((agents, 3), -1, np.int64)  # of what is kept: seed, concept, block

    def _drawn(self, count: int, concept: int, *key: int) -> Batch:
        drawn = self.draw(generator(*key, concept), count, concept)
        if not isinstance(drawn, tuple | list) or len(drawn) != 2:
            raise ValueError(f"draw gave a {type(drawn).__name__}, expected (inputs, targets)")
        inputs, targets = (torch.as_tensor(part) for part in drawn)
        if len(inputs) != count or len(targets) != count:
            raise ValueError(
                f"draw gave {len(inputs)} inputs and {len(targets)} targets where {count} samples "
                "were asked for; give as many of both"
            )
        return inputs, targets

    def take(self, seed: int, agents: Numbers, first: Numbers, size: int, round: int) -> Batch:
        concept = self.concept(seed, round)
        owners = np.repeat(agents, size)
        blocks, places = np.divmod((first[:, None] + np.arange(size)).ravel(), self.ahead)
        out = tuple(t.new_empty((len(owners), *t.shape[2:])) for t in self._kept)
        for block in np.unique(blocks).tolist():
            here = np.flatnonzero(blocks == block)
            self._keep(seed, concept, owners[here], block)
            for kept, part in zip(self._kept, out, strict=True):
                part[here] = kept[owners[here], places[here]]
        inputs, targets = (part.unflatten(0, (len(agents), size)) for part in out)
        return inputs, targets

    def _keep(self, seed: int, concept: int, agents: Numbers, block: int) -> None:
        """Have the block of samples of these agents at hand."""
        key = (seed, concept, block)
        late = agents[(self._keys[agents] != key).any(axis=1)]
        for agent in np.unique(late).tolist():
            drawn = self._drawn(self.ahead, concept, seed, SAMPLE, agent, block)
            for kept, part in zip(self._kept, drawn, strict=True):
                kept[agent] = part
            self._keys[agent] = key

    def test(self, seed: int, round: int) -> Batch | None:
        concept = self.concept(seed, round)
        return self._drawn(self.test_size, concept, seed, HELD_OUT)

    def describe(self) -> dict[str, Any]:
        own = {"draw": self.draw, "test_size": self.test_size, "ahead": self.ahead}
        return {**super().describe(), **own}


class interleaved(Stream):
    """The minibatches of all agents of a stream in turn, as the stream of one agent.

    Agent 0's first minibatch, agent 1's first, ..., agent 0's second, and so on.

    Args:
        stream: of m agents.
        rates: (m,) how many samples make each agent's minibatch.
    """

    def __init__(self, stream: Stream, rates: Sequence[int]) -> None:
        super().__init__(1, stream.drift, stream.sample_bytes)
        self.prequential = stream.prequential  # type: ignore[misc]
        self.stream, self.rates = stream, np.array(rates, np.int64)
        self.starts = np.cumsum([0, *self.rates])

    def length(self, agent: int) -> int | None:
        lengths = [self.stream.length(a) for a in range(self.stream.agents)]
        rounds = [n // b for n, b in zip(lengths, self.rates, strict=True) if n is not None]
        return int(min(rounds) * self.starts[-1]) if rounds else None

    def take(self, seed: int, agents: Numbers, first: Numbers, size: int, round: int) -> Batch:
        numbers = (first[:, None] + np.arange(size)).ravel()
        rounds, places = np.divmod(numbers, self.starts[-1])
        owners = np.searchsorted(self.starts, places, side="right") - 1
        own = rounds * self.rates[owners] + places - self.starts[owners]
        shape = (len(first), size)
        inputs, targets = self.stream.take(seed, owners, own, 1, round)
        return inputs[:, 0].unflatten(0, shape), targets[:, 0].unflatten(0, shape)

    def test(self, seed: int, round: int) -> Batch | None:
        return self.stream.test(seed, round)


STREAMS: dict[str, type[Stream]] = {s.__name__: s for s in (finite, dealt, generated)}


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


def _require_kind(name: str, value: Any, kind: type, example: str) -> None:
    if not isinstance(value, kind):
        raise ValueError(f"{name} is {value!r}, expected one such as {example}")
