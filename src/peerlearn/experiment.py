"""Experiments: every method on the same task, from the same first network."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from . import experiment_folder, record
from .checks import team_problems
from .config import Experiment, parse
from .engines import join
from .errors import ConfigurationError, Diverged, unknown
from .files import replacing
from .lock import holding
from .overrides import override
from .record import EXPERIMENT_FILE as FILE_NAME
from .setup import prepare
from .tasks import BaseTask
from .team import Team
from .training import Evaluation, Run, train

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

HERE = ("engine=stacked", "device=auto")  # wherever the run was trained

__all__ = ["FILE_NAME", "Experiment", "Outcome", "Step", "load", "read", "run"]


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
        path: the TOML file; or the folder of its runs, which tells what was asked for.
        overrides: ``key=value``, as in ``task.agents=20`` or ``algorithms.DiNNO.rho=0.2`` (by
            label or by number); the values are TOML, a single word needs no quotes.

    Raises:
        ConfigurationError: every mistake found, each with the path of its key.
    """
    path = Path(path)
    raw = _of_folder(path) if path.is_dir() else _of_file(path)
    problems = [p for text in overrides for p in override(raw, text)]
    experiment, found = parse(raw)
    problems += found
    if problems or experiment is None:
        raise ConfigurationError([str(p) for p in dict.fromkeys(problems)])
    return experiment


def _of_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError([f"cannot read {path}: {error.strerror}"]) from error
    except ValueError as error:  # of TOML or of UTF-8
        raise ConfigurationError([f"{path} is not a TOML file: {error}"]) from error


def _of_folder(folder: Path) -> dict[str, Any]:
    if not (folder / FILE_NAME).exists():
        raise ConfigurationError([
            f"{folder} has no {FILE_NAME} that tells what was asked for; give an experiment file, "
            "or the folder of its runs"
        ])  # fmt: skip
    try:
        return _without_none(experiment_folder.described(folder / FILE_NAME))
    except ValueError as error:
        raise ConfigurationError([str(error)]) from error


def _without_none(value: Any) -> Any:
    """What TOML has no word for is not given."""
    if isinstance(value, dict):
        return {k: _without_none(v) for k, v in value.items() if v is not None}
    return [_without_none(v) for v in value] if isinstance(value, list) else value


def read(folder: str | Path) -> Run:
    """A run of an experiment as it stands: its networks, and what was measured.

    The data are dealt out once more as they were; nothing is trained, and nothing is written.

    Args:
        folder: of the run, as in ``runs/digits/DiNNO/seed-0``.

    Raises:
        ConfigurationError: the folder holds no checkpoint, or the one of another request than the
            experiment.json beside its runs.
        ValueError: there is no record, or it is damaged.
    """
    kept = record.read(folder)
    whole = Path(folder).resolve().parent.parent
    experiment = load(whole, HERE)
    if kept.label not in experiment.algorithms:
        raise unknown("label", kept.label, experiment.algorithms)
    request = experiment.request(kept.label, kept.seed, whole, resume=True)
    setup = prepare(
        experiment.task(kept.seed), experiment.algorithms[kept.label],
        experiment.graph_of(kept.label), **request,
    )  # fmt: skip
    found = setup.checkpoint
    if found is None:
        raise ConfigurationError([f"{folder} has no checkpoint; run the experiment first"])
    setup.learner.load(found.learner)
    theta = found.state["theta"].to(setup.device)
    return Run(theta, kept, found.round, setup.learner.agents, [], setup.learner)


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
    if problems := team_problems(team.size, experiment.first_task.agents):
        raise ConfigurationError(problems)
    if team.leads:
        experiment_folder.check(experiment, folder, resume, team)
    return experiment


def _written(experiment: Experiment, folder: Path, team: Team, stack: ExitStack) -> Experiment:
    """Only once all have agreed: a mistake of another process leaves no folder behind.

    From here on the folder is held.
    """
    if not team.leads:
        return experiment
    stack.enter_context(holding(folder))
    content = json.dumps(
        experiment_folder.with_others(experiment, folder), indent=2, ensure_ascii=False
    )
    with replacing(folder / FILE_NAME) as scratch:
        scratch.write_text(content + "\n", encoding="utf-8")
    return experiment


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
    rounds = experiment.settings.rounds
    before = team.tell(experiment_folder.ended(request["out"], rounds) if team.leads else None)
    if before is not None:
        outcome.skipped += before["finished"]
        outcome.failures += before["failures"]
        progress(Step(label, seed, rounds))
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
