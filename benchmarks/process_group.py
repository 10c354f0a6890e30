"""Groups of processes on this machine that wait between blocks of rounds: both of their ends.

The benchmark starts a group and asks it for blocks, so that groups can take turns, each process on
its own Python where need be. A process that is not asked sleeps. Needs nothing but torch, because
other projects' environments run it as well.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch.distributed as dist

Case = dict[str, Any]
"""What a block is measured on, in JSON's types."""


class Group:
    """Processes that are one team over loopback.

    Args:
        script: run by all of them; it calls `serve`.
        size: how many.
        python: the interpreter.
        threads: of each process.
    """

    def __init__(
        self, script: str, size: int, python: str | Path = sys.executable, threads: int = 1
    ) -> None:
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
        place |= {"WORLD_SIZE": str(size), "OMP_NUM_THREADS": str(threads)}
        self._processes = [
            subprocess.Popen(
                [str(python), str(Path(__file__).with_name(script))],
                env={**os.environ, **place, "RANK": str(rank), "LOCAL_RANK": str(rank)},
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )
            for rank in range(size)
        ]  # fmt: skip
        self.ready = self._answers()[0]

    def __enter__(self) -> Group:
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self._processes):  # the first one last: it holds the store
            process.communicate()

    def seconds(self, block: str, case: Case, count: int) -> float:
        """So many rounds of a block, until the last process is done."""
        return max(a["seconds"] for a in self.ask(block, case, count))

    def ask(self, block: str, case: Case, count: int) -> list[dict[str, Any]]:
        """The answer of each process."""
        command = json.dumps({"block": block, "case": case, "count": count})
        for process in self._processes:
            print(command, file=process.stdin, flush=True)
        return self._answers()

    def bytes_acknowledged(self) -> int:
        """What the other ends of all TCP sockets of these processes have acknowledged."""
        pids = {str(p.pid) for p in self._processes}
        said = subprocess.run(["ss", "-tinpOH"], capture_output=True, text=True, check=True).stdout
        own = [line for line in said.splitlines() if pids & {*re.findall(r"pid=(\d+)", line)}]
        return sum(int(n) for line in own for n in re.findall(r"bytes_acked:(\d+)", line))

    def _answers(self) -> list[dict[str, Any]]:
        lines = [p.stdout.readline() for p in self._processes]  # type: ignore[union-attr]
        if not all(lines):
            for process in self._processes:
                process.kill()
            raise RuntimeError("a process of the benchmark ended; what it said stands above")
        return [json.loads(line) for line in lines]


def _free_port() -> int:
    with socket.socket() as tried:
        tried.bind(("127.0.0.1", 0))
        return tried.getsockname()[1]


def serve(find: Callable[[Case, str], Callable[[], object]], ready: dict[str, Any]) -> None:
    """Run blocks as they are asked for, all processes at the same time.

    Args:
        find: makes or finds the round of a block on a case.
        ready: said first.
    """
    answer, sys.stdout = sys.stdout, sys.stderr  # what libraries print is no answer
    print(json.dumps(ready), file=answer, flush=True)
    for line in sys.stdin:
        told = json.loads(line)
        one = find(told["case"], told["block"])
        if dist.is_initialized():
            dist.barrier()
        begun, busy = time.perf_counter(), time.process_time()
        for _ in range(told["count"]):
            found = one()
        took, busy = time.perf_counter() - begun, time.process_time() - busy
        value = found if isinstance(found, int) else None
        said = {"seconds": took, "cpu_seconds": busy, "value": value}
        print(json.dumps(said), file=answer, flush=True)
