"""One HTML page about the runs in a folder, which opens without a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ..files import replacing, writing
from ..record import EXPERIMENT_FILE, FIGURES, PAGE, TABLE, Record, read_all
from ..words import counted, each_counted, listed
from . import maps, rollouts, spreadsheet, style
from .figures import draw
from .groups import graph_names, graph_of, grouped
from .measures import is_coordinated, main_measure, outcome, rises, rounds_apart, talks
from .numbers import NOTHING, Number, over_seeds, show
from .summary import TEXTUAL, Row, cells, summarize
from .unread import left_out
from .words import words

PICTURES = (maps, rollouts)  # of what runs have kept to be drawn; each finds its own
NUMBERS = ("No", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine", "Ten")
HIDDEN = ("edges", "positions")  # of a graph: drawn, not written
RUN_TEXTUAL = ("run", "how it went", "gradients", "started", "folder")
NAMED = 5  # algorithms in the sentence at the top; the table has them all


def build(folder: str | Path, out: str | Path | None = None) -> Path:
    """Write ``report.html``, ``figures/*`` (PNG, SVG, GIF) and ``table.csv`` about all runs.

    Args:
        folder: the runs lie below it, at any depth.
        out: the folder to write to; by default ``folder`` itself.

    Returns:
        The path of the page.

    Raises:
        ValueError: if there is no run below ``folder``, or one that cannot be read.
        Unwritten: a file cannot be written.
    """
    records = read_all(folder)
    out = Path(folder if out is None else out)
    drawings = [*draw(records), *(d for kind in PICTURES for d in kind.draw(records))]
    animations = [a for kind in PICTURES for a in kind.animate(records)]
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
    pictures = {
        "figures": [(d, Markup(style.save(d, out / FIGURES))) for d in drawings],
        "animations": [(a, a.save(out / FIGURES)) for a in animations],
    }
    page = _template().render(**pictures, **_content(records, Path(folder)))
    with replacing(out / PAGE) as scratch:
        scratch.write_text(page, encoding="utf-8")
    spreadsheet.save(summarize(records), out / TABLE)
    return out / PAGE


def _template() -> Any:
    environment = Environment(
        loader=PackageLoader("peerlearn", "report"),
        autoescape=True,  # everything but the figures, which matplotlib has escaped
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.j2")


def _content(records: Sequence[Record], folder: Path) -> dict[str, Any]:
    """Everything the template shows, as plain words."""
    rows = summarize(records)
    table = [cells(row) for row in rows]
    empty = [h for h in table[0] if all(line[h] in ("", NOTHING) for line in table)]
    return {
        "title": _title(records),
        "summary": _summary(records, rows),
        "headings": [h for h in table[0] if h not in (*empty, "remarks")],
        "remarks": {line["algorithm"]: line["remarks"] for line in table if line["remarks"]},
        "textual": TEXTUAL + RUN_TEXTUAL,
        "rows": table,
        "dots": [f"var(--series-{n % len(style.LIGHT)})" for n in range(len(rows))],
        "palettes": {"light": style.LIGHT, "dark": style.DARK},
        "seeds": len({r.seed for r in records}),
        "settings": {
            label: _merged([r.start.get("settings") or {} for r in runs])
            for label, runs in grouped(records).items()
        },
        "sections": _sections(records),
        "runs": [_run(r, folder) for r in records],
        "left_out": left_out(folder),
        "experiment": _experiment(folder),
    }


def _experiment(folder: Path) -> str:
    """The experiment as it was asked for, where the runs come from an experiment file."""
    path = folder / EXPERIMENT_FILE
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def _summary(records: Sequence[Record], rows: Sequence[Row]) -> str:
    """The result in a sentence, the best method whose agents talk first."""
    results = [_result(row) for row in _ranked(records, rows)]
    more = f"; {len(results) - NAMED} more below" if len(results) > NAMED else ""
    found = f"Mean {words(rows[0].measure)}: {', '.join(results[:NAMED])}{more}."
    task = f"{_team(records)}{_where(records)}, {_title(records)}."
    return f"{task} {found if results else 'Nothing has been evaluated yet.'}"


def _team(records: Sequence[Record]) -> str:
    sizes = sorted({r.start["agents"] for r in records})
    if len(sizes) > 1:
        return f"{sizes[0]:,} to {counted(sizes[-1], 'agent')}"
    team = counted(sizes[0], "agent")
    return team.replace(str(sizes[0]), NUMBERS[sizes[0]]) if sizes[0] < len(NUMBERS) else team


def _ranked(records: Sequence[Record], rows: Sequence[Row]) -> list[Row]:
    talking = {label for label, runs in grouped(records).items() if talks(runs[0])}
    sign = -1 if rises(main_measure(records), records) else 1
    known = [row for row in rows if row.mean]
    return sorted(
        known, key=lambda r: (r.label not in talking, sign * r.mean.mean if r.mean else 0)
    )


def _result(row: Row) -> str:
    mean, worst = (show(n and Number(n.mean), row.measure) for n in (row.mean, row.worst))
    return f"{row.label} {mean}" + (
        f" (worst agent {worst})" if worst not in (mean, NOTHING) else ""
    )


def _where(records: Sequence[Record]) -> str:
    """Who they talk to: each other, over a graph, or a coordinator."""
    graphs = graph_names(records)
    one = f" on {_graph(graphs[0])}" if len(graphs) == 1 else ""
    over = one or (f" on {len(graphs)} graphs" if graphs else "")
    if not any(map(is_coordinated, records)):
        return over
    return f"{over} or with a coordinator" if over else " with a coordinator"


def _graph(name: str) -> str:
    return f"a{'n' if name[:1].lower() in 'aeiou' else ''} {name} graph"


def _title(records: Sequence[Record]) -> str:
    """The task, and how its data are dealt out."""
    tasks = [r.start.get("task") or {} for r in records]
    titles = [
        words(str(t.get("name", "a task")))
        + (f" (partition: {words(_plain(t['partition']))})" if t.get("partition") else "")
        for t in tasks
    ]
    return listed(list(dict.fromkeys(titles)))


def _sections(records: Sequence[Record]) -> dict[str, dict[str, str]]:
    """What all runs have in common, or in what they differ: title -> name -> value."""
    starts = [r.start for r in records]
    known = [(graph_of(r), r.start.get("weights")) for r in records]
    graphs = [dict(graph, weights=weights) for graph, weights in known if graph]
    if any(map(is_coordinated, records)):
        graphs.append({"name": "coordinator"})
    team = ("agents", "parameters", "rounds", "evaluate_every", "seed", "dtype", "device", "engine")
    sections = {
        "Task": _merged([s.get("task") or {} for s in starts]),
        "Graph": _merged([{k: v for k, v in g.items() if k not in HIDDEN} for g in graphs]),
        "Team": _merged([{k: s[k] for k in team if k in s} for s in starts]),
        "Versions": _merged([s.get("versions") or {} for s in starts]),
    }
    return {title: pairs for title, pairs in sections.items() if pairs}


def _merged(dicts: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Every name with its values, each once."""
    names = dict.fromkeys(name for d in dicts for name in d)
    values = {n: dict.fromkeys(_plain(d[n]) for d in dicts if n in d) for n in names}
    return {words(n): ", ".join(v) for n, v in values.items()}


def _run(record: Record, folder: Path) -> dict[str, str]:
    """One line about one run: heading -> text."""
    start = record.start
    resumed = [e["round"] for e in record.events if e["kind"] == "resume"]
    apart = rounds_apart(record)
    parts = [
        outcome(record) or "all rounds done",
        f"resumed after {each_counted(resumed, 'round')}" if resumed else "",
        f"the agents were in parts in {counted(apart, 'round')}" if apart else "",
    ]
    where = record.folder.relative_to(folder) if record.folder else Path()
    return {
        "run": record.label,
        "seed": str(record.seed),
        "how it went": "; ".join(filter(None, parts)),
        "gradients": str(start.get("gradients") or NOTHING),
        "seconds": show(_total(record), unit="tenths"),
        "started": _moment(start.get("started")),
        "folder": str(where),
    }


def _moment(started: str | None) -> str:
    return datetime.fromisoformat(started).isoformat(" ", "seconds") if started else NOTHING


def _total(record: Record) -> Number | None:
    seconds = record.seconds.get("total", np.zeros(0))
    return over_seeds(seconds[np.isfinite(seconds)][-1:])


def _plain(value: Any) -> str:
    """A setting as people write it."""
    if value is None or value in ("", {}, []):
        return "none"
    if isinstance(value, Mapping):
        pairs = [(words(str(name)), _plain(v)) for name, v in value.items()]
        return ", ".join(name if name == said else f"{name} {said}" for name, said in pairs)
    if isinstance(value, list):
        return ", ".join(f"({_plain(v)})" if isinstance(v, list) else _plain(v) for v in value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)
