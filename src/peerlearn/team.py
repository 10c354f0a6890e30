"""The processes that carry out one run together, and what they must know of each other.

Every process hosts some of the agents, one row each, and runs the same loop. What the loop needs
from the others besides an algorithm's messages goes through here: measures, checkpoints, and the
choices that depend on timing, which the first process makes for all.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, TypeVar

import torch
from torch import Tensor

from .errors import RESUME
from .values import is_positive

Prepared = TypeVar("Prepared")
Raised = TypeVar("Raised", bound=BaseException)

TIMEOUT_S = 30.0  # by default
LONGEST_TIMEOUT_S = 1_000_000  # no thread can wait for some thousand times that


class Team(ABC):
    """The processes of one run. All of them make the same calls in the same order.

    Attributes:
        rank, size: which process this is, and of how many; the first one writes.
        round: how many rounds are done, for whoever must say when a process was lost.
        graphs: a checksum of the graphs of all rounds so far, to be compared.
    """

    rank: int = 0
    size: int = 1
    round: int = 0
    graphs: int = 0

    @property
    def leads(self) -> bool:
        """Whether this process writes records and checkpoints, and chooses for all."""
        return self.rank == 0

    def blocks(self, total: int) -> list[range]:
        """Which of ``total`` agents each process hosts: blocks as equal as can be."""
        fewest, more = divmod(total, self.size)
        starts = [rank * fewest + min(rank, more) for rank in range(self.size + 1)]
        return [range(a, b) for a, b in pairwise(starts)]

    def hosted(self, total: int) -> range:
        """The numbers of the agents hosted here."""
        return self.blocks(total)[self.rank]

    def device(self, device: torch.device) -> torch.device:
        """The device of this process, where several on one machine share what was asked for."""
        return device

    @abstractmethod
    def agree(self, prepare: Callable[[], Prepared]) -> Prepared:
        """What ``prepare`` returns, once all processes were found to have prepared the same.

        Raises:
            ConfigurationError: they have not, or one could not; all raise the same one.
            Unwritten: one could not write a file; all raise it.
        """

    def takes(self, graph: str) -> None:
        """Told in each round: the fingerprint of its graph, over which messages will go."""

    @abstractmethod
    def next_meeting(self, done: int) -> int:
        """After which round the processes look at each other again, ``done`` rounds being done."""

    def paced(self, longest_round_s: float) -> None:
        """Told at each meeting: the longest round so far, with all that was done in it."""

    @property
    def reaches_store(self) -> bool:
        """Whether those who were lost could still be named."""
        return True

    @abstractmethod
    def share(self, values: Tensor, total: int) -> Tensor:
        """Of all agents what (A, ...) is of those hosted here: (total, ...), on the CPU."""

    @abstractmethod
    def tell(self, value: Any) -> Any:
        """What the first process says: anything JSON has. The others' own value is ignored."""

    @abstractmethod
    def collect(
        self, tensors: Mapping[str, Tensor], total: int, alike: Collection[str] = ()
    ) -> dict[str, Tensor]:
        """Of all agents what is given for those hosted here, in their order.

        Tensors without axes, and those named in ``alike``, are the same in every process. The
        others are rows. Processes other than the first get nothing.
        """

    @abstractmethod
    def deal(
        self, tensors: Mapping[str, Tensor], total: int, alike: Collection[str] = ()
    ) -> dict[str, Tensor]:
        """The inverse of `collect`: what the first process has, each process its own rows."""

    def stand_by(self, work: Callable[[], Prepared], advice: str = RESUME) -> Prepared | None:
        """``work`` is for the first process alone; the others wait for its end, and get None.

        Raises:
            Lost: it failed there, and why; ``advice`` says what to do then.
        """
        return work()

    def attend(self, done: int) -> None:
        """Between rounds of such work: so many are done, and the others should still be there.

        Raises:
            Lost: one is not.
        """

    def common(self, error: Raised) -> Raised:
        """Marks an error as one that all processes raise, so that nobody need be told."""
        return error

    @contextmanager
    def taking_part(self) -> Iterator[None]:
        """Around a run: others who wait for this process are told why it leaves."""
        yield


class Alone(Team):
    """A process by itself, which hosts all agents."""

    def agree(self, prepare: Callable[[], Prepared]) -> Prepared:
        return prepare()

    def next_meeting(self, done: int) -> int:
        return done

    def share(self, values: Tensor, total: int) -> Tensor:
        return values.cpu()

    def tell(self, value: Any) -> Any:
        return value

    def collect(
        self, tensors: Mapping[str, Tensor], total: int, alike: Collection[str] = ()
    ) -> dict[str, Tensor]:
        return dict(tensors)

    def deal(
        self, tensors: Mapping[str, Tensor], total: int, alike: Collection[str] = ()
    ) -> dict[str, Tensor]:
        return dict(tensors)


def timeout_problems(timeout_s: Any) -> list[str]:
    """Why nobody can wait so long for a silent process."""
    if is_positive(timeout_s, LONGEST_TIMEOUT_S):
        return []
    most = f"at most {LONGEST_TIMEOUT_S:,}"
    return [f"timeout_s is {timeout_s!r}, expected a positive number of seconds, {most}"]
