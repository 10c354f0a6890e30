"""Which samples an agent sees, and when."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..randomness import MINIBATCH, generator


class Group(NamedTuple):
    """Agents whose minibatches have one size."""

    rows: np.ndarray  # (k,) positions in the request
    index: Tensor  # type: ignore[assignment]  # (k, B) each agent's own sample numbers


class Draws(ABC):
    """Which samples of its own each agent sees next; all there is to remember is how many it saw.

    Args:
        agents: the agents' numbers.
        batch_sizes: B_i, how many samples each draws at a time.
    """

    def __init__(self, agents: Sequence[int], batch_sizes: Sequence[int]) -> None:
        self.agents = list(agents)
        self.batch_sizes = np.array(batch_sizes, np.int64)
        self.alike = len(set(self.batch_sizes.tolist())) == 1
        self.drawn = np.zeros(len(self.agents), np.int64)  # samples drawn so far
        self._every = np.arange(len(self.agents))

    def next(self, rows: Sequence[int] | None = None, advance: bool = True) -> list[Group]:
        """The next minibatch of each agent (or of some), grouped by size."""
        if rows is None and self.alike:  # as in most rounds, with few calls
            index = self._index(self._every, int(self.batch_sizes[0]))
            if advance:
                self.drawn += self.batch_sizes
            return [Group(self._every, torch.from_numpy(index))]
        chosen = np.arange(len(self.agents)) if rows is None else np.asarray(rows, np.int64)
        own = self.batch_sizes[chosen]
        groups = []
        for size in own[:1] if self.alike else np.unique(own):
            places = np.flatnonzero(own == size)
            index = self._index(chosen[places], int(size))
            groups.append(Group(places, torch.from_numpy(index)))
        if advance:
            self.drawn[chosen] += own
        return groups

    @abstractmethod
    def _index(self, rows: np.ndarray, size: int) -> np.ndarray:
        """(k, size) the numbers of the next samples of some rows."""

    def owners(self, rows: np.ndarray) -> np.ndarray:
        """(k,) whose samples the next minibatches of some rows are."""
        return rows

    def state(self) -> dict[str, Tensor]:
        return {"drawn": torch.from_numpy(self.drawn.copy())}

    def load(self, state: dict[str, Tensor]) -> None:
        self.drawn = state["drawn"].numpy().copy()


class Consecutive(Draws):
    """The samples of a stream, in the order in which they come."""

    def _index(self, rows: np.ndarray, size: int) -> np.ndarray:
        return self.drawn[rows][:, None] + np.arange(size)


class Minibatches(Draws):
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
        pairs = zip(sizes, batch_sizes, strict=True)
        super().__init__(agents, [n if b is None else b for n, b in pairs])
        self.sizes = np.array(sizes, np.int64)
        self._same_sizes = len(set(sizes)) == 1
        self.whole = np.array([b is None for b in batch_sizes])
        self.seed = seed
        self._epochs = 1 + -(-self.batch_sizes // self.sizes)  # kept ahead, enough for one batch
        self._first = -self._epochs  # the first epoch kept; before the first draw none is
        width = int((self._epochs * self.sizes).max(initial=1))
        self._order = np.zeros((len(self.agents), width), np.int64)

    def _index(self, rows: np.ndarray, size: int) -> np.ndarray:
        if rows is self._every and self._in_step():
            epoch, start = divmod(int(self.drawn[0]), int(self.sizes[0]))
            if (self._first != epoch).any():
                self._refill(rows)
            return self._order[:, start : start + size].copy()  # several times faster
        self._refill(rows)
        columns = (self.drawn[rows] % self.sizes[rows])[:, None] + np.arange(size)
        return self._order[rows[:, None], columns]

    def _in_step(self) -> bool:
        """Whether all agents are at the same place of as many samples."""
        return self._same_sizes and bool((self.drawn == self.drawn[0]).all())

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


# --- data of many agents that one learner has collected ---------------------------------------


class Parts(NamedTuple):
    """How the data of several agents are drawn by the one learner that has them all.

    Attributes:
        sizes: (m,) how many samples each part has; of a stream, how many come at a time.
        batch_sizes: (m,) how many samples of each part make a minibatch of it, None for all of
            them. None for all parts where a minibatch is everything there is, whose loss is then
            the mean of the parts' own.
        in_turn: a minibatch is of one part after another, rather than of all of them.
        weights: (m,) what the loss of each part weighs in its turn; None where all weigh one.
    """

    sizes: Sequence[int]
    batch_sizes: Sequence[int | None] | None
    in_turn: bool = False
    weights: Tensor | None = None


class Together:
    """One agent, whose minibatch holds one of each part, all of the same size.

    Args:
        parts: the parts' own minibatches.
        starts: (m,) the number of each part's first sample.
    """

    alike = True

    def __init__(self, parts: Draws, starts: Sequence[int]) -> None:
        self.parts, self.starts = parts, torch.as_tensor(starts)

    def next(self, rows: Sequence[int] | None = None, advance: bool = True) -> list[Group]:
        (group,) = self.parts.next(None, advance)
        index = group.index + self.starts[:, None]
        return [Group(np.zeros(1, np.int64), index.reshape(1, -1))]

    def owners(self, rows: np.ndarray) -> np.ndarray:
        return rows

    def state(self) -> dict[str, Tensor]:
        return self.parts.state()

    def load(self, state: dict[str, Tensor]) -> None:
        self.parts.load(state)


class InTurn(Together):
    """One agent, whose k-th minibatch is the next one of part k mod m."""

    @property
    def turn(self) -> int:
        """Whose turn it is."""
        done = self.parts.drawn // self.parts.batch_sizes
        return int(done.sum()) % len(done)

    def owners(self, rows: np.ndarray) -> np.ndarray:
        return np.array([self.turn])

    def next(self, rows: Sequence[int] | None = None, advance: bool = True) -> list[Group]:
        turn = self.turn
        (group,) = self.parts.next([turn], advance)
        return [Group(group.rows, group.index + self.starts[turn])]


class ConsecutiveInTurn(Consecutive):
    """One agent of a stream, whose minibatches have sizes that come round.

    Args:
        sizes: (m,) of the minibatches, one after another.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__([0], [sizes[0]])
        self._sizes, self._ends = list(sizes), np.cumsum(sizes)

    @property
    def turn(self) -> int:
        return int(np.searchsorted(self._ends, self.drawn[0] % self._ends[-1], side="right"))

    def owners(self, rows: np.ndarray) -> np.ndarray:
        return np.array([self.turn])

    def next(self, rows: Sequence[int] | None = None, advance: bool = True) -> list[Group]:
        self.batch_sizes[0] = self._sizes[self.turn]
        return super().next(rows, advance)
