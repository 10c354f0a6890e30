"""What a run wrote: metrics appended to disk as they happen, one JSON object a line.

``record.jsonl`` holds, in order (schema 1):

``{"kind": "start", "schema": 1, ...}``
    what runs: algorithm, label, settings, task, agents, parameters, graph, weights, rounds, seed,
    dtype, evaluate_every; where: device, engine, processes, versions; ``started``, when (UTC).
    ``gradients`` says how gradients are computed, and why; ``drifts`` are the rounds in which the
    distribution of a stream changes. ``falls``, which is there only where the task declares it,
    tells of measures by their names whether less of them is better.
``{"kind": "evaluation", "round": k, "measures": {...}, "team": {...}, "seconds": {...}}``
    after k rounds. Measures are lists of one number per agent; of one network for pooled data they
    have one number, but for the traffic, which is each agent's. There are the task's own (loss,
    accuracy, ..., and with ``train_`` before it the same on the agent's own data), and of every run
    ``gradient_evaluations``, ``consensus_error``, ``consensus_error_normalized``,
    ``messages_sent``, ``bytes_sent``, ``messages_received`` and ``bytes_received``; on a stream
    that is measured prequentially ``predictions``, ``cumulative_loss`` and ``cumulative_error``.
    Traffic, gradient evaluations and what was suffered on a stream are cumulative. Of the whole
    team: ``communication``, the C(T, m) of Kamp et al., is the bytes of all messages so far, each
    counted once; the others are the coordinator's own traffic. The seconds are cumulative too:
    gradient, exchange, evaluation and total.
``{"kind": "graph", "round": k, "parts": [[...], ...]}``
    from this round on, counted from 0, the graph of agents that move has these parts; before the
    first such line it has one.
``{"kind": "resume", "round": k, ...}``
    the run was taken up again after k rounds; where: device, engine, processes, versions.
``{"kind": "stop", "round": k, "cause": "...", "reason": "..."}``
    it ended early. The cause is one word: "diverged", "interrupted", "callback", "lost" (a process
    of the team; if the first one survives), or "failed" (any other error); the reason is a
    sentence.
``{"kind": "end", "round": k}``
    all planned rounds are done.

Numbers that are NaN or infinite are written as null, which JSON has, and read as NaN.

A line is flushed to the operating system as soon as it is written, so a killed run leaves a
readable record; a last line cut short by a crash is ignored by the reader. What stands before a
checkpoint is on the disk before the checkpoint is.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .files import replacing, writing
from .lines import uneven, wrong

SCHEMA = 1
FILE_NAME = "record.jsonl"
ROUND = {"round": int}
OF_A_RUN = {"label": str, "seed": int, "agents": int, "rounds": int}
NEEDED: dict[str, dict[str, type]] = {
    "start": {"schema": int, **OF_A_RUN},
    "evaluation": {**ROUND, "measures": dict, "seconds": dict},
    "graph": {**ROUND, "parts": list},
    "stop": {**ROUND, "reason": str},
}
EXPERIMENT_FILE = "experiment.json"  # beside the folders of an experiment's runs, as are
PAGE, TABLE, FIGURES = "report.html", "table.csv", "figures"  # of its report


class Recorder:
    """Appends lines to a record, in a folder that is there."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with writing(path):
            self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115 - closed by close()

    def write(self, kind: str, **fields: Any) -> None:
        line = json.dumps({"kind": kind, **as_json(fields)}, allow_nan=False) + "\n"
        with writing(self._path):
            self._file.write(line)
            self._file.flush()

    def keep(self) -> None:
        """Down to the disk, as before a checkpoint, which must not survive what it goes on from."""
        with writing(self._path):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        with writing(self._path):
            self._file.close()


@dataclass
class Record:
    """One run, as read from its record.

    Attributes:
        start: the first line.
        rounds: (T,) the rounds after which the team was evaluated.
        history: measure -> (T, one column per agent, or one for pooled data).
        team: what is measured of the whole team -> (T,).
        seconds: what was timed -> (T,).
        events: the lines that are neither start nor evaluation.
        folder: where the record lies.
    """

    start: dict[str, Any]
    rounds: np.ndarray = field(default_factory=lambda: np.zeros(0, int))
    history: dict[str, np.ndarray] = field(default_factory=dict)
    team: dict[str, np.ndarray] = field(default_factory=dict)
    seconds: dict[str, np.ndarray] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)
    folder: Path | None = None

    @property
    def label(self) -> str:
        return self.start["label"]

    @property
    def seed(self) -> int:
        return self.start["seed"]

    @property
    def final(self) -> dict[str, np.ndarray]:
        """measure -> its last values, one per agent."""
        return {name: values[-1] for name, values in self.history.items()}

    @property
    def drifts(self) -> list[int]:
        """The rounds in which the distribution of the stream changed."""
        return self.start.get("drifts") or []

    @property
    def falls(self) -> dict[str, bool]:
        """measure -> whether less of it is better, as far as the task has declared it."""
        return self.start.get("falls") or {}

    @property
    def finished(self) -> bool:
        return any(e["kind"] == "end" for e in self.events)

    @property
    def diverged(self) -> int | None:
        """The round in which the run diverged; None if it did not."""
        last = self.events[-1] if self.events else {}
        return last["round"] if last.get("cause") == "diverged" else None


def read(path: str | Path) -> Record:
    """Read ``path``, a record or the folder that holds one.

    Raises:
        ValueError: there is no record, or it is damaged or of another schema.
    """
    path = Path(path)
    if path.is_dir():
        path = path / FILE_NAME
    if not path.is_file():
        raise ValueError(f"{path} is no record of a run, nor a folder that holds one")
    lines = list(_lines(path))
    if not lines:
        raise ValueError(f"{path} holds no run: it has no start line")
    if lines[0]["schema"] != SCHEMA:
        raise ValueError(
            f"{path} has schema {lines[0]['schema']}, expected {SCHEMA}; "
            "read it with the version of peerlearn that wrote it"
        )
    return from_lines(lines, path.parent)


def from_lines(lines: Iterable[dict[str, Any]], folder: Path | None = None) -> Record:
    """A record from its lines."""
    start, *rest = lines
    evaluations = [e for e in rest if e["kind"] == "evaluation"]
    return Record(
        start=start,
        rounds=np.array([e["round"] for e in evaluations], int),
        history=_columns([e["measures"] for e in evaluations]),
        team=_columns([e.get("team") or {} for e in evaluations]),
        seconds=_columns([e["seconds"] for e in evaluations]),
        events=[e for e in rest if e["kind"] != "evaluation"],
        folder=folder,
    )


def read_all(folder: str | Path) -> list[Record]:
    """Every run below ``folder``, in the order in which they were begun.

    Raises:
        ValueError: there is none, or one cannot be read.
    """
    found = sorted(Path(folder).rglob(FILE_NAME))
    paths = [p for p in found if start_line(p)]  # a run killed before its first line has none
    if not paths:
        folders = Path(folder).is_dir()
        why = f"no {FILE_NAME} in it or below it tells of one" if folders else "it is no folder"
        raise ValueError(f"{folder} holds no run: {why}")
    records = [read(p) for p in paths]
    return sorted(records, key=lambda r: r.start.get("started") or "")


def cut(path: Path, round: int, start: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    """Drop what was written after ``round``, because those rounds will be run again.

    Args:
        path: of the record.
        round: the last one that is kept.
        start: what the first line says otherwise from now on.

    Returns:
        The lines that stay.
    """
    kept = [x for x in _lines(path) if x["kind"] != "end" and x.get("round", 0) <= round]
    if start:
        kept[0] |= as_json(dict(start))
        kept = [x for x in kept if x["kind"] != "evaluation" or _due(x["round"], kept[0])]
    with replacing(path, durable=True) as scratch, scratch.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(x) + "\n" for x in kept)
    return kept


def _due(round: int, start: Mapping[str, Any]) -> bool:
    """Whether the team is evaluated then, and not because these were all the rounds once."""
    return round % start.get("evaluate_every", 1) == 0 or round >= start["rounds"]


def start_line(path: Path) -> dict[str, Any]:
    """The start line; empty where a crash left none."""
    return next(iter(_lines(path)), {})


def evaluated(path: Path) -> list[int]:
    """The rounds after which the team was evaluated."""
    return [line["round"] for line in _lines(path) if line["kind"] == "evaluation"]


def _lines(path: Path) -> Iterable[dict[str, Any]]:
    counts: dict[str, int] = {}  # of the numbers of each measure
    with open(path, encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, start=1):
            try:
                found = json.loads(line)
            except json.JSONDecodeError:
                if not line.endswith("\n"):
                    return  # a crash has cut it short
                problem = "is not JSON"
            else:
                problem = _line_problem(found, number == 1) or uneven(found, counts)
            if problem:
                raise ValueError(
                    f"{path} is damaged: line {number}, {line[:80]!r}, {problem}; mend it, or "
                    f"remove {path.parent} to train this run again"
                )
            yield found


def _line_problem(line: Any, first: bool) -> str:
    """What is wrong with a line, if anything."""
    if not isinstance(line, dict) or not isinstance(line.get("kind"), str):
        return "has no kind"
    if first and line["kind"] != "start":
        return "is no start line"
    needed = NEEDED.get(line["kind"], ROUND)
    missing = [name for name, kind in needed.items() if not isinstance(line.get(name), kind)]
    return f"has no {' and no '.join(missing)}" if missing else wrong(line)


def _columns(rows: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """[{name: value}, ...] -> {name: stacked values}; NaN where a name or a number is missing."""
    names = dict.fromkeys(name for row in rows for name in row)
    shapes = {n: np.shape(next(row[n] for row in rows if n in row)) for n in names}
    return {
        n: np.array([row.get(n, np.full(shapes[n], math.nan)) for row in rows], float)
        for n in names
    }


def as_json(value: Any) -> Any:
    """Tensors and arrays as lists, what is no finite number as null, all else as JSON has it."""
    if isinstance(value, dict):
        return {str(k): as_json(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(v) for v in value]
    if hasattr(value, "tolist"):
        return as_json(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
