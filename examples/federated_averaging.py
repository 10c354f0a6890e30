"""Federated averaging: some of the agents at a time, each with another amount of data.

In a round two of twenty agents receive the global network, train it for a few passes through their
own handwritten digits, and send it back; each weighs as much as it has seen. More passes need fewer
messages, and more gradients.
"""

import peerlearn as pl

AGENTS, TARGET = 20, 0.95


def good_enough(evaluation: pl.Evaluation) -> bool:
    """Ends the run; where the unselected idle, every row is the global network."""
    return bool(evaluation["measures"]["accuracy"].mean() >= TARGET)


def main() -> None:
    task = pl.tasks.digits(
        AGENTS, partition="by_size", partition_options={"ratio": 30}, batch_size=10
    )
    print("samples of each agent:", *task.sizes())
    print(f"epochs a round    rounds to {TARGET:.0%}  megabytes  gradients")
    for epochs in (1, 3, 10):
        method = pl.FedAvg(fraction=0.1, local_epochs=epochs, lr=0.1)
        run = pl.train(task, method, rounds=200, evaluate_every=1, callback=good_enough)
        megabytes = run.record.team["communication"][-1] / 1e6
        gradients = int(run.final["gradient_evaluations"].sum())
        print(f"{epochs:14}  {run.rounds:15}  {megabytes:9.2f}  {gradients:9}")


if __name__ == "__main__":
    main()
