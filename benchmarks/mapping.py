"""A round of the published mapping run over the same gradients and optimizer steps, bare.

python benchmarks/mapping.py           seven robots, 12,500 points, B = 5: two minutes on 2 cores

Needs the authors' floor plan in the folder named by PEERLEARN_DATA.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

import numpy as np
import torch
from speed import interleaved
from torch import Tensor

from peerlearn import DiNNO, graphs
from peerlearn.data.streams import Stream
from peerlearn.engines.memory import keep_freed_memory
from peerlearn.reproduce.dinno_mapping import AGENTS, METHODS, RADIUS, ROUNDS, task
from peerlearn.session import Session
from peerlearn.setup import prepare
from peerlearn.tasks import Task

THREADS = 2
BUDGET_S = 120.0
BOUND = 1.25
Batches = list[tuple[Tensor, Tensor]]  # (agents, points, 2) and (agents, points), a local step each


def main() -> None:
    torch.set_num_threads(THREADS)
    keep_freed_memory()  # as train does
    method, points = METHODS["DiNNO"]
    assert isinstance(method, DiNNO)
    mapping = task(points)
    assert isinstance(mapping, Task)
    run = session(mapping, method)
    blocks = {
        "bare": bare(mapping, drawn(mapping, points, method.local_steps)),
        "round": run._round,
    }
    times = interleaved(blocks, BUDGET_S)
    ratio = median(r / b for r, b in zip(times["round"], times["bare"], strict=True))
    print(
        f"{AGENTS} robots, {points:,} points, {method.local_steps} local steps, {THREADS} threads, "
        f"{len(times['bare'])} repetitions: {1e3 * median(times['round']):.0f} ms a round, "
        f"{1e3 * median(times['bare']):.0f} ms its gradients and optimizer steps bare; "
        f"ratio {ratio:.2f}, bound {BOUND}: {'met' if ratio <= BOUND else 'NOT MET'}"
    )


def session(mapping: Task, method: DiNNO) -> Session:
    """The run, started as `peerlearn.train` starts it, whose rounds we call ourselves."""
    setup = prepare(
        mapping, method, graphs.proximity(AGENTS, RADIUS), rounds=ROUNDS, seed=0,
        weights="metropolis", evaluate_every=ROUNDS, out=None, resume=False, checkpoint_every=None,
        device="cpu", dtype="float32", engine="stacked", timeout_s=30.0, label=None,
    )  # fmt: skip
    started = Session(setup, setup.team)
    started._start()
    return started


def drawn(mapping: Task, points: int, steps: int) -> Batches:
    stream = mapping.stream
    assert isinstance(stream, Stream)
    agents, first = np.arange(AGENTS), np.zeros(AGENTS, int)
    batches = [stream.take(0, agents, first + k * points, points, 0) for k in range(steps)]
    return [(places, walls) for places, walls in batches]


def bare(mapping: Task, batches: Batches) -> Callable[[], None]:
    """As many steps of a network and an Adam for each robot, on batches that lie ready."""
    torch.manual_seed(0)
    networks = [mapping.models(0)[0] for _ in range(AGENTS)]
    optimizers = [torch.optim.Adam(n.parameters(), lr=0.001) for n in networks]

    def steps() -> None:
        for places, walls in batches:
            for network, optimizer, x, y in zip(networks, optimizers, places, walls, strict=True):
                parameters = list(network.parameters())
                gradients = torch.autograd.grad(mapping.loss(network(x), y), parameters)
                for parameter, gradient in zip(parameters, gradients, strict=True):
                    parameter.grad = gradient
                optimizer.step()

    return steps


if __name__ == "__main__":
    main()
