"""Meetings: what the processes of a team tell one another between rounds."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from .errors import ConfigurationError
from .team import Team


class News(NamedTuple):
    """What all processes have heard at a meeting.

    Attributes:
        fault: the first round in which agents were found at fault, and which; None without.
        stop: whether anybody asks for the end.
        cut_off: whether a process no longer reaches the store, where those who are lost are named.
    """

    fault: tuple[int, list[int]] | None
    stop: bool
    cut_off: bool


class Meetings:
    """All processes make the same calls; each tells of the agents that it hosts.

    Args:
        team: the processes.
        agents: how many agents are hosted here.
        total: how many agents the team has.
    """

    def __init__(self, team: Team, agents: int, total: int) -> None:
        self._team, self._total = team, total
        self._faults = torch.full((agents,), -1)  # the round of each one's first fault
        self._next = 0
        self._start_s = 0.0  # of the start of a run
        self._longest_s = 0.0  # of a round; known once there were one and an evaluation

    def share(self, value: int) -> Tensor:
        """(total,) what each process says, for each of its agents."""
        return self._team.share(torch.full_like(self._faults, value), self._total)

    def anybody(self, asks: bool) -> bool:
        """Whether any process does."""
        return bool(self.share(asks).any())

    @property
    def faulty(self) -> bool:
        """Whether an agent hosted here was found at fault."""
        return bool((self._faults >= 0).any())

    def mark(self, bad: Tensor, done: int) -> None:
        """Agents (A,) of those hosted here are at fault after so many rounds."""
        self._faults[bad & (self._faults < 0)] = done

    def started(self, seconds: float) -> None:
        """How long the start took, with its evaluation."""
        self._start_s = seconds

    def took(self, seconds: float, evaluated: bool) -> None:
        """How long a round took, with all that was done in it."""
        if self._longest_s or self._start_s or evaluated:
            self._longest_s = max(self._longest_s, self._start_s, seconds)

    def due(self, done: int) -> bool:
        """Whether it is time to meet, ``done`` rounds being done."""
        return done >= self._next

    def hold(self, done: int, stop: bool) -> News:
        """Meet, ``done`` rounds being done.

        Raises:
            ConfigurationError: the processes have taken different graphs.
        """
        told = (
            self._team.next_meeting(done),
            stop,
            not self._team.reaches_store,
            math.ceil(1000 * self._longest_s),
            self._team.graphs,
        )
        alike = [torch.full_like(self._faults, value) for value in told]
        columns = torch.stack([self._faults, *alike], dim=1)
        heard = self._team.share(columns, self._total).T
        faults, meetings, stops, cut_off, longest_ms, graphs = heard
        self._require_same_graphs(graphs, done)
        self._next = int(meetings[0])
        if int(longest_ms.min()) > 0:
            self._team.paced(float(longest_ms.max()) / 1000)
        return News(first_fault(faults), bool(stops.any()), bool(cut_off.any()))

    def _require_same_graphs(self, graphs: Tensor, done: int) -> None:
        """The processes have taken the same graphs so far, as the agents' checksums tell."""
        others = (graphs != graphs[0]).nonzero()[:, 0].tolist()
        if others:
            raise self._team.common(ConfigurationError([
                f"by round {done} the process that hosts agent {others[0]} had taken other "
                "graphs than the first process; make the graph the same function of the round "
                "in all processes"
            ]))  # fmt: skip


def first_fault(faults: Tensor) -> tuple[int, list[int]] | None:
    """The first round in which agents were found at fault, and which.

    Args:
        faults: (total,) int64, the round of each agent's fault; -1 where there is none.
    """
    found = faults[faults >= 0]
    if not len(found):
        return None
    first = int(found.min())
    return first, torch.nonzero(faults == first)[:, 0].tolist()
