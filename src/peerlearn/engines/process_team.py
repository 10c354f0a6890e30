"""A team of processes over torch.distributed, started by torchrun or by ``peerlearn run``."""

from __future__ import annotations

import atexit
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar
from zlib import crc32

import torch
import torch.distributed as dist

from ..checkpoint import differing
from ..errors import (
    RESUME,
    ConfigurationError,
    Diverged,
    Lost,
    PeerlearnError,
    Unwritten,
    in_short,
    sentences,
)
from ..record import as_json
from ..team import Prepared, Raised
from .board import Board
from .group import Group
from .place import keeper, place
from .rendezvous import meeting, rendezvous
from .watch import Watch

JOIN_S = 120.0  # until all processes have come, and until the length of a round is known
MEET_S = 1.0  # about how often the processes look at each other
PATIENCE = 10  # a process may take so many of the longest rounds so far
REMEMBERED = 4096  # rounds of which a process can tell what graphs it had taken


class ProcessTeam(Group):
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
        super().__init__(rank, size, JOIN_S)
        self._hosts = self._know_each_other(store)
        self._watch = Watch(dist.PrefixStore("watch", store), rank, size, self.name, keeper())
        self._board = Board(store, self._watch, rank, timeout_s)
        self._stands = 0  # how often the others have stood by
        self._total = size  # agents of the team, once that is known
        self._met: tuple[int, float] | None = None  # the latest meeting: rounds done, and when
        self._taken: deque[tuple[int, int]] = deque(maxlen=REMEMBERED)  # (round, `graphs`)
        self._looked = 0.0  # when the first process, working alone, last looked for the others
        self._shared: BaseException | None = None  # an error that all processes raise
        atexit.register(self._watch.leave)

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
        cls._joined._board.timeout_s = timeout_s
        return cls._joined

    @classmethod
    def knows(cls, error: BaseException) -> bool:
        """Whether it is the error that all processes of this team raise."""
        return cls._joined is not None and error is cls._joined._shared

    def _know_each_other(self, store: dist.Store) -> list[str]:
        """The names of the hosts, by rank."""
        store.set(f"host/{self.rank}", socket.gethostname())
        return [store.get(f"host/{rank}").decode() for rank in range(self.size)]

    def name(self, rank: int) -> str:
        """``process 2 (host b, agents 4 to 5)``."""
        block = self.blocks(max(self._total, self.size))[rank]
        agents = f"agents {block[0]} to {block[-1]}" if len(block) > 1 else f"agent {block[0]}"
        return f"process {rank} (host {self._hosts[rank]}, {agents})"

    def device(self, device: torch.device) -> torch.device:
        if device.type != "cuda" or device.index is not None:
            return device
        local = place().local
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
        self._board.run += 1
        self.round, self.graphs, self._met = 0, 0, None
        self._taken.clear()
        self.be_patient(JOIN_S)
        cause: Exception | None = None
        try:
            prepared = prepare()
            own = {"agreement": as_json(prepared.agreement())}  # type: ignore[attr-defined]
        except Unwritten as error:
            own, cause = {"unwritten": error.parts}, error
        except (ValueError, OSError) as error:
            own, cause = {"problems": sentences(error)}, error
        mistake = self._compare(own)
        if mistake is not None:
            raise self.common(mistake) from cause
        return prepared

    def common(self, error: Raised) -> Raised:
        self._shared = error
        return error

    def _compare(self, own: dict[str, Any]) -> ConfigurationError | Unwritten | None:
        """Tell the others what was prepared here; what is wrong anywhere, the same everywhere."""
        self._post("prepared", own)
        told = [self._read("prepared", rank) for rank in range(self.size)]
        self._total = next((t["agreement"]["agents"] for t in told if "agreement" in t), self.size)
        for rank, one in enumerate(told):
            if "unwritten" in one:
                path, *system = one["unwritten"]
                who = self.name(rank) if self.size > 1 else ""
                return Unwritten(Path(path), OSError(*system), who)
        found = self._problems(told)
        return ConfigurationError(found) if found else None

    def _problems(self, told: list[dict[str, Any]]) -> list[str]:
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
        with self.reaching([0]):
            self._board.post(subject, value)

    def _read(self, subject: str, rank: int, silence_s: float = JOIN_S) -> Any:
        """What another process posts.

        Loading data may keep a process from giving signs of life, so it is given time; but one that
        has ended is noticed.
        """
        with self.reaching([rank]):
            return self._board.read(subject, rank, silence_s, self.reaches)

    # --- while training ---------------------------------------------------------------------

    def takes(self, graph: str) -> None:
        self.graphs = crc32(graph.encode(), self.graphs)
        self._taken.append((self.round, self.graphs))

    def next_meeting(self, done: int) -> int:
        """So that they meet about once a second; known to the first process."""
        before, self._met = self._met, (done, time.perf_counter())
        if before is None:
            return done + 1
        each_s = (self._met[1] - before[1]) / max(1, done - before[0])
        return done + max(1, int(MEET_S / max(each_s, 1e-6)))

    def paced(self, longest_round_s: float) -> None:
        self.be_patient(max(self._board.timeout_s, PATIENCE * longest_round_s))

    @property
    def reaches_store(self) -> bool:
        return self._watch.reaches_store

    def lost(self, awaited: Sequence[int]) -> PeerlearnError:
        verdict = self._watch.verdict(awaited, self.round, dict(self._taken))
        self.hang_up(verdict.reason)
        if verdict.mistaken:
            return self.common(ConfigurationError([verdict.reason]))
        if verdict.diverged is not None:
            return self.common(Diverged(*verdict.diverged))
        return self.common(Lost(verdict.processes, verdict.round, verdict.reason))

    def stand_by(self, work: Callable[[], Prepared], advice: str = RESUME) -> Prepared | None:
        self._stands += 1
        subject = f"alone/{self._stands}"
        if not self.leads:
            self._end_alike(self._read(subject, 0, self._board.silence_s), advice)
            return None
        try:
            found = work()
        except BaseException as error:
            if error is not self._shared:  # then the others know
                with suppress(RuntimeError):  # the store may be what has failed
                    self._board.post(subject, self._last_word(error))
            raise
        self._post(subject, {"kind": "finished"})
        return found

    def _last_word(self, error: BaseException) -> dict[str, Any]:
        """What the others hear of an error in work that the first process did for all."""
        if isinstance(error, Diverged):
            return {"kind": "diverged", "told": self.common(error).parts}
        if isinstance(error, ConfigurationError):
            return {"kind": "mistaken", "told": self.common(error).problems}
        if isinstance(error, KeyboardInterrupt):
            return {"kind": "interrupted", "told": [str(self.common(error))]}
        return {"kind": "failed", "told": [self.round, in_short(error)]}

    def _end_alike(self, word: dict[str, Any], advice: str) -> None:
        """As the first process has ended its work."""
        if word["kind"] == "diverged":
            raise self.common(Diverged(*word["told"]))
        if word["kind"] == "mistaken":
            raise self.common(ConfigurationError(word["told"]))
        if word["kind"] == "interrupted":
            raise self.common(KeyboardInterrupt(*word["told"]))
        if word["kind"] == "failed":
            round, reason = word["told"]
            self.hang_up(reason)
            raise self.common(Lost([0], round, f"{self.name(0)} failed: {reason}", advice))

    def attend(self, done: int) -> None:
        self.round, now = done, time.monotonic()
        if now < self._looked + MEET_S:
            return
        self._looked = now
        with self.reaching(self.others):
            missing = self._board.missing(self.others, 0.0, self._board.silence_s)
        missing = missing or [rank for rank in self.others if not self.reaches(rank)]
        if missing:
            raise self.lost(missing)

    @contextmanager
    def taking_part(self) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            if error is self._shared:
                raise  # the others know
            reason = in_short(error)
            told = {"diverged": error.parts} if isinstance(error, Diverged) else {}
            self._watch.say("failed", round=self.round, reason=reason, **told)
            self.hang_up(reason)
            raise
        finally:
            self.round = 0
