"""DiNNO's Figure 7: three pursuers learn to catch a faster evader by multi-agent PPO.

The settings are those of the authors' code. An update is a collection of fourteen episodes and what
is learned from it: five steps of Adam (DiNNO, centralized), or five rounds of mixing and stepping.
The tuned rates are the best of 0.1 and 0.5 after 600 updates of seed 0.
"""

from __future__ import annotations

from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from .. import graphs, tasks
from ..algorithm import Algorithm
from ..algorithms import DSGD, DSGT, Centralized, DiNNO
from ..record import Record
from ..report import rollouts
from ..report.curves import curve, how_to_read, line_and_band
from ..report.style import save, styled
from ..schedules import decaying
from .base import Planned, Records, Reproduction, lasting, lost, markdown, select, with_spread
from .figures import explain, keep

UPDATES, SEEDS = 3570, (0, 1, 2, 3, 4)
LAST = 100  # updates whose mean reward is compared
EVERY = 10  # updates, an evaluation that tells the mean of all of them
GROUP = "triangle"


class Setting(NamedTuple):
    """How a team learns.

    Attributes:
        algorithm: the method.
        rounds: of it, for one update.
        critic: the critic's rate, as a multiple of the actor's.
    """

    algorithm: Algorithm
    rounds: int = 1
    critic: float = 1.0


METHODS = {
    "DiNNO": Setting(DiNNO(rho=1.0, lr=3e-4, local_steps=5)),
    "Centralized": Setting(Centralized(lr=3e-4, local_steps=5)),
    "DSGT": Setting(DSGT(lr=0.01), 5, critic=0.001),
    "DSGD": Setting(DSGD(lr=decaying(0.001, 0.001), gradient_at="mixed"), 5),
    "DSGT, tuned": Setting(DSGT(lr=0.1), 5, critic=0.005),
    "DSGD, tuned": Setting(DSGD(lr=0.1), 5, critic=0.005),
}
TUNED, TUNED_SEEDS = ("DSGT, tuned", "DSGD, tuned"), 2
PUBLISHED = {  # mean rewards of the last 100 updates in the five runs that the authors ship
    "DiNNO": (420, 428, 421, 418, 432),
    "DSGT": (7, -87, -51, 283, -29),
    "DSGD": (-89, -89, -89, -91, -89),
}
SAID = {"Centralized": "as DiNNO"}


@cache
def task(rounds: int, critic: float) -> tasks.PPOTask:
    return tasks.pursuit(rounds_per_collection=rounds, rates={"critic": critic}, recent=EVERY)


class DinnoPursuit(Reproduction):
    name = "dinno-pursuit"
    title = "DiNNO, Figure 7: pursuers learn together"
    short_divisor = 25

    def plan(self) -> list[Planned]:
        """Ten million turns of the four that act; of tuned rates, fewer seeds."""
        shown = [(label, seed) for seed in SEEDS for label in METHODS if label not in TUNED]
        more = [(label, seed) for seed in SEEDS[:TUNED_SEEDS] for label in TUNED]
        return [self._planned(label, seed) for label, seed in (*shown, *more)]

    def _planned(self, label: str, seed: int) -> Planned:
        algorithm, rounds, critic = METHODS[label]
        return Planned(
            GROUP, label, seed, algorithm, partial(task, rounds, critic),
            graphs.complete(3) if algorithm.communicates else None,
            UPDATES * rounds, evaluate_every=EVERY * rounds,
        )  # fmt: skip

    def table(self, records: Records) -> str:
        rows = []
        for label in METHODS:
            runs = select(records, GROUP, label)
            shown = with_spread(PUBLISHED[label], 0) if label in PUBLISHED else SAID.get(label, "-")
            rows.append([label, shown, *_outcome(runs, label)])
        head = f"mean reward of the last {LAST} updates"
        return markdown(["", f"published: {head}", head, "captures", "each seed"], rows)

    def draw(self, records: Records, path: Path) -> None:
        runs = {label: select(records, GROUP, label) for label in METHODS}
        read = how_to_read(max(map(len, runs.values())), "team_reward")
        if tuned := max(len(runs[label]) for label in TUNED):
            read += f" Tuned: {tuned} of them."
        one = task(1, 1.0)
        turns = one.episodes * one.facts.steps * one.facts.turns  # of an update
        with styled():
            figure = Figure(figsize=(7.2, 4.2), layout="constrained")
            axes = figure.subplots()
            handles = {}
            for number, (label, found) in enumerate(runs.items()):
                if found:
                    c = curve(found, "team_reward")
                    x = turns * c.rounds / METHODS[label].rounds
                    handles[label] = line_and_band(axes, number, x / 1e6, c)
            axes.set(xlabel="million agent turns", ylabel="episode reward of the team")
            explain(figure, handles, self.title, read)
        keep(figure, path, self.title)
        first = [found[0] for found in runs.values() if found]
        for drawing in rollouts.draw(first):
            save(drawing, path.parent)
        for animation in rollouts.animate(first):
            animation.save(path.parent)


def last_reward(run: Record, rounds: int, measure: str = "team_reward") -> float:
    """The mean over the last updates; an update takes so many rounds."""
    late = run.rounds > run.rounds[-1] - LAST * rounds
    return float(np.mean(run.history[measure][late]))


def _outcome(runs: list[Record], label: str) -> list[str]:
    kept, rounds = lasting(runs), METHODS[label].rounds
    if not kept:
        return ["; ".join(filter(None, ("not run", lost(runs)))), "-", "-"]
    rewards = [last_reward(r, rounds) for r in kept]
    captures = np.mean([last_reward(r, rounds, "captures") for r in kept])
    told = "; ".join(filter(None, (with_spread(rewards, 0), lost(runs))))
    return [told, f"{captures:.1f}", ", ".join(f"{r:.0f}" for r in rewards)]
