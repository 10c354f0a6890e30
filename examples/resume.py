"""Stop a run and go on: the numbers are those of a run that was never stopped.

The record and the checkpoint lie in the run's folder. Here the run interrupts itself as Ctrl-C
would; `resume=True` takes it up again.
"""

import signal
import tempfile

import torch

import peerlearn as pl
from peerlearn import record


def press_ctrl_c(done: int) -> None:
    """Called after every round."""
    if done == 70:
        signal.raise_signal(signal.SIGINT)


def main() -> None:
    # The faster way to gradients is found by timing, which may turn out differently in a second
    # run. A resumed run keeps the choice; to compare two runs to the bit, fix it.
    task = pl.tasks.digits(agents=10, gradients="loop")
    method, graph = pl.DiNNO(rho=0.1, persistent=True), pl.graphs.cycle(10)
    whole = pl.train(task, method, graph, rounds=120, evaluate_every=40)

    with tempfile.TemporaryDirectory() as out:
        settings = {"rounds": 120, "evaluate_every": 40, "out": out}
        try:
            pl.train(task, method, graph, **settings, on_round=press_ctrl_c)
        except KeyboardInterrupt as stopped:
            print(stopped)
        resumed = pl.train(task, method, graph, **settings, resume=True)
        for event in record.read(out).events:
            print(event["kind"], "after round", event["round"])

    equal = torch.equal(whole.theta, resumed.theta)
    print(f"equal to the uninterrupted run, bit for bit: {equal}")
    assert equal


if __name__ == "__main__":
    main()
