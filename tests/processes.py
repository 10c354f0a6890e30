"""Starting a script in several processes that are a team, as torchrun would."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

FILE = """
name = "two"
rounds = 5
[task]
name = "quadratic"
agents = 3
[graph]
name = "cycle"
[[algorithms]]
name = "DSGD"
"""


def free_port() -> int:
    """Below those that the system gives to connections, of which one could take it meanwhile."""
    while True:
        port = random.SystemRandom().randrange(10_000, 30_000)
        with socket.socket() as tried, suppress(OSError):
            tried.bind(("127.0.0.1", port))
            return port


def start(size: int, *command: str | Path, **environment: str) -> list[subprocess.Popen[str]]:
    """A process of ``python command`` for each rank, over loopback."""
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "OMP_NUM_THREADS": "1"}
    return [
        subprocess.Popen(
            [sys.executable, *map(str, command)],
            env={
                **os.environ, **place, **environment,
                "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size),
            },
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for rank in range(size)
    ]  # fmt: skip


def finish(processes: Sequence[subprocess.Popen[str]], timeout_s: float = 120) -> list[str]:
    """What each has said, standard output and error together.

    Raises:
        TimeoutExpired: one still runs; all are killed.
    """
    try:
        said = [process.communicate(timeout=timeout_s) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [out + error for out, error in said]
