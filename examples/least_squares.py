"""Least squares among ten agents: exact consensus ADMM against the solution of all the data.

Every agent holds 20 rows of one linear regression. Where an agent's own problem has a solution in
closed form, `ConsensusADMM` solves it instead of stepping along gradients.
"""

import numpy as np
import torch

import peerlearn as pl

AGENTS, ROWS, COLUMNS = 10, 20, 6


def main() -> None:
    draw = torch.Generator().manual_seed(0)
    inputs = torch.randn(AGENTS, ROWS, COLUMNS, dtype=torch.float64, generator=draw)
    truth = torch.randn(COLUMNS, dtype=torch.float64, generator=draw)
    noise = torch.randn(AGENTS, ROWS, dtype=torch.float64, generator=draw)
    targets = inputs @ truth + 0.5 * noise

    # Agent i's loss ||X_i x - y_i||^2 / (2 ROWS) is a quadratic with this Hessian and optimum.
    hessians = inputs.mT @ inputs / ROWS
    optima = torch.linalg.lstsq(inputs, targets[..., None]).solution[..., 0]
    task = pl.tasks.QuadraticTask(hessians, optima, name="least squares")

    pooled = inputs.reshape(-1, COLUMNS).numpy(), targets.reshape(-1).numpy()
    solution = np.linalg.lstsq(*pooled, rcond=None)[0]

    run = pl.train(
        task,
        pl.ConsensusADMM(rho=0.3),
        pl.graphs.cycle(AGENTS),
        rounds=300,
        evaluate_every=30,
        dtype="float64",
    )
    for done, distance in zip(run.record.rounds, run.history["distance"], strict=True):
        print(f"round {done:3}: farthest agent {distance.max():.1e} from the optimum")
    error = np.abs(run.theta.numpy() - solution).max()
    print(f"largest difference from numpy.linalg.lstsq on all data: {error:.1e}")
    assert error < 1e-10


if __name__ == "__main__":
    main()
