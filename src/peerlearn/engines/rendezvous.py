"""How the processes of a team find each other."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist

from ..errors import ConfigurationError
from .group import set_timeout
from .place import Place, keeper, place

SLACK_S = 10.0  # before what does not keep to its own limit is given up
LOOK_S = 0.1  # between two looks at who has come
HEARD_S = 1.0  # in which the others have looked
WORD_S = 10.0  # for which a process that was stopped waits for others, to tell them
LEFT = "left"  # the key under which that one says so

Found = TypeVar("Found")


def rendezvous(limit_s: float) -> tuple[dist.Store, int, int]:
    """The store of all processes, this one's rank, and how many they are.

    The group is made, unless the script has made one.

    Args:
        limit_s: until all processes have come.

    Raises:
        ConfigurationError: nobody started processes, or not as one team.
        KeyboardInterrupt: another one was stopped before all had come.
        RuntimeError, ValueError: they do not find each other; see `meeting`.
    """
    here, limit = place(), timedelta(seconds=limit_s)
    own = dist.is_initialized()
    if own:
        _take_over(limit)
    store = _within(limit, lambda: _store(here, limit))
    if store.add(f"come/{here.rank}", 1) > 1:
        raise ConfigurationError([
            f"a process {here.rank} has come to this team before; a process that was started again "
            "cannot take the place of a lost one: start all of them anew"
        ])  # fmt: skip
    try:
        _within(limit, lambda: _all_come(store, here, limit_s))
    except KeyboardInterrupt:
        with suppress(RuntimeError):  # whoever holds the store may have been stopped first
            _within(timedelta(seconds=WORD_S), lambda: _say_left(store, here))
        time.sleep(HEARD_S)  # also this one's own look, which would abort Python while it ends
        raise
    if not own:
        _within(limit, lambda: _make_group(store, here.rank, here.size, limit))
    return store, here.rank, here.size


@contextmanager
def meeting(limit_s: float) -> Iterator[None]:
    """Around what fails where processes do not find each other; what went wrong, in a sentence."""
    begun = time.monotonic()
    try:
        yield
    except ConfigurationError:
        raise
    except (RuntimeError, ValueError) as error:
        in_vain = time.monotonic() >= begun + limit_s
        raise ConfigurationError([_why(str(error), limit_s if in_vain else None)]) from error


def leave_word() -> None:
    """Tell those who wait for this process, or will, that it was stopped; in vain after a while."""
    with suppress(RuntimeError, ValueError):  # nobody can be told
        here, until = place(), time.monotonic() + WORD_S
        while not _can_reach(here):
            if time.monotonic() > until:
                return
            time.sleep(LOOK_S)
        limit = timedelta(seconds=WORD_S)
        store = _within(limit, lambda: _store(here, limit))
        _say_left(store, here)
        store.set(_size(here.rank), str(here.size))
        everybody = [_size(rank) for rank in range(here.size)]
        while here.rank == keeper() and not store.check(everybody) and time.monotonic() < until:
            time.sleep(LOOK_S)
        _be_heard(here)


def _say_left(store: dist.Store, here: Place) -> None:
    """That this process was stopped, unless another was before."""
    store.compare_set(LEFT, "", str(here.rank))


def _can_reach(here: Place) -> bool:
    """Whether there is a store, or this process makes it; torch would complain if there is none."""
    if here.rank == keeper():
        return True
    try:
        socket.create_connection((here.address, here.port), WORD_S).close()
    except OSError:
        return False
    return True


def _store(here: Place, limit: timedelta) -> dist.Store:
    """As torch's own rendezvous makes it, but without waiting for all: see `_all_come`."""
    store = dist.TCPStore(
        here.address, here.port, is_master=keeper() == here.rank, timeout=limit,
        wait_for_workers=False, multi_tenant=keeper() is not None,
    )  # fmt: skip
    return dist.PrefixStore(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"), store)


def _all_come(store: dist.Store, here: Place, limit_s: float) -> None:
    """Until all processes have come, of which each says how many it expects."""
    store.set(_size(here.rank), str(here.size))
    missing, until = set(range(here.size)), time.monotonic() + limit_s
    while missing:
        come = {r for r in missing if store.check([_size(r)])}
        sizes = {r: int(store.get(_size(r))) for r in come}
        for other in (r for r in sorted(come) if sizes[r] != here.size):
            _be_heard(here)
            raise ConfigurationError([
                f"process {here.rank} has WORLD_SIZE {here.size}, but process {other} has "
                f"{sizes[other]}; start all processes with the same"
            ])  # fmt: skip
        if store.check([LEFT]):
            rank = store.get(LEFT).decode()
            raise KeyboardInterrupt(f"process {rank} was stopped before all had met")
        missing -= come
        if missing and time.monotonic() > until:
            who = ", ".join(f"process {rank}" for rank in sorted(missing))
            raise RuntimeError(f"no word from {who}")
        time.sleep(LOOK_S if missing else 0)


def _size(rank: int) -> str:
    return f"size/{rank}"


def _be_heard(here: Place) -> None:
    """If the store ends with this process, let the others look first."""
    time.sleep(HEARD_S if here.rank == keeper() else 0)


def _make_group(store: dist.Store, rank: int, size: int, limit: timedelta) -> None:
    """Gloo for what is on a CPU, and NCCL for what is on a GPU."""
    both = torch.cuda.is_available() and dist.is_nccl_available()
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if both else "gloo",
        store=dist.PrefixStore("group", store), rank=rank, world_size=size, timeout=limit,
    )  # fmt: skip


def _take_over(limit: timedelta) -> None:
    """The script's own group, if it carries what is on a CPU, as control messages are."""
    backends = dist.get_backend_config()
    if "cpu:" not in backends:
        raise ConfigurationError([
            f"the script's process group has only {backends}; make it with 'cpu:gloo,cuda:nccl', "
            "or let peerlearn make it"
        ])  # fmt: skip
    set_timeout(limit)


def _within(limit: timedelta, work: Callable[[], Found]) -> Found:
    """What ``work`` returns, or raises.

    torch waits for the first word of the store without limit, and where another program listens at
    its port, none comes; and it makes a group in several steps, each with the limit of its own.
    """
    found: list[Found] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            found.append(work())
        except BaseException as error:
            failed.append(error)

    working = threading.Thread(target=run, daemon=True)
    working.start()
    working.join(limit.total_seconds() + SLACK_S)
    if not found:
        raise failed[0] if failed else RuntimeError("no answer")
    return found[0]


def _why(reason: str, limit_s: float | None) -> str:
    """A sentence; with a limit, where they have waited so long in vain."""
    at = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']} (MASTER_ADDR:MASTER_PORT)"
    if "EADDRINUSE" in reason or "address already in use" in reason.lower():
        return f"the processes cannot meet at {at}: the port is in use; choose another one"
    first = next(iter(reason.splitlines()), "")
    within = "" if limit_s is None else f" within {limit_s:g} s"
    if "remote=[127." in reason and not os.environ["MASTER_ADDR"].startswith(("127.", "localhost")):
        return (
            f"the processes cannot reach each other: the name of a host leads to its own loopback "
            f"address ({first}); set GLOO_SOCKET_IFNAME to the network's name on every host, as in "
            "GLOO_SOCKET_IFNAME=eth0"
        )
    return (
        f"the processes did not all meet at {at}{within}: {first}; check address, port, firewall, "
        "and that all were started"
    )
