"""The figures of a report: what is drawn, and what is said of it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up import (
    FIGURES,
    OVER_ROUNDS,
    coordinated,
    drawings,
    drawn_lines,
    lines,
    streamed,
    verticals,
)  # fmt: skip

import peerlearn as pl
from peerlearn.describe import describe_graph
from peerlearn.graphs import as_schedule
from peerlearn.record import from_lines
from peerlearn.report import network, style
from peerlearn.report.curves import curve
from peerlearn.report.figures import draw
from peerlearn.report.groups import grouped


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


@pytest.mark.parametrize(
    ("schedules", "told"),
    [
        ([None, None], "10 edges. Colored"),
        (["fails(p=1)"] * 2, "10 edges. Changing with the rounds: fails(p=1). Colored"),
        (
            [None, "fails(p=1)", "fails(p=2)"],
            "Changing with the rounds, not the same in every run: static; fails(p=1); fails(p=2).",
        ),
    ],
)
def test_a_figure_of_a_graph_names_every_schedule(schedules: list, told: str) -> None:
    runs = [lines("DSGD", label=str(n), rounds=20) for n in range(len(schedules))]
    for run, schedule in zip(runs, schedules, strict=True):
        run[0]["graph"]["schedule"] = schedule
    silent = lines("Isolated", rounds=20)
    silent[0]["graph"] = runs[0][0]["graph"] | {"schedule": "unused"}
    assert told in drawings(*runs, silent)["graph"].caption


def test_consensus_is_drawn_from_the_first_round_on() -> None:
    """The agents start alike, up to rounding, which would fill a logarithmic axis."""
    run = lines(rounds=40)
    run[1]["measures"]["consensus_error"] = [1e-7] * 10
    drawing = next(d for d in draw([from_lines(run)]) if d.name == "consensus")
    (line,) = drawing.figure.axes[0].lines
    assert np.asarray(line.get_xdata()).tolist() == [20, 40]


def test_a_label_is_drawn_as_it_is_typed(tmp_path: Path) -> None:
    first, *_ = draw([from_lines(lines("Isolated", label="_$a_1$ & b", rounds=40))])
    svg = style.save(first, tmp_path)
    assert "_$a_1$ &amp; b" in svg
    assert "_$a_1$ &amp; b" in (tmp_path / "rounds.svg").read_text(encoding="utf-8")


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


def test_each_seed_is_a_thin_line() -> None:
    """Three seeds: their means lie as thin lines around the thick one, and the caption says so."""
    records = [from_lines(lines(seed=s, rounds=40)) for s in range(3)]
    drawing = next(d for d in draw(records) if d.name == "rounds")
    *thin, thick = drawing.figure.axes[0].lines
    means = np.array([np.asarray(seed.get_ydata()) for seed in thin])
    assert means == pytest.approx(np.array([r.history["accuracy"].mean(axis=1) for r in records]))
    assert np.asarray(thick.get_ydata()) == pytest.approx(means.mean(axis=0))
    assert "thin lines: each seed" in drawing.caption


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
        ((1,), (1,), [1], "after 1 round."),
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


def test_a_graph_that_a_coordinator_makes_useless_is_not_drawn() -> None:
    run = coordinated(streamed(), "FedAvg")
    run[0]["graph"] = lines()[0]["graph"]
    assert "graph" not in drawings(run)


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


def test_of_a_large_graph_some_edges_are_drawn_and_no_numbers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    graph = nx.random_regular_graph(10, 102, seed=0)
    monkeypatch.setattr(network, "EDGES_DRAWN", 400)
    record = from_lines(lines(graph=graph, agents=102, rounds=20))
    drawing = network.draw_graph("graph", record, "accuracy", ["static"])
    edges, dots = drawing.figure.axes[0].collections
    assert len(edges.get_paths()) == 400
    assert len(np.asarray(dots.get_offsets())) == 102
    assert not drawing.figure.axes[0].texts
    assert "102 agents, 510 edges (400 of them drawn, chosen at random)." in drawing.caption
