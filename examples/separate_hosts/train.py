"""What every host starts: its agent learns from the file that lies there, and from its neighbors.

Three hosts have measured sin(3x), each on a third of the interval. No measurement leaves its host;
together they learn the whole curve. docs/machines.md shows how to start this on real machines,
on_one_machine.py how to try it on one.
"""

import socket
import sys

import numpy as np
import torch
from torch import Tensor, nn

import peerlearn as pl

AGENTS, SAMPLES = 3, 60


def measured_by(agent: int) -> pl.data.Deferred:
    """An agent's own file, which is opened only by the process that hosts the agent."""

    def load() -> tuple[Tensor, Tensor]:
        x, y = np.loadtxt(f"agent_{agent}.csv", dtype=np.float32, delimiter=",").T
        return torch.from_numpy(x)[:, None], torch.from_numpy(y)[:, None]

    return pl.data.Deferred(SAMPLES, load)


def curve() -> nn.Module:
    return nn.Sequential(
        nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 1)
    )


def error(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs - targets).abs()


def show(evaluation: pl.Evaluation) -> None:
    errors = ", ".join(f"{e:.3f}" for e in evaluation["measures"]["error"])
    print(f"{socket.gethostname()}: round {evaluation['round']}, errors {errors}", flush=True)


def main() -> None:
    x = torch.linspace(-1, 1, 200)[:, None]
    task = pl.Task(
        model=curve,
        loss=nn.functional.mse_loss,
        data=[measured_by(agent) for agent in range(AGENTS)],
        test=(x, torch.sin(3 * x)),
        measures={"error": error},
        batch_size=20,
    )
    run = pl.train(
        task,
        pl.DiNNO(rho=0.1, lr=0.005),
        pl.graphs.cycle(AGENTS),
        rounds=600,
        evaluate_every=100,
        engine="processes",
        timeout_s=5,
        out="run",  # written by the first process, on its host
        resume=True,  # go on, if there is something to go on with
        callback=show,
    )
    for agent in run.agents:
        y = run.model(agent)(torch.tensor([[0.9]])).item()
        print(f"{socket.gethostname()}: agent {agent} says that sin(2.7) is {y:.3f}", flush=True)


if __name__ == "__main__":
    try:
        main()
    except pl.Lost as lost:
        print(f"{socket.gethostname()}: {lost}", file=sys.stderr)
        sys.exit(3)
