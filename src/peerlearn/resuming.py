"""What a folder holds of a run that is to be resumed, and whether it is this run."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from . import checkpoint as checkpoints
from . import record
from .checkpoint import Checkpoint
from .errors import ConfigurationError
from .words import listed


def latest(
    folder: Path, configuration: dict[str, Any], other_rates: Callable[[int, int], list[str]]
) -> Checkpoint | None:
    """The checkpoint to go on from; none where a run was killed before its first one.

    Args:
        folder: of the run.
        configuration: of the run that is to go on.
        other_rates: (done, rounds) -> the rates that would have had other values in the first
            rounds, ``done`` of them, if ``rounds`` had been planned.

    Raises:
        ConfigurationError: the folder holds another run, or lacks a part of this one.
    """
    path, lines = folder / checkpoints.FILE_NAME, folder / record.FILE_NAME
    wanted = json.loads(json.dumps(configuration))
    if path.exists():
        kept = checkpoints.load(path)
        told = dict(kept.configuration)
        rates = other_rates(kept.round, told.get("rounds", kept.round))
        if kept.round <= wanted["rounds"] and not rates:
            told["rounds"] = wanted["rounds"]  # more may follow
        _check_same(path, told, wanted, rates)
        if not lines.exists() or not record.start_line(lines):
            raise ConfigurationError([
                f"{path} has no {lines.name} beside it that tells what was run; remove "
                f"{path.name} to start this run anew"
            ])  # fmt: skip
        _require_evaluations(lines, kept.round, wanted)
        return kept
    if lines.exists():
        start, done = record.start_line(lines), max(record.evaluated(lines), default=0)
        begun = {**start, "rounds": wanted["rounds"]} if start and not done else start
        _check_same(lines, begun, wanted)
        if done:
            raise ConfigurationError([
                f"{lines} goes up to round {done}, but {path.name} beside it is missing; put "
                f"it back, or remove {lines.parent} to train this run again"
            ])  # fmt: skip
    return None


def _check_same(
    path: Path, kept: dict[str, Any], wanted: dict[str, Any], rates: Sequence[str] = ()
) -> None:
    """Refuse to go on with, or to write over, what another configuration left."""
    changed = checkpoints.differences({k: kept[k] for k in wanted if k in kept}, wanted)
    planned = f", which changes {listed(rates)}" if rates else ""
    changed = [c + planned if c.startswith("rounds was") else c for c in changed]
    if changed and kept:
        raise ConfigurationError(
            [
                f"{path} belongs to another configuration: {'; '.join(changed[:5])}; "
                "resume with the same configuration, or choose another folder"
            ]
        )


def _require_evaluations(lines: Path, done: int, wanted: dict[str, Any]) -> None:
    """All that were due before the checkpoint are in the record, to be shown in the end."""
    due = {*range(0, done + 1, wanted["evaluate_every"])}
    if missing := sorted(due - {*record.evaluated(lines)}):
        raise ConfigurationError([
            f"{lines} lacks the evaluation of round {missing[0]}, though the checkpoint "
            f"beside it is of round {done}; put it back, or remove {lines.parent} to train "
            "this run again"
        ])  # fmt: skip
