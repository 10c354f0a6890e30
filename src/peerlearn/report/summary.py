"""The last numbers of every algorithm, over agents and over seeds: as data, and in words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..record import Record
from .groups import grouped
from .measures import (
    COMMUNICATION,
    TEAM_LOSS,
    coordinator_bytes,
    error_rate,
    further,
    generalization_gap,
    is_share,
    is_team,
    last,
    main_measure,
    measured,
    outcome,
    rises,
)
from .numbers import NOTHING, Number, over_seeds, show
from .words import column, words

TEXTUAL = ("algorithm", "remarks")


@dataclass(frozen=True)
class Row:
    """The last numbers of one algorithm; None where nothing finite was measured.

    What networks are worth is that of runs that did not diverge.

    Attributes:
        label: the name of the algorithm in this experiment.
        measure: the main measure: the accuracy, or what the task measures instead.
        mean, best, worst, variance: the main measure over the agents; of a team's only the mean.
        others: what else the task measures: name -> its mean over the agents.
        cumulative_loss: on a stream, the sum over the agents of what they suffered before learning.
        wrong: on a stream, the share of the team's predictions that were wrong.
        consensus_error: mean over the agents of the distance to the mean network.
        bytes_sent: mean over the agents, bytes.
        communication: of the whole team, the bytes of all messages, each counted once.
        coordinator_sent, coordinator_received: bytes; None where there is no coordinator.
        gradient_evaluations: mean over the agents.
        generalization_gap: how much better the agents do on their own training data.
        gradient_seconds, exchange_seconds, evaluation_seconds, total_seconds: seconds.
        rounds: rounds done, one number per seed.
        planned: rounds planned.
        remarks: what a reader must know: stops, unfinished runs, agents without a finite number.
    """

    label: str
    seeds: tuple[int, ...]
    measure: str
    mean: Number | None
    best: Number | None
    worst: Number | None
    variance: Number | None
    others: Mapping[str, Number | None]
    cumulative_loss: Number | None
    wrong: Number | None
    consensus_error: Number | None
    bytes_sent: Number | None
    communication: Number | None
    coordinator_sent: Number | None
    coordinator_received: Number | None
    gradient_evaluations: Number | None
    generalization_gap: Number | None
    gradient_seconds: Number | None
    exchange_seconds: Number | None
    evaluation_seconds: Number | None
    total_seconds: Number | None
    rounds: tuple[int, ...]
    planned: int
    remarks: tuple[str, ...]


def summarize(records: Sequence[Record]) -> list[Row]:
    """One row for each algorithm, in the order in which they were begun."""
    measure, others = main_measure(records), further(records)
    rising = rises(measure, records)
    return [_row(label, runs, measure, rising, others) for label, runs in grouped(records).items()]


def cells(row: Row) -> dict[str, str]:
    """A row in words: heading -> text, the same in the terminal and on the page."""
    points = is_share(row.measure)
    wrong = None if row.measure == "error_rate" else row.wrong  # never the same column twice
    coordinator = (row.coordinator_sent, row.coordinator_received)
    through = " / ".join(show(way, unit="bytes") for way in coordinator)
    seconds = (row.gradient_seconds, row.exchange_seconds, row.evaluation_seconds)
    spent = " / ".join(show(s, unit="tenths") for s in seconds)
    done = " to ".join(f"{r:,}" for r in sorted({min(row.rounds), max(row.rounds)}))
    before = {
        "algorithm": row.label,
        f"{words(row.measure)}, mean": show(row.mean, row.measure),
        "worst agent": show(row.worst, row.measure),
        "best agent": show(row.best, row.measure),
    }
    behind = {
        "cumulative loss": show(row.cumulative_loss),
        "wrong predictions": show(wrong, "error_rate"),
        "consensus error": show(row.consensus_error),
        "bytes sent per agent": show(row.bytes_sent, "bytes_sent"),
        "communication": show(row.communication, unit="bytes"),
        "coordinator: sent / received": through if any(coordinator) else NOTHING,
        "variance over agents": show(row.variance),
        "gradients per agent": show(row.gradient_evaluations, "gradient_evaluations"),
        "generalization gap": show(row.generalization_gap, unit="points" if points else ""),
        "seconds: gradient / exchange / evaluation": spent,
        "rounds": done if set(row.rounds) == {row.planned} else f"{done} of {row.planned:,}",
        "remarks": "; ".join(row.remarks),
    }
    taken = before | behind
    own = {column(words(n), taken): show(number, n) for n, number in row.others.items()}
    return before | own | behind


def _row(
    label: str, records: list[Record], measure: str, rising: bool, others: Sequence[str]
) -> Row:
    best, worst = (np.max, np.min) if rising else (np.min, np.max)
    lasting = [r for r in records if r.diverged is None]  # the others' last numbers say nothing
    several = [r for r in lasting if last(r, measure).size > 1 or r.start["agents"] == 1]
    each = [] if is_team(measure) else several  # of a team's measure no agent has its own value
    coordinator = [c for c in map(coordinator_bytes, records) if c is not None]
    return Row(
        label=label,
        seeds=tuple(r.seed for r in records),
        measure=measure,
        mean=_over_agents(lasting, measure),
        best=_over_agents(each, measure, best),
        worst=_over_agents(each, measure, worst),
        variance=_over_agents(each, measure, np.var),
        others={name: _over_agents(lasting, name) for name in others},
        cumulative_loss=_over_agents(lasting, TEAM_LOSS),
        wrong=over_seeds(map(error_rate, lasting)),
        consensus_error=_over_agents(lasting, "consensus_error"),
        bytes_sent=_over_agents(records, "bytes_sent"),
        communication=_over_agents(records, COMMUNICATION),
        coordinator_sent=over_seeds(sent for sent, _ in coordinator),
        coordinator_received=over_seeds(received for _, received in coordinator),
        gradient_evaluations=_over_agents(records, "gradient_evaluations"),
        generalization_gap=over_seeds(generalization_gap(r, measure) for r in lasting),
        gradient_seconds=_seconds(records, "gradient"),
        exchange_seconds=_seconds(records, "exchange"),
        evaluation_seconds=_seconds(records, "evaluation"),
        total_seconds=_seconds(records, "total"),
        rounds=tuple(_rounds_done(r) for r in records),
        planned=max(int(r.start["rounds"]) for r in records),
        remarks=tuple(_remarks(records, measure)),
    )


def _over_agents(
    records: list[Record], measure: str, reduce: Callable[..., np.floating] = np.mean
) -> Number | None:
    rows = [row[np.isfinite(row)] for row in (last(r, measure) for r in records)]
    return over_seeds(float(reduce(row)) for row in rows if row.size)


def _seconds(records: list[Record], what: str) -> Number | None:
    """Time varies from run to run for reasons of the machine, so its spread is not shown."""
    series = [r.seconds.get(what, np.zeros(0)) for r in records]
    number = over_seeds(float(s[np.isfinite(s)][-1]) for s in series if np.isfinite(s).any())
    return number and Number(number.mean)


def _rounds_done(record: Record) -> int:
    ends = [e["round"] for e in record.events if e["kind"] in ("stop", "end")]
    return int(max([0, *record.rounds, *ends]))


def _remarks(records: list[Record], measure: str) -> Iterable[str]:
    for record in records:
        final = measured(record, measure)[-1:]
        lost = int((~np.isfinite(final)).sum())
        blind = f"{lost} of {final.size} without a finite {words(measure)} at the end"
        for remark in filter(None, (outcome(record), blind if lost else "")):
            yield f"seed {record.seed}: {remark}" if len(records) > 1 else remark
