"""Your own network, data and loss: six agents learn one curve, each from its own stretch of it.

Every agent measures sin(3x) on a sixth of the interval, some of them far more often than others.
Together they learn the whole curve; a callback ends the run as soon as the worst agent knows it.
"""

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

import peerlearn as pl

AGENTS = 6
GOOD_ENOUGH = 0.01  # the loss at which the team may stop


class Stretch(Dataset):
    """Noisy measurements of the curve between two points: any map-style dataset will do."""

    def __init__(self, left: float, right: float, samples: int, seed: int) -> None:
        draw = torch.Generator().manual_seed(seed)
        self.x = left + (right - left) * torch.rand(samples, 1, generator=draw)
        self.y = torch.sin(3 * self.x) + 0.05 * torch.randn(samples, 1, generator=draw)

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.x[index], self.y[index]


class Curve(nn.Module):
    """A small network with a shortcut from its input to its output."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh())
        self.out = nn.Linear(32, 1)
        self.shortcut = nn.Linear(1, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.hidden(x)) + self.shortcut(x)


def error(outputs: Tensor, targets: Tensor) -> Tensor:
    """A measure: one number per sample, whose mean over the test set is reported."""
    return (outputs - targets).abs()


def stop_when_good(evaluation: pl.Evaluation) -> bool:
    """Called with every evaluation; True ends the run."""
    losses = evaluation["measures"]["loss"]
    print(f"round {evaluation['round']:4}: worst agent's loss {losses.max():.4f}")
    return bool(losses.max() < GOOD_ENOUGH)


def main() -> None:
    edges = torch.linspace(-1, 1, AGENTS + 1).tolist()
    sizes = [20, 40, 60, 80, 100, 200]
    data = [Stretch(edges[a], edges[a + 1], sizes[a], seed=a) for a in range(AGENTS)]
    x = torch.linspace(-1, 1, 200)[:, None]
    task = pl.Task(
        model=Curve,
        loss=nn.functional.smooth_l1_loss,
        data=data,
        test=(x, torch.sin(3 * x)),
        measures={"error": error},
        falls={"error": True},  # less is better
        batch_size=10,
        name="curve",
    )
    run = pl.train(
        task,
        pl.DiNNO(rho=0.1, lr=0.01),
        graph=pl.graphs.path(AGENTS),
        rounds=600,
        evaluate_every=20,
        callback=stop_when_good,
    )
    print(f"stopped after {run.rounds} rounds; mean error {run.final['error'].mean():.3f}")
    print(f"agent 0, asked at x = 0.9: {run.model(0)(torch.tensor([[0.9]])).item():.3f}")
    assert run.rounds < 600, "the team should have learned the curve long before the end"


if __name__ == "__main__":
    main()
