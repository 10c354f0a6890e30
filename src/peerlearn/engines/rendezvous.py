"""How the processes of a team find each other."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist

from ..errors import ConfigurationError
from .group import set_timeout
from .place import Place, keeper, place, unsure_place

SLACK_S = 10.0  # before what does not keep to its own limit is given up
LOOK_S = 0.1  # between two looks at who has come
HEARD_S = 1.0  # in which the others have looked
WORD_S = 10.0  # for which a process that was stopped waits for others, to tell them
MISTAKE_S = 3.0  # for which one does that is mistaken, and could say so at once
OWN_HOST = "127.0.0.1"
COME, MADE = "size", "made"  # the keys under which a process says that it is there, and connected
LEFT, MISTAKEN = "left", "mistaken"  # under which one that leaves says who it is, or what is wrong

Found = TypeVar("Found")


def rendezvous(limit_s: float) -> tuple[dist.Store, int, int]:
    """The store of all processes, this one's rank, and how many they are.

    The group is made, unless the script has made one. What one process meets, the others hear.

    Args:
        limit_s: until all processes have come.

    Raises:
        ConfigurationError: nobody started processes, or not as one team.
        KeyboardInterrupt: another one was stopped before all had come.
        RuntimeError, ValueError: they do not find each other; see `meeting`.
    """
    here, limit = _placed(), timedelta(seconds=limit_s)
    own = dist.is_initialized()
    if own:
        _take_over(limit)
    store = _store(here, limit)
    try:
        if here.rank == keeper():
            _reach(here, timedelta(seconds=WORD_S))  # as the others will
        _within(timedelta(seconds=WORD_S), lambda: _come(store, here))
        _within(limit, lambda: _all_there(store, here, COME, limit_s))
        if not own:
            _join_group(store, here, limit)
    except KeyboardInterrupt:
        _say(store, LEFT, str(here.rank))
        time.sleep(HEARD_S)  # also this one's own look, which would abort Python while it ends
        raise
    except (RuntimeError, ValueError) as error:
        _say(store, MISTAKEN, _as_others_hear(error, here))
        _be_heard(store, here, MISTAKE_S)
        raise
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


# --- words for those who wait -------------------------------------------------------------


def leave_word(mistake: ConfigurationError | None = None) -> None:
    """Tell those who wait for this process, or will, why it does not come; in vain after a while.

    Args:
        mistake: what is wrong here; without one, this process was stopped.
    """
    with suppress(RuntimeError, ValueError):  # nobody can be told
        here, limit_s = (unsure_place(), MISTAKE_S) if mistake else (place(), WORD_S)
        store = _store(here, timedelta(seconds=limit_s))
        if mistake:
            _say(store, MISTAKEN, f"on host {socket.gethostname()} {mistake}")
        else:
            _say(store, LEFT, str(here.rank))
        store.set(_key(COME, here.rank), str(here.size))
        _be_heard(store, here, limit_s)


def _placed() -> Place:
    """The place of this process."""
    try:
        return place()
    except ConfigurationError as error:
        leave_word(error)
        raise


def _say(store: dist.Store, key: str, word: str) -> None:
    """Leave word, unless another has before; in vain if the store is gone."""
    with suppress(RuntimeError):
        _within(timedelta(0), lambda: store.compare_set(key, "", word))


def _hear(store: dist.Store) -> None:
    """Raise what another one has left word of."""
    if store.check([MISTAKEN]):
        raise ConfigurationError([store.get(MISTAKEN).decode()])
    if store.check([LEFT]):
        rank = store.get(LEFT).decode()
        raise KeyboardInterrupt(f"process {rank} was stopped before all had met")


def _be_heard(store: dist.Store, here: Place, limit_s: float) -> None:
    """If the store ends with this process, let the others come and look first."""
    if here.rank != keeper():
        return
    until, everybody = time.monotonic() + limit_s, [_key(COME, r) for r in range(here.size)]
    while not (everybody and store.check(everybody)) and time.monotonic() < until:
        time.sleep(LOOK_S)
    time.sleep(HEARD_S)


def _as_others_hear(error: Exception, here: Place) -> str:
    """What all find wrong, or one of them, in a sentence."""
    if isinstance(error, ConfigurationError):
        return str(error)
    return f"process {here.rank} (host {socket.gethostname()}): {_why(str(error), None)}"


# --- where they meet ----------------------------------------------------------------------


def _store(here: Place, limit: timedelta) -> dist.Store:
    """As torch's own rendezvous makes it, but without waiting for all: see `_all_there`."""
    if here.rank == keeper():
        return _within(limit, lambda: _connected(here, limit, keeps=True))
    _reach(here, limit)
    nothing = "what listens there does not answer as process 0 would"
    return _within(timedelta(seconds=WORD_S), lambda: _connected(here, limit), nothing)


def _reach(here: Place, limit: timedelta) -> None:
    """Until something listens where all meet; torch would not say what hinders it."""
    begun = time.monotonic()
    while True:
        try:
            socket.create_connection((here.address, here.port), WORD_S).close()
            return
        except OSError as error:
            if time.monotonic() > begun + limit.total_seconds():
                reason = f"process 0 cannot be reached there ({error.strerror or error})"
                raise RuntimeError(reason) from error
        time.sleep(LOOK_S)


def _connected(here: Place, limit: timedelta, keeps: bool = False) -> dist.Store:
    """A connection to the store, which one process keeps, whatever it takes for its address."""
    store = dist.TCPStore(
        OWN_HOST if keeps else here.address, here.port, is_master=keeps, timeout=limit,
        wait_for_workers=False, multi_tenant=keeper() is not None,
    )  # fmt: skip
    return dist.PrefixStore(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"), store)


def _come(store: dist.Store, here: Place) -> None:
    """Once only."""
    me = socket.gethostname()
    first = store.compare_set(f"host/{here.rank}", "", me).decode()
    if store.add(f"come/{here.rank}", 1) > 1:
        raise ConfigurationError([
            f"process {here.rank} has come twice, from host {first} and from host {me}; give each "
            "process a RANK of its own, and start all anew: one that was started again cannot take "
            "the place of a lost one"
        ])  # fmt: skip


def _all_there(store: dist.Store, here: Place, kind: str, limit_s: float) -> None:
    """Until all processes are there, of which each says how many it expects."""
    store.set(_key(kind, here.rank), str(here.size))
    missing, until = set(range(here.size)), time.monotonic() + limit_s
    while missing:
        come = {r for r in missing if store.check([_key(kind, r)])}
        sizes = {r: int(store.get(_key(kind, r))) for r in come}
        _hear(store)  # first: of one that is mistaken the number says nothing
        for other in (r for r in sorted(come) if sizes[r] != here.size):
            raise ConfigurationError([
                f"process {here.rank} has WORLD_SIZE {here.size}, but process {other} has "
                f"{sizes[other]}; start all processes with the same"
            ])  # fmt: skip
        missing -= come
        if missing and time.monotonic() > until:
            who = ", ".join(f"process {rank}" for rank in sorted(missing))
            raise RuntimeError(f"no word from {who}")
        time.sleep(LOOK_S if missing else 0)


def _key(kind: str, rank: int) -> str:
    return f"{kind}/{rank}"


# --- the group ----------------------------------------------------------------------------


def _join_group(store: dist.Store, here: Place, limit: timedelta) -> None:
    """Until all are connected. The group waits in a connection of its own."""

    def make() -> None:
        _make_group(_connected(here, limit), here.rank, here.size, limit)

    making = _begun(make)

    def listen() -> None:
        while not futures.wait([making], LOOK_S).done:
            _hear(store)
        making.result()
        _all_there(store, here, MADE, limit.total_seconds())

    _within(limit, listen)


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


# --- what may never end -------------------------------------------------------------------


def _begun(work: Callable[[], Found]) -> futures.Future[Found]:
    """What ``work`` will return, or raise, in a thread of its own that nobody waits for."""
    found: futures.Future[Found] = futures.Future()

    def run() -> None:
        try:
            found.set_result(work())
        except BaseException as error:
            found.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return found


def _within(limit: timedelta, work: Callable[[], Found], nothing: str = "no answer") -> Found:
    """What ``work`` returns, or raises; a RuntimeError that says ``nothing`` if it does not end.

    torch waits for the first word of the store without limit, and where another program listens at
    its port, none comes; and it makes a group in several steps, each with the limit of its own.
    """
    found = _begun(work)
    if not futures.wait([found], limit.total_seconds() + SLACK_S).done:
        raise RuntimeError(nothing)
    return found.result()


def _why(reason: str, limit_s: float | None) -> str:
    """A sentence; with a limit, where they have waited so long in vain."""
    at = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']} (MASTER_ADDR:MASTER_PORT)"
    if "EADDRINUSE" in reason or "address already in use" in reason.lower():
        return (
            f"the processes cannot meet at {at}: the port is in use, perhaps by another process "
            "with RANK 0; choose another one"
        )
    first = next(iter(reason.splitlines()), "")
    within = "" if limit_s is None else f" within {limit_s:g} s"
    if "remote=[127." in reason and not os.environ["MASTER_ADDR"].startswith(("127.", "localhost")):
        return (
            f"the processes cannot reach each other: the name of a host leads to its own loopback "
            f"address ({first}); set GLOO_SOCKET_IFNAME to the network's name on every host, as in "
            "GLOO_SOCKET_IFNAME=eth0"
        )
    if "connectFullMesh" in reason:
        return (
            f"the processes have met at {at}, but do not all reach each other{within} ({first}); "
            "let TCP through between all hosts, also at the ports that the system chooses"
        )
    return (
        f"the processes did not all meet at {at}{within}: {first}; check address, port, firewall, "
        "and that all were started"
    )
