"""The folder of an experiment: what was asked for, and whose runs lie in it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from . import record
from .checkpoint import differences
from .config import Experiment
from .errors import ConfigurationError, short
from .record import EXPERIMENT_FILE as FILE_NAME
from .setup import prepare
from .team import Team
from .values import is_whole

MAY_DIFFER = ("name", "seeds", "device", "engine", "timeout_s", "checkpoint_every")
NAMED = 3  # runs of another configuration in an error, for they mostly differ in the same


def described(path: Path) -> dict[str, Any]:
    """What was asked for, as it was written with the runs; people edit such files, too.

    Raises:
        ValueError: there is no such file, or it is damaged.
    """
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        problem = _damage(told)
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:  # of JSON or of UTF-8
        problem = str(error)
    if problem:
        raise ValueError(f"{path} is damaged: {problem}")
    return told


def _damage(kept: Any) -> str:
    """What is wrong with the description of an experiment, as far as it is used again."""
    if not isinstance(kept, dict):
        return f"it holds {short(kept)}, expected a table"
    methods, seeds = kept.get("algorithms"), kept.get("seeds")
    if not isinstance(methods, list) or not all(map(_has_label, methods)):
        return f"algorithms is {short(methods)}, expected a list of tables, each with its label"
    if not isinstance(seeds, list) or not all(is_whole(s, 0) for s in seeds):
        return f"seeds is {short(seeds)}, expected a list of whole numbers"
    return ""


def _has_label(method: Any) -> bool:
    return isinstance(method, dict) and isinstance(method.get("label"), str)


def check(experiment: Experiment, folder: Path, resume: bool, team: Team) -> None:
    """Refuse a folder whose runs are not those of this experiment."""
    if folder.exists() and not folder.is_dir():
        raise ConfigurationError([f"{folder} is a file, expected a folder for the runs"])
    others = sorted(p.parent for p in folder.rglob(FILE_NAME) if p.parent != folder)
    if others:
        raise ConfigurationError(
            [f"{folder} holds other experiments, such as {others[0]}; choose another folder"]
        )
    if not resume and any(folder.rglob(record.FILE_NAME)):
        raise ConfigurationError(
            [f"{folder} holds another run; resume it, choose another folder, or remove it"]
        )
    found = list(_hindrances(experiment, folder, team)) or _other_request(experiment, folder)
    if found:
        more = [f"and {len(found) - NAMED} more like these"] if len(found) > NAMED else []
        raise ConfigurationError(found[:NAMED] + more)


def _other_request(experiment: Experiment, folder: Path) -> list[str]:
    """Runs that this experiment does not name stay beside its own only if their request is alike.

    There may be other seeds and other methods.
    """
    path, others = folder / FILE_NAME, _other_runs(experiment, folder)
    if not others or not path.exists():
        return []
    kept = _request(_kept(path, others))
    wanted = _request(json.loads(json.dumps(experiment.describe())))
    both = kept["algorithms"].keys() & wanted["algorithms"].keys()
    for told in (kept, wanted):
        told["algorithms"] = {label: told["algorithms"][label] for label in both}
    changed = differences(kept, wanted)
    return changed and [
        f"{folder} holds runs of another request, such as {min(others)}: {'; '.join(changed[:5])}; "
        "choose another folder for this one"
    ]


def _kept(path: Path, others: Sequence[Path]) -> dict[str, Any]:
    """The experiment as it was described when other runs in the folder were trained."""
    try:
        return described(path)
    except ValueError as error:
        raise ConfigurationError([
            f"{error}; so nobody can tell whether the runs beside it, such as {min(others)}, are "
            "of this request; mend it, remove it, or choose another folder"
        ]) from error  # fmt: skip


def _other_runs(experiment: Experiment, folder: Path) -> list[Path]:
    """The folders of the runs that this experiment does not name."""
    names = {(label, seed) for label in experiment.algorithms for seed in experiment.settings.seeds}
    requested = {folder / label / f"seed-{seed}" for label, seed in names}
    return [p.parent for p in folder.rglob(record.FILE_NAME) if p.parent not in requested]


def _request(told: dict[str, Any]) -> dict[str, Any]:
    """What all runs of an experiment have in common, and its methods by their labels."""
    alike = {name: value for name, value in told.items() if name not in MAY_DIFFER}
    return {**alike, "algorithms": {a["label"]: a for a in told["algorithms"]}}


def _hindrances(experiment: Experiment, folder: Path, team: Team) -> Iterator[str]:
    """What keeps the runs begun in ``folder`` from going on."""
    for seed in experiment.settings.seeds:
        requests = {
            label: experiment.request(label, seed, folder, resume=True)
            for label in experiment.algorithms
        }
        begun = {a: r for a, r in requests.items() if (r["out"] / record.FILE_NAME).exists()}
        task = experiment.task(seed) if begun else experiment.first_task
        for label, request in begun.items():
            method, graph = experiment.algorithms[label], experiment.graph_of(label)
            try:
                prepare(task, method, graph, **request, team=team)
            except ConfigurationError as error:
                yield from error.problems


def with_others(experiment: Experiment, folder: Path) -> dict[str, Any]:
    """The experiment, with methods and seeds of an earlier one whose runs stay beside its own."""
    told, path, others = experiment.describe(), folder / FILE_NAME, _other_runs(experiment, folder)
    if not others or not path.exists():
        return told
    kept = _kept(path, others)
    labels = {run.parent.name for run in others} - {*experiment.algorithms}
    seeds = {run.name for run in others} - {f"seed-{seed}" for seed in told["seeds"]}
    methods = [method for method in kept["algorithms"] if method["label"] in labels]
    more = [seed for seed in kept["seeds"] if f"seed-{seed}" in seeds]
    both = {"seeds": [*told["seeds"], *more], "algorithms": [*told["algorithms"], *methods]}
    return {**told, **both}


def ended(folder: Path, rounds: int) -> dict[str, Any] | None:
    """How a run ended that would end the same way again: it is finished, or diverged."""
    path = folder / record.FILE_NAME
    if not path.exists() or not record.start_line(path):
        return None
    kept = record.read(path)
    if kept.start["rounds"] != rounds:  # it goes on, or may do better with other rates
        return None
    if kept.finished:
        return {"finished": True, "failures": []}
    diverged = kept.diverged is not None
    return {"finished": False, "failures": [_as_before(kept)]} if diverged else None


def _as_before(kept: record.Record) -> str:
    reason = kept.events[-1]["reason"]
    return f"{reason}; this was found before, remove {kept.folder} to train it again"
