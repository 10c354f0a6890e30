"""DiNNO's Figures 4 and 5: seven robots that map a floor of a building.

The settings are those of the authors' code, the plan and the ways are theirs; a metre stands for a
pixel of the plan. So that all methods see the same drive, an agent's window slides with the rounds,
as fast as DiNNO takes points from it, where theirs jumps when it is used up; and all methods have
the graph of the round, where their baselines keep the first one.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import numpy as np

from .. import graphs, tasks
from ..algorithm import Algorithm
from ..algorithms import CDSGD, DMSGD, DSGD, DSGT, Centralized, DiNNO, Isolated
from ..data.files import local
from ..mapping import World, from_image, load_waypoints
from ..record import Record
from ..report import maps
from ..report.style import save
from ..schedules import decaying, geometric, log
from .base import Planned, Records, Reproduction, lasting, lost, markdown, select, with_spread
from .figures import panels

AGENTS, ROUNDS, RADIUS = 7, 4000, 1500.0
WINDOW, LAP = 800, 2430  # scans
POINTS = 20 * 25  # of a scan
RATE = log(0.001, 0.0001)
GROUP = "floor"

METHODS: dict[str, tuple[Algorithm, int]] = {
    "DiNNO": (DiNNO(rho=geometric(0.3 * 1.0004, 1.0004), lr=RATE, local_steps=5), 12_500),
    "Centralized": (Centralized(lr=RATE), 12_500),
    "Isolated": (Isolated(lr=RATE), 12_500),
    "DSGT": (DSGT(lr=0.001), 20_000),
    "DSGD": (DSGD(lr=decaying(0.001, 0.001), gradient_at="mixed"), 20_000),
    "CDSGD": (CDSGD(lr=0.001), 12_500),
    "DMSGD": (DMSGD(lr=0.001), 12_500),
}
"""name -> the method, and the points of a minibatch of each agent; the last two are not the
paper's."""

PUBLISHED = {
    "DiNNO": "as centralized",
    "Centralized": "the least",
    "DSGT": "far above DiNNO, an incoherent map",
    "DSGD": "far above DiNNO, an incoherent map",
}
MEASURES = {
    "loss": "validation BCE",
    "wall_iou": "IoU of walls",
    "wall_iou_unseen": "where the robot never was",
}


@cache
def world() -> World:
    """The authors' plan: white is wall, and 30 pixels at each edge."""
    plan = local("floorplan/plan32.png", "DiNNO's floor plan")
    return from_image(plan, 1.0, walls="light").trimmed(border=30)


def task(batch_size: int) -> tasks.Task:
    """The same drive for all; only the minibatches differ."""
    return replace(drive(), batch_size=batch_size)


@cache
def drive() -> tasks.Task:
    """Seven robots on the authors' ways, given from -1 to 1 with y down the image."""
    plan = world()
    scale = (plan.width / 2, -plan.height / 2)
    folder = local("floorplan/tight_paths", "DiNNO's robot paths")
    ways = [load_waypoints(folder / f"{a + 1}.npy", scale) for a in range(AGENTS)]
    return tasks.mapping(
        AGENTS, plan, waypoints=ways, scans=LAP, beams=20, range_m=0.2 * plan.width, samples=25,
        window=WINDOW, scans_per_round=5 * 12_500 / POINTS, validation=500, features=256,
        hidden=(64, 64, 64), scale=0.05, rectified=True, cell_m=6.0,
    )  # fmt: skip


class DinnoMapping(Reproduction):
    name = "dinno-mapping"
    title = "DiNNO, Figures 4 and 5: seven robots map a floor"
    short_divisor = 50
    short_evaluations = 1  # each costs as much as ten steps of all robots

    def plan(self) -> list[Planned]:
        """One seed of all rounds; two more at a quarter of them."""
        return [
            self._planned(label, seed, ROUNDS if seed == 0 else ROUNDS // 4)
            for seed in (0, 1, 2)
            for label in METHODS
        ]

    def _planned(self, label: str, seed: int, rounds: int) -> Planned:
        algorithm, batch = METHODS[label]
        graph = graphs.proximity(AGENTS, RADIUS) if algorithm.communicates else None
        group = GROUP if rounds == ROUNDS else f"{GROUP}-quarter"
        every = rounds // 20
        make = partial(task, batch)
        return Planned(group, label, seed, algorithm, make, graph, rounds, every)

    def table(self, records: Records) -> str:
        groups = [g for g in (GROUP, f"{GROUP}-quarter") if _any(records, g)]
        heads = [f"{_rounds(records, g)}: {m}" for g in groups for m in MEASURES.values()]
        rows = [
            [label, PUBLISHED.get(label, "-")]
            + [_over(select(records, g, label), m) for g in groups for m in MEASURES]
            for label in METHODS
        ]
        return markdown(["", "published: validation loss", *heads], rows)

    def draw(self, records: Records, path: Path) -> None:
        group = GROUP if _any(records, GROUP) else f"{GROUP}-quarter"
        runs = {label: select(records, group, label) for label in METHODS}
        panels({"validation loss": runs}, path, self.title, measure="loss")
        first = [r for found in runs.values() for r in found[:1]]
        for drawing in maps.draw(first):
            save(drawing, path.parent)
        for animation in maps.animate(first):
            animation.save(path.parent)


def _any(records: Records, group: str) -> bool:
    return any(select(records, group, label) for label in METHODS)


def _rounds(records: Records, group: str) -> str:
    """'4,000 rounds': as many as were planned for the group's runs."""
    (rounds,) = {r.start["rounds"] for label in METHODS for r in select(records, group, label)}
    return f"{rounds:,} rounds"


def _over(runs: list[Record], measure: str) -> str:
    """Mean over agents and seeds, spread over seeds; what diverged is named beside the loss."""
    if not runs:
        return "not run"
    means = [float(np.nanmean(r.final[measure])) for r in lasting(runs)]
    mean = with_spread(means, 3) if means else "-"
    return "; ".join(filter(None, (mean, lost(runs) if measure == "loss" else "")))
