"""The page of a report: it stands alone, shows every number, and nothing breaks it."""

from __future__ import annotations

import csv
import math
import re
from dataclasses import replace
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
from made_up import (
    FIGURES,
    KILLED,
    METHODS,
    OVER_ROUNDS,
    STOP,
    Outline,
    changed,
    coordinated,
    demo,
    drawings,
    lines,
    outline,
    streamed,
    write,
)  # fmt: skip
from matplotlib.colors import to_rgb

import peerlearn as pl
from peerlearn.record import from_lines, read_all
from peerlearn.report import build, style, summarize
from peerlearn.report.figures import draw
from peerlearn.report.measures import rounds_apart
from peerlearn.report.numbers import NOTHING
from peerlearn.report.summary import cells

NAUGHTY = '_<script>alert("1")</script> & $x_1$ {{ 7 * 7 }} <b>'


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seeds of METHODS."""
    return demo(tmp_path_factory.mktemp("demo"), seeds=3)


@pytest.fixture(scope="module")
def page(runs: Path) -> str:
    return build(runs).read_text(encoding="utf-8")


def test_the_page_needs_nothing_from_outside(page: str) -> None:
    seen = Outline(page)
    assert not {"script", "link", "img", "iframe", "object", "base"} & set(seen.tags)
    assert "http:" not in page
    assert "https:" not in page
    assert "@import" not in page
    references = seen.values("href") + seen.values("xlink:href") + seen.values("src")
    assert references  # markers and the color bar
    assert all(r.startswith(("#", "data:image/png;base64,")) for r in references)


def test_names_are_unique_and_references_lead_somewhere(page: str) -> None:
    names = Outline(page).values("id")
    assert len(names) == len(set(names))
    inside = re.findall(r'(?:url\(#|href="#)([^)"]+)', page)
    assert inside
    assert set(inside) <= set(names)


def test_every_color_in_a_page_follows_the_reader(page: str) -> None:
    body = page[page.index("<body>") :]
    assert style.INK not in body
    assert not any(light in body for light in style.LIGHT)
    assert all(f"var(--series-{n})" in body for n in range(len(METHODS)))


@pytest.mark.parametrize(
    ("palette", "paper"), [(style.LIGHT, "#f6f7f9"), (style.DARK, "#171c23")], ids=["light", "dark"]
)
def test_colors_stand_out_from_the_page(palette: tuple[str, ...], paper: str) -> None:
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


def test_how_long_a_team_was_in_parts(tmp_path: Path) -> None:
    run = lines(rounds=40)
    apart, whole = [[0, 1], [2]], [[0, 1, 2]]
    changes = [(5, apart), (8, whole), (20, apart)]
    told = [{"kind": "graph", "round": k, "parts": p} for k, p in changes]
    assert rounds_apart(from_lines([*run[:-1], *told, run[-1]])) == 3 + 20
    assert rounds_apart(from_lines(run)) == 0
    seen = outline(write(tmp_path, [*run[:-1], *told, run[-1]]))
    assert "all rounds done; the agents were in parts in 23 rounds" in seen.words


def test_the_page_shows_the_numbers_of_the_table(runs: Path, page: str) -> None:
    rows, words = summarize(read_all(runs)), Outline(page).words
    assert [row.label for row in rows] == list(METHODS)
    for row in rows:
        assert set(cells(row).values()) - {"", NOTHING} <= set(words)


def test_a_measure_that_is_called_like_its_function_is_named_once(tmp_path: Path) -> None:
    run = lines(rounds=20)
    run[0]["task"]["measures"] = {"accuracy": "accuracy", "top_five": "in_first"}
    seen = outline(write(tmp_path, run))
    assert "accuracy, top five in_first" in seen.words


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


def test_who_talks_comes_first_even_if_all_have_a_graph(tmp_path: Path) -> None:
    runs = [lines(m) for m in ("Centralized", "Isolated", "DSGD")]
    for run in runs:
        run[0]["graph"] = lines()[0]["graph"] | {"name": ""}
    drawing = draw([from_lines(run) for run in runs])[0]
    assert drawing.title == "The graph: unnamed"
    assert "of DSGD" in drawing.caption
    seen = outline(write(tmp_path, *runs))
    assert any("on an unnamed graph" in x and "accuracy: DSGD" in x for x in seen.words)


LABELS = ["x" * 200, "_hidden", "$\\frac$", "日本語 😀", "a\nb", ""]

ONE = nx.empty_graph(1)
ONE.name = "path"
ODD = {
    "never evaluated": ([KILLED[:1]], "nothing evaluated yet"),
    "one evaluation": ([lines(rounds=0)], "DiNNO"),
    "stopped and resumed": (
        [[*KILLED, STOP, {"kind": "resume", "round": 40}, {"kind": "end", "round": 40}]],
        "all rounds done; resumed after 40 rounds",
    ),
    "resumed early": (
        [[*KILLED, {"kind": "resume", "round": 1}, {"kind": "end", "round": 40}]],
        "all rounds done; resumed after 1 round",
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


@pytest.mark.parametrize("case", ODD)
def test_nothing_breaks_the_report(case: str, tmp_path: Path) -> None:
    runs, expected = ODD[case]
    seen = outline(write(tmp_path, *runs))
    assert any(expected in text for text in seen.words)
    assert "nan" not in {text.lower() for text in seen.words}


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


def test_graph_and_coordinator_side_by_side(tmp_path: Path) -> None:
    seen = outline(write(tmp_path, coordinated(streamed(), "FedAvg"), streamed()))
    assert any(
        x.startswith("Ten agents on a cycle graph or with a coordinator") for x in seen.words
    )
    assert "The graph: cycle" in seen.words


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


@pytest.fixture(scope="module")
def streams(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs on a real stream: one row, a team with a graph, teams with a coordinator."""
    folder = tmp_path_factory.mktemp("streams")
    task = pl.tasks.digits_stream(4, drift="labels", drift_rounds=[4], gradients="loop")
    for method in (pl.Serial(), pl.Isolated(), pl.DSGD(), pl.FedAvg(), pl.DynamicAveraging()):
        graph = pl.graphs.cycle(4) if method.communicates else None
        pl.train(task, method, graph, rounds=8, evaluate_every=4, out=folder / method.name)
    return folder


def test_the_table_of_a_real_stream(streams: Path) -> None:
    records = read_all(streams)
    for row, record in zip(summarize(records), records, strict=True):
        assert row.measure == "error_rate"
        assert row.cumulative_loss
        assert row.cumulative_loss.mean == pytest.approx(record.final["cumulative_loss"].sum())
        assert row.communication == (record.team["communication"][-1], None)
        answered = row.coordinator_sent is not None and row.coordinator_sent.mean > 0
        assert answered == (row.label in ("FedAvg", "DynamicAveraging"))


def test_the_page_of_a_real_stream(streams: Path) -> None:
    """Row, graph and coordinator side by side, and the drift in all that goes over rounds."""
    seen = outline(streams)
    assert "Four agents on a cycle graph or with a coordinator" in " ".join(seen.words)
    assert {
        "Cumulative loss against rounds",
        "Cumulative loss against communication of the team",
    } <= {*seen.words}
    told = [text for text in seen.words if "concept drifts, after 4 rounds." in text]
    assert len(told) == len(OVER_ROUNDS)


def test_without_a_test_set_the_training_data_are_the_measure(tmp_path: Path) -> None:
    task = replace(pl.tasks.digits(gradients="loop"), test=None)
    pl.train(task, pl.DSGD(), pl.graphs.cycle(10), rounds=2, out=tmp_path)
    (record,) = read_all(tmp_path)
    (row,) = summarize([record])
    assert row.measure == "train_accuracy"
    assert row.mean is not None
    assert row.mean.mean == pytest.approx(record.final["train_accuracy"].mean())
    assert "Train accuracy against rounds" in outline(tmp_path).words
