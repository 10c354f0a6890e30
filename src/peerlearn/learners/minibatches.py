"""Which samples an agent sees, and when."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .randomness import MINIBATCH, generator


class Group(NamedTuple):
    """Agents whose minibatches have one size."""

    rows: np.ndarray  # (k,) positions in the request
    index: Tensor  # type: ignore[assignment]  # (k, B) each agent's own sample numbers


class Minibatches:
    """Endless minibatches: one permutation per agent and epoch, cut without a gap.

    Agent i's t-th sample is number t mod n_i of permutation t div n_i, which depends on the seed,
    the agent's number and the epoch alone. So where every agent stands is one number, a minibatch
    may reach over the end of an epoch, and nothing depends on the other agents.

    Args:
        agents: the agents' numbers, for the seeds.
        sizes: n_i, the number of samples of each agent.
        batch_sizes: B_i; None takes all samples in their order, always.
        seed: of the run.
    """

    def __init__(
        self,
        agents: Sequence[int],
        sizes: Sequence[int],
        batch_sizes: Sequence[int | None],
        seed: int,
    ) -> None:
        self.agents = list(agents)
        self.sizes = np.array(sizes, np.int64)
        self.whole = np.array([b is None for b in batch_sizes])
        pairs = zip(sizes, batch_sizes, strict=True)
        self.batch_sizes = np.array([n if b is None else b for n, b in pairs], np.int64)
        self.alike = len(set(self.batch_sizes.tolist())) == 1
        self.seed = seed
        self.drawn = np.zeros(len(self.agents), np.int64)  # samples drawn so far
        self._epochs = 1 + -(-self.batch_sizes // self.sizes)  # kept ahead, enough for one batch
        self._first = -self._epochs  # the first epoch kept; before the first draw none is
        width = int((self._epochs * self.sizes).max(initial=1))
        self._order = np.zeros((len(self.agents), width), np.int64)

    def next(self, rows: Sequence[int] | None = None, advance: bool = True) -> list[Group]:
        """The next minibatch of each agent (or of some), grouped by size."""
        chosen = np.arange(len(self.agents)) if rows is None else np.asarray(rows, np.int64)
        self._refill(chosen)
        groups = []
        for size in np.unique(self.batch_sizes[chosen]):
            places = np.flatnonzero(self.batch_sizes[chosen] == size)
            agents = chosen[places]
            begin = self.drawn[agents] % self.sizes[agents]
            columns = begin[:, None] + np.arange(size)
            index = np.take_along_axis(self._order[agents], columns, axis=1)
            groups.append(Group(places, torch.from_numpy(index)))
        if advance:
            self.drawn[chosen] += self.batch_sizes[chosen]
        return groups

    def _refill(self, chosen: np.ndarray) -> None:
        """Keep the permutations of the epoch each agent is in, and of the next ones."""
        epochs = self.drawn[chosen] // self.sizes[chosen]
        late = self._first[chosen] != epochs
        for row, epoch in zip(chosen[late].tolist(), epochs[late].tolist(), strict=True):
            self._keep(row, epoch)

    def _keep(self, row: int, epoch: int) -> None:
        """Keep ``epoch`` and those after it; what was kept ahead moves up, drawn once only."""
        size, ahead = self.sizes[row], self._epochs[row]
        order = self._order[row, : ahead * size].reshape(ahead, size)
        moved = epoch - self._first[row]
        known = max(ahead - moved, 0) if moved > 0 else 0
        order[:known] = order[ahead - known :].copy()
        for place in range(known, ahead):
            order[place] = self._permutation(row, epoch + place)
        self._first[row] = epoch

    def _permutation(self, row: int, epoch: int) -> np.ndarray:
        if self.whole[row]:
            return np.arange(self.sizes[row])
        draw = generator(self.seed, MINIBATCH, self.agents[row], epoch)
        return draw.permutation(self.sizes[row])

    def state(self) -> dict[str, Tensor]:
        return {"drawn": torch.from_numpy(self.drawn.copy())}

    def load(self, state: dict[str, Tensor]) -> None:
        self.drawn = state["drawn"].numpy().copy()
