"""``peerlearn run FILE``."""

from __future__ import annotations

import json
import os
import shlex
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .console import FAILED, INTERRUPTED, LOST, console, tell, told

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID

    from ..experiment import Experiment, Outcome, Step

RUN_ID = "peerlearn"  # of the processes that this command starts


def run(
    file: Annotated[Path, typer.Argument(help="The experiment file, or the folder of its runs.")],
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a setting; may be repeated."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The folder for the runs.", show_default="runs/<name>")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Resume the runs in --out.")] = False,
    engine: Annotated[str | None, typer.Option(help="Where the agents live.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda.")] = None,
    processes: Annotated[
        int | None,
        typer.Option(min=1, help="How many to start on this machine, with --engine processes."),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            min=1, max=65535, help="At which the processes meet.", show_default="a free one"
        ),
    ] = None,
) -> None:
    """Run an experiment: every algorithm of a file on the same task."""
    if file.is_dir():  # which has its own request
        out = out or file
    chosen = [
        *(overrides or []),
        *(f"{k}={json.dumps(v)}" for k, v in {"engine": engine, "device": device}.items() if v),
    ]
    same = [
        "run", str(file), *(w for o in chosen for w in ("--set", o)),
        *(["--out", str(out)] if out else []),
    ]  # fmt: skip
    own = {"--processes": processes, "--port": port}
    again = ["peerlearn", *same, *(w for k, v in own.items() if v for w in (k, str(v))), "--resume"]
    stopped = f"stopped; go on with: {shlex.join(again)}"
    if "RANK" in os.environ:  # whoever started the processes tells people, or starts them again
        stopped = "" if _by_peerlearn() else "stopped; go on by starting all again with --resume"
    with told(stopped):
        from .. import experiment as experiments
        from ..engines import launched, shared_mistakes

        with shared_mistakes():
            experiment = experiments.load(file, chosen)
            _check_processes(experiment, own)
        if experiment.settings.engine == "processes" and not launched():
            _launch([*same, *(["--resume"] if resume else [])], experiment, processes, port)
            return
        _run(experiment, out, resume)


def _run(experiment: Experiment, out: Path | None, resume: bool) -> None:
    """In this process, or as one of a team, of which the first shows how it goes."""
    from .. import experiment as experiments
    from ..engines import join

    team = join(experiment.settings.engine, experiment.settings.timeout_s)
    if team.leads:
        with Bars(experiment, console()) as bars:
            outcome = experiments.run(experiment, out, resume, bars.show)
    else:
        outcome = experiments.run(experiment, out, resume)
    again = f"all runs are done; write the report with peerlearn report {outcome.folder}"
    team.stand_by(lambda: _conclude(experiment, outcome), again)
    if outcome.failures:
        raise typer.Exit(FAILED)


def _check_processes(experiment: Experiment, options: dict[str, int | None]) -> None:
    """Options of processes that are of no use, or too many processes."""
    from ..checks import team_problems
    from ..engines import launched, several
    from ..errors import ConfigurationError

    given = [name for name, value in options.items() if value is not None]
    found = []
    if given and experiment.settings.engine != "processes":
        found = [f"got {name}, which only --engine processes uses; give both" for name in given]
    elif given and launched():
        found = [
            f"got {name}, but torchrun has started the processes; leave it out" for name in given
        ]
    if several() and experiment.settings.engine != "processes":
        found.append(
            "several processes were started, of which each would carry out the whole experiment; "
            "add --engine processes, or start one"
        )
    found += team_problems(options["--processes"] or 1, experiment.first_task.agents)
    if found:
        raise ConfigurationError(found)


def _by_peerlearn() -> bool:
    """Whether another peerlearn command waits for this one, and tells people."""
    return os.environ.get("TORCHELASTIC_RUN_ID") == RUN_ID


def _launch(
    arguments: list[str], experiment: Experiment, processes: int | None, port: int | None
) -> None:
    """Start the processes, and end as they do."""
    from ..engines.launcher import launch

    count = processes or min(experiment.first_task.agents, os.cpu_count() or 1)
    statuses = launch(arguments, count, port, RUN_ID)
    asked = {r: INTERRUPTED if s == -signal.SIGINT else s for r, s in statuses.items()}
    own = {r: s for r, s in asked.items() if s != -signal.SIGTERM}  # which the launcher sends
    own = own or asked  # but not to the first that ends
    killed = {rank: -status for rank, status in own.items() if status < 0}
    tell(f"process {rank} was ended by {signal.Signals(n).name}" for rank, n in killed.items())
    if {*own.values()} == {INTERRUPTED}:  # one of them was asked, and told the others
        raise KeyboardInterrupt
    if statuses:
        raise typer.Exit(LOST if killed else min(own.values(), default=LOST))


def _conclude(experiment: Experiment, outcome: Outcome) -> None:
    """The table, the report, and what failed."""
    from .. import record, report

    screen = console()
    runs = len(experiment.settings.seeds) * len(experiment.algorithms)
    if outcome.skipped:
        screen.print(f"{outcome.skipped} of {runs} runs were finished before, in {outcome.folder}")
    screen.print(report.summary_table(record.read_all(outcome.folder)))
    screen.print(f"report: {report.build(outcome.folder)}", markup=False, soft_wrap=True)
    tell(report.left_out(outcome.folder), "warning")
    tell(map(str, outcome.failures))


class Bars:
    """A progress bar for each algorithm, over the rounds of all its seeds."""

    def __init__(self, experiment: Experiment, screen: Console) -> None:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )  # fmt: skip

        self.progress = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
            TextColumn("rounds"), TimeRemainingColumn(),
            TextColumn("{task.fields[measure]}"), console=screen,
        )  # fmt: skip
        self.rounds, self.seeds = experiment.settings.rounds, experiment.settings.seeds
        self.bars: dict[str, TaskID] = {}
        for label in experiment.algorithms:
            total = self.rounds * len(self.seeds)
            self.bars[label] = self.progress.add_task(label, total=total, start=False, measure="")

    def __enter__(self) -> Bars:
        return self

    def __exit__(self, *error: object) -> None:
        if self.progress.live.is_started:  # else rich would print an empty line
            self.progress.stop()

    def show(self, step: Step) -> None:
        """Move the bar of ``step.label``; the first step brings all bars to the screen."""
        self.progress.start()
        bar = self.bars[step.label]
        if not self.progress.tasks[bar].started:
            self.progress.start_task(bar)
        done = self.seeds.index(step.seed) * self.rounds + step.round
        self.progress.update(bar, completed=done)
        if step.evaluation:
            self.progress.update(bar, measure=_measured(step.evaluation["measures"]))


def _measured(measures: dict[str, Any]) -> str:
    """The main measure's mean over the agents; nothing where nothing was measured."""
    import numpy as np

    from ..report.measures import leading, values
    from ..report.numbers import Number, show
    from ..report.words import words

    name = leading(measures)
    known = values(measures, name)
    known = known[np.isfinite(known)]
    return f"{words(name)} {show(Number(known.mean()), name)}" if known.size else ""
