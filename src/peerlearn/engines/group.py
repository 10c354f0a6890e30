"""Messages between the processes of a torch.distributed group, which come or are told lost."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import distributed_c10d

from ..errors import PeerlearnError
from ..record import as_json
from ..team import Team

HANG_UP = 1  # the tag of a message that is never sent
SOON_S = 0.02  # in which what has come is taken


def set_timeout(limit: timedelta) -> None:
    """How long the threads of the group's backends wait; public from torch 2.14 on."""
    getattr(dist, "set_timeout", distributed_c10d._set_pg_timeout)(limit)


class Group(Team):
    """A team that moves tensors by torch.distributed.

    Args:
        rank, size: which process this is, and of how many.
        patience_s: how long it waits for a message.
    """

    def __init__(self, rank: int, size: int, patience_s: float) -> None:
        self.rank, self.size = rank, size
        self._patience_s = patience_s
        self._ended = ""  # by what, where the processes have hung up on each other

    @abstractmethod
    def lost(self, awaited: Sequence[int]) -> PeerlearnError:
        """What to raise when these processes do not answer."""

    def be_patient(self, patience_s: float) -> None:
        """Wait so long for messages from now on, here and in the threads of Gloo."""
        if patience_s != self._patience_s:
            self._patience_s = patience_s
            set_timeout(timedelta(seconds=patience_s))

    @property
    def tag(self) -> int:
        """Of an algorithm's messages: none passes between processes that took other graphs."""
        return HANG_UP + 1 + self.graphs % 2**30

    @contextmanager
    def reaching(self, peers: Sequence[int]) -> Iterator[None]:
        """Around what fails at once where the connection to one of these processes is closed."""
        try:
            yield
        except RuntimeError as error:
            raise self.lost(sorted({*peers})) from error

    def wait(self, works: Sequence[Any], peers: Sequence[int] | None = None) -> None:
        """Until all messages have come or gone.

        Args:
            works: what torch.distributed returned.
            peers: the process at the other end of each; without them, all take part in each.

        Raises:
            Lost: one did not, in time.
        """
        patience_s, missing = self._patience_s, []
        cause: RuntimeError | None = None
        for place, work in enumerate(works):
            try:
                work.wait(timedelta(seconds=patience_s))
            except RuntimeError as error:
                cause, patience_s = error, SOON_S  # Gloo has hung up: only what has come is there
                missing.append(place)
        if cause is None:
            return
        if peers is None or len(peers) != len(works):
            peers, missing = self.others, [*range(self.size - 1)]
        raise self.lost(sorted({peers[place] for place in missing})) from cause

    @property
    def others(self) -> list[int]:
        return [rank for rank in range(self.size) if rank != self.rank]

    def hang_up(self, why: str) -> None:
        """Close the connections, so that whoever waits for this process need not wait longer.

        Gloo closes all of them when a message does not come in time: so wait for one that nobody
        sends.
        """
        self._ended = why
        for rank in self.others:
            with suppress(RuntimeError):
                self._await_nothing(rank).wait(timedelta(milliseconds=1))

    def reaches(self, rank: int) -> bool:
        """Whether the connection to a process is open; it closes as soon as that one ends."""
        with suppress(RuntimeError):
            return rank == self.rank or self._await_nothing(rank) is not None
        return False

    def _await_nothing(self, rank: int) -> Any:
        return dist.irecv(torch.empty(1), rank, tag=HANG_UP)

    def share(self, values: Tensor, total: int) -> Tensor:
        own, peers = values.cpu().contiguous(), self.others
        everywhere = own.new_empty(total, *own.shape[1:])
        rows = [everywhere[block.start : block.stop] for block in self.blocks(total)]
        rows[self.rank].copy_(own)
        with self.reaching(peers):  # each to each: a collective hides whose message is missing
            works = [dist.irecv(rows[r], r) for r in peers] + [dist.isend(own, r) for r in peers]
        self.wait(works, [*peers, *peers])
        return everywhere

    def broadcast(self, tensor: Tensor, rank: int) -> Any:
        """The beginning of a broadcast of one process's tensor into those of the others."""
        return dist.broadcast(tensor, src=rank, async_op=True)

    def tell(self, value: Any) -> Any:
        content = bytearray(json.dumps(as_json(value)).encode()) if self.leads else bytearray()
        length = torch.tensor([len(content)])
        self.wait([self.broadcast(length, 0)])
        said = torch.frombuffer(content, dtype=torch.uint8) if self.leads else None
        said = torch.empty(int(length), dtype=torch.uint8) if said is None else said
        self.wait([self.broadcast(said, 0)])
        return json.loads(said.numpy().tobytes())

    def collect(
        self, tensors: Mapping[str, Tensor], total: int, alike: Collection[str] = ()
    ) -> dict[str, Tensor]:
        blocks, works, found = self.blocks(total), [], dict(tensors)
        names = _rows(tensors, alike)
        peers = self.others if self.leads else [0]
        with self.reaching(peers):
            for name in names:
                own = tensors[name].contiguous()
                if not self.leads:
                    works.append(dist.isend(own, 0))
                    continue
                found[name] = own.new_empty(total, *own.shape[1:])
                found[name][: len(own)] = own
                works += [
                    dist.irecv(found[name][blocks[r].start : blocks[r].stop], r) for r in peers
                ]
        self.wait(works, peers * len(names))
        return found if self.leads else {}

    def deal(
        self, tensors: Mapping[str, Tensor], total: int, alike: Collection[str] = ()
    ) -> dict[str, Tensor]:
        told = {n: (str(t.dtype).removeprefix("torch."), t.shape) for n, t in tensors.items()}
        shapes = self.tell(told)
        blocks, works, found = self.blocks(total), [], {}
        with self.reaching(self.others if self.leads else [0]):
            for name, (kind, shape) in shapes.items():
                dtype = getattr(torch, kind)
                whole = (
                    tensors[name].contiguous() if self.leads else torch.empty(shape, dtype=dtype)
                )
                if name in alike or not shape:
                    found[name] = whole
                    works.append(self.broadcast(whole, 0))
                elif self.leads:
                    found[name] = whole[: len(blocks[0])].clone()
                    works += [dist.isend(whole[b.start : b.stop], r) for r, b in _elsewhere(blocks)]
                else:
                    found[name] = whole[: len(blocks[self.rank])].clone()
                    works.append(dist.irecv(found[name], 0))
        self.wait(works, None if self.leads else [0] * len(works))
        return found


def _rows(tensors: Mapping[str, Tensor], alike: Collection[str]) -> list[str]:
    """The names of what has a row for each agent."""
    return [name for name, t in tensors.items() if t.dim() and name not in alike]


def _elsewhere(blocks: Sequence[range]) -> Iterator[tuple[int, range]]:
    """The processes other than the first, and what they host."""
    return ((rank, block) for rank, block in enumerate(blocks) if rank)
