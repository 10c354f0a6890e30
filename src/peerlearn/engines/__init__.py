"""Where agents live."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

from ..errors import ConfigurationError
from ..team import Alone, Team, timeout_problems
from .processes import ProcessesEngine
from .stacked import StackedEngine

ENGINES: dict[str, Any] = {"stacked": StackedEngine, "processes": ProcessesEngine}

__all__ = [
    "ENGINES",
    "ProcessesEngine",
    "StackedEngine",
    "join",
    "launched",
    "several",
    "shared_mistakes",
    "speaks",
]


TIMEOUT_S = 30.0  # where there is no other that can be used


def join(engine: str, timeout_s: float) -> Team:
    """The team that carries out a run on an engine; this process becomes one of it.

    Args:
        engine: a name in `ENGINES`; of others the checks complain, so here nothing is joined.
        timeout_s: seconds after which a silent process is taken for lost, at least.
    """
    if engine != "processes":
        return Alone()
    from .process_team import ProcessTeam

    problems = timeout_problems(timeout_s)
    if problems and not several():
        raise ConfigurationError(problems)
    return ProcessTeam.join(TIMEOUT_S if problems else timeout_s)  # the checks will tell them all


def launched() -> bool:
    """Whether torchrun or `launcher.launch` started this process, perhaps as one of several."""
    return "RANK" in os.environ


def several() -> bool:
    """Whether it has started others, too."""
    return launched() and int(os.environ.get("WORLD_SIZE", "1")) > 1


@contextmanager
def shared_mistakes() -> Iterator[None]:
    """Whatever one process finds wrong before the team has met, all of them are told.

    Else a process would leave without a word, as only the first one of a machine tells people.
    """
    try:
        yield
    except (ValueError, OSError) as error:
        if several():
            mistake = error

            def fail() -> Any:
                raise mistake

            join("processes", TIMEOUT_S).agree(fail)
        raise


def speaks(lost: Collection[int] = ()) -> bool:
    """Whether this process is the one of its machine that tells people what happened.

    Args:
        lost: processes that cannot speak any more.
    """
    if not launched():
        return True
    here = int(os.environ.get("LOCAL_RANK", "0"))
    first = int(os.environ["RANK"]) - here  # of this machine
    return all(first + other in lost for other in range(here))
