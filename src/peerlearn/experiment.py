"""Experiments: every method on the same task, from the same first network."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from . import record
from .checkpoint import differences
from .checks import team_problems
from .config import Experiment, parse
from .engines import join
from .errors import ConfigurationError, Diverged, nearest, short
from .files import replacing
from .lock import holding
from .record import EXPERIMENT_FILE as FILE_NAME
from .setup import prepare
from .tables import Problem
from .tasks import BaseTask
from .team import Team
from .training import Evaluation, train
from .values import is_whole

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MAY_DIFFER = ("name", "seeds", "device", "engine", "timeout_s", "checkpoint_every")
NAMED = 3  # runs of another configuration in an error, for they mostly differ in the same

__all__ = ["FILE_NAME", "Experiment", "Outcome", "Step", "load", "run"]


class Step(NamedTuple):
    """How far a run is.

    Attributes:
        label: the method's name in this experiment.
        seed: which of its runs.
        round: rounds done.
        evaluation: what was measured, if the team was just evaluated.
    """

    label: str
    seed: int
    round: int
    evaluation: Evaluation | None = None


def load(path: str | Path, overrides: Sequence[str] = ()) -> Experiment:
    """Read an experiment file.

    Args:
        path: the TOML file.
        overrides: ``key=value``, as in ``task.agents=20`` or ``algorithms.DiNNO.rho=0.2`` (by
            label or by number); the values are TOML, a single word needs no quotes.

    Raises:
        ConfigurationError: every mistake found, each with the path of its key.
    """
    raw = _read(Path(path))
    problems = [p for text in overrides for p in _override(raw, text)]
    experiment, found = parse(raw)
    problems += found
    if problems or experiment is None:
        raise ConfigurationError([str(p) for p in problems])
    return experiment


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError([f"cannot read {path}: {error.strerror}"]) from error
    except ValueError as error:  # of TOML or of UTF-8
        raise ConfigurationError([f"{path} is not a TOML file: {error}"]) from error


def _override(raw: dict[str, Any], text: str) -> list[Problem]:
    """Apply one ``key=value``."""
    path, sign, value = (part.strip() for part in text.partition("="))
    if not sign or not path:
        return [Problem("", f"got the override {text!r}, expected key=value, as in rounds=300")]
    try:
        word = re.fullmatch(r"(?!(true|false)$)[A-Za-z_][\w-]*", value)
        parsed = value if word else _value(value)
        *parents, last = re.sub(r"\[(\d+)\]", r".\1", path).split(".")  # as errors write it
        table = raw
        for key in parents:
            table = _child(table, key)
        if not isinstance(table, dict):
            raise ValueError(f"expected the key of a table below {parents[-1]!r}")
    except ValueError as error:
        return [Problem(path, str(error))]
    table[last] = parsed
    return []


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        raise ValueError(
            f"got {text!r}, expected a TOML value: a number, true, false, a 'text' in quotes, "
            "a [list] or a {key = value} table"
        ) from None


def _child(table: Any, key: str) -> Any:
    """The table below ``key``; of a list the one with that number, label or name."""
    if isinstance(table, dict):
        return table.setdefault(key, {})
    if not isinstance(table, list):
        raise ValueError(f"{key!r} is looked for in {table!r}, which is no table")
    names = [str(t.get("label", t.get("name"))) for t in table if isinstance(t, dict)]
    if key.isdecimal() and int(key) < len(table):
        return table[int(key)]
    matches = [t for t, name in zip(table, names, strict=False) if name.lower() == key.lower()]
    if not matches:
        raise ValueError(f"no algorithm {key!r}; {nearest(key, names)}")
    return matches[0]


@dataclass
class Outcome:
    """What came of an experiment.

    Attributes:
        folder: where its runs lie.
        skipped: how many runs were finished before.
        failures: why runs failed, a sentence for each that diverged, now or before.
    """

    folder: Path
    skipped: int = 0
    failures: list[str] = field(default_factory=list)


def run(
    experiment: Experiment,
    out: str | Path | None = None,
    resume: bool = False,
    progress: Callable[[Step], None] = lambda step: None,
) -> Outcome:
    """Train every method under every seed, one run after the other.

    All methods start from the same network and see the same partition; the record of each run
    lies in ``out/<label>/seed-<seed>/``, the experiment in ``out/experiment.json``, with methods
    and seeds that were asked for before, as long as their runs lie there, too. A method that
    diverges does not keep the others from running.

    In a team of processes all of them call this; the first one looks after the folder.

    Args:
        experiment: what to run.
        out: the folder, ``runs/<name>`` by default.
        resume: go on with the runs in ``out``; finished ones are left as they are, and so are
            those that diverged, for they would do so again.
        progress: called after each round and each evaluation, and once, with the last round, for
            a run that had ended before.

    Raises:
        ConfigurationError: ``out`` holds other runs; nothing was trained.
        KeyboardInterrupt: the run was stopped; its checkpoint is written.
    """
    folder = Path("runs", experiment.name) if out is None else Path(out)
    outcome = Outcome(folder)
    team = join(experiment.settings.engine, experiment.settings.timeout_s)
    with team.taking_part():
        team.agree(lambda: _checked(experiment, folder, resume, team))
        with ExitStack() as stack:
            team.agree(lambda: _written(experiment, folder, team, stack))
            for seed in experiment.settings.seeds:
                task = experiment.task(seed)
                for label in experiment.algorithms:
                    _run_one(experiment, task, label, seed, outcome, team, progress)
    return outcome


def _checked(experiment: Experiment, folder: Path, resume: bool, team: Team) -> Experiment:
    """The folder is the first process's."""
    if problems := team_problems(team, experiment.first_task):
        raise ConfigurationError(problems)
    if team.leads:
        _check_folder(experiment, folder, resume, team)
    return experiment


def _written(experiment: Experiment, folder: Path, team: Team, stack: ExitStack) -> Experiment:
    """Only once all have agreed: a mistake of another process leaves no folder behind.

    From here on the folder is held.
    """
    if not team.leads:
        return experiment
    stack.enter_context(holding(folder))
    content = json.dumps(_described(experiment, folder), indent=2, ensure_ascii=False)
    with replacing(folder / FILE_NAME) as scratch:
        scratch.write_text(content + "\n", encoding="utf-8")
    return experiment


def _described(experiment: Experiment, folder: Path) -> dict[str, Any]:
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


def _run_one(
    experiment: Experiment,
    task: BaseTask,
    label: str,
    seed: int,
    outcome: Outcome,
    team: Team,
    progress: Callable[[Step], None],
) -> None:
    request = experiment.request(label, seed, outcome.folder, resume=True)
    before = team.tell(_ended(request["out"]) if team.leads else None)
    if before is not None:
        outcome.skipped += before["finished"]
        outcome.failures += before["failures"]
        progress(Step(label, seed, experiment.settings.rounds))
        return

    def evaluated(evaluation: Evaluation) -> None:
        progress(Step(label, seed, evaluation["round"], evaluation))

    try:
        train(
            task, experiment.algorithms[label], experiment.graph_of(label), **request,
            callback=evaluated,
            on_round=lambda done: progress(Step(label, seed, done)),
        )  # fmt: skip
    except Diverged as failure:
        outcome.failures.append(str(failure))


def _ended(folder: Path) -> dict[str, Any] | None:
    """How a run ended that would end the same way again: it is finished, or diverged."""
    path = folder / record.FILE_NAME
    if not path.exists() or not record.first_line(path):
        return None
    kept = record.read(path)
    if kept.finished:
        return {"finished": True, "failures": []}
    diverged = kept.diverged is not None
    return {"finished": False, "failures": [_as_before(kept)]} if diverged else None


def _as_before(kept: record.Record) -> str:
    reason = kept.events[-1]["reason"]
    return f"{reason}; this was found before, remove {kept.folder} to train it again"


def _check_folder(experiment: Experiment, folder: Path, resume: bool, team: Team) -> None:
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
    """The experiment as it was described when other runs in the folder were trained.

    Raises:
        ConfigurationError: the description is damaged; people edit such files, too.
    """
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        problem = _damage(kept)
    except ValueError as error:  # of JSON or of UTF-8
        problem = str(error)
    if problem:
        raise ConfigurationError([
            f"{path} is damaged: {problem}; so nobody can tell whether the runs beside it, such as "
            f"{min(others)}, are of this request; mend it, remove it, or choose another folder"
        ])  # fmt: skip
    return kept


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
