"""Published figures, each by one command, with the published number beside ours."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

from .. import record as records
from ..errors import Diverged
from ..files import replacing
from ..values import require_known
from .averaging_drift import Figure1, Figure5
from .averaging_mnist import (
    Bound,
    Figure2,
    Figure2McMahan,
    Figure3,
    Figure7,
    Figure8,
    Optimizers,
)
from .base import Planned, Reproduction
from .dinno_mapping import DinnoMapping
from .dinno_mnist import DinnoMnist
from .dinno_pursuit import DinnoPursuit
from .dinno_scaling import DinnoScaling
from .dmsgd_mnist import DmsgdMnist
from .pool import carried_out

REPRODUCTIONS: dict[str, Reproduction] = {
    r.name: r
    for r in (
        DinnoMnist(),
        DinnoScaling(),
        DinnoMapping(),
        DinnoPursuit(),
        DmsgdMnist(),
        Figure1(),
        Figure2(),
        Figure2McMahan(),
        Figure3(),
        Figure5(),
        Figure7(),
        Figure8(),
        Optimizers(),
        Bound(),
    )
}


def run(
    name: str,
    out: str | Path | None = None,
    short: bool = False,
    jobs: int = 1,
    on_run: Callable[[int, int, str], None] | None = None,
) -> Path:
    """Carry out a reproduction; what is already in ``out`` is kept and gone on with.

    Args:
        name: a key of `REPRODUCTIONS`.
        out: the folder; runs/<name> (or runs/<name>-short) by default.
        short: one seed and a fraction of the rounds.
        jobs: runs at a time, each in its own process with its share of the cores.
        on_run: called with (runs done, runs in all, the folder of the one just done).

    Returns:
        The folder, with table.md, figure.png and figure.svg in it.
    """
    require_known("reproduction", name, REPRODUCTIONS)
    reproduction = REPRODUCTIONS[name]
    folder = Path(out or f"runs/{name}{'-short' if short else ''}")
    plan = _plan(name, short)
    work = partial(_run_one, name, short, folder)
    for done, finished in enumerate(carried_out(work, len(plan), jobs), start=1):
        if on_run is not None:
            on_run(done, len(plan), plan[finished].folder)
    found = {p.folder: records.read(folder / p.folder) for p in plan}
    minutes = sum(r.seconds["total"][-1] for r in found.values()) / 60
    note = f"\n{len(plan)} runs, {minutes:.0f} minutes of training in all.\n"
    with replacing(folder / "table.md") as scratch:
        scratch.write_text(reproduction.table(found) + note, encoding="utf-8")
    reproduction.draw(found, folder / "figure")
    return folder


def _plan(name: str, short: bool) -> list[Planned]:
    reproduction = REPRODUCTIONS[name]
    plan = reproduction.plan()
    return reproduction.shorten(plan) if short else plan


def _run_one(name: str, short: bool, folder: Path, number: int) -> None:
    """One run of the plan; a finished one stays, a stopped one goes on."""
    from ..training import train

    planned = _plan(name, short)[number]
    out = folder / planned.folder
    if (out / records.FILE_NAME).exists():
        kept = records.read(out)
        if kept.finished or kept.diverged is not None:
            return
    with contextlib.suppress(Diverged):  # its record says so, and so will the table
        train(
            planned.task(), planned.algorithm, planned.graph, rounds=planned.rounds,
            seed=planned.seed, weights=planned.weights, evaluate_every=planned.evaluate_every,
            out=out, resume=True, label=planned.label,
        )  # fmt: skip
