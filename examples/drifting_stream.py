"""A stream of your own that drifts: averaging when it pays, beside averaging by the clock.

Twenty agents watch the same process, whose two classes lie on two sides of a plane. They see each
sample once: they predict its class, suffer the loss, and learn from it. Twice the plane is a new
one from one round to the next. Periodic averaging talks at the same rate throughout; dynamic
averaging talks more after a drift, and less and less once the plane is learned.
"""

import numpy as np
from torch import Tensor, nn

import peerlearn as pl
from peerlearn.data import drift, streams

AGENTS, ROUNDS, FEATURES = 20, 900, 20
DRIFTS = [300, 600]


def sides(draw: np.random.Generator, count: int, concept: int) -> tuple[np.ndarray, np.ndarray]:
    """So many samples of a concept: the plane follows from its number, all else from ``draw``."""
    plane = np.random.default_rng(concept).normal(size=FEATURES)
    inputs = draw.normal(size=(count, FEATURES)).astype(np.float32)
    return inputs, (inputs @ plane > 0).astype(np.int64)


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(FEATURES, 32), nn.ReLU(), nn.Linear(32, 2))


def accuracy(outputs: Tensor, targets: Tensor) -> Tensor:
    """The measure whose errors on the stream are added up."""
    return (outputs.argmax(dim=1) == targets).float()


def main() -> None:
    task = pl.Task(
        model=network,
        loss=nn.functional.cross_entropy,
        data=streams.generated(sides, AGENTS, drift=drift.at(DRIFTS)),
        measures={"accuracy": accuracy},
        batch_size=10,
        name="sides of a plane",
    )
    methods = {
        "periodic, 10": pl.PeriodicAveraging(period=10, lr=0.05),
        "periodic, 20": pl.PeriodicAveraging(period=20, lr=0.05),
        "dynamic, 0.03": pl.DynamicAveraging(delta=0.03, period=5, lr=0.05),
        "dynamic, 0.1": pl.DynamicAveraging(delta=0.1, period=5, lr=0.05),
    }
    print(f"{'':>14}  cumulative loss   wrong  megabytes, and in each 150 rounds")
    for name, method in methods.items():
        run = pl.train(task, method, rounds=ROUNDS, evaluate_every=150)
        loss = run.final["cumulative_loss"].sum()  # L(T, m), of all agents
        wrong = run.final["cumulative_error"].sum() / run.final["predictions"].sum()
        megabytes = run.record.team["communication"] / 1e6  # C(T, m), at each evaluation
        parts = "  ".join(f"{part:.2f}" for part in np.diff(megabytes))
        print(f"{name:>14}  {loss:15,.0f}  {wrong:6.1%}  {megabytes[-1]:9.2f}  {parts}")
    print("a new plane in the rounds", *task.drifts(seed=0, rounds=ROUNDS))


if __name__ == "__main__":
    main()
