"""How the processes of a team find each other."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import _set_pg_timeout

from ..errors import ConfigurationError

SLACK_S = 10.0  # before what does not keep to its own limit is given up
NEEDED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")

Found = TypeVar("Found")


def rendezvous(limit_s: float) -> tuple[dist.Store, int, int]:
    """The store of all processes, this one's rank, and how many they are.

    The group is made, unless the script has made one.

    Args:
        limit_s: until all processes have come.

    Raises:
        ConfigurationError: nobody started processes.
        RuntimeError, ValueError: they do not find each other; see `meeting`.
    """
    missing = [name for name in NEEDED if name not in os.environ]
    if missing:
        raise ConfigurationError([
            f"the engine 'processes' finds no processes ({', '.join(missing)} not set); start them "
            "with peerlearn run FILE --engine processes --processes 4, or start a script by "
            "torchrun --nproc-per-node 4 SCRIPT"
        ])  # fmt: skip
    limit = timedelta(seconds=limit_s)
    own = dist.is_initialized()
    if own:
        _take_over(limit)
    store, rank, size = _within(limit, lambda: next(dist.rendezvous("env://", timeout=limit)))
    store = dist.PrefixStore(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"), store)
    if store.add(f"come/{rank}", 1) > 1:
        raise ConfigurationError([
            f"a process {rank} has come to this team before; a process that was started again "
            "cannot take the place of a lost one: start all of them anew"
        ])  # fmt: skip
    if not own:
        _within(limit, lambda: _make_group(store, rank, size, limit))
    return store, rank, size


@contextmanager
def meeting(limit_s: float) -> Iterator[None]:
    """Around what fails where processes do not find each other; what went wrong, in a sentence."""
    try:
        yield
    except ConfigurationError:
        raise
    except (RuntimeError, ValueError) as error:
        raise ConfigurationError([_why(str(error), limit_s)]) from error


def _make_group(store: dist.Store, rank: int, size: int, limit: timedelta) -> bool:
    """Gloo for what is on a CPU, and NCCL for what is on a GPU."""
    both = torch.cuda.is_available() and dist.is_nccl_available()
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if both else "gloo",
        store=dist.PrefixStore("group", store), rank=rank, world_size=size, timeout=limit,
    )  # fmt: skip
    return True


def _take_over(limit: timedelta) -> None:
    """The script's own group, if it carries what is on a CPU, as control messages are."""
    backends = dist.get_backend_config()
    if "cpu:" not in backends:
        raise ConfigurationError([
            f"the script's process group has only {backends}; make it with 'cpu:gloo,cuda:nccl', "
            "or let peerlearn make it"
        ])  # fmt: skip
    _set_pg_timeout(limit)


def _within(limit: timedelta, work: Callable[[], Found]) -> Found:
    """What ``work`` returns, or raises.

    torch waits for the first word of the store without limit, and where another program listens at
    its port, none comes; and it makes a group in several steps, each with the limit of its own.
    """
    found: list[Found] = []
    failed: list[RuntimeError | ValueError] = []

    def run() -> None:
        try:
            found.append(work())
        except (RuntimeError, ValueError) as error:
            failed.append(error)

    working = threading.Thread(target=run, daemon=True)
    working.start()
    working.join(limit.total_seconds() + SLACK_S)
    if not found:
        raise failed[0] if failed else RuntimeError("no answer")
    return found[0]


def _why(reason: str, limit_s: float) -> str:
    at = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']} (MASTER_ADDR:MASTER_PORT)"
    if "EADDRINUSE" in reason or "address already in use" in reason.lower():
        return f"the processes cannot meet at {at}: the port is in use; choose another one"
    first = next(iter(reason.splitlines()), "")
    if "remote=[127." in reason and not os.environ["MASTER_ADDR"].startswith(("127.", "localhost")):
        return (
            f"the processes cannot reach each other: the name of a host leads to its own loopback "
            f"address ({first}); set GLOO_SOCKET_IFNAME to the network's name on every host, as in "
            "GLOO_SOCKET_IFNAME=eth0"
        )
    return (
        f"the processes did not all meet at {at} within {limit_s:g} s: {first}; check address, "
        "port, firewall, and that all were started"
    )
