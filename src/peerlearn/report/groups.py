"""Which runs belong together: the seeds of a method, and the graphs over which they talk."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import compress, takewhile
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

    def named(record: Record) -> str:
        graph = graph_name(record) if several else ""
        return f"{record.label}, {graph}" if graph else record.label

    found: dict[str, list[Record]] = {}
    for runs in _split(records, named):
        label = named(runs[0])
        found |= {label: runs} if _only_seeds(runs) else _apart(label, runs)
    return found


ALIKE = ("settings", "agents", "parameters", "weights", "rounds", "evaluate_every", "dtype")
DEALT = ("data", "samples", "partition_seed", "seed", "network", "test")  # what a seed decides


def _only_seeds(records: Sequence[Record]) -> bool:
    """Whether the runs differ in nothing but their seeds, as far as their requests tell."""
    if not _once(records) or len(_split(records, _settings)) > 1:
        return False
    (experiment, *others) = {*map(_experiment, records)}
    return bool(experiment and not others) or len(_split(records, _task_and_graph)) == 1


def _once(records: Sequence[Record]) -> bool:
    """Whether no seed comes twice."""
    return len({r.seed for r in records}) == len(records)


def _apart(label: str, records: Sequence[Record]) -> dict[str, list[Record]]:
    """Runs with one label, each request on its own, and what was run again."""
    parts = [records]
    for tell in (_settings, _request, _place):
        parts = [p for part in parts for p in ([part] if _only_seeds(part) else _split(part, tell))]
    if not all(map(_once, parts)):  # put into one folder by hand, or not in any
        parts = [[r] for r in records]
    paths = [_common([_experiment(r) or r.folder for r in part]) for part in parts]
    names = _told_apart(paths)
    if len({*names}) < len(parts):
        seeds = [f"seed {', '.join(str(r.seed) for r in part)}" for part in parts]
        names = [f"{n}: {seed}" for n, seed in enumerate(seeds, start=1)]
    labels = [f"{label}, {name}" if name else label for name in names]
    return {name: [*part] for name, part in zip(labels, parts, strict=True)}


def _split(records: Sequence[Record], tell: Callable[[Record], Any]) -> list[list[Record]]:
    """The runs of which the same is told, together, in their order."""
    parts: list[tuple[Any, list[Record]]] = []
    for record in records:
        told = tell(record)
        part = next((runs for other, runs in parts if other == told), None)
        if part is None:
            parts.append((told, part := []))
        part.append(record)
    return [runs for _, runs in parts]


def _settings(record: Record) -> list[Any]:
    return [record.start.get(name) for name in ALIKE]


def _task_and_graph(record: Record) -> list[Any]:
    """What was learned, but for what the seed has dealt, and over which graph."""
    task = record.start.get("task") or {}
    return [{n: v for n, v in task.items() if n not in DEALT}, record.start.get("graph")]


def _request(record: Record) -> Any:
    """Runs of one experiment have one task and one graph, whatever their seeds have dealt."""
    return _experiment(record) or _task_and_graph(record)


def _experiment(record: Record) -> Path | None:
    """The folder of the experiment, if it was one that made it."""
    folder = record.folder
    is_seed = folder is not None and folder.name == f"seed-{record.seed}"
    return folder.parents[1] if folder is not None and is_seed else None


def _place(record: Record) -> Path | None:
    return _experiment(record) or (record.folder and record.folder.parent)


def _common(folders: Sequence[Path | None]) -> str:
    """What the names of these folders begin with: 'lr-0.1' of lr-0.1-s0 and lr-0.1-s1."""
    names = [os.path.abspath(folder) for folder in folders if folder is not None]
    if len({*names}) == 1:
        return names[0]
    alike = takewhile(lambda letters: len({*letters}) == 1, zip(*names, strict=False))
    return "".join(letter for letter, *_ in alike).rstrip(f"-_. {os.sep}")


def _told_apart(paths: list[str]) -> list[str]:
    """What is different in these paths: 'a' and 'b' of runs/a/dsgd and runs/b/dsgd.

    Runs that were never written have none.
    """
    if not all(paths):
        return paths
    below = [Path(path).relative_to(os.path.commonpath(paths)).parts for path in paths]
    if len({*map(len, below)}) == 1:
        differ = [len({*names}) > 1 for names in zip(*below, strict=True)]
        below = [tuple(compress(names, differ)) for names in below]
    return [os.sep.join(names) for names in below]


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


def schedules_over(name: str, records: Iterable[Record]) -> list[str]:
    """How the graph of that name changes where agents talk over it; "static": not at all."""
    graphs = [graph_of(r) for r in records if graph_name(r) == name and talks(r)]
    return list(dict.fromkeys(graph.get("schedule") or "static" for graph in graphs if graph))


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
