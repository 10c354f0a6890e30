"""Teams of processes that are struck while they train, and taken up again.

Usage: python struck.py FOLDER CASE ... For each case it writes into FOLDER/CASE

- struck: the run as the blow left it, with a file for what each process met (RANK.json) and what it
  printed (RANK.txt);
- again-N: the same run resumed by N processes, or without any (0, the stacked engine);
- told.json: how it went;

and into FOLDER/whole-METHOD/again-N the run that nothing befell. The processes are forked from this
one, which spares them the import of torch; that is safe because torch runs on one thread.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import random
import select
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from helpers import Items, classification, samples, with_everything
from namespaces import Hosts, hosts
from processes import free_port

import peerlearn as pl

AGENTS, ROUNDS = 6, 60
SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}
GATE = 40  # rounds; the struck process goes no further before the blow
PACED = 2  # rounds after which all know how long one takes; before that they wait two minutes
LIMIT_S = 100.0
TOGETHER = 4  # cases at a time: they mostly wait
KILL_WITH_PARENT = 1  # PR_SET_PDEATHSIG

METHODS: dict[str, pl.Algorithm] = {
    "dsgt": pl.DSGT(),
    "dinno": pl.DiNNO(optimizer="sgd", lr=0.05),
    # with moments, but so that rounding does not grow: not Adam, which divides by them, and not lr
    # 0.02, with which a difference of 1e-16 grows to 1e-5
    "dynamic": pl.DynamicAveraging(
        delta=0.0001, period=2, optimizer="sgd", options={"momentum": 0.9}, lr=0.005
    ),
}


@dataclass(frozen=True)
class Case:
    """What befalls whom.

    Attributes:
        method: in `METHODS`.
        blow: kill, stop, raise, cut, or nothing.
        victim: the process; or, with cut, those at both ends of the link.
        size: how many processes there are.
        again: by how many the run is resumed afterwards.
    """

    method: str
    blow: str
    victim: tuple[int, ...]
    size: int = 4
    again: tuple[int, ...] = ()

    @property
    def timeout_s(self) -> float:
        return 3.0 if self.blow in ("stop", "cut") else 30.0


CASES = {
    "killed": Case("dinno", "kill", (2,), again=(4, 2, 0)),
    "killed-last": Case("dsgt", "kill", (3,), again=(4,)),
    "killed-first": Case("dsgt", "kill", (0,), again=(4, 3)),
    "killed-coordinated": Case("dynamic", "kill", (1,), size=3, again=(3, 2, 0)),
    "stopped": Case("dsgt", "stop", (2,), again=(4, 2)),
    "stopped-first": Case("dsgt", "stop", (0,)),
    "raised": Case("dinno", "raise", (1,), again=(2,)),
    "cut": Case("dsgt", "cut", (1, 2), again=(2,)),
    "cut-first": Case("dsgt", "cut", (0, 3)),
    "cut-coordinated": Case("dynamic", "cut", (1, 2), size=3),
}
WHOLE = {
    f"whole-{method}": Case(method, "", (), again=(3 if method == "dynamic" else 4,))
    for method in METHODS
}


class Unreliable(Items):
    """Data that cannot be read once they are broken."""

    broken = False

    def __getitem__(self, index: int) -> Any:
        if self.broken:
            raise ValueError("the disk is gone\nand so are the data")
        return super().__getitem__(index)


DATA = [Unreliable(*samples(6, seed=agent)) for agent in range(AGENTS)]


def train(case: Case, folder: Path, on_round: Callable[[int], None] | None, engine: str) -> pl.Run:
    return pl.train(
        classification(model=with_everything, buffers="mixed", data=DATA), METHODS[case.method],
        pl.graphs.link_failures(pl.graphs.cycle(AGENTS), p=0.2, seed=1), rounds=ROUNDS, out=folder,
        evaluate_every=10, checkpoint_every=3, resume=True, device="cpu", on_round=on_round,
        engine=engine, timeout_s=case.timeout_s, dtype="float64",
    )  # fmt: skip


# --- one process of a team ----------------------------------------------------------------


@dataclass(frozen=True)
class Pipes:
    """A byte for each round, and where the victim waits for the blow."""

    told: tuple[int, int]
    gate: tuple[int, int]

    def on_round(self, case: Case, rank: int) -> Callable[[int], None]:
        def tell(done: int) -> None:
            if rank != case.victim[-1]:
                return
            os.write(self.told[1], b".")
            if done == GATE:
                os.read(self.gate[0], 1)

        def fail(done: int) -> None:
            Unreliable.broken = rank == case.victim[0] and done == 7

        return fail if case.blow == "raise" else tell


def member(case: Case, rank: int, folder: Path, on_round: Callable[[int], None] | None) -> int:
    """The exit status of one process, which leaves behind what it met."""
    try:
        run = train(case, folder, on_round, "processes")
        met: dict[str, Any] = {"kind": "Run", "rounds": run.rounds}
    except pl.Lost as lost:
        met = {
            "kind": "Lost", "processes": lost.processes, "round": lost.round, "said": str(lost),
        }  # fmt: skip
    except BaseException as error:
        traceback.print_exc()
        met = {"kind": type(error).__name__, "said": str(error)}
    (folder / f"{rank}.json").write_text(json.dumps({**met, "at": time.monotonic()}))
    if met["kind"] == "Run":
        os._exit(0)  # taking the interpreter down takes longer than the run
    return {"Run": 0, "Lost": 3}.get(met["kind"], 1)


def team(
    case: Case,
    size: int,
    folder: Path,
    pipes: Pipes | None = None,
    machines: Hosts | None = None,
) -> list[int]:
    """The numbers of forked processes that train together."""
    folder.mkdir(exist_ok=True)
    port = free_port()
    pids = []
    for rank in range(size):
        pid = fork()
        if pid == 0:
            os.environ |= {
                "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size),
                "MASTER_ADDR": machines.address(0) if machines else "127.0.0.1",
                "MASTER_PORT": str(port), **({"GLOO_SOCKET_IFNAME": "pl0"} if machines else {}),
            }  # fmt: skip
            for stream in (1, 2):
                os.dup2(os.open(folder / f"{rank}.txt", os.O_CREAT | os.O_WRONLY), stream)
            if machines:
                machines.enter(rank)
            if pipes:
                os.close(pipes.gate[1])
            sys.exit(member(case, rank, folder, pipes.on_round(case, rank) if pipes else None))
        pids.append(pid)
    return pids


def fork(number: int = signal.SIGKILL) -> int:
    """As `os.fork`; what was forked gets this signal when this process ends."""
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        ctypes.CDLL(None).prctl(KILL_WITH_PARENT, number)
    return pid


def ended(pids: Sequence[int], limit_s: float = LIMIT_S) -> list[int | None]:
    """The exit statuses; None for those that had to be killed because they never ended."""
    until = time.monotonic() + limit_s
    statuses: list[int | None] = []
    for pid in pids:
        handle = os.pidfd_open(pid)
        late = not select.select([handle], [], [], max(0, until - time.monotonic()))[0]
        os.close(handle)
        if late:
            os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        statuses.append(None if late else os.waitstatus_to_exitcode(status))
    return statuses


# --- the blow -----------------------------------------------------------------------------


def strike(case: Case, folder: Path, name: str) -> dict[str, Any]:
    """Train until the blow falls, and see what the others do."""
    moment = 0 if case.blow == "raise" else random.randint(PACED, GATE)  # kept in told.json
    with hosts(case.size) if case.blow == "cut" else nullcontext() as machines:
        pipes = Pipes(os.pipe(), os.pipe())
        pids = team(case, case.size, folder, pipes, machines)
        for _ in range(moment):
            os.read(pipes.told[0], 1)
        at = time.monotonic()
        if machines:
            machines.cut(*case.victim)
        elif case.blow != "raise":
            os.kill(pids[case.victim[0]], SIGNALS[case.blow])
        os.write(pipes.gate[1], b".")
        dead = [case.victim[0]] if case.blow in ("kill", "stop") else []
        statuses = ended([pid for rank, pid in enumerate(pids) if rank not in dead])
        seconds = time.monotonic() - at
        for rank in dead:
            os.kill(pids[rank], signal.SIGKILL)
            os.waitpid(pids[rank], 0)
    left = sorted(path.name for path in folder.iterdir())
    return {"at": at, "moment": moment, "statuses": statuses, "seconds": seconds, "left": left}


def again(case: Case, size: int, place: Path) -> list[int | None]:
    """Train to the end, from the beginning or from what is there."""
    if size:
        return ended(team(case, size, place))
    train(case, place, None, "stacked")
    return []


def conduct(name: str, folder: Path) -> None:
    """One case from the blow to the runs that were taken up."""
    case, own = (WHOLE | CASES)[name], folder / name
    own.mkdir()
    told = strike(case, own / "struck", name) if case.blow else {}
    told["again"] = {}
    for size in case.again:
        place = own / f"again-{size}"
        if case.blow:
            shutil.copytree(own / "struck", place)
        told["again"][size] = again(case, size, place)
    (own / "told.json").write_text(json.dumps(told))


def main(folder: Path, names: Sequence[str]) -> None:
    waiting, running = [*WHOLE, *names], list[int]()
    while waiting or running:
        while waiting and len(running) < TOGETHER:
            name = waiting.pop(0)
            pid = fork(signal.SIGTERM)
            if pid == 0:
                signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # the hosts are removed
                conduct(name, folder)
                sys.exit(0)
            running.append(pid)
        pid, _ = os.wait()
        running.remove(pid)


if __name__ == "__main__":
    torch.set_num_threads(1)
    gc.freeze()  # so that what was forked shares this memory to its end
    main(Path(sys.argv[1]), sys.argv[2:] or [*CASES])
