"""Agents that move: whom they can talk to changes from round to round.

Ten agents drive around on circles and hear each other only when they are close. In many rounds
the graph falls into parts, but over a few rounds everybody is reached.
"""

import math

import networkx as nx
import numpy as np

import peerlearn as pl

AGENTS, ROUNDS, RADIUS = 10, 120, 1.0


def positions(round: int) -> np.ndarray:
    """Where the agents are in a round, (AGENTS, 2): a function of the round and nothing else."""
    agent = np.arange(AGENTS)
    home = np.stack([np.cos(2 * math.pi * agent / AGENTS), np.sin(2 * math.pi * agent / AGENTS)])
    angle = 2 * math.pi * round / (20 + 3 * agent)  # each has its own speed
    return (home + 0.35 * np.stack([np.cos(angle), np.sin(angle)])).T


def main() -> None:
    moving = pl.graphs.proximity(AGENTS, RADIUS, positions, window=50)
    seen = [moving.at(k) for k in range(ROUNDS)]
    degree = np.mean([2 * g.number_of_edges() / AGENTS for g in seen])
    whole = np.mean([nx.is_connected(g) for g in seen])
    print(
        f"moving agents have {degree:.1f} neighbors on average; the graph is connected in", end=" "
    )
    print(f"{whole:.0%} of the rounds")

    ring = pl.graphs.cycle(AGENTS)
    graphs = {
        "cycle, 30 % of the links fail": pl.graphs.link_failures(ring, p=0.3),
        "moving agents": moving,
    }
    task = pl.tasks.digits(agents=AGENTS, partition="by_class", gradients="vmap")
    print(f"{'accuracy: mean (worst agent)':>32}  {'DiNNO':>15}  {'DSGD':>15}")
    for name, graph in graphs.items():
        cells = []
        for method in (pl.DiNNO(rho=0.5), pl.DSGD(lr=0.5)):
            run = pl.train(task, method, graph, rounds=ROUNDS, evaluate_every=ROUNDS)
            accuracy = run.final["accuracy"]
            cells.append(f"{accuracy.mean():.1%} ({accuracy.min():.1%})")
        print(f"{name:>32}  {cells[0]:>15}  {cells[1]:>15}")


if __name__ == "__main__":
    main()
