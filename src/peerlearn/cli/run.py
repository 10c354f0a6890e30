"""``peerlearn run FILE``."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .console import FAILED, console, tell, told

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID

    from ..experiment import Experiment, Outcome, Step


def run(
    file: Annotated[Path, typer.Argument(help="The experiment file.")],
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a setting; may be repeated."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The folder for the runs.", show_default="runs/<name>")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the runs in --out.")] = False,
    engine: Annotated[str | None, typer.Option(help="Where the agents live.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda.")] = None,
) -> None:
    """Run an experiment: every algorithm of a file on the same task."""
    chosen = [
        *(overrides or []),
        *(f"{k}={json.dumps(v)}" for k, v in {"engine": engine, "device": device}.items() if v),
    ]
    again = [
        "peerlearn", "run", str(file), *(w for o in chosen for w in ("--set", o)),
        *(["--out", str(out)] if out else []), "--resume",
    ]  # fmt: skip
    with told(f"stopped; go on with: {shlex.join(again)}"):
        from .. import experiment as experiments

        experiment = experiments.load(file, chosen)
        with Bars(experiment, console()) as bars:
            outcome = experiments.run(experiment, out, resume, bars.show)
        _conclude(experiment, outcome)


def _conclude(experiment: Experiment, outcome: Outcome) -> None:
    """The table, the report, and what failed."""
    from .. import record, report

    screen = console()
    runs = len(experiment.settings.seeds) * len(experiment.algorithms)
    if outcome.skipped:
        screen.print(f"{outcome.skipped} of {runs} runs were finished before, in {outcome.folder}")
    screen.print(report.summary_table(record.read_all(outcome.folder)))
    screen.print(f"report: {report.build(outcome.folder)}", markup=False, soft_wrap=True)
    if outcome.failures:
        tell(map(str, outcome.failures))
        raise typer.Exit(FAILED)


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
    from ..report.table import Number, show, words

    name = leading(measures)
    known = values(measures, name)
    known = known[np.isfinite(known)]
    return f"{words(name)} {show(Number(known.mean()), name)}" if known.size else ""
