"""What was measured in a run: the values of a record, and what is worked out from them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ..measure import RESERVED
from ..record import Record
from ..words import counted

ENVIRONMENT_STEPS = "environment_steps"  # played so far, where agents learn by acting
BOOKKEEPING = (RESERVED - {"loss"}) | {ENVIRONMENT_STEPS}
MAIN = ("accuracy", "train_accuracy", "team_reward", "wall_iou")  # before the task's others
FALLING = (  # what is in the name of a measure of which less is better, where nobody says so
    "loss", "error", "cost", "regret", "distance", "mse", "mae", "nll", "bce", "brier",
    "cross_entropy", "divergence", "miss_rate", "perplexity", "first_capture",
)  # fmt: skip
# of what agents predict on a stream before they learn it: share -> the sum it is taken of
SUFFERED = {"error_rate": "cumulative_error", "loss_per_prediction": "cumulative_loss"}
RECENT = "recent_"  # the same of the predictions since the evaluation before
TEAM_LOSS = "team_loss"  # what all agents together have suffered
COMMUNICATION = "communication"  # bytes of all messages of the team, each counted once


def main_measure(records: Sequence[Record]) -> str:
    """The accuracy or the team's reward; else the first of the task's own measures; else the loss.

    Where nothing is held out for tests, the same of the agents' own training data, or of what they
    predicted on their streams: the share of wrong ones, or the mean loss.
    """
    return leading(n for r in records for n in r.history)


def leading(measures: Iterable[str]) -> str:
    """The main one of these measures, as `main_measure` says."""
    given = list(measures)
    names = [n for n in given if n not in BOOKKEEPING]
    own = [n for n in names if not n.startswith("train_")] or names
    own = [n for n in own if n != "loss"] or own
    known = [n for n in own if n in MAIN]
    suffered = [share for share, total in SUFFERED.items() if total in given]
    return next(iter(known or own or suffered), "loss")


def further(records: Sequence[Record]) -> list[str]:
    """What the task measures on tests besides the main measure, in the task's order."""
    main = main_measure(records)
    names = dict.fromkeys(n for r in records for n in r.history)
    return [n for n in names if n != main and n not in BOOKKEEPING and not n.startswith("train_")]


def rises(measure: str, records: Iterable[Record] = ()) -> bool:
    """Whether more is better: as a task has declared it, or else read from the name."""
    declared = {name: falls for record in records for name, falls in record.falls.items()}
    guessed = any(word in measure.lower() for word in FALLING)
    return not declared.get(measure.removeprefix("train_"), guessed)


def is_share(measure: str) -> bool:
    """Whether it is written in percent."""
    return measure.endswith(("accuracy", "error_rate"))


def is_team(measure: str) -> bool:
    """Whether it is one number for the whole team, even where every agent reports it."""
    return measure.startswith("team_")


def values(measures: Mapping[str, np.ndarray], measure: str) -> np.ndarray:
    """A measure of one evaluation or of several; empty where it was not taken.

    A share of the predictions is NaN for agents that have predicted nothing.
    """
    total = SUFFERED.get(measure, "")
    if measure not in measures and total in measures and "predictions" in measures:
        return _ratio(measures[total], measures["predictions"])
    return measures.get(measure, np.zeros((0, 0)))


def measured(record: Record, measure: str) -> np.ndarray:
    """(T, n): a measure after each evaluation.

    n is the number of agents, or 1 for a shared learner and for what is measured of the team.
    """
    if measure in record.history:
        return _flat(record.history[measure])
    if measure == TEAM_LOSS:
        return _flat(values(record.history, "cumulative_loss")).sum(axis=1, keepdims=True)
    if measure == COMMUNICATION:
        return _flat(record.team.get(COMMUNICATION, np.zeros((0, 0))))
    if measure.startswith(RECENT):
        steps = {n: np.diff(v, axis=0, prepend=0) for n, v in record.history.items()}
        return _flat(values(steps, measure.removeprefix(RECENT)))
    return _flat(values(record.history, measure))


def last(record: Record, measure: str) -> np.ndarray:
    """(n,): the last values of which at least one is finite; empty if there are none."""
    rows = measured(record, measure)
    known = np.flatnonzero(np.isfinite(rows).any(axis=1))
    return rows[known[-1]] if known.size else np.zeros(0)


def talks(record: Record) -> bool:
    """Whether the agents have heard from others by the round; raw data are only sent."""
    heard = measured(record, "messages_received").sum(axis=1)
    return bool(np.ptp(heard) > 0) if heard.size else False


def coordinator_bytes(record: Record) -> tuple[float, float] | None:
    """How much the coordinator has sent and received; None where nobody has talked to it."""
    ways = [record.team.get(f"coordinator_bytes_{way}") for way in ("sent", "received")]
    sent, received = (float(way[-1]) if way is not None and len(way) else 0.0 for way in ways)
    return (sent, received) if sent or received else None


def is_coordinated(record: Record) -> bool:
    """Whether a coordinator has answered; one that only collects raw data does not."""
    return (coordinator_bytes(record) or (0, 0))[0] > 0


def error_rate(record: Record) -> float:
    """The share of the team's predictions that were wrong; NaN where there are none."""
    wrong, predictions = (last(record, n).sum() for n in ("cumulative_error", "predictions"))
    known = predictions > 0 and "cumulative_error" in record.history
    return float(wrong / predictions) if known else math.nan


def generalization_gap(record: Record, measure: str) -> float:
    """Training minus test, so turned that it is positive where training looks better."""
    train, test = measured(record, f"train_{measure}"), measured(record, measure)
    both = [
        np.mean(a) - np.mean(b)
        for a, b in zip(train, test, strict=False)
        if np.isfinite(a).all() and np.isfinite(b).all()
    ]
    return float(both[-1] if rises(measure, [record]) else -both[-1]) if both else math.nan


def rounds_apart(record: Record) -> int:
    """In how many rounds the graph was in parts, as far as the record tells."""
    changes = [(e["round"], len(e["parts"]) > 1) for e in record.events if e["kind"] == "graph"]
    until = [*(at for at, _ in changes), max(record.rounds, default=0)][1:]
    spans = zip(changes, until, strict=True) if changes else ()
    return sum(max(end - at, 0) for (at, apart), end in spans if apart)


def outcome(record: Record) -> str:
    """How a run ended: nothing to say if it did all its rounds."""
    ends = [e for e in record.events if e["kind"] in ("stop", "resume", "end")]
    last_event: dict[str, Any] = ends[-1] if ends else {"kind": "none"}
    if last_event["kind"] == "end":
        return ""
    if last_event["kind"] == "stop":
        return f"stopped after {counted(last_event['round'], 'round')}: {last_event['reason']}"
    return "not finished" if record.rounds.size else "nothing evaluated yet"


def _flat(values: np.ndarray) -> np.ndarray:
    return values.reshape(len(values), math.prod(values.shape[1:]))


def _ratio(over: np.ndarray, under: np.ndarray) -> np.ndarray:
    return np.divide(over, under, out=np.full(np.shape(over), math.nan), where=under > 0)
