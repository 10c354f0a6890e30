"""What the figures of Kamp et al. have in common: cumulative loss against communication.

Thresholds of the paper belong to networks whose description is not available, so each figure sweeps
delta on a logarithmic scale, and whole frontiers are compared instead of single points.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from ..algorithm import Algorithm
from ..record import Record
from ..report.style import FAINT, color, styled
from ..tasks import BaseTask
from .base import Planned, Records, Reproduction, lasting, lost, markdown, select
from .figures import explain, keep

DYNAMIC, PERIODIC = "dynamic", "periodic"  # with what labels of such protocols begin

Runs = dict[str, list[Record]]  # by label


@dataclass(frozen=True)
class Team:
    """A team on a stream, and the protocols it tries.

    Attributes:
        task: makes the task.
        rounds: of protocols that take one step a round.
        protocols: label -> the algorithm.
        steps: label -> local steps in one of its rounds, where they are not one.
    """

    task: Callable[[], BaseTask]
    rounds: int
    protocols: Mapping[str, Algorithm]
    steps: Mapping[str, int] = field(default_factory=dict)

    def rounds_of(self, label: str) -> int:
        return self.rounds // self.steps.get(label, 1)


class Point(NamedTuple):
    """Where a protocol ended, of the whole team, the mean over seeds."""

    loss: float  # L(T, m)
    error: float  # share of wrong predictions
    megabytes: float  # C(T, m)


class Averaging(Reproduction):
    """A figure of teams that predict before they learn."""

    evaluations: int = 50  # of a run
    seeds: tuple[int, ...] = (0,)
    published: Mapping[str, str]  # what a label begins with -> what the paper says of it
    over_time: bool = False  # whether loss and communication are drawn over the rounds, too

    @abstractmethod
    def teams(self, short: bool) -> dict[str, Team]:
        """By group; the ``short`` ones take less than a minute."""

    def plan(self) -> list[Planned]:
        return [p for seed in self.seeds for p in self._runs(seed, short=False)]

    def shorten(self, plan: list[Planned]) -> list[Planned]:
        return self._runs(self.seeds[0], short=True)

    def _runs(self, seed: int, short: bool) -> list[Planned]:
        found = []
        for group, team in self.teams(short).items():
            for label, algorithm in team.protocols.items():
                rounds = team.rounds_of(label)
                every = max(1, rounds // min(self.evaluations, 20 if short else rounds))
                found.append(Planned(group, label, seed, algorithm, team.task, None, rounds, every))
        return found

    def table(self, records: Records) -> str:
        return "\n".join(self._table_of(group, runs) for group, runs in grouped(records).items())

    def _table_of(self, group: str, runs: Runs) -> str:
        header = [group, "published", "cumulative loss", "wrong, %", "communication, MB"]
        found = {label: point(of_label) for label, of_label in runs.items()}
        said = self._said(found)
        rows = [
            [label, said[label], f"{p.loss:,.0f}", f"{100 * p.error:.2f}", megabytes(p)]
            for label, p in found.items()
        ]
        fallen = [
            f"{label} {lost(of_label)}." for label, of_label in runs.items() if lost(of_label)
        ]
        notes = fallen + verdicts(found)
        return markdown(header, rows) + "".join(f"\n- {note}" for note in notes) + "\n"

    def _said(self, labels: Iterable[str]) -> dict[str, str]:
        """label -> what the paper says of it, once where it speaks of several."""
        said: dict[str, str] = {}
        for label in labels:
            starts = [s for s in self.published if label.startswith(s)]
            sentence = self.published[max(starts, key=len)] if starts else "-"
            said[label] = '"' if sentence in said.values() and starts else sentence
        return said

    def draw(self, records: Records, path: Path) -> None:
        groups = grouped(records)
        columns = 3 if self.over_time else 1
        with styled():
            figure = Figure(
                figsize=(3.6 * columns + 2.4, 3.2 * len(groups) + 1.2), layout="constrained"
            )
            handles: dict[str, Artist] = {}
            places = figure.subplots(len(groups), columns, squeeze=False)
            for row, (group, runs) in zip(places, groups.items(), strict=True):
                handles |= frontier(row[0], runs)
                row[0].set_title(group)
                if self.over_time:
                    over_rounds(row[1], runs, cumulative_loss, "cumulative loss")
                    over_rounds(row[2], runs, communication, "communication, MB")
            note = " Vertical lines: concept drifts." if any_drift(groups) else ""
            read = "One mark, one protocol, with its setting (delta, b, C) beside it."
            explain(figure, handles, self.title, read + note)
        keep(figure, path, self.title)


# --- reading records --------------------------------------------------------------------------


def grouped(records: Records) -> dict[str, Runs]:
    """group -> label -> runs, in the order of the plan."""
    found: dict[str, Runs] = {}
    for folder in records:
        group, label, _ = folder.split("/")
        found.setdefault(group, {})[label] = select(records, group, label)
    return found


def cumulative_loss(run: Record) -> np.ndarray:
    """(T,) L(t, m)."""
    return run.history["cumulative_loss"].sum(axis=1)


def communication(run: Record) -> np.ndarray:
    """(T,) C(t, m), in megabytes."""
    return run.team["communication"] / 1e6


def point(runs: list[Record]) -> Point:
    """The mean over the runs that lasted; NaN where none did: an early end is no low loss."""
    ends = [(np.nan, np.nan, np.nan)] if not lasting(runs) else []
    for run in lasting(runs):
        wrong = run.final.get("cumulative_error", np.full(1, np.nan)).sum()
        error = wrong / run.final["predictions"].sum()
        ends.append((cumulative_loss(run)[-1], error, communication(run)[-1]))
    return Point(*np.mean(ends, axis=0).tolist())


def any_drift(groups: Mapping[str, Runs]) -> bool:
    return any(r.drifts for runs in groups.values() for of_label in runs.values() for r in of_label)


def megabytes(p: Point) -> str:
    return f"{p.megabytes:,.0f}" if p.megabytes >= 10 else f"{p.megabytes:.2g}"


def needed(points: Mapping[str, Point], loss: float) -> float | None:
    """The megabytes with which dynamic averaging has that loss.

    Along the line through the dynamic protocols, over the logarithm of the communication; None
    where it does not reach so far.
    """
    line = sorted(p for n, p in points.items() if n.startswith(DYNAMIC) and p.megabytes > 0)
    if not line or not line[0].loss <= loss <= line[-1].loss:
        return None
    spent = np.log([p.megabytes for p in line])
    return float(np.exp(np.interp(loss, [p.loss for p in line], spent)))


def verdicts(points: Mapping[str, Point]) -> list[str]:
    """For each protocol that is not dynamic but communicates: what dynamic averaging needs."""
    dynamic = {n: p for n, p in points.items() if n.startswith(DYNAMIC) and np.isfinite(p.loss)}
    sentences: list[str] = []
    for name, p in points.items() if dynamic else ():
        if name.startswith((DYNAMIC, "serial")) or not p.megabytes > 0:
            continue
        spent = needed(points, p.loss)
        if spent is None:
            best, nearest = min(dynamic.items(), key=lambda item: abs(item[1].loss - p.loss))
            change, share = nearest.loss / p.loss - 1, nearest.megabytes / p.megabytes
            sentences.append(
                f"{best}, the nearest to the loss of {name}, has {100 * abs(change):.1f} % "
                f"{'more' if change > 0 else 'less'}, with {100 * share:.0f} % of its "
                "communication."
            )
        else:
            sentences.append(
                f"At the loss of {name} the line through the dynamic protocols needs "
                f"{100 * spent / p.megabytes:.0f} % of its communication."
            )
    return sentences


# --- drawing ----------------------------------------------------------------------------------


def frontier(axes: Axes, runs: Runs) -> dict[str, Artist]:
    """Cumulative loss against communication, one line for each family of protocols.

    A family is what the first word of the labels names; the others are written beside its points.
    Who sends nothing is a line to compare with.
    """
    families: dict[str, dict[str, Point]] = {}
    for label, of_label in runs.items():
        family, _, setting = label.partition(" ")
        families.setdefault(family, {})[setting] = point(of_label)
    handles: dict[str, Artist] = {}
    for number, (family, found) in enumerate(families.items()):
        if not any(p.megabytes > 0 for p in found.values()):
            look: dict[str, Any] = {"color": color(number), "linewidth": 1.2, "dashes": (4, 3)}
            handles[family] = axes.axhline(next(iter(found.values())).loss, **look)
        else:
            handles[family] = _points(axes, number, found)
    axes.set(xlabel="communication, MB", ylabel="cumulative loss", xscale="log")
    low, high = axes.get_xlim()
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
    axes.xaxis.set_major_formatter("{x:,.10g}")
    axes.xaxis.set_minor_formatter("")
    return handles


def _points(axes: Axes, number: int, found: Mapping[str, Point]) -> Artist:
    shown = {setting: p for setting, p in found.items() if p.megabytes > 0}
    ordered = sorted(shown.values(), key=lambda p: p.megabytes)
    for setting, p in shown.items():
        axes.annotate(
            setting, (p.megabytes, p.loss), (4, 4), textcoords="offset points", fontsize=7,
            color=color(number),
        )  # fmt: skip
    return axes.plot(
        [p.megabytes for p in ordered], [p.loss for p in ordered], "osD^v"[number % 5] + "-",
        color=color(number), linewidth=1, markersize=5,
    )[0]  # fmt: skip


def over_rounds(axes: Axes, runs: Runs, measure: Callable[[Record], np.ndarray], name: str) -> None:
    """One line for each protocol, of its last seed; vertical lines where the concept drifts."""
    families = list(dict.fromkeys(label.partition(" ")[0] for label in runs))
    for label, of_label in runs.items():
        run, number = of_label[-1], families.index(label.partition(" ")[0])
        share = run.rounds / max(run.rounds[-1], 1)  # protocols may do several steps a round
        (line,) = axes.plot(100 * share, measure(run), linewidth=1.2, color=color(number))
        setting = label.partition(" ")[2]
        axes.annotate(
            setting, (100, measure(run)[-1]), (3, 0), textcoords="offset points", fontsize=7,
            color=line.get_color(), annotation_clip=False, va="center",
        )  # fmt: skip
        for drift in run.drifts:
            axes.axvline(100 * drift / run.rounds[-1], color=FAINT, linewidth=0.6, zorder=0)
    axes.set(xlabel="% of the stream", ylabel=name)
