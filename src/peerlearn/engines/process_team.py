"""A team of processes over torch.distributed, started by torchrun or by ``peerlearn run``."""

from __future__ import annotations

import atexit
import json
import os
import socket
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, ClassVar
from zlib import crc32

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import _set_pg_timeout

from ..checkpoint import differing
from ..errors import ConfigurationError, Diverged, Lost, PeerlearnError
from ..record import as_json
from ..team import Prepared, Raised, Team
from .rendezvous import meeting, rendezvous
from .watch import SILENT_S, Questions, Watch

JOIN_S = 120.0  # until all processes have come, and until the length of a round is known
MEET_S = 1.0  # about how often the processes look at each other
PATIENCE = 10  # a process may take so many of the longest rounds so far
POLL_S = 0.02
HANG_UP = 1  # the tag of a message that is never sent
REMEMBERED = 4096  # rounds of which a process can tell what graphs it had taken


class ProcessTeam(Team):
    """The processes of a torch.distributed group.

    A process waits for another for ``timeout_s`` seconds, or for ten of the longest rounds so far,
    if that is longer; before that is known, for two minutes.

    Args:
        store: key -> value, for all processes.
        rank, size: which process this is, and of how many.
        timeout_s: see above.
    """

    _joined: ClassVar[ProcessTeam | None] = None

    def __init__(self, store: dist.Store, rank: int, size: int, timeout_s: float) -> None:
        self.rank, self.size = rank, size
        self._store, self._timeout_s = store, timeout_s
        self._hosts = self._know_each_other()
        keeper = None if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True" else 0
        self._ask = Questions()
        self._watch = Watch(dist.PrefixStore("watch", store), rank, size, self.name, keeper)
        self._runs = self._stands = 0
        self._total = size
        self._patience_s = JOIN_S
        self._met: tuple[int, float] | None = None
        self._taken: deque[tuple[int, int]] = deque(maxlen=REMEMBERED)  # (round, `graphs`)
        self._signs: dict[int, tuple[str | None, float]] = {}  # latest, and since when
        self._looked = 0.0
        self._shared: BaseException | None = None  # an error that all processes raise
        self._ended = ""  # by what, where the processes have hung up on each other
        atexit.register(self._leave)

    @classmethod
    def join(cls, timeout_s: float) -> ProcessTeam:
        """The team that this process belongs to; the first call joins it.

        Raises:
            ConfigurationError: nobody started processes, or they do not find each other.
        """
        if cls._joined is None:
            with meeting(JOIN_S):
                store, rank, size = rendezvous(JOIN_S)
                cls._joined = cls(dist.PrefixStore("peerlearn", store), rank, size, timeout_s)
        elif not dist.is_initialized():
            raise ConfigurationError([
                "the process group was destroyed after an earlier run; keep it until all runs are "
                "done, or start all processes anew"
            ])  # fmt: skip
        cls._joined._timeout_s = timeout_s
        return cls._joined

    def _know_each_other(self) -> list[str]:
        """The names of the hosts, by rank."""
        self._store.set(f"host/{self.rank}", socket.gethostname())
        return [self._store.get(f"host/{rank}").decode() for rank in range(self.size)]

    def _leave(self) -> None:
        self._watch.leave()

    def name(self, rank: int) -> str:
        """``process 2 (host b, agents 4 to 5)``."""
        block = self.blocks(max(self._total, self.size))[rank]
        agents = f"agents {block[0]} to {block[-1]}" if len(block) > 1 else f"agent {block[0]}"
        return f"process {rank} (host {self._hosts[rank]}, {agents})"

    def device(self, device: torch.device) -> torch.device:
        if device.type != "cuda" or device.index is not None:
            return device
        local = int(os.environ.get("LOCAL_RANK", 0))
        count = torch.cuda.device_count()
        if local >= count:
            raise ConfigurationError([
                f"{self.name(self.rank)} is number {local + 1} on its host, which has {count} "
                "GPUs; start at most one process for each, or use the device cpu"
            ])  # fmt: skip
        torch.cuda.set_device(local)  # NCCL's messages go from the current one
        return torch.device("cuda", local)

    # --- before training --------------------------------------------------------------------

    def agree(self, prepare: Callable[[], Prepared]) -> Prepared:
        if self._ended:
            raise self.common(ConfigurationError([
                f"this team has ended ({self._ended}); start all processes anew"
            ]))  # fmt: skip
        self._shared = None
        self._runs, self.round, self._met = self._runs + 1, 0, None
        self.graphs = 0
        self._taken.clear()
        self._be_patient(JOIN_S)
        try:
            prepared = prepare()
            agreement = as_json(prepared.agreement())  # type: ignore[attr-defined]
        except (ValueError, OSError) as error:
            problems = getattr(error, "problems", None) or str(error).splitlines()
            raise self.common(ConfigurationError(self._compare({"problems": problems}))) from error
        found = self._compare({"agreement": agreement})
        if found:
            raise self.common(ConfigurationError(found))
        return prepared

    def common(self, error: Raised) -> Raised:
        self._shared = error
        return error

    def _compare(self, own: dict[str, Any]) -> list[str]:
        """Tell the others what was prepared here; what is wrong anywhere, the same everywhere."""
        self._post("prepared", own)
        told = [self._hear("prepared", rank) for rank in range(self.size)]
        self._total = next((t["agreement"]["agents"] for t in told if "agreement" in t), self.size)
        problems = [t.get("problems", []) for t in told]
        if any(problems):
            if all(p == problems[0] for p in problems):
                return list(problems[0])
            return [f"{self.name(r)}: {p}" for r, found in enumerate(problems) for p in found]
        first = told[0]["agreement"]
        return [
            f"{self.name(rank)} has {field} {theirs}, but process 0 has {ours}; start all "
            "processes with the same request and the same versions"
            for rank, other in enumerate(told)
            for field, ours, theirs in differing(first, other["agreement"])
        ]

    def _post(self, subject: str, value: Any) -> None:
        key, text = f"{self._runs}/{subject}/{self.rank}", json.dumps(value)
        with self.reaching([0]):
            self._ask(lambda: self._store.set(key, text), self._silence_s)

    def _hear(self, subject: str, rank: int, silence_s: float = JOIN_S) -> Any:
        """What another process posts in this run, however long it takes while it lives.

        Loading data may keep a process from giving signs of life, so it is given time.
        """
        key, asked = f"{self._runs}/{subject}/{rank}", time.monotonic()
        while True:
            missing = self._missing([rank], asked, silence_s)  # first: it posts before it leaves
            with self.reaching([rank]):
                posted = self._ask(lambda: self._store.check([key]), self._silence_s)
                if posted:
                    return json.loads(self._ask(lambda: self._store.get(key), self._silence_s))
            if missing:
                raise self._lost(missing)
            time.sleep(POLL_S)

    def _missing(self, ranks: Sequence[int], since: float, silence_s: float) -> list[int]:
        """Those that have left, or given no sign of life for so long, looked for ``since``."""

        def news() -> tuple[list[int], dict[int, str]]:
            return [r for r in ranks if self._watch.has_left(r)], self._watch.signs(ranks)

        with self.reaching(ranks):
            left, signs = self._ask(news, self._silence_s)
        now = time.monotonic()
        for rank in ranks:
            if rank not in self._signs or self._signs[rank][0] != signs.get(rank):
                self._signs[rank] = (signs.get(rank), now)
        return [r for r in ranks if r in left or now - max(since, self._signs[r][1]) > silence_s]

    @property
    def _silence_s(self) -> float:
        """After so long a process that only has to give signs of life is lost."""
        return max(self._timeout_s, 2 * SILENT_S)

    # --- while training ---------------------------------------------------------------------

    def takes(self, graph: str) -> None:
        self.graphs = crc32(graph.encode(), self.graphs)
        self._taken.append((self.round, self.graphs))

    @property
    def tag(self) -> int:
        """Of an algorithm's messages: none passes between processes that took other graphs."""
        return HANG_UP + 1 + self.graphs % 2**30

    def next_meeting(self, done: int) -> int:
        """So that they meet about once a second; known to the first process."""
        before, self._met = self._met, (done, time.perf_counter())
        if before is None:
            return done + 1
        each_s = (self._met[1] - before[1]) / max(1, done - before[0])
        return done + max(1, int(MEET_S / max(each_s, 1e-6)))

    def paced(self, longest_round_s: float) -> None:
        self._be_patient(max(self._timeout_s, PATIENCE * longest_round_s))

    def _be_patient(self, patience_s: float) -> None:
        """Wait so long for messages from now on, here and in the threads of Gloo."""
        if patience_s != self._patience_s:
            self._patience_s = patience_s
            _set_pg_timeout(timedelta(seconds=patience_s))

    @property
    def reaches_store(self) -> bool:
        return self._watch.reaches_store

    @contextmanager
    def reaching(self, peers: Sequence[int]) -> Iterator[None]:
        """Around what fails at once where the connection to one of these processes is closed."""
        try:
            yield
        except RuntimeError as error:
            raise self._lost(sorted({*peers})) from error

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
                cause, patience_s = error, POLL_S  # Gloo has hung up: only what has come is there
                missing.append(place)
        if cause is None:
            return
        if peers is None or len(peers) != len(works):
            peers, missing = self._others(), [*range(self.size - 1)]
        raise self._lost(sorted({peers[place] for place in missing})) from cause

    def _others(self) -> list[int]:
        return [rank for rank in range(self.size) if rank != self.rank]

    def _lost(self, awaited: Sequence[int]) -> PeerlearnError:
        verdict = self._watch.verdict(awaited, self.round, dict(self._taken))
        self._hang_up(verdict.reason)
        if verdict.mistaken:
            return self.common(ConfigurationError([verdict.reason]))
        if verdict.diverged is not None:
            return self.common(Diverged(*verdict.diverged))
        return self.common(Lost(verdict.processes, verdict.round, verdict.reason))

    def _hang_up(self, why: str) -> None:
        """Close the connections, so that whoever waits for this process need not wait longer.

        Gloo closes all of them when a message does not come in time: so wait for one that nobody
        sends.
        """
        self._ended = why
        for rank in self._others():
            with suppress(RuntimeError):
                nothing = dist.irecv(torch.empty(1), rank, tag=HANG_UP)
                assert nothing is not None
                nothing.wait(timedelta(milliseconds=1))

    def share(self, values: Tensor, total: int) -> Tensor:
        own, peers = values.cpu().contiguous(), self._others()
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
        peers = self._others() if self.leads else [0]
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
        with self.reaching(self._others() if self.leads else [0]):
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

    def stand_by(self, work: Callable[[], Prepared]) -> Prepared | None:
        self._stands += 1
        subject = f"alone/{self._stands}"
        if not self.leads:
            ended = _ended(self._hear(subject, 0, self._silence_s))
            if ended is not None:
                raise self.common(ended)
            return None
        try:
            found = work()
        except Diverged as error:
            self._post(subject, {"kind": "diverged", "told": error.parts})
            self.common(error)
            raise
        except KeyboardInterrupt as error:
            self._post(subject, {"kind": "interrupted", "told": [str(error)]})
            self.common(error)
            raise
        self._post(subject, {"kind": "finished"})
        return found

    def attend(self, done: int) -> None:
        self.round, now = done, time.monotonic()
        if now < self._looked + MEET_S:
            return
        self._looked = now
        missing = self._missing(self._others(), 0.0, self._silence_s)
        if missing:
            raise self._lost(missing)

    @contextmanager
    def taking_part(self) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            if error is self._shared:
                raise  # the others know
            reason = f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
            told = {"diverged": error.parts} if isinstance(error, Diverged) else {}
            self._watch.say("failed", round=self.round, reason=reason, **told)
            self._hang_up(reason)
            raise


def _rows(tensors: Mapping[str, Tensor], alike: Collection[str]) -> list[str]:
    """The names of what has a row for each agent."""
    return [name for name, t in tensors.items() if t.dim() and name not in alike]


def _elsewhere(blocks: Sequence[range]) -> Iterator[tuple[int, range]]:
    """The processes other than the first, and what they host."""
    return ((rank, block) for rank, block in enumerate(blocks) if rank)


def _ended(told: dict[str, Any]) -> BaseException | None:
    """What ended the first process's work, if it did not finish."""
    kinds = {"diverged": Diverged, "interrupted": KeyboardInterrupt}
    kind = kinds.get(told["kind"])
    return None if kind is None else kind(*told["told"])
