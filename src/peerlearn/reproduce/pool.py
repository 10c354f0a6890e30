"""Work in several processes, which end with whoever started them and keep what they were at."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any

Work = Callable[[int], None]


def carried_out(work: Work, count: int, jobs: int) -> Iterator[int]:
    """The numbers from 0 to ``count``, each once its work is done.

    Args:
        work: does what has a number; with several jobs it is sent to other processes. It ends with
            KeyboardInterrupt where a signal asks it to stop.
        count: how much there is to do.
        jobs: done at a time, each in its own process with its share of the cores; a single one is
            done here.
    """
    if jobs == 1:
        for number in range(count):
            work(number)
            yield number
        return
    threads = max(1, (os.cpu_count() or 1) // jobs)
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, spawn, _prepare_worker, (threads, os.getpid())) as pool:
        waiting = {pool.submit(_do, work, number): number for number in range(count)}
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


_at_work = threading.Lock()  # held while something is done in this worker
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


def _do(work: Work, number: int) -> None:
    """The work in a worker.

    A worker may have been given the next number already when it is asked to stop. And it must not
    die of being asked: the pool would then end its other workers, before their checkpoints.
    """
    with _at_work:
        if _asked.is_set():
            raise KeyboardInterrupt
        try:
            work(number)
        except KeyboardInterrupt:
            _asked.set()
            raise
