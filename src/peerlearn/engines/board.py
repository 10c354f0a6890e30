"""What processes tell one another through the store that all of them reach."""

from __future__ import annotations

import json
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, TypeAlias, TypeVar

from torch.distributed import Store

from .watch import SILENT_S, Watch

POLL_S = 0.02
REACH_S = 1.0  # between two looks at a connection
LONG_S = 60.0  # of waiting for a process that lives, before a warning

T = TypeVar("T")
Answers: TypeAlias = "SimpleQueue[tuple[Any, RuntimeError | None]]"


class Questions:
    """Asks a store from a thread of its own: whoever holds it may be stopped and never answer."""

    def __init__(self) -> None:
        self._asked: SimpleQueue[tuple[Callable[[], Any], Answers]] = SimpleQueue()
        self._silent = False
        threading.Thread(target=self._answer, name="questions", daemon=True).start()

    def _answer(self) -> None:
        while True:
            question, answers = self._asked.get()
            try:
                answers.put((question(), None))
            except RuntimeError as error:
                answers.put((None, error))

    def __call__(self, question: Callable[[], T], limit_s: float) -> T:
        """The answer.

        Raises:
            RuntimeError: the store fails, or has not answered in time, now or before.
        """
        # a queue of its own: whoever stops waiting leaves no answer behind
        answers: Answers = SimpleQueue()
        if not self._silent:
            self._asked.put((question, answers))
            with suppress(Empty):
                answer, error = answers.get(timeout=limit_s)
                if error is not None:
                    raise error
                return answer
        self._silent = True  # nobody waits for it again
        raise RuntimeError("the store of the team does not answer")


class Board:
    """Notices that processes leave for one another, and who will leave none.

    Args:
        store: key -> value, for all processes.
        watch: the signs of life.
        rank: which process this is.

    Attributes:
        run: how many runs the team has begun; a notice belongs to the latest.
        timeout_s: a process that only has to give signs of life has so long, or a few seconds.
    """

    def __init__(self, store: Store, watch: Watch, rank: int, timeout_s: float) -> None:
        self._store, self._watch, self._rank = store, watch, rank
        self._ask = Questions()
        self._signs: dict[int, tuple[str | None, float]] = {}  # latest, and since when
        self.run, self.timeout_s = 0, timeout_s

    @property
    def silence_s(self) -> float:
        """After so long a process that only has to give signs of life is lost."""
        return max(self.timeout_s, 2 * SILENT_S)

    def post(self, subject: str, value: Any) -> None:
        """Leave a notice: anything JSON has.

        Raises:
            RuntimeError: the store cannot be reached.
        """
        key, text = self._key(subject, self._rank), json.dumps(value)
        self._ask(lambda: self._store.set(key, text), self.silence_s)

    def read(
        self, subject: str, rank: int, silence_s: float, reaches: Callable[[int], bool]
    ) -> Any:
        """What another process posts in this run, however long it takes while it lives.

        Args:
            subject, rank: of what, and whose.
            silence_s: see Raises.
            reaches: whether the connection to a process is open; asked about once a second.

        Raises:
            RuntimeError: it ends without, or gives no sign of life for ``silence_s``, or the store
                cannot be reached.
        """
        key, asked = self._key(subject, rank), time.monotonic()
        warned, reached = False, asked
        while True:
            missing = bool(self.missing([rank], asked, silence_s))  # first: it posts, then leaves
            if time.monotonic() > reached + REACH_S:
                missing |= not reaches(rank)
                reached = time.monotonic()
            if self._ask(lambda: self._store.check([key]), self.silence_s):
                return json.loads(self._ask(lambda: self._store.get(key), self.silence_s))
            if missing:
                raise RuntimeError(f"process {rank} is missing")
            if not warned and time.monotonic() - asked > LONG_S:
                warned = True
                warnings.warn(
                    f"process {self._rank} still waits for process {rank}, which lives, but has "
                    "not come to this run: it loads its data, or does something else",
                    stacklevel=2,
                )
            time.sleep(POLL_S)

    def missing(self, ranks: Sequence[int], since: float, silence_s: float) -> list[int]:
        """Those that have left, or given no sign of life for so long, looked for ``since``.

        Raises:
            RuntimeError: the store cannot be reached.
        """

        def news() -> tuple[list[int], dict[int, str]]:
            return [r for r in ranks if self._watch.has_left(r)], self._watch.signs(ranks)

        left, signs = self._ask(news, self.silence_s)
        now = time.monotonic()
        for rank in ranks:
            if rank not in self._signs or self._signs[rank][0] != signs.get(rank):
                self._signs[rank] = (signs.get(rank), now)
        return [r for r in ranks if r in left or now - max(since, self._signs[r][1]) > silence_s]

    def _key(self, subject: str, rank: int) -> str:
        return f"{self.run}/{subject}/{rank}"
