"""What can go wrong.

PeerlearnError
├── ConfigurationError (also a ValueError)   something asked for cannot be done; nothing ran
├── Diverged                                 a loss or parameter is no longer finite
├── Lost                                     another process of the team died or fell silent
└── Unwritten (also an OSError)              a file cannot be written: the disk is full
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from .words import agents_named

RESUME = "resume the run from its last checkpoint"


class PeerlearnError(Exception):
    """Base of the library's own errors."""


class ConfigurationError(PeerlearnError, ValueError):
    """All the mistakes found before training.

    Attributes:
        problems: one sentence each.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(self.problems))


class Diverged(PeerlearnError):
    """A loss or parameter became NaN or infinite.

    Attributes:
        method: the run's label.
        round: the round in which it was found.
        agents: whose it is; none where one learner has the data of all.
        what: the loss, the parameters, or what else the method remembers.
    """

    def __init__(self, method: str, round: int, agents: Sequence[int], what: str) -> None:
        self.method, self.round, self.agents, self.what = method, round, list(agents), what
        whose = f" of {agents_named(self.agents)}" if agents else ""
        self.parts = [method, round, self.agents, what]  # of which another process makes it again
        super().__init__(
            f"{method} diverged in round {round}: the {what}{whose} is NaN or infinite; "
            "use a smaller learning rate, clip the gradients, or remove data that are not finite"
        )


class Lost(PeerlearnError):
    """Processes of the team died, failed or fell silent, so that the run cannot go on.

    Attributes:
        processes: their ranks.
        round: the round in which they were missed.
    """

    def __init__(
        self, processes: Sequence[int], round: int, reason: str, advice: str = RESUME
    ) -> None:
        self.processes, self.round = list(processes), round
        super().__init__(f"{reason}; {advice}")


class Unwritten(PeerlearnError, OSError):
    """The system refuses to write a file of a run or a report; the runs stay as they are.

    Args:
        path: the file.
        error: what the system says.
        who: the process that writes, where others tell of it.
    """

    def __init__(self, path: Path, error: Exception, who: str = "") -> None:
        self.path = path
        reason = getattr(error, "strerror", None) or str(error)
        whose = f"{who}: " if who else ""
        super().__init__(
            f"{whose}cannot write {path}: {reason}; make room for it and go on; what is there stays"
        )
        self.errno, self.strerror = getattr(error, "errno", None), reason
        self.parts = [str(path), self.errno, reason]  # of which another process makes it again
        self.filename = str(path)

    def __str__(self) -> str:
        return self.args[0]


def short(value: Any, most: int = 60) -> str:
    """A value as Python writes it, in one line, and cut where it is long."""
    text = " ".join(line.strip() for line in repr(value).splitlines())
    return text if len(text) <= most else text[: most - 3] + "..."


def first_line(error: BaseException) -> str:
    """The first line of what an error says; its type where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def sentences(error: ValueError | OSError) -> list[str]:
    """What an error says: all mistakes, or which file the system refuses, and why.

    There is always one; it is the error's type where that says nothing.
    """
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return [f"{error.filename}: {error.strerror}"]
    return getattr(error, "problems", None) or str(error).splitlines() or [type(error).__name__]


def in_short(error: BaseException) -> str:
    """``KeyError: 'a'``, one line."""
    if isinstance(error, KeyboardInterrupt):
        return "it was interrupted"
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"


def nearest(name: str, known: Iterable[str]) -> str:
    """``did you mean 'x'? known: x, y``, to end an error about an unknown name."""
    names = list(known)
    close = difflib.get_close_matches(
        str(name).lower(), [n.lower() for n in names], n=1, cutoff=0.5
    )
    guess = next((n for n in names if close and n.lower() == close[0]), None)
    hint = f"did you mean {guess!r}? " if guess else ""
    return f"{hint}known: {', '.join(names) or 'none'}"


def unknown(kind: str, name: str, known: Iterable[str]) -> ValueError:
    """The error for a name that is none of ``known``; it suggests the nearest."""
    return ValueError(f"unknown {kind} {name!r}; {nearest(name, known)}")
