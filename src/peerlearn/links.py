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
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .randomness import COORDINATOR
from .schedules import Rate, value_at

CONTROL_BYTES = 8  # of a control message to or from the coordinator: one number, or a request


class Neighborhood(NamedTuple):
    """What each agent heard, message by message; D is the largest degree in this round."""

    rows: tuple[Tensor, ...]  # one (A, D, P) per exchanged vector, zero where nothing was heard
    mask: Tensor  # (A, D) bool: a message stands here
    agents: Tensor  # (A, D) int64: who sent it, -1 where nothing was heard


class Heard(ABC):
    """The answers to one exchange.

    `mix` and `difference` return one tensor per exchanged vector; those, and the rows of `rows`,
    are fresh memory that the caller may modify. ``degree`` and the neighbors' numbers are not.
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
    """One party that every agent can reach, for the methods that declare that they need it.

    Every process runs the same coordinator on the same numbers: all make the same calls, each with
    the rows of the agents that it hosts, and all get the same answers. So a method is written once,
    as if its agents and the coordinator stood side by side. Agents are known by their numbers,
    ascending.

    A message is a network, or it is a control message: a number, or a request without content, of
    `CONTROL_BYTES` bytes. What is agreed on while the state is started (round -1) is part of
    setting up the team, like the first networks, and is not counted.

    Args:
        traffic: where messages are counted; None where another process counts them.
        round, seed: of the generator.
    """

    def __init__(self, traffic: Traffic | None, round: int, seed: int) -> None:
        self._traffic = traffic if round >= 0 else None
        self._key = [seed, COORDINATOR, round + 1]

    @cached_property
    def generator(self) -> torch.Generator:
        """On the CPU, seeded alike on every process, and differently in each round."""
        words = np.random.SeedSequence(self._key).generate_state(1, np.uint64)
        return torch.Generator().manual_seed(int(words[0] >> 1))

    @abstractmethod
    def raised(self, flags: Tensor) -> list[int]:
        """The agents whose flag is set, of flags (A,) bool of those hosted here.

        Nothing is counted: the messages that they send next tell the coordinator who they are.
        """

    @abstractmethod
    def _gather(self, rows: Tensor, numbers: Sequence[int]) -> Tensor:
        """Those agents' rows, whoever hosts them."""

    def receive(self, rows: Tensor, numbers: Sequence[int]) -> Tensor:
        """Those agents send their rows to the coordinator: one model message up from each.

        Args:
            rows: (A, P), of the agents hosted here.
            numbers: k agents of the team.

        Returns:
            Their rows (k, P), which may be their own memory: they are there to be read.
        """
        self._count(numbers, up=message_bytes([rows]))
        return self._gather(rows, numbers)

    def ask(self, rows: Tensor, numbers: Sequence[int]) -> Tensor:
        """As `receive`, but those agents send because they are asked: one control message down."""
        self._count(numbers, up=message_bytes([rows]), down=CONTROL_BYTES)
        return self._gather(rows, numbers)

    def ask_number(self, values: Tensor, numbers: Sequence[int]) -> Tensor:
        """Ask those agents for one number each, of values (A,): control messages down and up.

        Returns:
            Their values (k,), on the CPU.
        """
        self._count(numbers, up=CONTROL_BYTES, down=CONTROL_BYTES)
        return self._gather(values.cpu()[:, None], numbers)[:, 0]

    def send(self, row: Tensor, numbers: Sequence[int]) -> Tensor:
        """The row (P,), which is returned, goes to those agents: one model message down to each."""
        self._count(numbers, down=message_bytes([row[None]]))
        return row

    def _count(self, numbers: Sequence[int], up: int = 0, down: int = 0) -> None:
        if self._traffic is not None:
            self._traffic.count_coordinator(numbers, up, down)


@dataclass
class Traffic:
    """Messages and bytes so far, both directions, as the protocol would send them.

    Of each agent, and of the coordinator, if there is one.
    """

    total: int
    messages_sent: np.ndarray = field(init=False)  # (total,) int64, and so are the next three
    bytes_sent: np.ndarray = field(init=False)
    messages_received: np.ndarray = field(init=False)
    bytes_received: np.ndarray = field(init=False)
    coordinator_messages_sent: np.ndarray = field(init=False)  # (1,) int64, and so are the others
    coordinator_bytes_sent: np.ndarray = field(init=False)
    coordinator_messages_received: np.ndarray = field(init=False)
    coordinator_bytes_received: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self._table = np.zeros((self.total + 1, len(self.names())), np.int64)
        for column, name in enumerate(self.names()):
            setattr(self, name, self._table[:-1, column])
        for column, name in enumerate(self.coordinator_names()):
            setattr(self, name, self._table[-1:, column])

    @staticmethod
    def names() -> tuple[str, ...]:
        """What is counted for each agent."""
        return ("messages_sent", "bytes_sent", "messages_received", "bytes_received")

    @staticmethod
    def coordinator_names() -> tuple[str, ...]:
        """What is counted for the coordinator."""
        return tuple(f"coordinator_{name}" for name in Traffic.names())

    @property
    def communication(self) -> int:
        """C(T, m): the bytes of all messages so far, each counted once."""
        return int(self.bytes_sent.sum() + self.coordinator_bytes_sent.sum())

    def count(self, sent: np.ndarray, received: np.ndarray, bytes_each: int) -> None:
        """Add ``sent`` and ``received`` messages per agent, ``bytes_each`` bytes a message."""
        self.messages_sent += sent
        self.bytes_sent += sent * bytes_each
        self.messages_received += received
        self.bytes_received += received * bytes_each

    def count_coordinator(self, numbers: Sequence[int], up: int, down: int) -> None:
        """Add a message from each of those agents to the coordinator, and one back to each.

        Args:
            numbers: of the agents, ascending.
            up, down: bytes of each of those messages; 0 where there is none.
        """
        sent, received = (int(up > 0), up), (int(down > 0), down)
        self._table[as_index(numbers)] += np.array((*sent, *received))
        self._table[-1] += len(numbers) * np.array((*received, *sent))

    def agents(self) -> dict[str, Tensor]:
        """What was counted for each agent: name -> (total,)."""
        return {name: torch.from_numpy(getattr(self, name).copy()) for name in self.names()}

    def team(self) -> dict[str, int]:
        """What was counted for the whole team: C(T, m), and the coordinator's own traffic."""
        own = {name: int(getattr(self, name)[0]) for name in self.coordinator_names()}
        return {"communication": self.communication, **own}

    def state(self) -> dict[str, Tensor]:
        """All that was counted, for a checkpoint: name -> (total,), the coordinator's (1,)."""
        return {name: torch.from_numpy(getattr(self, name).copy()) for name in self._all()}

    def load(self, state: dict[str, Tensor]) -> None:
        """Take back what `state` gave."""
        for name in self._all():
            getattr(self, name)[:] = state[name].numpy()

    def _all(self) -> tuple[str, ...]:
        return (*self.names(), *self.coordinator_names())


class Links(ABC):
    """What one round's graph offers the agents hosted here."""

    round: int  # the number of this round, from 0; -1 while the state is started
    rounds: int  # how many rounds are planned
    agents: Sequence[int]  # the numbers of the agents hosted here, in the order of the rows
    total: int  # the number of agents in the team

    def now(self, rate: Rate) -> float:
        """The value that a rate has in this round, be it a number or a schedule: alpha_k."""
        return value_at(rate, self.round, self.rounds)

    @abstractmethod
    def exchange(self, *rows: Tensor) -> Heard:
        """One message, of one or several vectors (A, P), to every neighbor; and what came back.

        All vectors are of one dtype.
        """

    @property
    @abstractmethod
    def coordinator(self) -> Coordinator:
        """The one party that every agent can reach."""

    def hosted(self, numbers: Sequence[int]) -> Tensor:
        """(A,) bool: which of the agents hosted here are among those ``numbers``."""
        chosen = {*numbers}
        return torch.tensor([i in chosen for i in self.agents], dtype=torch.bool)


def message_bytes(rows: Sequence[Tensor]) -> int:
    """The size of one agent's message: one row of each exchanged vector."""
    kinds = sorted({str(r.dtype) for r in rows})
    if len(kinds) > 1:
        raise ValueError(f"got rows of {' and '.join(kinds)} in one message; make all of one dtype")
    return sum(r.shape[1] * r.element_size() for r in rows)


def as_index(positions: Sequence[int]) -> list[int] | slice:
    """Ascending positions as an index; a slice where none is left out, which copies no row."""
    first, last = (positions[0], positions[-1]) if positions else (0, -1)
    return slice(first, last + 1) if last - first + 1 == len(positions) else list(positions)
