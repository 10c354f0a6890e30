"""Signs of life, last words, and who it was when somebody is missing.

Every process writes a sign of life into a store that all can reach, and its last word if it leaves
early. The messages of the algorithms themselves tell only that a neighbor does not answer, which
may itself be waiting for a third. So whoever waits in vain asks here whose fault it is.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from torch.distributed import Store

BEAT_S = 0.5  # between two signs of life
SILENT_S = 3.0  # without one while the others are asked: the process has ended, or hangs


class Verdict(NamedTuple):
    """Who is missing, since when, and why."""

    processes: list[int]
    round: int
    reason: str


class Watch:
    """What one process says of itself, and finds out about the others.

    Args:
        store: key -> value, for all processes.
        rank, size: which process this is, and of how many.
        name: of a process, for sentences: ``process 2 (host b, agents 4 to 5)``.
    """

    def __init__(self, store: Store, rank: int, size: int, name: Callable[[int], str]) -> None:
        self._store, self._rank, self._size, self._name = store, rank, size, name
        self._over = threading.Event()
        self.reaches_store = True
        self._thread = threading.Thread(target=self._live, name="signs of life", daemon=True)
        self._thread.start()

    def _live(self) -> None:
        count = 0
        try:
            while not self._over.wait(BEAT_S):
                self._store.set(f"life/{self._rank}", str(count))
                count += 1
        except RuntimeError:
            self.reaches_store = False

    def leave(self) -> None:
        """No more signs of life; whoever misses this process hears that it had finished."""
        self.say("finished")
        self._over.set()

    def say(self, kind: str, **fields: Any) -> None:
        """A last word, before this process leaves early."""
        if self.reaches_store:
            self._store.set(f"word/{self._rank}", json.dumps({"kind": kind, **fields}))

    def signs(self, ranks: Sequence[int]) -> dict[int, str]:
        """The latest signs of life."""
        return self._read("life", ranks)

    def _words(self) -> dict[int, dict[str, Any]]:
        words = self._read("word", [r for r in range(self._size) if r != self._rank])
        return {rank: json.loads(word) for rank, word in words.items()}

    def _read(self, kind: str, ranks: Sequence[int]) -> dict[int, str]:
        keys = {rank: f"{kind}/{rank}" for rank in ranks}
        return {r: self._store.get(k).decode() for r, k in keys.items() if self._store.check([k])}

    def verdict(self, awaited: Sequence[int], round: int) -> Verdict:
        """Who is missing.

        The store may be out of reach as well: then this process only knows whom it waited for.

        Args:
            awaited: the processes that do not answer.
            round: the number of rounds done here.
        """
        found: list[Verdict] = []
        asking = threading.Thread(
            target=lambda: found.append(self._ask(awaited, round)), daemon=True
        )
        asking.start()
        asking.join(4 * SILENT_S)
        if found:
            return found[0]
        who = " and ".join(map(self._name, awaited))
        return Verdict(
            list(awaited), round,
            f"in round {round} {self._name(self._rank)} heard nothing from {who}, and cannot reach "
            "the store of the first process either: it may be cut off from the network",
        )  # fmt: skip

    def _ask(self, awaited: Sequence[int], round: int) -> Verdict:
        self.say("waits", round=round, awaited=list(awaited))
        others = [r for r in range(self._size) if r != self._rank]
        before, until = self.signs(others), time.monotonic() + SILENT_S
        words: dict[int, dict[str, Any]] = {}
        while time.monotonic() < until:
            time.sleep(BEAT_S / 4)
            words = self._words()
            known = [w for w in words.values() if w["kind"] == "verdict"]
            if known:
                return Verdict(known[0]["processes"], known[0]["round"], known[0]["reason"])
        after = self.signs(others)
        silent = [r for r in others if r not in words and after.get(r) == before.get(r)]
        found = self._judge(words, silent, awaited, round)
        self.say("verdict", **found._asdict())
        return found

    def _judge(
        self,
        words: dict[int, dict[str, Any]],
        silent: list[int],
        awaited: Sequence[int],
        round: int,
    ) -> Verdict:
        failed = {r: w for r, w in words.items() if w["kind"] == "failed"}
        if failed:
            rank, word = next(iter(failed.items()))
            reason = f"{self._name(rank)} failed in round {word['round']}: {word['reason']}"
            return Verdict([*failed], word["round"], reason)
        if silent:
            who = " and ".join(map(self._name, silent))
            verb = "was" if len(silent) == 1 else "were"
            return Verdict(
                silent, round,
                f"{who} {verb} lost in round {round}: no sign of life for {SILENT_S:g} s",
            )  # fmt: skip
        left = [r for r in awaited if words.get(r, {}).get("kind") == "finished"]
        if left:
            reason = f"{self._name(left[0])} had finished while others were in round {round}"
            return Verdict(left, round, reason)
        return self._cut(words, awaited, round)

    def _cut(self, words: dict[int, dict[str, Any]], awaited: Sequence[int], round: int) -> Verdict:
        """All live, so it is the network between two that wait for each other."""
        waits = {(round, self._rank, other) for other in awaited}
        for rank, word in words.items():
            waits |= {(word["round"], rank, other) for other in word.get("awaited", [])}
        mutual = [w for w in waits if any((b, a) == w[1:] for _, a, b in waits)]
        first, one, other = min(mutual or waits)
        return Verdict(
            sorted((one, other)), first,
            f"in round {first} {self._name(one)} and {self._name(other)} no longer hear each "
            "other, though both live: the network between them may be cut",
        )  # fmt: skip
