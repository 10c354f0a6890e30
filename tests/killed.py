"""Trains in child processes that are killed at random moments, until one of them finishes.

Usage: python killed.py FOLDER. For each case it writes FOLDER/CASE/killed, which was killed again
and again, and FOLDER/CASE/whole, which was not; prints how often it killed.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

import torch
from helpers import classification, with_everything

import peerlearn as pl

ROUNDS, KILLS = 30, 5
CASES: dict[str, pl.Algorithm] = {
    "dsgt": pl.DSGT(),
    "dinno": pl.DiNNO(persistent=True, lr=pl.schedules.log(0.01, 0.001)),
    "dynamic": pl.DynamicAveraging(delta=0.001, period=1, optimizer="adam", lr=0.01),
}


def task(case: str) -> pl.Task:
    """For the last case a stream that drifts; with the loop, lest the clock chooses twice."""
    if case == "dynamic":
        return pl.tasks.digits_stream(4, drift="labels", drift_probability=0.1, gradients="loop")
    return classification(model=with_everything, buffers="mixed")


def train(case: str, folder: Path, told: int | None = None) -> pl.Run:
    """One run, resumed where there is something to resume; a byte for each round."""

    def tell(_: int) -> None:
        if told is not None:
            os.write(told, b".")
            time.sleep(0.005)

    return pl.train(
        task(case), CASES[case],
        pl.graphs.link_failures(pl.graphs.cycle(4), p=0.2, seed=1), rounds=ROUNDS, out=folder,
        evaluate_every=4, checkpoint_every=3, resume=True, device="cpu", on_round=tell,
    )  # fmt: skip


def child(case: str, folder: Path) -> tuple[int, int]:
    """A forked process that trains, and the pipe on which it tells its rounds.

    Forking is safe because torch runs on one thread.
    """
    listening, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            train(case, folder, told)
            os._exit(0)
        finally:
            os._exit(1)
    os.close(told)
    return pid, listening


def kill_until_done(case: str, folder: Path) -> int:
    """How often a child was killed before one could finish."""
    draw = random.Random()
    for kills in range(100):
        pid, listening = child(case, folder)
        if kills < KILLS:
            for _ in range(draw.randint(0, 7)):
                os.read(listening, 1)
            time.sleep(draw.uniform(0, 0.02))
            os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        os.close(listening)
        if not os.WIFSIGNALED(status):
            assert os.waitstatus_to_exitcode(status) == 0
            return kills
    raise AssertionError("no child finished")


if __name__ == "__main__":
    torch.set_num_threads(1)
    for case in CASES:
        print(kill_until_done(case, Path(sys.argv[1]) / case / "killed"))
        train(case, Path(sys.argv[1]) / case / "whole")
