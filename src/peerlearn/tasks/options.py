"""The options that a task's function hands on to the class of the task."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

from ..values import require_known

GIVEN = ("model", "loss", "data", "test", "world", "name", "sample_bytes", "details")
"""What the functions give that class themselves."""


def require_handed_on(
    task: str, options: Iterable[str], function: Callable[..., Any], *takers: Callable[..., Any]
) -> None:
    """Refuse an option that is none of a task's.

    Args:
        task: its name, for the sentence.
        options: the names of those that its function hands on.
        function: that of the task.
        takers: the classes that take them.

    Raises:
        ValueError: nobody takes one; the nearest that somebody takes is named.
    """
    further = (name for taker in takers for name in _arguments(taker) if name not in GIVEN)
    known = dict.fromkeys([*_arguments(function), *further])
    for option in options:
        require_known(f"option of task {task}", option, known)


def _arguments(function: Callable[..., Any]) -> list[str]:
    parameters = inspect.signature(function).parameters.values()
    return [p.name for p in parameters if p.kind is not p.VAR_KEYWORD]
