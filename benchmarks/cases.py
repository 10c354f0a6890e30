"""What is measured: three networks, two methods, and the bounds they are held to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy, nll_loss

import peerlearn as pl
from peerlearn.session import Session
from peerlearn.setup import prepare
from peerlearn.tasks.models import dinno_cnn, mlp

SAMPLES = 256  # in an agent's data


class Sine(nn.Module):
    """sin(0.05 (W x + b)), the first layer of DiNNO's network for mapping."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)
        nn.init.uniform_(self.linear.weight, -((6 / outputs) ** 0.5), (6 / outputs) ** 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(0.05 * self.linear(x))


def coordinate_network() -> nn.Sequential:
    """A position to the probability of a wall: 25,601 parameters."""
    return nn.Sequential(
        Sine(2, 256), nn.Linear(256, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(),
        nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1), nn.Sigmoid(), nn.Flatten(0),
    )  # fmt: skip


@dataclass(frozen=True)
class Network:
    """A network, its data, and how much a round may cost.

    Attributes:
        build: makes the module.
        image: whether it sees MNIST's images; otherwise positions in a plan.
        dsgd: bound on a DSGD round over the bare gradients.
        dinno: batch size -> the same for DiNNO, per gradient step.
    """

    build: Callable[[], nn.Module]
    image: bool
    dsgd: float
    dinno: dict[int, float]

    def data(self, agents: int, samples: int) -> list[tuple[Tensor, Tensor]]:
        """Random samples: what is in them does not change the time."""
        generator = torch.Generator().manual_seed(0)
        if self.image:
            inputs = torch.randn(agents, samples, 1, 28, 28, generator=generator)
            targets = torch.randint(10, (agents, samples), generator=generator)
        else:
            inputs = torch.randn(agents, samples, 2, generator=generator) * 500
            targets = torch.rand(agents, samples, generator=generator).round()
        return list(zip(inputs, targets, strict=True))

    def task(self, agents: int, batch: int, samples: int | None = None) -> pl.Task:
        return pl.Task(
            model=self.build,
            loss=nll_loss if self.image else binary_cross_entropy,
            data=self.data(agents, samples or SAMPLES),
            batch_size=batch,
        )


NETWORKS = {
    "MNIST CNN": Network(dinno_cnn, True, 1.15, {8: 1.25, 64: 1.25}),
    "MLP": Network(partial(mlp, 784, (64, 64), 10), True, 1.5, {8: 2.2, 64: 1.5}),
    "coordinate": Network(coordinate_network, False, 1.3, {8: 2.2, 64: 1.5}),
}
AGENTS = (10, 100, 1000)
BATCH_SIZES = (8, 64)
LOCAL_STEPS = 2  # of DiNNO, with a fresh Adam


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    network: str
    agents: int
    batch: int

    def bound(self, method: str) -> float:
        network = NETWORKS[self.network]
        return network.dsgd if method == "DSGD" else network.dinno[self.batch]


def all_cases(agents: tuple[int, ...] = AGENTS) -> Iterator[Case]:
    for network in NETWORKS:
        for count in agents:
            for batch in BATCH_SIZES:
                yield Case(network, count, batch)


def methods() -> dict[str, tuple[pl.Algorithm, int]]:
    """name -> the method and its gradients in a round."""
    return {
        "DSGD": (pl.DSGD(), 1),
        "DiNNO": (pl.DiNNO(local_steps=LOCAL_STEPS), LOCAL_STEPS),
    }


def session(task: pl.Task, algorithm: pl.Algorithm, rounds: int = 10_000) -> Session:
    """A run on a cycle, started as `peerlearn.train` starts it, whose rounds we call ourselves."""
    setup = prepare(
        task, algorithm, pl.graphs.cycle(task.agents), rounds=rounds, seed=0, weights="metropolis",
        evaluate_every=rounds, out=None, resume=False, checkpoint_every=None, device="cpu",
        dtype="float32", engine="stacked", timeout_s=30.0, label=None,
    )  # fmt: skip
    started = Session(setup, setup.team)
    started._start()
    return started
