"""Which runs belong together: the seeds of a method, and the graphs over which they talk."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..record import Record
from .measures import is_coordinated, talks
from .words import words


def grouped(records: Sequence[Record]) -> dict[str, list[Record]]:
    """The runs of each algorithm: its seeds. Where there are several graphs, each on its own.

    What is no other seed of the same request has a line of its own, with the folder in its label.
    """
    several = len(graph_names(records)) > 1
    groups: dict[str, list[Record]] = {}
    for record in records:
        graph = graph_name(record) if several else ""
        label = f"{record.label}, {graph}" if graph else record.label
        groups.setdefault(label, []).append(record)
    found: dict[str, list[Record]] = {}
    for label, runs in groups.items():
        found |= {label: runs} if _only_seeds(runs) else _by_folder(label, runs)
    return found


ALIKE = ("settings", "agents", "parameters", "weights", "rounds", "evaluate_every", "dtype")
DEALT = ("data", "samples", "partition_seed", "seed", "network", "test")  # what a seed decides


def _only_seeds(records: Sequence[Record]) -> bool:
    """Whether the runs differ in nothing but their seeds, as far as their requests tell.

    Those of one experiment have one task and one graph.
    """
    first, *others = [[r.start.get(name) for name in ALIKE] for r in records]
    if len({r.seed for r in records}) < len(records) or any(r != first for r in others):
        return False
    if len({*map(_folder, records)}) == 1:
        return True
    first, *others = [[_task(r), r.start.get("graph")] for r in records]
    return all(r == first for r in others)


def _task(record: Record) -> dict[str, Any]:
    """What was learned, but for what the seed has dealt."""
    task = record.start.get("task") or {}
    return {name: value for name, value in task.items() if name not in DEALT}


def _by_folder(label: str, records: Sequence[Record]) -> dict[str, list[Record]]:
    """Runs with one label out of several folders, each folder on its own."""
    folders = [_folder(record) for record in records]
    names = {f: f.name for f in folders if f is not None}
    if len({*names.values()}) < len(names):
        names = {f: str(f) for f in names}
    groups: dict[str, list[Record]] = {}
    for record, folder in zip(records, folders, strict=True):
        where = f"{label}, {names[folder]}" if folder is not None else label
        groups.setdefault(where, []).append(record)
    found: dict[str, list[Record]] = {}
    for where, runs in groups.items():
        if len(runs) == 1 or _only_seeds(runs):
            found[where] = runs
        else:  # put into one folder by hand, or not in any
            found |= {f"{where}, {n}: seed {r.seed}": [r] for n, r in enumerate(runs, start=1)}
    return found


def _folder(record: Record) -> Path | None:
    """That of its experiment, or its own."""
    folder = record.folder
    is_seed = folder is not None and folder.name == f"seed-{record.seed}"
    return folder.parents[1] if folder is not None and is_seed else folder


def graph_names(records: Iterable[Record]) -> list[str]:
    """The names of the graphs of these runs, each once."""
    return list(dict.fromkeys(filter(None, map(graph_name, records))))


def graph_name(record: Record) -> str:
    """The graph's own, or that of the schedule by which it changes; empty without a graph."""
    graph = graph_of(record)
    return words(kind_of(graph)) or "unnamed" if graph else ""


def kind_of(graph: Mapping[str, Any]) -> str:
    """What it was made by: a topology, or a schedule that begins with no graph."""
    return graph["name"] or str(graph.get("schedule") or "").partition("(")[0]


def first_to_talk(runs: Mapping[str, Record]) -> dict[str, str]:
    """Each graph once, and the label of the first run whose agents talked over it."""
    found: dict[str, str] = {}
    for label, record in runs.items():
        graph = graph_name(record)
        if graph and talks(record):
            found.setdefault(graph, label)
    return found


def graph_of(record: Record) -> dict[str, Any] | None:
    """The graph as the record tells it; None where the agents talk to a coordinator instead."""
    return None if is_coordinated(record) else record.start.get("graph")
