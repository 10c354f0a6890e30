"""The stream of a whole team as one agent's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .base import Batch, Numbers, Stream


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
