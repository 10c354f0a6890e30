"""The stream of samples that are drawn from a function as they are needed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from ...randomness import HELD_OUT, SAMPLE, generator
from ...values import MOST_AGENTS, require_count
from ..drift import Drift
from .base import NEVER, Batch, Numbers, Stream

Draw = Callable[[np.random.Generator, int, int], tuple[Any, Any]]


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
        require_count("agents", agents, most=MOST_AGENTS)
        for name, value in (("test_size", test_size), ("ahead", ahead)):
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
