"""Where agents live."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from ..errors import ConfigurationError, in_short
from ..team import TIMEOUT_S, Alone, Team, timeout_problems
from .place import launched, place, several
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


@contextmanager
def shared_mistakes() -> Iterator[None]:
    """Whatever one process finds wrong before the team has met, all of them are told.

    Else the others would wait in vain for it.
    """
    try:
        yield
    except (ValueError, OSError) as error:
        if several():
            _agree_on(error)
        raise
    except Exception as error:
        if several():
            with suppress(ConfigurationError):  # here the error itself says more
                _agree_on(ConfigurationError([in_short(error)]))
        raise
    except KeyboardInterrupt:
        if several():  # the others may have been stopped as well: wait for none
            from .rendezvous import leave_word

            leave_word()
        raise


def _agree_on(mistake: Exception) -> None:
    """Raises what all processes raise."""

    def fail() -> Any:
        raise mistake

    join("processes", TIMEOUT_S).agree(fail)


def speaks(error: BaseException) -> bool:
    """Whether this process is to tell people of an error.

    What all processes have met, the first one of a machine tells that can still speak. What has
    befallen this process alone, nobody else can tell.
    """
    if not launched():
        return True
    if isinstance(error, KeyboardInterrupt):  # also before all have met
        return os.environ.get("LOCAL_RANK", "0") == "0"
    from .process_team import ProcessTeam

    if not ProcessTeam.knows(error):
        return True
    here, lost = place(), getattr(error, "processes", ())
    first = here.rank - here.local  # of this machine
    return all(first + other in lost for other in range(here.local))
