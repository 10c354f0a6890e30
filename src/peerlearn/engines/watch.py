"""Signs of life, last words, and who it was when somebody is missing.

Every process writes a sign of life into a store that all can reach, and its last word if it leaves
early. The messages of the algorithms themselves tell only that a neighbor does not answer, which
may itself be waiting for a third. So whoever waits in vain asks here whose fault it is.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from torch.distributed import Store

from ..words import listed

BEAT_S = 0.5  # between two signs of life
SILENT_S = 3.0  # without one while the others are asked: the process has ended, or hangs


class Verdict(NamedTuple):
    """Who is missing, since when, and why; or who is mistaken, or has diverged."""

    processes: list[int]
    round: int
    reason: str
    mistaken: bool = False
    diverged: Sequence[Any] | None = None  # what a `Diverged` is made of, where one failed so


class Watch:
    """What one process says of itself, and finds out about the others.

    Args:
        store: key -> value, for all processes.
        rank, size: which process this is, and of how many.
        name: of a process, for sentences: ``process 2 (host b, agents 4 to 5)``.
        keeper: the process that holds the store, if one of the team does.
    """

    def __init__(
        self,
        store: Store,
        rank: int,
        size: int,
        name: Callable[[int], str],
        keeper: int | None = None,
    ) -> None:
        self._store, self._rank, self._size, self._name = store, rank, size, name
        self._keeper = keeper
        self._over = threading.Event()
        self._said = False
        self._verdict: Verdict | None = None
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
        if not self._said:
            self.say("finished")
        if self._keeper == self._rank:
            self._let_others_read(self._verdict.processes if self._verdict else ())
        self._over.set()
        self._thread.join(SILENT_S)  # in the store while Python ends, it would abort the process

    def _let_others_read(self, lost: Sequence[int]) -> None:
        """The store ends with this process, so the others come first."""
        until, last = time.monotonic() + SILENT_S, ("verdict", "failed", "finished")
        living = {r for r in range(self._size) if r not in (self._rank, *lost)}
        while living and self.reaches_store and time.monotonic() < until:
            time.sleep(BEAT_S / 10)
            living -= {r for r, word in self._words().items() if word["kind"] in last}

    def say(self, kind: str, **fields: Any) -> None:
        """A last word, before this process leaves early."""
        if self._said and kind == "waits":
            return  # what it said when it failed stays
        self._said = True
        if self.reaches_store:
            try:
                self._store.set(f"word/{self._rank}", json.dumps({"kind": kind, **fields}))
            except RuntimeError:
                self.reaches_store = False

    def has_left(self, rank: int) -> bool:
        """Whether a process has said its last word."""
        return self._store.check([f"word/{rank}"])

    def signs(self, ranks: Sequence[int]) -> dict[int, str]:
        """The latest signs of life."""
        return self._read("life", ranks)

    def _words(self) -> dict[int, dict[str, Any]]:
        words = self._read("word", [r for r in range(self._size) if r != self._rank])
        return {rank: json.loads(word) for rank, word in words.items()}

    def _read(self, kind: str, ranks: Sequence[int]) -> dict[int, str]:
        keys = {rank: f"{kind}/{rank}" for rank in ranks}
        return {r: self._store.get(k).decode() for r, k in keys.items() if self._store.check([k])}

    def verdict(
        self, awaited: Sequence[int], round: int, graphs: Mapping[int, int] | None = None
    ) -> Verdict:
        """Who is missing.

        The store may be out of reach as well: then this process only knows whom it waited for.

        Args:
            awaited: the processes that do not answer.
            round: the number of rounds done here.
            graphs: round -> a checksum of the graphs taken here up to that round.
        """
        told = (awaited, round, graphs or {})
        asking = threading.Thread(target=self._ask, args=told, daemon=True)
        asking.start()
        asking.join(2 * SILENT_S)
        if self._verdict is None:
            self.reaches_store = False  # it fails, or never answers: nobody may wait for it again
            return self._without_store(awaited, round)
        return self._verdict

    def _without_store(self, awaited: Sequence[int], round: int) -> Verdict:
        me = self._name(self._rank)
        if self._keeper is not None:
            return Verdict(
                [self._keeper], round,
                f"{self._name(self._keeper)}, which holds the store of the team, was lost in round "
                f"{round}, or {me} is cut off from it",
            )  # fmt: skip
        return Verdict(
            list(awaited), round,
            f"in round {round} {me} heard nothing from {listed(map(self._name, awaited))}, and "
            "cannot reach the store of the team either: it may be cut off from the network",
        )  # fmt: skip

    def _ask(self, awaited: Sequence[int], round: int, graphs: Mapping[int, int]) -> None:
        try:
            self._verdict = self._find(awaited, round, graphs)
            self.say("verdict", **self._verdict._asdict())
        except RuntimeError:
            self.reaches_store = False

    def _find(self, awaited: Sequence[int], round: int, graphs: Mapping[int, int]) -> Verdict:
        self.say("waits", round=round, awaited=list(awaited), graphs=list(graphs.items()))
        others = [r for r in range(self._size) if r != self._rank]
        before, until = self.signs(others), time.monotonic() + SILENT_S
        words: dict[int, dict[str, Any]] = {}
        while time.monotonic() < until:
            time.sleep(BEAT_S / 4)
            words = self._words()
            known = [w for w in words.values() if w["kind"] == "verdict"]
            if known:
                return Verdict(**{name: known[0][name] for name in Verdict._fields})
        after = self.signs(others)
        silent = [r for r in others if r not in words and after.get(r) == before.get(r)]
        return self._judge(words, silent, awaited, round, graphs)

    def _odd(self, taken: Mapping[int, Mapping[int, int]]) -> Verdict | None:
        """Those who have taken other graphs than the first one, of which all have said.

        Args:
            taken: process -> round -> a checksum of its graphs up to that round.
        """
        first = min(taken)
        for rank in sorted(taken):
            both = taken[first].keys() & taken[rank].keys()
            other = [r for r in sorted(both) if taken[first][r] != taken[rank][r]]
            if other:
                return Verdict(
                    [rank], other[0],
                    f"in round {other[0]} {self._name(rank)} took another graph or other weights "
                    f"than {self._name(first)}; make the graph the same function of the round, and "
                    "the weights the same function of the graph, in all processes",
                    mistaken=True,
                )  # fmt: skip
        return None

    def _judge(
        self,
        words: dict[int, dict[str, Any]],
        silent: list[int],
        awaited: Sequence[int],
        round: int,
        graphs: Mapping[int, int],
    ) -> Verdict:
        failed = {r: w for r, w in words.items() if w["kind"] == "failed"}
        if failed:
            rank, word = next(iter(failed.items()))
            reason = f"{self._name(rank)} failed in round {word['round']}: {word['reason']}"
            return Verdict([*failed], word["round"], reason, diverged=word.get("diverged"))
        if silent:
            who = listed(map(self._name, silent))
            verb = "was" if len(silent) == 1 else "were"
            return Verdict(
                silent, round,
                f"{who} {verb} lost in round {round}: no sign of life for {SILENT_S:g} s",
            )  # fmt: skip
        left = [r for r in awaited if words.get(r, {}).get("kind") == "finished"]
        if left:
            reason = f"{self._name(left[0])} had finished while others were in round {round}"
            return Verdict(left, round, reason)
        waiting = {r: w for r, w in words.items() if w["kind"] == "waits"}
        odd = self._odd({self._rank: graphs, **{r: dict(w["graphs"]) for r, w in waiting.items()}})
        if odd is not None:
            return odd
        busy = [r for r in awaited if r not in words]
        if busy:
            who = listed(map(self._name, busy))
            verb = "lives, but has" if len(busy) == 1 else "live, but have"
            reason = f"{who} {verb} not answered in time in round {round}: busy, or stuck"
            return Verdict(busy, round, reason)
        return self._cut(
            {self._rank: awaited, **{r: w["awaited"] for r, w in waiting.items()}}, round
        )

    def _cut(self, awaited: Mapping[int, Sequence[int]], round: int) -> Verdict:
        """All live, so it is the network between two that wait for each other.

        Whoever waits for few knows best whom it misses; in a collective, all wait for all.

        Args:
            awaited: by each that waits.
            round: the number of rounds done here.
        """
        pairs = {
            (one, other): len(awaited[one]) + len(awaited[other])
            for one in awaited
            for other in awaited[one]
            if one < other and one in awaited.get(other, ())
        }
        fewest = min(pairs.values(), default=0)
        ends = {end for pair, count in pairs.items() if count == fewest for end in pair}
        who = sorted(ends or awaited)
        both, between = ("both", "them") if len(who) == 2 else ("all", "some of them")
        return Verdict(
            who, round,
            f"in round {round} {listed(map(self._name, who))} no longer hear each other, though "
            f"{both} live: the network between {between} may be cut",
        )  # fmt: skip
