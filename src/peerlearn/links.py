"""The contract every engine offers an algorithm: one exchange with the neighbors, and its views.

``links.exchange(*rows)`` says something to all neighbors and hears what they said, once. What an
algorithm may then ask is a view of that one exchange, over exactly the neighbors whose message
arrived and was confirmed by both ends. Because both ends agree on who was heard, sums that must
stay zero over the team (duals, trackers) stay zero when links fail.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class Neighborhood(NamedTuple):
    """What each agent heard, message by message; D is the largest degree in this round."""

    rows: tuple[Tensor, ...]  # one (A, D, P) per exchanged vector, zero where nothing was heard
    mask: Tensor  # (A, D) bool: a message stands here
    agents: Tensor  # (A, D) int64: who sent it, -1 where nothing was heard


class Heard(ABC):
    """The answers to one exchange.

    Every view returns one tensor per exchanged vector, fresh memory that the caller may modify.
    """

    degree: Tensor  # (A, 1), the number of neighbors heard

    @abstractmethod
    def mix(self) -> tuple[Tensor, ...]:
        """Weighted sums over oneself and the neighbors heard: x_i <- sum_j W_ij x_j, (A, P).

        Where a neighbor was not heard, its weight falls to the agent itself.
        """

    @abstractmethod
    def difference(self) -> tuple[Tensor, ...]:
        """sum_j (x_i - x_j) over the neighbors j heard, (A, P)."""

    @abstractmethod
    def rows(self) -> Neighborhood:
        """Each neighbor's own row, for rules that are no weighted sum."""


class Coordinator(ABC):
    """One party that every agent can reach, for the methods that declare that they need it."""

    generator: torch.Generator  # seeded alike on every process

    @abstractmethod
    def receive(self, rows: Tensor, agents: Sequence[int]) -> Tensor:
        """The rows (k, P) of ``agents`` as the coordinator gets them: k messages up."""

    @abstractmethod
    def send(self, row: Tensor, agents: Sequence[int]) -> Tensor:
        """One row (P,) from the coordinator to each of ``agents``: (k, P), k messages down."""

    def mean(self, rows: Tensor, agents: Sequence[int], weights: Tensor | None = None) -> Tensor:
        """The (weighted) mean (P,) of the rows of ``agents``, received by the coordinator."""
        received = self.receive(rows, agents)
        if weights is None:
            return received.mean(dim=0)
        return (weights / weights.sum()) @ received


@dataclass
class Traffic:
    """Messages and bytes of each agent so far, both directions, as the protocol would send them."""

    total: int
    messages_sent: np.ndarray = field(init=False)  # (total,) int64, and so are the others
    bytes_sent: np.ndarray = field(init=False)
    messages_received: np.ndarray = field(init=False)
    bytes_received: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        for name in self.names():
            setattr(self, name, np.zeros(self.total, np.int64))

    @staticmethod
    def names() -> tuple[str, ...]:
        return ("messages_sent", "bytes_sent", "messages_received", "bytes_received")

    def count(self, sent: np.ndarray, received: np.ndarray, bytes_each: int) -> None:
        """Add ``sent`` and ``received`` messages per agent, ``bytes_each`` bytes a message."""
        self.messages_sent += sent
        self.bytes_sent += sent * bytes_each
        self.messages_received += received
        self.bytes_received += received * bytes_each

    def state(self) -> dict[str, Tensor]:
        return {name: torch.from_numpy(getattr(self, name).copy()) for name in self.names()}

    def load(self, state: dict[str, Tensor]) -> None:
        for name in self.names():
            setattr(self, name, state[name].numpy().copy())


class Links(ABC):
    """What one round's graph offers the agents hosted here."""

    round: int  # the number of this round, from 0; -1 while the state is started
    rounds: int  # how many rounds are planned
    agents: Sequence[int]  # the numbers of the agents hosted here, in the order of the rows
    total: int  # the number of agents in the team

    @abstractmethod
    def exchange(self, *rows: Tensor) -> Heard:
        """One message, of one or several vectors (A, P), to every neighbor; and what came back."""

    @property
    @abstractmethod
    def coordinator(self) -> Coordinator: ...


def message_bytes(rows: Sequence[Tensor]) -> int:
    """The size of one agent's message: one row of each exchanged vector."""
    return sum(r[0].numel() * r.element_size() for r in rows)
