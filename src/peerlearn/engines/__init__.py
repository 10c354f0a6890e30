"""Where agents live."""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import Any

from ..team import Alone, Team
from .processes import ProcessesEngine
from .stacked import StackedEngine

ENGINES: dict[str, Any] = {"stacked": StackedEngine, "processes": ProcessesEngine}

__all__ = ["ENGINES", "ProcessesEngine", "StackedEngine", "join", "launched", "speaks"]


def join(engine: str, timeout_s: float) -> Team:
    """The team that carries out a run on an engine; this process becomes one of it.

    Args:
        engine: a name in `ENGINES`; of others the checks complain, so here nothing is joined.
        timeout_s: seconds after which a silent process is taken for lost, at least.
    """
    if engine != "processes":
        return Alone()
    from .process_team import ProcessTeam

    return ProcessTeam.join(timeout_s)


def launched() -> bool:
    """Whether this process is one of several that torchrun or `launcher.launch` started."""
    return "RANK" in os.environ


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
