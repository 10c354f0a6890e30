"""A process of a team whose first process works alone: on pooled data, or loading its own.

Usage: python one_for_all.py FOLDER WHAT, under the variables that torchrun sets. It prints a line
for each round, and at last what it met. With WHAT "loading" the first process stops itself instead.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from helpers import classification, samples

import peerlearn as pl

ROUND_S = 0.1


def stopped() -> Any:
    print("loads", flush=True)
    os.kill(os.getpid(), signal.SIGSTOP)
    return samples(4, seed=0)


def on_round(done: int) -> None:
    print(done, flush=True)
    time.sleep(ROUND_S)


def main(folder: Path, what: str) -> int:
    first = pl.data.Deferred(4, stopped) if what == "loading" else samples(4, seed=0)
    task = classification(data=[first, samples(4, seed=1)])
    method = pl.DSGD() if what == "loading" else pl.Centralized()
    try:
        pl.train(
            task, method, pl.graphs.path(2), rounds=1000, engine="processes", timeout_s=3.0,
            out=folder, evaluate_every=5, device="cpu", on_round=on_round,
        )  # fmt: skip
    except pl.Lost as lost:
        print(json.dumps({"processes": lost.processes, "said": str(lost)}), flush=True)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
