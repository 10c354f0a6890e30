"""The report: every number is the record's, every page stands alone, nothing breaks it."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_rgb
from rich.console import Console

import peerlearn as pl
from peerlearn.describe import describe_graph
from peerlearn.graphs import as_schedule
from peerlearn.record import FILE_NAME, Record, from_lines, read_all
from peerlearn.report import Number, build, style, summarize, summary_table
from peerlearn.report.curves import curve
from peerlearn.report.figures import draw
from peerlearn.report.groups import grouped
from peerlearn.report.measures import leading, measured, rounds_apart
from peerlearn.report.numbers import NOTHING, over_seeds, show
from peerlearn.report.summary import cells
from peerlearn.report.table import narrow

NAUGHTY = '_<script>alert("1")</script> & $x_1$ {{ 7 * 7 }} <b>'
# method -> (where its accuracy goes, how fast, how far its agents stay apart)
METHODS = {
    "DiNNO": (0.962, 60, 0.01),
    "DSGT": (0.955, 110, 0.02),
    "DSGD": (0.90, 220, 0.06),
    "Centralized": (0.97, 40, 0.0),
    "Isolated": (0.10, 1, 0.0),
}


def lines(
    method: str = "DiNNO",
    *,
    label: str | None = None,
    seed: int = 0,
    graph: nx.Graph | None = None,
    agents: int = 10,
    rounds: int = 600,
    every: int = 20,
    measure: str = "accuracy",
    end: str | None = "end",
) -> list[dict]:
    """The lines of a made-up run of one of METHODS."""
    draw = np.random.default_rng([seed, *method.encode()])
    talks = method not in ("Centralized", "Isolated")
    graph = nx.cycle_graph(agents) if graph is None else graph
    offsets = draw.normal(0, 1, agents)
    made = [_start(method, label or method, seed, graph if talks else None, agents, rounds)]
    for k in range(0, rounds + 1, every):
        measures = _measures(method, k, offsets, draw, k in (0, rounds), measure)
        seconds = {"gradient": 0.013 * k, "exchange": 0.002 * k, "evaluation": 0.001 * k}
        seconds["total"] = 0.017 * k
        made.append({"kind": "evaluation", "round": k, "measures": measures, "seconds": seconds})
    return [*made, {"kind": end, "round": rounds}] if end else made


def _start(
    method: str, label: str, seed: int, graph: nx.Graph | None, agents: int, rounds: int
) -> dict:
    drawn = graph and {
        "name": graph.name or "cycle",
        "agents": agents,
        "edges": [list(e) for e in graph.edges],
        "fiedler_value": 0.381966,
        "spectral_gap": 0.127322,
        "schedule": None,
    }
    return {
        "kind": "start",
        "schema": 1,
        "started": f"2025-01-01T00:0{list(METHODS).index(method)}:0{seed % 10}+00:00",
        "algorithm": method,
        "label": label,
        "settings": {"lr": {"schedule": "log", "start": 0.005, "end": 0.0005}, "rho": 0.5},
        "task": {"name": "digits", "partition": "by_class", "batch": 16},
        "agents": agents,
        "parameters": 4810,
        "graph": drawn,
        "weights": "metropolis",
        "rounds": rounds,
        "seed": seed,
        "dtype": "float32",
        "device": "cpu",
        "gradients": "vmap: 1.3 ms against 2.2 ms with the loop",
        "versions": {"peerlearn": "0.1.0", "torch": "2.13.0", "python": "3.12.3"},
    }


def _measures(
    method: str,
    k: int,
    offsets: np.ndarray,
    draw: np.random.Generator,
    with_train: bool,
    measure: str,
) -> dict:
    goal, pace, apart = METHODS[method]
    grown = 1 - np.exp(-k / pace)
    noise = offsets * apart * np.exp(-k / 300) + draw.normal(0, 0.002, offsets.size)
    values = np.clip(0.1 + (goal - 0.1) * grown + noise * (k > 0), 0, 1)
    values = values[:1] if method == "Centralized" else values
    talks = method not in ("Centralized", "Isolated")
    sent = k * 4810 * 4 * 2 * (1 + (method != "DSGD")) if talks else 0
    messages = 2 * k if talks else int(method == "Centralized")
    sent = 14_000 if method == "Centralized" else sent
    error = (np.abs(offsets) + 0.5) * {"DiNNO": 0.1, "DSGT": 0.3, "DSGD": 1}.get(method, 9)
    error = error * np.exp(-k / 200) if talks else error * np.sqrt(k)
    train = {f"train_{measure}": (values + 0.01).tolist()} if with_train else {}
    return {
        measure: values.tolist(),
        "loss": (2.4 * np.exp(-3 * values)).tolist(),
        **train,
        "consensus_error": (error * (k > 0)).tolist(),
        "consensus_error_normalized": (error * (k > 0) / 20).tolist(),
        **{f"messages_{way}": [messages] * offsets.size for way in ("sent", "received")},
        **{f"bytes_{way}": [sent] * offsets.size for way in ("sent", "received")},
        "gradient_evaluations": [2 * k] * offsets.size,
    }


def write(folder: Path, *runs: list[dict]) -> Path:
    for number, run in enumerate(runs):
        path = folder / f"run{number}" / FILE_NAME
        path.parent.mkdir(parents=True)
        path.write_text("".join(json.dumps(x) + "\n" for x in run), encoding="utf-8")
    return folder


def demo(folder: Path, seeds: int = 1) -> Path:
    return write(folder, *(lines(m, seed=s) for m in METHODS for s in range(seeds)))


class Outline(HTMLParser):
    """The tags, names, references and words of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.words: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.words.append(data.strip())

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.attributes if key == name]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seeds of METHODS."""
    return demo(tmp_path_factory.mktemp("demo"), seeds=3)


@pytest.fixture(scope="module")
def page(runs: Path) -> str:
    return build(runs).read_text(encoding="utf-8")


def outline(folder: Path) -> Outline:
    return Outline(build(folder).read_text(encoding="utf-8"))


FIGURES = {"graph", "rounds", "bytes", "consensus", "consensus_normalized", "loss"}


def test_the_page_needs_nothing_from_outside(page: str) -> None:
    seen = Outline(page)
    assert not {"script", "link", "img", "iframe", "object", "base"} & set(seen.tags)
    assert "http:" not in page
    assert "https:" not in page
    assert "@import" not in page
    references = seen.values("href") + seen.values("xlink:href") + seen.values("src")
    assert references  # markers and the colour bar
    assert all(r.startswith(("#", "data:image/png;base64,")) for r in references)


def test_names_are_unique_and_references_lead_somewhere(page: str) -> None:
    names = Outline(page).values("id")
    assert len(names) == len(set(names))
    inside = re.findall(r'(?:url\(#|href="#)([^)"]+)', page)
    assert inside
    assert set(inside) <= set(names)


def test_every_colour_in_a_page_follows_the_reader(page: str) -> None:
    body = page[page.index("<body>") :]
    assert style.INK not in body
    assert not any(light in body for light in style.LIGHT)
    assert all(f"var(--series-{n})" in body for n in range(len(METHODS)))


@pytest.mark.parametrize(
    ("palette", "paper"), [(style.LIGHT, "#f6f7f9"), (style.DARK, "#171c23")], ids=["light", "dark"]
)
def test_colours_stand_out_from_the_page(palette: tuple[str, ...], paper: str) -> None:
    """WCAG 2.1, 1.4.11: graphics need a contrast of at least 3 (2.7 allows the pale hues)."""

    def luminance(color: str) -> float:
        parts = np.array(to_rgb(color))
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722]) + 0.05

    contrasts = [luminance(c) / luminance(paper) for c in palette]
    assert min(max(c, 1 / c) for c in contrasts) >= 2.7


def test_what_is_written_is_escaped(tmp_path: Path) -> None:
    start, *rest = lines(label=NAUGHTY)
    start |= {"task": {"name": NAUGHTY}, "settings": {NAUGHTY: NAUGHTY}, "gradients": NAUGHTY}
    start["graph"]["name"] = start["graph"]["schedule"] = NAUGHTY
    folder = write(tmp_path, [start, *rest])
    (tmp_path / "experiment.json").write_text("</pre><script>")
    seen = outline(folder)
    assert "</pre><script>" in seen.words
    assert not {"script", "b"} & set(seen.tags)
    assert seen.words.count(NAUGHTY) >= 4  # table, two cards, runs: as it was typed
    assert "49" not in seen.words


def test_numbers_in_the_table_are_those_of_the_record() -> None:
    record = from_lines(lines())
    (row,) = summarize([record])
    final = record.final
    assert row.worst == (final["accuracy"].min(), None)
    assert row.best == (final["accuracy"].max(), None)
    assert row.mean
    assert row.consensus_error
    assert row.mean.mean == pytest.approx(final["accuracy"].mean())
    assert row.consensus_error.mean == pytest.approx(final["consensus_error"].mean())
    assert row.bytes_sent == (final["bytes_sent"].mean(), None)
    assert row.gradient_evaluations == (1200, None)
    assert (row.rounds, row.planned, row.remarks) == ((600,), 600, ())


def test_all_that_a_task_measures_is_in_the_table() -> None:
    """Walls: their IoU is the main measure, and what else there is has columns of its own."""
    run = lines(measure="wall_iou", rounds=40)
    for line in run:
        if line["kind"] == "evaluation":
            line["measures"]["wall_iou_unseen"] = [0.25, math.nan] * 5
    (row,) = summarize([from_lines(run)])
    assert row.measure == "wall_iou"
    assert list(row.others) == ["loss", "wall_iou_unseen"]
    assert row.others["wall_iou_unseen"] == (0.25, None)
    assert cells(row)["IoU of walls unseen"] == "0.25"
    assert narrow([cells(row)])[:3] == ["algorithm", "IoU of walls, mean", "worst agent"]
    titles = {d.title for d in draw([from_lines(run)])}
    assert titles >= {"IoU of walls against rounds", "Loss against rounds"}
    assert {d.name for d in draw([from_lines(run)])} >= {"rounds", "unseen", "loss"}


def test_what_diverged_neither_counts_nor_hides_the_others() -> None:
    """Its last numbers say nothing, and its curve ends where the others' do."""
    wild = changed(lines("DSGD", rounds=60), "loss", 1e300, slice(10))
    wild[-1] = {"kind": "stop", "round": 60, "cause": "diverged", "reason": "DSGD diverged"}
    good = lines("DSGD", seed=1, rounds=60)
    records = [from_lines(run) for run in (wild, good, lines(rounds=60))]
    first, _ = summarize(records)
    assert first.others["loss"] == (records[1].final["loss"].mean(), None)
    assert first.remarks == ("seed 0: stopped after 60 rounds: DSGD diverged",)
    (lone, _) = summarize([records[0], records[2]])
    assert (lone.mean, lone.others["loss"], lone.remarks) == (
        None, None, ("stopped after 60 rounds: DSGD diverged",)
    )  # fmt: skip
    (loss,) = [d for d in draw([records[0], records[2]]) if d.name == "loss"]
    assert loss.figure.axes[0].get_ylim()[1] < 10
    assert len(drawn_lines(loss, style.LIGHT[0])[0][0]) == 3, "of four evaluations the last is out"


def test_one_network_of_all_has_no_worst_agent() -> None:
    pooled, one = summarize([from_lines(lines("Centralized")), from_lines(lines())])
    assert (pooled.worst, pooled.best) == (None, None)
    assert pooled.mean
    assert one.worst


def test_how_long_a_team_was_in_parts(tmp_path: Path) -> None:
    run = lines(rounds=40)
    apart, whole = [[0, 1], [2]], [[0, 1, 2]]
    changes = [(5, apart), (8, whole), (20, apart)]
    told = [{"kind": "graph", "round": k, "parts": p} for k, p in changes]
    assert rounds_apart(from_lines([*run[:-1], *told, run[-1]])) == 3 + 20
    assert rounds_apart(from_lines(run)) == 0
    seen = outline(write(tmp_path, [*run[:-1], *told, run[-1]]))
    assert "all rounds done; the agents were in parts in 23 rounds" in seen.words


def test_numbers_that_are_worked_out() -> None:
    (row,) = summarize([from_lines(lines())])
    assert row.generalization_gap
    assert row.generalization_gap.mean == pytest.approx(0.01)
    assert row.total_seconds == (0.017 * 600, None)
    assert cells(row)["seconds: gradient / exchange / evaluation"] == "7.8 / 1.2 / 0.6"
    assert cells(row)["bytes sent per agent"] == "46.2 MB"


def test_the_page_shows_the_numbers_of_the_table(runs: Path, page: str) -> None:
    rows, words = summarize(read_all(runs)), Outline(page).words
    assert [row.label for row in rows] == list(METHODS)
    for row in rows:
        assert set(cells(row).values()) - {"", NOTHING} <= set(words)


def test_seeds_give_mean_and_spread() -> None:
    records = [from_lines(lines("DSGD", seed=s)) for s in range(3)]
    (row,) = summarize(records)
    worst = [r.final["accuracy"].min() for r in records]
    assert row.seeds == (0, 1, 2)
    assert row.worst == pytest.approx((np.mean(worst), np.std(worst, ddof=1)))
    assert "±" in cells(row)["worst agent"]


def test_the_spreadsheet_has_all_digits_of_the_table(tmp_path: Path) -> None:
    runs = [lines(name, seed=s) for name in ("DSGD", "DiNNO") for s in range(2)]
    build(write(tmp_path, *runs))
    with (tmp_path / "table.csv").open(newline="", encoding="utf-8") as file:
        read = list(csv.DictReader(file))
    rows = summarize(read_all(tmp_path))
    assert [line["label"] for line in read] == [row.label for row in rows] == ["DiNNO", "DSGD"]
    for line, row in zip(read, rows, strict=True):
        assert row.mean
        assert row.consensus_error
        assert (float(line["mean"]), float(line["mean_spread"])) == row.mean
        assert float(line["consensus_error"]) == row.consensus_error.mean
        assert (line["seeds"], line["rounds"]) == ("0; 1", "600; 600")
        assert "coordinator_sent" not in line, "a column of nothing"


def test_a_loss_is_best_where_it_is_smallest() -> None:
    (row,) = summarize([from_lines(lines(measure="position_error"))])
    assert row.measure == "position_error"
    assert row.best
    assert row.worst
    assert row.best.mean < row.worst.mean
    assert row.generalization_gap
    assert row.generalization_gap.mean == pytest.approx(-0.01)


def test_only_seeds_of_the_same_request_are_averaged(tmp_path: Path) -> None:
    """What lies below one folder may be a sweep: the same seed with other settings, or again."""
    for folder, settings in {"low": {"lr": 0.1}, "high": {"lr": 0.9}, "again": {"lr": 0.9}}.items():
        for seed in (0, 1):
            start, *rest = lines("DSGD", seed=seed)
            run = tmp_path / folder / "DSGD" / f"seed-{seed}"
            run.mkdir(parents=True)
            text = "".join(json.dumps(x) + "\n" for x in [{**start, "settings": settings}, *rest])
            (run / "record.jsonl").write_text(text)
    rows = {row.label: row.seeds for row in summarize(read_all(tmp_path))}
    assert rows == {f"DSGD, {folder}": (0, 1) for folder in ("low", "high", "again")}


def test_several_graphs_are_told_apart() -> None:
    star = nx.star_graph(9)
    star.name = "star"
    records = [from_lines(run) for run in (lines(), lines(graph=star), lines("Isolated"))]
    assert list(grouped(records)) == ["DiNNO, cycle", "DiNNO, star", "Isolated"]
    assert {d.name for d in draw(records)} == {*FIGURES, "graph_2"}


@pytest.mark.parametrize(
    ("graph", "is_round"),
    [
        (pl.graphs.cycle(9), True),
        (pl.graphs.exponential(16), True),
        (pl.graphs.one_peer_exponential(8), True),
        (pl.graphs.link_failures(pl.graphs.cycle(9), p=0.3), True),
        (pl.graphs.grid(3, 3), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_agents_that_are_neighbors_by_their_numbers_stand_in_a_circle(
    graph: Any, is_round: bool
) -> None:
    """Told by the name under which a run's record has the graph."""
    schedule = as_schedule(graph)
    start, *rest = lines("DSGD", rounds=20, agents=schedule.agents)
    run = [start | {"graph": describe_graph(schedule, None)}, *rest]
    dots = drawings(run)["graph"].figure.axes[0].collections[-1]
    places = np.asarray(dots.get_offsets())
    away = np.linalg.norm(places - places.mean(axis=0), axis=1)
    assert (np.ptp(away) < 1e-6) == is_round
    turned = np.diff(np.unwrap(np.arctan2(*(places - places.mean(axis=0)).T[::-1])))
    assert np.allclose(turned, 2 * np.pi / len(places)) == is_round, "in the order of their numbers"


def test_who_talks_comes_first_even_if_all_have_a_graph(tmp_path: Path) -> None:
    runs = [lines(m) for m in ("Centralized", "Isolated", "DSGD")]
    for run in runs:
        run[0]["graph"] = lines()[0]["graph"] | {"name": ""}
    drawing = draw([from_lines(run) for run in runs])[0]
    assert drawing.title == "The graph: unnamed"
    assert "of DSGD" in drawing.caption
    seen = outline(write(tmp_path, *runs))
    assert any("on an unnamed graph" in x and "accuracy: DSGD" in x for x in seen.words)


def test_consensus_is_drawn_from_the_first_round_on() -> None:
    """The agents start alike, up to rounding, which would fill a logarithmic axis."""
    run = lines(rounds=40)
    run[1]["measures"]["consensus_error"] = [1e-7] * 10
    drawing = next(d for d in draw([from_lines(run)]) if d.name == "consensus")
    (line,) = drawing.figure.axes[0].lines
    assert np.asarray(line.get_xdata()).tolist() == [20, 40]


def changed(run: list[dict], measure: str, value: float, agents: slice) -> list[dict]:
    """The run with ``value`` for some agents at the last evaluation."""
    last_evaluation = [x for x in run if x["kind"] == "evaluation"][-1]
    values = last_evaluation["measures"][measure]
    values[agents] = [value] * len(values[agents])
    return run


STOP = {"kind": "stop", "round": 40, "reason": "the loss of agents 3 and 4 became NaN"}
KILLED = lines(rounds=40, end=None)
LABELS = ["x" * 200, "_hidden", "$\\frac$", "日本語 😀", "a\nb", ""]
ONE, MANY = nx.empty_graph(1), nx.random_regular_graph(10, 1000, seed=0)
MANY.name = ONE.name = "path"
ODD = {
    "never evaluated": ([KILLED[:1]], "nothing evaluated yet"),
    "one evaluation": ([lines(rounds=0)], "DiNNO"),
    "stopped and resumed": (
        [[*KILLED, STOP, {"kind": "resume", "round": 40}, {"kind": "end", "round": 40}]],
        "all rounds done; resumed after 40 rounds",
    ),
    "partly NaN": (
        [changed(lines(rounds=40), "accuracy", math.nan, slice(3))],
        "3 of 10 without a finite accuracy at the end",
    ),
    "all infinite": (
        [changed(lines(rounds=0), "accuracy", math.inf, slice(10))],
        "10 of 10 without a finite accuracy at the end",
    ),
    "huge loss": ([changed(lines("Isolated", rounds=40), "loss", 1e30, slice(10))], "Isolated"),
    "one agent": ([lines(graph=ONE, agents=1, rounds=40)], "path"),
    "a thousand agents": ([lines(graph=MANY, agents=1000, rounds=20)], "1,000 agents"),
    "no accuracy": ([lines("Isolated", measure="return", rounds=40)], "Return against rounds"),
    "only a loss": ([lines(measure="loss", rounds=40)], "Loss against rounds"),
    "nobody talks": ([lines("Isolated", rounds=40)], "Isolated"),
    "odd labels": ([lines(label=x, rounds=20) for x in LABELS], "日本語 😀"),
    "many labels": ([lines(label=f"DiNNO {n}", rounds=20) for n in range(14)], "DiNNO 13"),
    "unequal seeds": (
        [lines(rounds=40), lines(seed=1, rounds=40, end=None)],
        "seed 1: not finished",
    ),
}


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([], "not finished"),
        ([STOP], f"stopped after 40 rounds: {STOP['reason']}"),
        ([STOP, {"kind": "resume", "round": 40}], "not finished"),
        ([STOP, {"kind": "resume", "round": 40}, {"kind": "end", "round": 40}], ""),
    ],
)
def test_how_a_run_ended(events: list[dict], expected: str) -> None:
    (row,) = summarize([from_lines([*KILLED, *events])])
    assert "; ".join(row.remarks) == expected


@pytest.mark.parametrize("case", ODD)
def test_nothing_breaks_the_report(case: str, tmp_path: Path) -> None:
    runs, expected = ODD[case]
    seen = outline(write(tmp_path, *runs))
    assert any(expected in text for text in seen.words)
    assert "nan" not in {text.lower() for text in seen.words}


def test_a_label_is_drawn_as_it_is_typed(tmp_path: Path) -> None:
    first, *_ = draw([from_lines(lines("Isolated", label="_$a_1$ & b", rounds=40))])
    svg = style.save(first, tmp_path)
    assert "_$a_1$ &amp; b" in svg
    assert "_$a_1$ &amp; b" in (tmp_path / "rounds.svg").read_text(encoding="utf-8")


def test_everything_is_written_and_twice_the_same(tmp_path: Path) -> None:
    runs = write(tmp_path / "runs", lines(rounds=100))
    once = build(runs, tmp_path / "elsewhere").parent
    twice = build(runs).parent  # by default beside the runs
    assert (once, twice) == (tmp_path / "elsewhere", runs)
    files = {str(p.relative_to(once)) for p in once.rglob("*.*")}
    drawn = {f"figures/{name}.{kind}" for name in FIGURES for kind in ("png", "svg")}
    assert files == {"report.html", "table.csv", *drawn}
    assert all((once / f).read_bytes() == (twice / f).read_bytes() for f in files)


def test_no_run_is_said_plainly(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no run"):
        build(tmp_path / "missing")


def printed(records: list[Record], width: int, full: bool) -> str:
    text = io.StringIO()
    Console(width=width, file=text).print(summary_table(records, full))
    return text.getvalue()


def test_the_terminal_shows_the_same_numbers() -> None:
    records = [from_lines(lines(label="[bold]x[/bold]")), from_lines(KILLED)]
    text = printed(records, width=300, full=True)
    for row in summarize(records):
        assert all(cell in text for cell in cells(row).values())
    assert "DiNNO: not finished" in text


def test_the_table_fits_into_a_small_terminal() -> None:
    records = [from_lines(lines(method, seed=s)) for method in METHODS for s in range(3)]
    text = printed(records, width=80, full=False)
    headings = 3
    assert len(text.splitlines()) <= len(METHODS) + headings + 2  # no row is broken
    for row in summarize(records):
        shown = cells(row)
        assert all(shown[heading].replace(" ± ", "±") in text for heading in narrow([shown]))


@given(st.lists(st.lists(st.floats(-1e6, 1e6) | st.just(math.nan), min_size=3, max_size=3)))
def test_the_mean_lies_in_its_band(rows: list[list[float]]) -> None:
    start = {"kind": "start", "label": "x"}
    lines_ = [
        {"kind": "evaluation", "round": k, "measures": {"loss": row}, "seconds": {}}
        for k, row in enumerate(rows)
    ]
    drawn = curve([from_lines([start, *lines_])], "loss")
    assert list(drawn.rounds) == [k for k, r in enumerate(rows) if np.isfinite(r).any()]
    assert (drawn.low <= drawn.mean + 1e-9).all()
    assert (drawn.mean <= drawn.high + 1e-9).all()


@given(st.lists(st.floats(-1e6, 1e6), min_size=2), st.integers(0, 3))
def test_numbers_over_seeds(values: list[float], unknown: int) -> None:
    number = over_seeds([*values, *[math.inf] * unknown])
    assert number == pytest.approx((np.mean(values), np.std(values, ddof=1)), abs=1e-6)
    assert over_seeds([math.nan] * unknown) is None


@pytest.mark.parametrize(
    ("number", "measure", "expected"),
    [
        (Number(0.961, 0.003), "accuracy", "96.1 ± 0.3\u00a0%"),
        (Number(38_480), "bytes_sent", "38.5 kB"),
        (Number(1200), "gradient_evaluations", "1,200"),
        (Number(0.00123), "consensus_error", "0.00123"),
        (None, "loss", "\N{EN DASH}"),
    ],
)
def test_numbers_in_words(number: Number | None, measure: str, expected: str) -> None:
    assert show(number, measure) == expected


def test_each_seed_is_a_thin_line() -> None:
    """Three seeds: their means lie as thin lines around the thick one, and the caption says so."""
    records = [from_lines(lines(seed=s, rounds=40)) for s in range(3)]
    drawing = next(d for d in draw(records) if d.name == "rounds")
    *thin, thick = drawing.figure.axes[0].lines
    means = np.array([np.asarray(seed.get_ydata()) for seed in thin])
    assert means == pytest.approx(np.array([r.history["accuracy"].mean(axis=1) for r in records]))
    assert np.asarray(thick.get_ydata()) == pytest.approx(means.mean(axis=0))
    assert "thin lines: each seed" in drawing.caption


def streamed(method: str = "DSGD", seed: int = 0, drifts: tuple[int, ...] = (20, 40)) -> list[dict]:
    """A run on a stream without a test set: agent i predicts 5 samples a round, i in 20 wrong.

    Nobody loses anything before round 20, and each sample costs 2 + seed from then on.
    """
    start, *rest = lines(method, seed=seed, rounds=60, every=10)
    for line in rest[:-1]:
        k, measures = line["round"], line["measures"]
        for name in ("accuracy", "loss", "train_accuracy"):
            measures.pop(name, None)
        sums = {
            "predictions": np.full(10, 5.0 * k),
            "cumulative_loss": np.full(10, 5.0 * max(0, k - 20) * (2 + seed)),
            "cumulative_error": 5.0 * k * np.arange(10) / 20,
        }
        pooled = method == "Centralized"
        measures |= {n: [v.sum()] if pooled else v.tolist() for n, v in sums.items()}
        line["team"] = {"communication": sum(measures["bytes_sent"])}
    return [start | {"drifts": list(drifts)}, *rest]


def coordinated(run: list[dict], label: str) -> list[dict]:
    """The same run, had its agents talked to a coordinator: half as much down as up."""
    start, *rest = run
    for line in rest[:-1]:
        sent = sum(line["measures"]["bytes_sent"])
        through = {"coordinator_bytes_sent": sent // 2, "coordinator_bytes_received": sent}
        line["team"] = {"communication": sent + sent // 2, **through}
    return [start | {"label": label, "graph": None}, *rest]


def drawings(*runs: list[dict]) -> dict[str, style.Drawing]:
    return {d.name: d for d in draw([from_lines(run) for run in runs])}


def drawn_lines(drawing: style.Drawing, color: str) -> list[list[list[float]]]:
    """[x values, y values] of all lines of that colour."""
    found = [x for x in drawing.figure.axes[0].lines if x.get_color() == color]
    return [[np.asarray(x.get_xdata()).tolist(), np.asarray(x.get_ydata()).tolist()] for x in found]


def verticals(drawing: style.Drawing) -> list[float]:
    return [x[0] for x, _ in drawn_lines(drawing, style.FAINT)]


OVER_ROUNDS = {"rounds", "cumulative_loss", "consensus", "consensus_normalized"}


def test_drifts_stand_in_every_figure_over_rounds() -> None:
    drawn = drawings(streamed())
    assert set(drawn) == OVER_ROUNDS | {"graph", "communication"}
    for name in OVER_ROUNDS:
        assert verticals(drawn[name]) == [20, 40]
        assert "Vertical lines: concept drifts, after 20 and 40 rounds." in drawn[name].caption
    assert not verticals(drawn["communication"])
    assert "Vertical" not in drawn["communication"].caption


@pytest.mark.parametrize(
    ("first", "second", "expected", "told"),
    [
        ((20, 61), (20, 61), [20], "after 20 rounds."),  # the run ends after 60
        ((20,), (30, 50), [20, 30, 50], "3 in all, not the same in every run."),
        (tuple(range(1, 9)), tuple(range(1, 9)), [*range(1, 9)], "8 in all."),
    ],
)
def test_drifts_in_words(first: tuple, second: tuple, expected: list, told: str) -> None:
    drawn = drawings(streamed(drifts=first), streamed(seed=1, drifts=second))["rounds"]
    assert verticals(drawn) == expected
    assert f"Vertical lines: concept drifts, {told}" in drawn.caption


def test_without_a_drift_there_is_no_line_and_no_word() -> None:
    for drawn in (drawings(lines(rounds=40)), drawings(streamed(drifts=()))):
        assert not any("drift" in d.caption for d in drawn.values())
        assert not any(verticals(d) for name, d in drawn.items() if name != "graph")


def test_cumulative_loss_is_summed_over_agents_and_averaged_over_seeds() -> None:
    drawn = drawings(streamed(), streamed(seed=1))
    grown = np.maximum(0, np.arange(0, 61, 10) - 20) * 5 * 10
    *seeds, (rounds, mean) = drawn_lines(drawn["cumulative_loss"], style.color(0))
    assert rounds == [0, 10, 20, 30, 40, 50, 60]
    assert [y for _, y in seeds] == [(2 * grown).tolist(), (3 * grown).tolist()]
    assert mean == (2.5 * grown).tolist()


def test_cumulative_loss_against_what_the_team_has_sent() -> None:
    """The same of both ends: C(T, m) below, and a dashed line for who sends nothing."""
    drawn = drawings(streamed(), streamed("Isolated"))["communication"]
    ((sent, loss),) = drawn_lines(drawn, style.color(0))
    a_round = 10 * 4810 * 4 * 2
    assert sent == [a_round * k for k in (10, 20, 30, 40, 50, 60)]
    assert loss == [0, 0, 1000, 2000, 3000, 4000]
    ((_, reference),) = drawn_lines(drawn, style.color(1))
    assert reference == [4000, 4000]
    assert "Dashed, to compare with: the last value of Isolated" in drawn.caption
    assert drawn.figure.axes[0].get_xscale() == "log"


def test_the_table_of_a_stream() -> None:
    rows = summarize([from_lines(streamed(m)) for m in ("DSGD", "Centralized")])
    for row in rows:
        assert row.measure == "error_rate"
        assert row.mean == pytest.approx((0.225, None), nan_ok=False)
        assert row.cumulative_loss == (4000, None)
        assert row.wrong == pytest.approx((0.225, None))
        assert cells(row)["coordinator: sent / received"] == NOTHING
    assert rows[0].best == (0, None)
    assert rows[0].worst == pytest.approx((0.45, None))
    assert rows[0].communication == (10 * 4810 * 4 * 2 * 60, None)
    assert cells(rows[0])["communication"] == "23.1 MB"
    assert cells(rows[0])["cumulative loss"] == "4,000"
    text = printed([from_lines(streamed())], width=80, full=False)
    assert "4,000" in text
    assert "23.1 MB" in text


def test_the_share_of_wrong_predictions_is_of_all_of_them() -> None:
    """Agents that predict more count more; beside an accuracy it has a column of its own."""
    run = lines(rounds=20)
    sums = {"predictions": [100, *[10] * 9], "cumulative_error": [50, *[0] * 9]}
    run[-2]["measures"] |= sums | {"cumulative_loss": [1.0] * 10}
    (row,) = summarize([from_lines(run)])
    assert row.measure == "accuracy"
    assert row.wrong == pytest.approx((50 / 190, None))
    assert cells(row)["wrong predictions"] == "26.3\u00a0%"


def test_recent_errors_are_those_since_the_evaluation_before() -> None:
    run = streamed()
    for line, wrong in zip(run[1:-1], (0, 5, 5, 30, 30, 30, 55), strict=True):
        line["measures"]["cumulative_error"] = [wrong] * 10
    recent = measured(from_lines(run), "recent_error_rate")
    assert recent[1:, 0] == pytest.approx([0.1, 0, 0.5, 0, 0, 0.5])
    assert np.isnan(recent[0]).all()  # nothing was predicted before the start
    drawn = drawings(run)["rounds"]
    assert drawn.title == "Recent error rate against rounds"
    assert "At the end: DSGD 50.0\u00a0%." in drawn.caption


def test_a_stream_without_classes_is_judged_by_its_loss() -> None:
    run = streamed()
    for line in run[1:-1]:
        del line["measures"]["cumulative_error"]
    (row,) = summarize([from_lines(run)])
    assert (row.measure, row.wrong) == ("loss_per_prediction", None)
    assert row.mean == pytest.approx((400 / 300, None))
    assert drawings(run)["rounds"].title == "Recent loss per prediction against rounds"


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["cumulative_loss", "cumulative_error", "accuracy", "loss"], "accuracy"),
        (["predictions", "cumulative_loss", "cumulative_error", "loss"], "loss"),
        (["predictions", "cumulative_loss", "cumulative_error", "bytes_sent"], "error_rate"),
        (["predictions", "cumulative_loss", "bytes_sent"], "loss_per_prediction"),
        (["bytes_sent"], "loss"),
    ],
)
def test_the_main_measure(names: list[str], expected: str) -> None:
    assert leading(names) == expected


def test_agents_that_predicted_nothing_have_no_error_rate(tmp_path: Path) -> None:
    run = streamed()
    for line in run[1:-1]:
        for name in ("predictions", "cumulative_loss", "cumulative_error"):
            line["measures"][name][0] = 0
    (row,) = summarize([from_lines(run)])
    assert row.mean == pytest.approx((0.25, None))
    assert row.remarks == ("1 of 10 without a finite error rate at the end",)
    assert "nan" not in {text.lower() for text in outline(write(tmp_path, run)).words}


def test_a_coordinator_is_named_and_no_graph_is_drawn(tmp_path: Path) -> None:
    run = coordinated(streamed(), "FedAvg")
    drawn = drawings(run, streamed("Centralized"))
    assert set(drawn) == {"rounds", "cumulative_loss", "communication", "consensus",
                          "consensus_normalized"}  # fmt: skip
    seen = outline(write(tmp_path, run, streamed("Centralized")))
    (summary,) = [x for x in seen.words if x.startswith("Ten agents")]
    assert summary.startswith("Ten agents with a coordinator, digits")
    assert "graph" not in summary.split(".")[0]
    place = seen.words.index("Graph")
    assert [x for x in seen.words[place:] if x][1:3] == ["name", "coordinator"]
    (row, _) = summarize([from_lines(run), from_lines(streamed("Centralized"))])
    assert cells(row)["coordinator: sent / received"] == "11.5 MB / 23.1 MB"
    assert cells(row)["communication"] == "34.6 MB"


def test_a_graph_that_a_coordinator_makes_useless_is_not_drawn() -> None:
    run = coordinated(streamed(), "FedAvg")
    run[0]["graph"] = lines()[0]["graph"]
    assert "graph" not in drawings(run)


def test_graph_and_coordinator_side_by_side(tmp_path: Path) -> None:
    seen = outline(write(tmp_path, coordinated(streamed(), "FedAvg"), streamed()))
    assert any(
        x.startswith("Ten agents on a cycle graph or with a coordinator") for x in seen.words
    )
    assert "The graph: cycle" in seen.words


def test_unequal_rounds_are_told() -> None:
    """Who takes several steps in a round has seen more data by the same round."""
    more = coordinated(streamed(), "FedAvg")
    for line in more[1:-1]:
        for name in ("predictions", "gradient_evaluations"):
            line["measures"][name] = [2.5 * v for v in line["measures"][name]]
    drawn = drawings(streamed(), streamed("Isolated"), more)
    work = "Gradients in a round, mean over the agents: DSGD and Isolated 2; FedAvg 5."
    assert work in drawn["rounds"].caption
    seen = "Samples predicted by the team: DSGD and Isolated 3,000; FedAvg 7,500."
    assert seen in drawn["cumulative_loss"].caption
    alike = drawings(streamed(), streamed("Isolated"))
    assert "Gradients in a round" not in alike["rounds"].caption
    assert "Samples predicted" not in alike["cumulative_loss"].caption


def test_raw_data_of_a_stream_are_no_talk(tmp_path: Path) -> None:
    """Serial learning collects data all the time, and still nobody hears of anybody."""
    serial = streamed("Centralized")
    for line in serial[1:-1]:
        line["measures"]["messages_sent"] = [line["round"]] * 10
        line["measures"]["messages_received"] = [0] * 10
        line["measures"]["cumulative_error"] = [0]
        line["team"]["coordinator_bytes_received"] = 100 * line["round"]
    assert cells(summarize([from_lines(serial)])[0])["coordinator: sent / received"] == (
        "0 bytes / 6.0 kB"
    )
    seen = outline(write(tmp_path, serial, streamed()))
    assert any("Mean error rate: DSGD" in x for x in seen.words)
    assert not any("with a coordinator" in x for x in seen.words)


@pytest.mark.parametrize("pool", ["all", "train"])
def test_a_real_stream(pool: str, tmp_path: Path) -> None:
    """One row, a team with a graph and a team with a coordinator on the same page."""
    task = pl.tasks.digits_stream(
        4, pool=pool, drift="labels", drift_rounds=[6], gradients="loop"
    )  # fmt: skip
    methods = (pl.Serial(), pl.Isolated(), pl.DSGD(), pl.FedAvg(), pl.DynamicAveraging())
    for method in methods:
        graph = pl.graphs.cycle(4) if method.communicates else None
        pl.train(task, method, graph, rounds=12, evaluate_every=3, out=tmp_path / method.name)
    records = read_all(tmp_path)
    for row, record in zip(summarize(records), records, strict=True):
        assert row.measure == ("error_rate" if pool == "all" else "accuracy")
        assert row.cumulative_loss
        assert row.cumulative_loss.mean == pytest.approx(record.final["cumulative_loss"].sum())
        assert row.communication == (record.team["communication"][-1], None)
        answered = row.coordinator_sent is not None and row.coordinator_sent.mean > 0
        assert answered == (row.label in ("FedAvg", "DynamicAveraging"))
    seen = outline(tmp_path)
    assert "Four agents on a cycle graph or with a coordinator" in " ".join(seen.words)
    assert {
        "Cumulative loss against rounds",
        "Cumulative loss against communication of the team",
    } <= {*seen.words}
    assert all(verticals(d) == [6] for d in draw(records) if d.name in OVER_ROUNDS)


def test_without_a_test_set_the_training_data_are_the_measure(tmp_path: Path) -> None:
    task = replace(pl.tasks.digits(gradients="loop"), test=None)
    pl.train(task, pl.DSGD(), pl.graphs.cycle(10), rounds=2, out=tmp_path)
    (record,) = read_all(tmp_path)
    (row,) = summarize([record])
    assert row.measure == "train_accuracy"
    assert row.mean is not None
    assert row.mean.mean == pytest.approx(record.final["train_accuracy"].mean())
    assert "Train accuracy against rounds" in outline(tmp_path).words
