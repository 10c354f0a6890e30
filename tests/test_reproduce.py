"""Reproductions: their plans, and that carrying one out gives its table and figure."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import peerlearn as pl
from peerlearn import graphs, record, reproduce
from peerlearn.reproduce import dinno_mapping, dinno_pursuit
from peerlearn.reproduce.averaging import Point, needed, point, verdicts
from peerlearn.reproduce.averaging_mnist import bound_of, relative
from peerlearn.reproduce.base import Planned, Records, Reproduction, final_percent, markdown, select
from peerlearn.reproduce.dinno_mnist import IN_PLACE, METHODS, mixed_in_place, topologies
from peerlearn.reproduce.figures import _caption, _draw, _grid, panels

NAMES = list(reproduce.REPRODUCTIONS)


class Tiny(Reproduction):
    """Two methods on the digits, two seeds."""

    name = "tiny"
    title = "a tiny one"
    short_divisor = 2

    def plan(self) -> list[Planned]:
        methods = {"DSGD": pl.DSGD(), "DSGT": pl.DSGT()}
        return [
            Planned("cycle", n, seed, m, pl.tasks.digits, graphs.cycle(10), 40, 20)
            for n, m in methods.items()
            for seed in (0, 1)
        ]

    def table(self, records: Records) -> str:
        rows = [[n, final_percent(select(records, "cycle", n))] for n in ("DSGD", "DSGT")]
        return markdown(["method", "accuracy"], rows)

    def draw(self, records: Records, path: Path) -> None:
        panels({"cycle": {"DSGD": select(records, "cycle", "DSGD")}}, path, self.title)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> Tiny:
    found = Tiny()
    monkeypatch.setitem(reproduce.REPRODUCTIONS, "tiny", found)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_plans_name_every_run_once_and_fit_their_graphs(name: str) -> None:
    plan = reproduce.REPRODUCTIONS[name].plan()
    assert len({p.folder for p in plan}) == len(plan)
    for planned in plan:
        assert planned.graph is not None or not planned.algorithm.communicates
        assert planned.rounds % planned.evaluate_every == 0


@pytest.mark.parametrize("name", NAMES)
def test_the_short_plan_is_a_fraction_of_the_long_one(name: str) -> None:
    reproduction = reproduce.REPRODUCTIONS[name]
    plan = reproduction.plan()
    short = reproduction.shorten(plan)
    assert 0 < len(short) <= len(plan)
    assert 5 * sum(p.rounds for p in short) <= sum(p.rounds for p in plan)


def test_a_reproduction_leaves_runs_a_table_and_figures(tiny: Tiny, tmp_path: Path) -> None:
    seen: list[Any] = []
    folder = reproduce.run("tiny", tmp_path, short=True, on_run=lambda *a: seen.append(a))
    assert seen == [(1, 2, "cycle/DSGD/seed-0"), (2, 2, "cycle/DSGT/seed-0")]
    accuracy = 100 * record.read(folder / "cycle/DSGT/seed-0").final["accuracy"].mean()
    assert f"| DSGT | {accuracy:.1f}" in (folder / "table.md").read_text()
    assert (folder / "figure.png").stat().st_size > 5000
    assert (folder / "figure.svg").read_text().lstrip().startswith("<?xml")


def test_finished_runs_are_kept(tiny: Tiny, tmp_path: Path) -> None:
    reproduce.run("tiny", tmp_path, short=True)
    lines = {p: p.read_bytes() for p in tmp_path.rglob(record.FILE_NAME)}
    reproduce.run("tiny", tmp_path, short=True)
    assert lines == {p: p.read_bytes() for p in tmp_path.rglob(record.FILE_NAME)}


def made_up(
    seed: int = 0, level: float = 0.9, lost_in: int | None = None, **stop: str
) -> record.Record:
    """A run of two agents at ``level``, one percent apart on either side; it may diverge."""
    measures = {
        "accuracy": [level - 0.01, level + 0.01], "predictions": [100, 100],
        "cumulative_loss": [200 - 100 * level, 200.0], "cumulative_error": [5, 6],
        "loss": [1 - level, 1.1 - level], "wall_iou": [level, level], "wall_iou_unseen": [0.1, 0.2],
        "team_reward": [400 * level] * 2, "captures": [10 * level] * 2,
    }  # fmt: skip
    team = {"communication": 1000 * (1 + seed)}
    evaluation = {"measures": measures, "team": team, "seconds": {"total": 1.0}}
    what = {"agents": 2, "parameters": 10, "settings": {"delta": 0.5}}
    lines: list[dict[str, Any]] = [
        {"kind": "start", "schema": 1, "label": "made up", "seed": seed, "rounds": 40, **what}
    ]
    lines += [{"kind": "evaluation", "round": k, **evaluation} for k in (0, 20)]
    if lost_in is None:
        return record.from_lines([*lines, {"kind": "end", "round": 40}])
    return record.from_lines([*lines, {"kind": "stop", "round": lost_in, **stop}])


LOST: dict[str, Any] = {"cause": "diverged", "reason": "DSGD diverged in round 31: its loss is NaN"}


@pytest.mark.parametrize(
    ("runs", "cell"),
    [
        ([], "not run"),
        ([made_up()], "90.0 (worst 89.0)"),
        ([made_up(), made_up(level=0.8)], "85.0 ± 7.1 (worst 79.0)"),
        ([made_up(lost_in=31, **LOST)], "diverged in round 31"),
        (
            [made_up(), made_up(lost_in=31, **LOST), made_up(level=0.8)],
            "85.0 ± 7.1 (worst 79.0); diverged in round 31 (1 of 3 seeds)",
        ),
        (
            [made_up(lost_in=31, **LOST), made_up(lost_in=27, **LOST)],
            "diverged in round 27 and 31 (2 of 2 seeds)",
        ),
        ([made_up(lost_in=31, cause="interrupted", reason="interrupted")], "90.0 (worst 89.0)"),
    ],
)
def test_a_cell_says_what_diverged(runs: list[record.Record], cell: str) -> None:
    """The last finite evaluation of a run that diverged is no result."""
    assert final_percent(runs) == cell


def test_the_runs_of_a_label_are_not_those_of_a_longer_one() -> None:
    records = {f"cycle/{label}/seed-0": made_up() for label in ("DSGD", "DSGD (own point)")}
    (found,) = select(records, "cycle", "DSGD")
    assert found is records["cycle/DSGD/seed-0"]


def test_a_point_is_of_the_whole_team_and_of_the_runs_that_lasted() -> None:
    runs = [made_up(), made_up(seed=2, level=0.7), made_up(seed=1, level=0.1, lost_in=31, **LOST)]
    assert point(runs) == pytest.approx((310 + 10, 11 / 200, 0.002))
    assert np.isnan(point(runs[2:])).all()


def test_the_bound_counts_every_model_up_and_the_average_back() -> None:
    averaging = (2 + 2) * 10 * 4 / 1e6
    assert bound_of(made_up()) == pytest.approx([averaging / np.sqrt(0.5) * 310] * 2)


def test_accuracies_are_relative_to_equal_starts() -> None:
    groups = {
        "epsilon 0": {"periodic 1": [made_up(level=0.8)]},
        "epsilon 1": {
            "periodic 1": [made_up(level=0.5)],
            "dynamic 3": [made_up(level=0.4), made_up(level=0.6), made_up(lost_in=31, **LOST)],
        },
    }
    told = "0.625 ± 0.177 diverged in round 31 (1 of 3 seeds)"
    assert relative(groups, "epsilon 1", "dynamic 3") == told
    assert relative(groups, "epsilon 0", "periodic 1") == "1.000"


@pytest.mark.parametrize(
    ("measure", "cell"),
    [
        ("wall_iou", "0.850 ± 0.071"),
        ("loss", "0.200 ± 0.071; diverged in round 31 (1 of 3 seeds)"),
    ],
)
def test_maps_are_compared_over_the_seeds_that_lasted(measure: str, cell: str) -> None:
    runs = [made_up(), made_up(level=0.2, lost_in=31, **LOST), made_up(level=0.8)]
    assert dinno_mapping._over(runs, measure) == cell


def test_pursuers_are_compared_over_the_seeds_that_lasted() -> None:
    runs = [made_up(level=0.6), made_up(level=0.2, lost_in=31, **LOST), made_up(level=0.8)]
    told = ["280 ± 57; diverged in round 31 (1 of 3 seeds)", "7.0", "240, 320"]
    assert dinno_pursuit._outcome(runs, "DiNNO") == told


def test_the_last_reward_is_the_mean_over_a_hundred_updates() -> None:
    """An evaluation tells the mean of ten updates, each of five rounds."""
    lines: list[dict[str, Any]] = [{"kind": "start", "label": "made up", "seed": 0}]
    for k in range(0, 1001, 50):
        measures = {"team_reward": [float(k)] * 3}
        lines.append({"kind": "evaluation", "round": k, "measures": measures, "seconds": {}})
    late = range(550, 1001, 50)
    assert dinno_pursuit.last_reward(record.from_lines(lines), 5) == np.mean(late)


def test_a_run_that_diverged_is_not_run_again(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wild = [replace(p, algorithm=pl.DSGD(lr=1e30)) for p in tiny.plan() if p.seed == 0][:1]
    monkeypatch.setattr(Tiny, "plan", lambda self: wild)
    folder = reproduce.run("tiny", tmp_path)
    lines = (folder / wild[0].folder / record.FILE_NAME).read_bytes()
    reproduce.run("tiny", tmp_path)
    assert "| DSGD | diverged in round " in (folder / "table.md").read_text()
    assert (folder / wild[0].folder / record.FILE_NAME).read_bytes() == lines


def test_a_panel_shows_every_seed_and_where_one_diverged(tmp_path: Path) -> None:
    """Two seeds that last and one that does not: the mean, three thin lines and a cross."""
    runs = [made_up(), made_up(level=0.8), made_up(level=0.2, lost_in=31, **LOST)]
    (axes,) = _grid(1, 1)[1]
    line: Any = _draw(axes, 0, runs, "accuracy")
    assert np.asarray(line.get_ydata()) == pytest.approx([0.85, 0.85])
    thin = [np.asarray(found.get_ydata())[-1] for found in axes.lines if found.get_linewidth() < 1]
    assert sorted(thin) == pytest.approx([0.2, 0.8, 0.9])
    crosses = [found for found in axes.lines if found.get_marker() == "x"]
    assert [np.asarray(found.get_xdata()).tolist() for found in crosses] == [[20]]
    assert _caption({"cycle": {"DSGD": runs}}) == (
        "Line: mean over the agents of 3 seeds; thin lines: each seed; band: from the worst to the "
        "best agent of 3 seeds. A cross: this seed diverged; the mean is of the others."
    )


@pytest.mark.parametrize("name", NAMES)
def test_published_stands_beside_measured_and_the_figure_is_drawn(
    name: str, tmp_path: Path
) -> None:
    """Also where some runs diverged, and all that is planned is in the table."""
    reproduction = reproduce.REPRODUCTIONS[name]
    plan = reproduction.plan()
    records = {p.folder: made_up(p.seed) for p in plan}
    records[plan[-1].folder] = made_up(seed=plan[-1].seed, lost_in=31, **LOST)
    table = reproduction.table(records)
    assert "published" in table
    assert "not run" not in table
    assert table.count("diverged in round 31") == 1
    assert all(label in table for label in {p.label for p in plan})
    reproduction.draw(records, tmp_path / "figure")
    assert {p.name for p in tmp_path.iterdir()} == {"figure.png", "figure.svg"}


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_workers_end_with_whoever_started_them(number: int, tmp_path: Path) -> None:
    """Also where it was killed: what they were at is kept, and they begin nothing new.

    Where it was asked to end, it waits for them.
    """
    command = [sys.executable, "-m", "peerlearn", "reproduce", "averaging-drift", "--short"]
    parent = subprocess.Popen(
        [*command, "--jobs", "2", "--out", str(tmp_path)], start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        wait_for(lambda: list(tmp_path.rglob("checkpoint.safetensors")))
        assert len(workers(parent.pid)) == 2
        parent.send_signal(number)
        _, said = parent.communicate(timeout=60)
        if number == signal.SIGTERM:
            assert workers(parent.pid) == []
            assert said == "stopped; the same command goes on where it was\n"
        assert parent.returncode == (130 if number == signal.SIGTERM else -number)
        wait_for(lambda: not workers(parent.pid))
        events = [record.read(file.parent).events for file in tmp_path.rglob("record.jsonl")]
        assert "interrupted" in [of_run[-1].get("cause") for of_run in events if of_run]
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(parent.pid, signal.SIGKILL)


def workers(group: int) -> list[int]:
    """The workers of a process group that have not ended (one that has, has no command line)."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            of = (entry / "stat").read_text().rpartition(")")[2].split()[2]
            if int(of) == group and b"--multiprocessing-fork" in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
    return found


def wait_for(holds: Callable[[], Any], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean 'dinno-mnist'"):
        reproduce.run("dino-mnist")


def test_mixing_in_place_agrees_on_a_biased_mean() -> None:
    """Ten agents on a cycle that hold 0 to 9 agree on 4.95 instead of 4.5."""
    mixing = mixed_in_place(graphs.cycle(10)).toarray()
    expected = np.arange(10.0)
    weights = graphs.metropolis(graphs.cycle(10)).toarray()
    for agent in range(10):
        expected[agent] = weights[agent] @ expected
    assert mixing @ np.arange(10.0) == pytest.approx(expected)
    agreed = np.linalg.matrix_power(mixing, 1000) @ np.arange(10.0)
    assert agreed == pytest.approx(np.full(10, 4.95), abs=5e-3)


def test_the_in_place_baselines_run_on_their_lopsided_weights() -> None:
    task = pl.tasks.digits(gradients="loop")
    for method in IN_PLACE.values():
        run = pl.train(task, method, graphs.cycle(10), rounds=2, weights=mixed_in_place)
        assert run.rounds == 2


def test_the_settings_are_the_published_ones() -> None:
    rho = METHODS["DiNNO"].rho  # type: ignore[attr-defined]
    grown = METHODS["DiNNO (rho x 1.003)"].rho  # type: ignore[attr-defined]
    assert rho(1999, 2000) == pytest.approx(0.91, abs=0.01)
    assert grown(1999, 2000) == pytest.approx(200, rel=0.01)
    assert all(len(g) == 10 for g in topologies().values())
    network = pl.tasks.models.dinno_cnn()
    assert sum(p.numel() for p in network.parameters()) == 28_440


def test_verdicts_compare_at_equal_loss() -> None:
    found = {
        "serial": Point(90, 0.0, 1.0),
        "nosync": Point(300, 0.0, 0.0),
        "periodic 1": Point(98, 0.0, 200.0),
        "periodic 2": Point(105, 0.0, 50.0),
        "periodic 3": Point(np.nan, np.nan, np.nan),
        "periodic 4": Point(125, 0.0, 20.0),
        "dynamic 0": Point(np.nan, np.nan, np.nan),
        "dynamic 1": Point(110, 0.0, 10.0),
        "dynamic 2": Point(100, 0.0, 40.0),
    }
    assert needed(found, 105) == pytest.approx(20)  # the geometric mean, half way
    assert needed(found, 99) is None
    assert needed(found, 111) is None
    assert verdicts(found) == [
        "dynamic 2, the nearest to the loss of periodic 1, has 2.0 % more, with 20 % of its "
        "communication.",
        "At the loss of periodic 2 the line through the dynamic protocols needs 40 % of its "
        "communication.",
        "dynamic 1, the nearest to the loss of periodic 4, has 12.0 % less, with 50 % of its "
        "communication.",
    ]
