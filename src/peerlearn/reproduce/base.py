"""What a reproduction is: a plan of runs, and what to say and draw of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..algorithm import Algorithm
from ..record import Record
from ..tasks import BaseTask
from ..words import listed

Records = dict[str, Record]  # by the run's folder


@dataclass(frozen=True)
class Planned:
    """One run of a plan.

    Args:
        group, label, seed: where it belongs; the run lies in group/label/seed-<seed>.
        algorithm, graph, rounds, weights: as for `peerlearn.train`.
        task: makes the task; called in the process that trains.
    """

    group: str
    label: str
    seed: int
    algorithm: Algorithm
    task: Callable[[], BaseTask]
    graph: Any
    rounds: int
    evaluate_every: int
    weights: Any = "metropolis"

    @property
    def folder(self) -> str:
        return f"{self.group}/{self.label}/seed-{self.seed}"

    def shortened(self, divisor: int, evaluations: int) -> Planned:
        """The same for a fraction of the rounds; schedules over the rounds shrink with them."""
        rounds = max(self.rounds // divisor, 20)
        return replace(self, rounds=rounds, evaluate_every=max(rounds // evaluations, 1))


class Reproduction(ABC):
    """A published figure: its runs, its table and its picture.

    Attributes:
        short_divisor: of the rounds, for ``--short``.
        short_evaluations: how often a run is evaluated then, besides at its start.
    """

    name: str
    title: str
    short_divisor: int = 20
    short_evaluations: int = 4

    @abstractmethod
    def plan(self) -> list[Planned]:
        """All runs, the most telling first."""

    @abstractmethod
    def table(self, records: Records) -> str:
        """What was published beside what was measured, as Markdown."""

    @abstractmethod
    def draw(self, records: Records, path: Path) -> None:
        """The figure, to ``path`` with .png and .svg."""

    def shorten(self, plan: list[Planned]) -> list[Planned]:
        """What ``--short`` runs: the first seed, a fraction of the rounds."""
        first = min(p.seed for p in plan)
        divisor, evaluations = self.short_divisor, self.short_evaluations
        return [p.shortened(divisor, evaluations) for p in plan if p.seed == first]


def select(records: Records, group: str, label: str) -> list[Record]:
    """The runs of one label in one group, over seeds."""
    start = f"{group}/{label}/seed-"
    return [r for folder, r in sorted(records.items()) if folder.startswith(start)]


def lasting(runs: Sequence[Record]) -> list[Record]:
    """The runs that did not diverge."""
    return [r for r in runs if r.diverged is None]


def final_percent(runs: list[Record], measure: str = "accuracy") -> str:
    """'96.1 ± 0.2 (worst 95.4)': mean over agents and seeds, spread over seeds, worst agent.

    Runs that diverged are not in these numbers but named: 'diverged in round 40 (1 of 3 seeds)'.
    """
    if not runs:
        return "not run"
    kept = lasting(runs)
    return "; ".join(filter(None, (_percent(kept, measure), lost(runs))))


def _percent(runs: list[Record], measure: str) -> str:
    if not runs:
        return ""
    means = [100 * float(np.mean(r.final[measure])) for r in runs]
    worst = min(100 * float(np.min(r.final[measure])) for r in runs)
    lone = all(len(r.final[measure]) == 1 for r in runs)
    return with_spread(means, 1) + ("" if lone else f" (worst {worst:.1f})")


def with_spread(values: Sequence[float], digits: int) -> str:
    """'96.1 ± 0.2': the mean over seeds, and their standard deviation where there are several."""
    spread = f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{np.mean(values):.{digits}f}{spread}"


def lost(runs: list[Record]) -> str:
    """'diverged in round 40 (1 of 3 seeds)', or nothing."""
    rounds = [r.diverged for r in runs if r.diverged is not None]
    if not rounds:
        return ""
    shown = listed([f"{k:,}" for k in sorted(set(rounds))])
    seeds = f" ({len(rounds)} of {len(runs)} seeds)" if len(runs) > 1 else ""
    return f"diverged in round {shown}{seeds}"


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"
