"""The last numbers of every algorithm, over agents and over seeds: as data and as a table."""

from __future__ import annotations

import math
import statistics
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from rich import filesize
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from ..record import Record

BOOKKEEPING = frozenset(
    f"{what}_{way}" for what in ("messages", "bytes") for way in ("sent", "received")
) | {"consensus_error", "consensus_error_normalized", "gradient_evaluations"}
FALLING = ("loss", "error", "cost", "regret", "distance", "mse", "perplexity")
TEXTUAL = ("algorithm", "remarks")
NARROW = 6  # the first of the cells, up to the bytes
NOTHING = "\N{EN DASH}"


class Number(NamedTuple):
    """A number over seeds.

    Attributes:
        mean: its mean over the seeds.
        spread: its standard deviation over the seeds (n - 1 in the denominator); None for one seed.
    """

    mean: float
    spread: float | None = None


@dataclass(frozen=True)
class Row:
    """The last numbers of one algorithm; None where nothing finite was measured.

    Attributes:
        label: the name of the algorithm in this experiment.
        measure: the main measure: the accuracy, or what the task measures instead.
        mean, best, worst, variance: the main measure over the agents.
        consensus_error: mean over the agents of the distance to the mean network.
        bytes_sent: mean over the agents, bytes.
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
    consensus_error: Number | None
    bytes_sent: Number | None
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
    measure = main_measure(records)
    return [_row(label, group, measure) for label, group in grouped(records).items()]


def summary_table(records: Sequence[Record], full: bool = False) -> Table:
    """The rows of `summarize` for a terminal, with what is to be remarked below them.

    Args:
        records: runs of any number of algorithms and seeds.
        full: every column that the page has; by default those that fit into 80 characters.
    """
    rows = [
        {heading: cell.replace(" ± ", "±") for heading, cell in cells(row).items()}
        for row in summarize(records)
    ]
    remarks = [f"{row['algorithm']}: {row['remarks']}" for row in rows if row["remarks"]]
    caption = Text("\n".join(remarks), "default") if remarks else None
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True)
    table.caption, table.caption_justify = caption, "left"
    for heading in list(rows[0])[: -1 if full else NARROW] if rows else []:
        side: Literal["left", "right"] = "left" if heading in TEXTUAL else "right"
        name = textwrap.fill(heading, 10, break_long_words=False)
        table.add_column(Text(name), justify=side, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, list(row.values())[: len(table.columns)]))
    return table


def cells(row: Row) -> dict[str, str]:
    """A row in words: heading -> text, the same in the terminal and on the page."""
    points = row.measure.endswith("accuracy")
    seconds = (row.gradient_seconds, row.exchange_seconds, row.evaluation_seconds)
    done = " to ".join(f"{r:,}" for r in sorted({min(row.rounds), max(row.rounds)}))
    return {
        "algorithm": row.label,
        f"{words(row.measure)}, mean": show(row.mean, row.measure),
        "worst agent": show(row.worst, row.measure),
        "best agent": show(row.best, row.measure),
        "consensus error": show(row.consensus_error),
        "bytes sent per agent": show(row.bytes_sent, "bytes_sent"),
        "variance over agents": show(row.variance),
        "gradients per agent": show(row.gradient_evaluations, "gradient_evaluations"),
        "generalization gap": show(row.generalization_gap, "points" if points else ""),
        "seconds: gradient / exchange / evaluation": " / ".join(show(s, "s") for s in seconds),
        "rounds": done if set(row.rounds) == {row.planned} else f"{done} of {row.planned:,}",
        "remarks": "; ".join(row.remarks),
    }


def show(number: Number | None, measure: str = "") -> str:
    """A number in words: ``96.1 ± 0.3 %``, ``38.5 kB``."""
    if number is None:
        return NOTHING
    write, unit = _format(measure)
    spread = f" ± {write(number.spread)}" if number.spread else ""
    return f"{write(number.mean)}{spread}{unit}"


def _format(measure: str) -> tuple[Callable[[float], str], str]:
    """How a measure is written, and its unit."""
    if measure.endswith("accuracy"):
        return lambda x: f"{100 * x:.1f}", "\N{NO-BREAK SPACE}%"
    if measure == "points":
        return lambda x: f"{100 * x:.1f}", "\N{NO-BREAK SPACE}points"
    if measure.startswith("bytes"):
        return lambda x: filesize.decimal(round(x)), ""
    if measure.startswith(("messages", "gradient")):
        return lambda x: f"{x:,.0f}", ""
    return (lambda x: f"{x:,.1f}", "") if measure == "s" else (lambda x: f"{x:.3g}", "")


def words(measure: str) -> str:
    """A measure's name as people write it."""
    return measure.replace("_normalized", " (normalized)").replace("_", " ")


def counted(number: int, noun: str) -> str:
    """``1 agent``, ``1,000 agents``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def listed(names: Sequence[str]) -> str:
    """``a, b and c``."""
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def grouped(records: Sequence[Record]) -> dict[str, list[Record]]:
    """The runs of each algorithm: its seeds. Where there are several graphs, each on its own."""
    several = len(graph_names(records)) > 1
    groups: dict[str, list[Record]] = {}
    for record in records:
        graph = ", ".join(graph_names([record])) if several else ""
        label = f"{record.label}, {graph}" if graph else record.label
        groups.setdefault(label, []).append(record)
    return groups


def graph_names(records: Iterable[Record]) -> list[str]:
    """The names of the graphs of these runs, each once."""
    graphs = [r.start["graph"] for r in records if r.start.get("graph")]
    return list(dict.fromkeys(words(g["name"]) or "unnamed" for g in graphs))


def talks(record: Record) -> bool:
    """Whether the agents have sent messages by the round; raw data sent once are none."""
    sent = measured(record, "messages_sent").sum(axis=1)
    return bool(np.ptp(sent) > 0) if sent.size else False


def main_measure(records: Sequence[Record]) -> str:
    """The accuracy; without one the first of the task's own measures; at last the loss.

    Where nothing is held out for tests, the same of the agents' own training data.
    """
    return leading(n for r in records for n in r.history)


def leading(measures: Iterable[str]) -> str:
    """The main one of these measures, as `main_measure` says."""
    names = [n for n in measures if n not in BOOKKEEPING]
    own = [n for n in names if not n.startswith("train_")] or names
    accuracies = [n for n in own if n in ("accuracy", "train_accuracy")]
    return next(iter(accuracies or own), "loss")


def rises(measure: str) -> bool:
    """Whether more is better: read from the name, for a record does not say."""
    return not any(word in measure.lower() for word in FALLING)


def measured(record: Record, measure: str) -> np.ndarray:
    """(T, n): every value of a measure; n is the number of agents, or 1 for a shared learner."""
    values = record.history.get(measure, np.zeros((0, 0)))
    return values.reshape(len(values), math.prod(values.shape[1:]))


def last(record: Record, measure: str) -> np.ndarray:
    """(n,): the last values of which at least one is finite; empty if there are none."""
    rows = measured(record, measure)
    known = np.flatnonzero(np.isfinite(rows).any(axis=1))
    return rows[known[-1]] if known.size else np.zeros(0)


def over_seeds(values: Iterable[float]) -> Number | None:
    """Mean and spread of one number per seed; those that are not finite do not count."""
    known = [v for v in values if math.isfinite(v)]
    if not known:
        return None
    return Number(statistics.fmean(known), statistics.stdev(known) if len(known) > 1 else None)


def outcome(record: Record) -> str:
    """How a run ended: nothing to say if it did all its rounds."""
    ends = [e for e in record.events if e["kind"] in ("stop", "resume", "end")]
    last_event = ends[-1] if ends else {"kind": "none"}
    if last_event["kind"] == "end":
        return ""
    if last_event["kind"] == "stop":
        reason = last_event.get("reason", "no reason was given")
        return f"stopped after {last_event['round']:,} rounds: {reason}"
    return "not finished" if record.rounds.size else "nothing evaluated yet"


def _row(label: str, records: list[Record], measure: str) -> Row:
    best, worst = (np.max, np.min) if rises(measure) else (np.min, np.max)
    return Row(
        label=label,
        seeds=tuple(r.seed for r in records),
        measure=measure,
        mean=_over_agents(records, measure),
        best=_over_agents(records, measure, best),
        worst=_over_agents(records, measure, worst),
        variance=_over_agents(records, measure, np.var),
        consensus_error=_over_agents(records, "consensus_error"),
        bytes_sent=_over_agents(records, "bytes_sent"),
        gradient_evaluations=_over_agents(records, "gradient_evaluations"),
        generalization_gap=over_seeds(_gap(r, measure) for r in records),
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


def _gap(record: Record, measure: str) -> float:
    """Training minus test, so turned that it is positive where training looks better."""
    train, test = measured(record, f"train_{measure}"), measured(record, measure)
    both = [
        np.mean(a) - np.mean(b)
        for a, b in zip(train, test, strict=False)
        if np.isfinite(a).all() and np.isfinite(b).all()
    ]
    return float(both[-1] if rises(measure) else -both[-1]) if both else math.nan


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
