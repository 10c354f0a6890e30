"""``peerlearn list KIND``."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from .console import console, told


class Kind(str, Enum):
    """What can be listed: the names of `config_tables.ENTRIES`, which takes seconds to import."""

    algorithms = "algorithms"
    graphs = "graphs"
    weights = "weights"
    schedules = "schedules"
    rates = "rates"
    tasks = "tasks"
    data = "data"
    partitions = "partitions"
    streams = "streams"
    drifts = "drifts"
    augmentations = "augmentations"
    experiments = "experiments"
    keys = "keys"


def list_(
    kind: Annotated[Kind, typer.Argument(help="What to list.")],
    name: Annotated[str | None, typer.Argument(help="Show the options of this entry.")] = None,
) -> None:
    """List what there is, one line each: the names that an experiment file can use.

    With a NAME, the options of that entry and their defaults: peerlearn list tasks digits,
    peerlearn list algorithms DiNNO. The outermost keys of a file: peerlearn list keys.
    Of a partition or a drift these are the task's partition_options or drift_options.

    Schedules are those of graphs, rates are the schedules of hyper-parameters. Drifts are for
    tasks whose data are a stream, augmentations for DynamicAveraging. Streams are for your own
    tasks; a file names a task that has one.
    """
    with told():
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 2))
        for cells in _lines(kind, name):
            table.add_row(*map(Text, cells))
        console().print(table if table.row_count else f"{name} has no options")


def _lines(kind: Kind, name: str | None) -> Iterable[tuple[str, ...]]:
    if name is not None:
        return _keys(kind, name)
    if kind is Kind.keys:
        from ..config import ExperimentFile
        from ..tables import keys_of

        return keys_of(ExperimentFile)
    if kind is Kind.experiments:
        return _experiments()
    return _entries(kind)


def _keys(kind: Kind, name: str) -> Iterable[tuple[str, ...]]:
    """What a table of an experiment file may say besides the name."""
    from ..config_tables import ENTRIES, TABLES, describe_table

    if kind.value not in TABLES:
        known = ", ".join(TABLES)
        raise ValueError(f"{kind.value} have no table of their own in a file; known: {known}")
    where = next((other for other in TABLES if name in ENTRIES[other]), kind.value)
    if name not in ENTRIES[kind.value] and where != kind.value:
        raise ValueError(f"{name} is one of the {where}; see peerlearn list {where} {name}")
    return describe_table(kind.value, name)


def _entries(kind: Kind) -> Iterable[tuple[str, str]]:
    """name and first docstring line of each entry of a registry."""
    from ..config_tables import ENTRIES

    for name, entry in ENTRIES[kind.value].items():
        yield name, (inspect.getdoc(entry) or "").split("\n")[0]


def _experiments() -> Iterable[tuple[str, str]]:
    """The experiment files in ``./experiments``, with their first comment line."""
    paths = sorted(Path("experiments").glob("*.toml"))
    if not paths:
        raise ValueError(
            "no experiment file (*.toml) in the folder 'experiments' of the current folder"
        )
    for path in paths:
        lines = path.read_text(encoding="utf-8").splitlines()
        comments = (line.lstrip("# ") for line in lines if line.startswith("#"))
        yield str(path), next(comments, "")
