"""Trains twice in two processes, of one agent each, for test_payload.py to listen to.

Usage: python in_payload.py FOLDER. Each process writes FOLDER/RANK.npz: the agents' data, the rows
that it said, what the record counts in each run, and the ports of its connections.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.functional import mse_loss

import peerlearn as pl

SAMPLES, FEATURES, WIDTH = 12, 8, 200
ROUNDS = (10, 60)
MARK = bytes(range(256))


class Told(pl.DSGD):
    """Keeps what it says to its neighbors."""

    said: list[Tensor] = []

    def round(self, s, learner, links):
        self.said.append(s.theta.clone())
        return super().round(s, learner, links)


def data(agent: int) -> tuple[Tensor, Tensor]:
    """Inputs and targets of which no two are alike in any of their bytes' order."""
    draw = torch.Generator().manual_seed(100 + agent)
    values = torch.randn(SAMPLES, FEATURES + 1, generator=draw, dtype=torch.float64)
    return values[:, :-1], values[:, -1:]


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(FEATURES, WIDTH), nn.Tanh(), nn.Linear(WIDTH, 1))


def mark() -> None:
    """A sign in both streams: a run ends here."""
    own = torch.frombuffer(bytearray(MARK), dtype=torch.uint8)
    other, rank = torch.empty_like(own), 1 - dist.get_rank()
    said = [dist.P2POp(dist.isend, own, rank), dist.P2POp(dist.irecv, other, rank)]
    for work in dist.batch_isend_irecv(said):
        work.wait()


def ports() -> list[tuple[int, int]]:
    """(own, other) of all TCP connections of this process."""
    links = [os.readlink(entry.path) for entry in os.scandir("/proc/self/fd")]
    inodes = {link[8:-1] for link in links if link.startswith("socket:[")}
    tables = [Path(f"/proc/self/net/{name}") for name in ("tcp", "tcp6")]
    lines = [line.split() for t in tables if t.exists() for line in t.read_text().splitlines()[1:]]
    ends = [(line[1], line[2]) for line in lines if line[9] in inodes]
    return [(int(a.split(":")[1], 16), int(b.split(":")[1], 16)) for a, b in ends]


def main(folder: Path) -> None:
    task = pl.Task(
        model=network, loss=mse_loss, data=[data(0), data(1)], batch_size=5, gradients="loop"
    )
    counted = []
    for rounds in ROUNDS:
        run = pl.train(
            task, Told(), pl.graphs.path(2), rounds=rounds, evaluate_every=max(ROUNDS),
            dtype="float64", device="cpu", engine="processes", out=folder / str(rounds),
        )  # fmt: skip
        counted.append(run.final["bytes_sent"])
        mark()
    np.savez(
        folder / f"{os.environ['RANK']}.npz", ports=ports(), counted=counted,
        said=torch.cat(Told.said).numpy(), data=[torch.cat(data(a), dim=1).numpy() for a in (0, 1)],
    )  # fmt: skip


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
