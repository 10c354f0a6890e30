"""The last numbers of every algorithm, over agents and over seeds: as data and as a table."""

from __future__ import annotations

import math
import statistics
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from rich import filesize
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from ..record import Record
from .measures import (
    COMMUNICATION,
    TEAM_LOSS,
    coordinator_bytes,
    error_rate,
    further,
    generalization_gap,
    is_coordinated,
    is_share,
    is_team,
    last,
    main_measure,
    measured,
    outcome,
    rises,
)

TEXTUAL = ("algorithm", "remarks")
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
    return [_row(label, group, measure, others) for label, group in grouped(records).items()]


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
    headings = list(rows[0])[:-1] if full else narrow(rows)
    for heading in headings:
        side: Literal["left", "right"] = "left" if heading in TEXTUAL else "right"
        name = textwrap.fill(heading, 10, break_long_words=False)
        table.add_column(Text(name), justify=side, overflow="fold")
    for row in rows:
        table.add_row(*(Text(row[heading]) for heading in headings))
    return table


def narrow(rows: Sequence[Mapping[str, str]]) -> list[str]:
    """The headings that fit into 80 characters; of streams, what learning cost."""
    name, mean, *agents = list(rows[0])[:4]
    agents = [h for h in agents if any(row[h] != NOTHING for row in rows)]
    if any(row["cumulative loss"] != NOTHING for row in rows):
        return [name, mean, *agents[:1], "cumulative loss", "communication"]
    return [name, mean, *agents, "consensus error", "bytes sent per agent"]


def cells(row: Row) -> dict[str, str]:
    """A row in words: heading -> text, the same in the terminal and on the page."""
    points = is_share(row.measure)
    wrong = None if row.measure == "error_rate" else row.wrong  # never the same column twice
    coordinator = (row.coordinator_sent, row.coordinator_received)
    through = " / ".join(show(way, "bytes") for way in coordinator) if any(coordinator) else NOTHING
    seconds = (row.gradient_seconds, row.exchange_seconds, row.evaluation_seconds)
    done = " to ".join(f"{r:,}" for r in sorted({min(row.rounds), max(row.rounds)}))
    return {
        "algorithm": row.label,
        f"{words(row.measure)}, mean": show(row.mean, row.measure),
        "worst agent": show(row.worst, row.measure),
        "best agent": show(row.best, row.measure),
        **{words(name): show(number, name) for name, number in row.others.items()},
        "cumulative loss": show(row.cumulative_loss),
        "wrong predictions": show(wrong, "error_rate"),
        "consensus error": show(row.consensus_error),
        "bytes sent per agent": show(row.bytes_sent, "bytes"),
        "communication": show(row.communication, "bytes"),
        "coordinator: sent / received": through,
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
    if is_share(measure):
        return lambda x: f"{100 * x:.1f}", "\N{NO-BREAK SPACE}%"
    if measure == "points":
        return lambda x: f"{100 * x:.1f}", "\N{NO-BREAK SPACE}points"
    if measure.endswith("reward"):
        return lambda x: f"{x:,.1f}", ""
    if measure.startswith("bytes"):
        return lambda x: filesize.decimal(round(x)), ""
    if measure.startswith(("messages", "gradient")):
        return lambda x: f"{x:,.0f}", ""
    return (lambda x: f"{x:,.1f}" if measure == "s" else _plain(x)), ""


def _plain(x: float) -> str:
    """Three digits, but no power of ten where a person would write all digits."""
    return f"{x:,.0f}" if 1000 <= abs(x) < 1e6 else f"{x:.3g}"


def words(measure: str) -> str:
    """A measure's name as people write it."""
    known = {TEAM_LOSS: "cumulative loss"}.get(measure, measure)
    known = known.replace("wall_iou", "IoU of walls")
    return known.replace("_normalized", " (normalized)").replace("_", " ")


def titled(measure: str) -> str:
    """Its name at the beginning of a title."""
    name = words(measure)
    return f"{name[:1].upper()}{name[1:]}"


def counted(number: int, noun: str) -> str:
    """``1 agent``, ``1,000 agents``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def listed(names: Sequence[str]) -> str:
    """``a, b and c``."""
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def grouped(records: Sequence[Record]) -> dict[str, list[Record]]:
    """The runs of each algorithm: its seeds. Where there are several graphs, each on its own.

    What is no other seed of the same request has a line of its own, with the folder in its label.
    """
    several = len(graph_names(records)) > 1
    groups: dict[str, list[Record]] = {}
    for record in records:
        graph = ", ".join(graph_names([record])) if several else ""
        label = f"{record.label}, {graph}" if graph else record.label
        groups.setdefault(label, []).append(record)
    found: dict[str, list[Record]] = {}
    for label, runs in groups.items():
        found |= {label: runs} if _only_seeds(runs) else _by_folder(label, runs)
    return found


def _only_seeds(records: Sequence[Record]) -> bool:
    """Whether the runs differ in nothing but their seeds, as far as their requests tell."""
    alike = ("settings", "agents", "parameters", "weights", "rounds", "evaluate_every", "dtype")
    first, *others = [[r.start.get(name) for name in alike] for r in records]
    return len({r.seed for r in records}) == len(records) and all(r == first for r in others)


def _by_folder(label: str, records: Sequence[Record]) -> dict[str, list[Record]]:
    """Runs with one label out of several folders, each folder on its own."""
    folders = [_folder(record) for record in records]
    names = {f: f.name for f in folders if f is not None}
    if len({*names.values()}) < len(names):
        names = {f: str(f) for f in names}
    groups: dict[str, list[Record]] = {}
    for record, folder in zip(records, folders, strict=True):
        where = f"{label}, {names[folder]}" if folder is not None else label
        groups.setdefault(where, []).append(record)
    return groups


def _folder(record: Record) -> Path | None:
    """That of its experiment, or its own."""
    folder = record.folder
    is_seed = folder is not None and folder.name == f"seed-{record.seed}"
    return folder.parents[1] if folder is not None and is_seed else folder


def graph_names(records: Iterable[Record]) -> list[str]:
    """The names of the graphs of these runs, each once."""
    graphs = [graph for graph in map(graph_of, records) if graph]
    return list(dict.fromkeys(words(g["name"] or _kind(g)) or "unnamed" for g in graphs))


def _kind(graph: dict[str, Any]) -> str:
    """The kind of a schedule that begins with no graph."""
    return str(graph.get("schedule") or "").partition("(")[0]


def graph_of(record: Record) -> dict[str, Any] | None:
    """The graph as the record tells it; None where the agents talk to a coordinator instead."""
    return None if is_coordinated(record) else record.start.get("graph")


def over_seeds(values: Iterable[float]) -> Number | None:
    """Mean and spread of one number per seed; those that are not finite do not count."""
    known = [v for v in values if math.isfinite(v)]
    if not known:
        return None
    return Number(statistics.fmean(known), statistics.stdev(known) if len(known) > 1 else None)


def _row(label: str, records: list[Record], measure: str, others: Sequence[str]) -> Row:
    best, worst = (np.max, np.min) if rises(measure) else (np.min, np.max)
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
