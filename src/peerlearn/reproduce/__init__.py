"""Published figures, each by one command, with the published number beside ours."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from .. import record as records
from ..errors import Diverged
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
from .base import Planned, Reproduction, diverged
from .dinno_mapping import DinnoMapping
from .dinno_mnist import DinnoMnist
from .dinno_pursuit import DinnoPursuit
from .dinno_scaling import DinnoScaling
from .dmsgd_mnist import DmsgdMnist

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
    for done, finished in enumerate(_carry_out(name, short, folder, len(plan), jobs), start=1):
        if on_run is not None:
            on_run(done, len(plan), plan[finished].folder)
    found = {p.folder: records.read(folder / p.folder) for p in plan}
    minutes = sum(r.seconds["total"][-1] for r in found.values()) / 60
    note = f"\n{len(plan)} runs, {minutes:.0f} minutes of training in all.\n"
    (folder / "table.md").write_text(reproduction.table(found) + note, encoding="utf-8")
    reproduction.draw(found, folder / "figure")
    return folder


def _plan(name: str, short: bool) -> list[Planned]:
    reproduction = REPRODUCTIONS[name]
    plan = reproduction.plan()
    return reproduction.shorten(plan) if short else plan


def _carry_out(name: str, short: bool, folder: Path, count: int, jobs: int) -> Iterator[int]:
    """The numbers of the runs, as they are done."""
    if jobs == 1:
        for number in range(count):
            _run_one(name, short, folder, number)
            yield number
        return
    threads = max(1, (os.cpu_count() or 1) // jobs)
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, spawn, _prepare_worker, (threads, os.getpid())) as pool:
        waiting = {pool.submit(_work, name, short, folder, n): n for n in range(count)}
        try:
            with _handing_on():
                for future in as_completed(waiting):
                    future.result()
                    yield waiting[future]
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


@contextlib.contextmanager
def _handing_on() -> Iterator[None]:
    """SIGTERM reaches this process alone: hand it on to the workers, and end as by Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def hand_on(number: int, frame: Any) -> None:
        signal.signal(signal.SIGTERM, previous)
        for worker in multiprocessing.active_children():
            worker.terminate()
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, hand_on)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


_at_work = threading.Lock()  # held while a run is under way in this worker
_asked = threading.Event()  # to stop: this worker begins nothing new


def _prepare_worker(threads: int, parent: int) -> None:
    import torch

    torch.set_num_threads(threads)
    for number in (signal.SIGINT, signal.SIGTERM):  # a run in progress has its own handlers
        signal.signal(number, lambda *_: _asked.set())
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    """A worker whose parent was killed writes its checkpoint and ends, or else it would go on."""
    while os.getppid() == parent:
        time.sleep(0.5)
    _asked.set()
    os.kill(os.getpid(), signal.SIGTERM)
    _at_work.acquire()
    os._exit(1)


def _work(name: str, short: bool, folder: Path, number: int) -> None:
    """`_run_one` in a worker.

    A worker may have been given its next run already when it is asked to stop. And it must not
    die of being asked: the pool would then end its other workers, before their checkpoints.
    """
    with _at_work:
        if _asked.is_set():
            raise KeyboardInterrupt
        try:
            _run_one(name, short, folder, number)
        except KeyboardInterrupt:
            _asked.set()
            raise


def _run_one(name: str, short: bool, folder: Path, number: int) -> None:
    """One run of the plan; a finished one stays, a stopped one goes on."""
    from ..training import train

    planned = _plan(name, short)[number]
    out = folder / planned.folder
    if (out / records.FILE_NAME).exists():
        kept = records.read(out)
        if kept.finished or diverged(kept) is not None:
            return
    with contextlib.suppress(Diverged):  # its record says so, and so will the table
        train(
            planned.task(), planned.algorithm, planned.graph, rounds=planned.rounds,
            seed=planned.seed, weights=planned.weights, evaluate_every=planned.evaluate_every,
            out=out, resume=True, label=planned.label,
        )  # fmt: skip
