"""What is kept of a run in progress: its record, its checkpoints, and what is drawn of it."""

from __future__ import annotations

import datetime
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import checkpoint as checkpoints
from . import record as records
from . import snapshots
from .algorithm import shared
from .checkpoint import Checkpoint
from .record import Recorder
from .setup import Setup
from .team import Team

PLANNED = ("rounds", "drifts")  # of which there may be more after a run is resumed
WHERE = ("device", "engine", "processes", "versions")  # may be others after a run is resumed


class Archive:
    """The files of one run. All processes make the same calls; the first one writes.

    Args:
        setup: of the run.
        team: the processes that carry it out.

    Attributes:
        lines: of the record so far.
    """

    def __init__(self, setup: Setup, team: Team) -> None:
        self._setup, self._team = setup, team
        self.lines: list[dict[str, Any]] = []
        self._recorder: Recorder | None = None
        self._saved = -1

    @contextmanager
    def opened(self) -> Iterator[None]:
        """The record, open while the run goes on, and begun or cut where the run is resumed."""
        path, kept = self._setup.record_path, self._setup.checkpoint
        start = self._setup.describe()
        if path is not None and kept is not None:
            self.lines = records.cut(path, kept.round, {n: start[n] for n in PLANNED})
        elif path is not None:
            path.unlink(missing_ok=True)
        self._recorder = Recorder(path) if path is not None else None
        if kept is None:
            now = datetime.datetime.now(datetime.timezone.utc).isoformat()
            self.write("start", schema=records.SCHEMA, started=now, **start)
        self.lines = self._team.tell(self.lines)
        try:
            yield
        finally:
            if self._recorder is not None:
                self._recorder.close()

    def write(self, kind: str, **fields: Any) -> None:
        self.lines.append({"kind": kind, **fields})
        if self._recorder is not None:
            self._recorder.write(kind, **fields)

    def latest(self, kind: str) -> dict[str, Any] | None:
        """The last line of a kind."""
        return next((line for line in reversed(self.lines) if line["kind"] == kind), None)

    def lacks(self, round: int) -> bool:
        """Whether the checkpoint after a round is to be kept, and is not yet."""
        return self._setup.kept and self._saved != round

    def save(self, own: Checkpoint) -> None:
        """Write a checkpoint, of which each process gives the rows hosted there."""
        alike, total = shared(self._setup.algorithm.State), self._setup.rows
        state = self._team.collect(own.state, total, alike)
        learner = self._team.collect(own.learner, total)
        path = self._setup.checkpoint_path
        if path is not None:
            if self._recorder is not None:
                self._recorder.keep()
            state = {n: t.cpu() for n, t in state.items()}
            checkpoints.save(path, replace(own, state=state, learner=learner))
        self._saved = own.round

    def restored(self, traffic: Collection[str]) -> Checkpoint | None:
        """The checkpoint to go on from, if the first process has one, with the rows hosted here.

        Args:
            traffic: the names of what is kept of the traffic, which all processes have alike.
        """
        setup, team, total = self._setup, self._team, self._setup.rows
        kept = setup.checkpoint
        told = team.tell(kept and {"round": kept.round, "seconds": kept.seconds})
        if told is None:
            return None
        state, learner, counted = (kept.state, kept.learner, kept.traffic) if kept else ({},) * 3
        found = Checkpoint(
            round=told["round"],
            configuration=setup.configuration,
            seconds=told["seconds"],
            state=team.deal(state, total, shared(setup.algorithm.State)),
            learner=team.deal(learner, total),
            traffic=team.deal(counted, total, traffic),
        )
        if found.round < setup.rounds:
            where = {n: v for n, v in setup.describe().items() if n in WHERE}
            self.write("resume", round=found.round, **where)
        return found

    def draw(self, round: int, snapshot: Mapping[str, Tensor]) -> None:
        """Keep what is drawn of the networks after a round, and once what is drawn behind it."""
        found = self._team.collect(snapshot, self._setup.rows)
        folder = self._setup.out
        if folder is not None and found:
            if round == 0 or not snapshots.scene_path(folder).exists():
                snapshots.save(snapshots.scene_path(folder), self._setup.task.scene())
            snapshots.save(snapshots.path(folder, round), found | self._whereabouts(round))

    def _whereabouts(self, round: int) -> dict[str, Tensor]:
        """Where the agents were in the latest round, and who talked to whom, if that is known."""
        latest = max(round - 1, 0)
        positions = self._setup.task.positions(latest)
        if positions is None:
            return {}
        graph = self._setup.graph_at(latest, None)
        edges = [] if graph is None else sorted(graph.edges)
        return {
            "positions": torch.from_numpy(np.asarray(positions, float)),
            "edges": torch.tensor(edges, dtype=torch.int64).reshape(-1, 2),
        }
