"""The stream of agents that drive and scan: each learns from its latest scans."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property, lru_cache
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..mapping.scans import Points
from ..randomness import SAMPLE, seed_from
from ..values import require_count, require_positive
from .streams import NEVER, Batch, Numbers, Stream

BYTES_OF_POINT = 9  # two single precision coordinates, and whether there is a wall


class Drive(Stream):
    """Each agent learns from points of its latest scans, wherever it is in the round.

    In round k an agent has made  begin + floor(k scans_per_round)  scans of its drive, and its
    minibatches are drawn, with replacement, from the points of the last ``window`` of them. So
    every method sees the same drive, however many minibatches it takes. A closed drive goes round
    and round; at the end of one that is not closed the agent stays there.

    Args:
        poses: for each agent (n_i, 2) or (n_i, 3), from where it scans, in metres.
        points: the agent's number -> what its scans say. Asked for agents hosted here only.
        window: how many of the latest scans an agent learns from; None for all so far.
        scans_per_round: how many it makes in a round; any positive number.
        closed: whether its drive leads back to where it began.
        source: what the points are made of, by which a run that is resumed knows them again.
    """

    prequential: ClassVar[bool] = False

    def __init__(
        self,
        poses: Sequence[NDArray[np.float64]],
        points: Callable[[int], Points],
        window: int | None,
        scans_per_round: float,
        closed: bool,
        source: Sequence[NDArray[Any]] = (),
    ) -> None:
        super().__init__(len(poses), NEVER, BYTES_OF_POINT)
        if window is not None:
            require_count("window", window)
        require_positive("scans_per_round", scans_per_round)
        self.poses, self.window, self.closed = list(poses), window, closed
        self.scans_per_round, self._source = float(scans_per_round), source
        self._points = lru_cache(maxsize=None)(lambda agent: _tensors(points(agent)))
        self._lengths = np.array([len(p) for p in self.poses])
        if window is not None and window > self._lengths.min():
            agent = int(self._lengths.argmin())
            raise ValueError(
                f"window is {window} scans, but agent {agent} makes only {self._lengths[agent]} on "
                "its drive; take a smaller window"
            )

    @cached_property
    def _begin(self) -> int:
        """How many scans an agent has made before the first round."""
        return self.window or math.ceil(self.scans_per_round)

    def made(self, round: int) -> Numbers:
        """(agents,) how many scans each has made when the round begins; more than a lap has."""
        made = self._begin + math.floor(max(round, 0) * self.scans_per_round)
        return np.full(self.agents, made) if self.closed else np.minimum(made, self._lengths)

    def positions(self, round: int) -> NDArray[np.float64]:
        """(agents, 2) where they made their latest scan."""
        latest = (self.made(round) - 1) % self._lengths
        return np.stack([p[k, :2] for p, k in zip(self.poses, latest, strict=True)])

    def take(self, seed: int, agents: Numbers, first: Numbers, size: int, round: int) -> Batch:
        made = self.made(round)
        numbers = first[:, None] + np.arange(size)
        places = torch.empty((*numbers.shape, 2))
        walls = torch.empty(numbers.shape)
        for agent in np.unique(agents).tolist():
            here = np.flatnonzero(agents == agent)
            points, is_wall, starts = self._points(agent)
            begin, count = self._window(agent, int(made[agent]), starts)
            drawn = uniform(seed_from(seed, SAMPLE, agent), numbers[here])
            chosen = torch.from_numpy((begin + (drawn * count).astype(np.int64)) % len(points))
            places[here] = points.index_select(0, chosen.flatten()).view(*chosen.shape, 2)
            walls[here] = is_wall.index_select(0, chosen.flatten()).view(chosen.shape)
        return places, walls

    def _window(self, agent: int, made: int, starts: Numbers) -> tuple[int, int]:
        """The first point of the window, and how many there are; they go on at the beginning."""
        lap = int(self._lengths[agent])
        scans = min(made, lap) if self.window is None else self.window
        last = (made - 1) % lap + 1  # the scan after the latest
        first = last - scans
        if first >= 0:
            return int(starts[first]), int(starts[last] - starts[first])
        return int(starts[first % lap]), int(starts[last] + starts[lap] - starts[first % lap])

    def raw_bytes(self, agent: int, samples: int, round: int) -> int:
        """Every point of the scans made so far, once; nothing before the first sample is drawn."""
        if samples == 0:
            return 0
        starts = self._points(agent)[2]
        return int(starts[min(int(self.made(round)[agent]), self._lengths[agent])]) * BYTES_OF_POINT

    def describe(self) -> dict[str, Any]:
        own = {"window": self.window, "scans_per_round": self.scans_per_round}
        return {**super().describe(), **own, "closed": self.closed, "scans": self._lengths.tolist()}

    def tensors(self) -> list[Tensor]:
        return [torch.from_numpy(np.ascontiguousarray(a)) for a in (*self.poses, *self._source)]


def _tensors(points: Points) -> tuple[Tensor, Tensor, Numbers]:
    """(k, 2) float32, (k,) float32 of 0 and 1, and the starts."""
    if not len(points.places):
        raise ValueError("an agent's scans have no point; each needs at least one beam")
    return (
        torch.from_numpy(points.places).float(),
        torch.from_numpy(points.walls).float(),
        points.starts,
    )


def uniform(seed: int, numbers: Numbers) -> NDArray[np.float64]:
    """A random number in [0, 1) for each of the numbers, which depends on it and the seed alone.

    SplitMix64's output function (Steele, Lea and Flood, OOPSLA 2014), which needs no state.
    """
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + (numbers.astype(np.uint64) + np.uint64(1)) * np.uint64(
            0x9E3779B97F4A7C15
        )
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(11)).astype(np.float64) * 2.0**-53
