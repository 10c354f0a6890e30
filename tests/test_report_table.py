"""The table of a report: every number is the record's."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up import KILLED, METHODS, STOP, changed, drawn_lines, lines, printed, streamed

from peerlearn.record import from_lines, read_all
from peerlearn.report import Number, spreadsheet, style, summarize
from peerlearn.report.figures import draw
from peerlearn.report.numbers import NOTHING, over_seeds, show
from peerlearn.report.summary import cells
from peerlearn.report.table import narrow


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


def test_measures_named_like_columns_hide_no_column_and_are_not_hidden(tmp_path: Path) -> None:
    named = {"rounds": 7.0, "worst_agent": 9.0, "mean": 0.75, "recent_loss": 0.1}
    told = lines("DSGD")
    for line in told[1:-1]:
        line["measures"] |= {name: [value] * 10 for name, value in named.items()}
    plain, (row,) = summarize([from_lines(lines("DSGD"))])[0], summarize([from_lines(told)])
    shown = cells(row)
    own = {"rounds (own)": "7", "worst agent (own)": "9", "mean": "0.75", "recent loss": "0.1"}
    assert shown == cells(plain) | own
    spreadsheet.save([row], tmp_path / "table.csv")
    with (tmp_path / "table.csv").open(encoding="utf-8") as file:
        (found,) = csv.DictReader(file)
    assert (found["rounds"], float(found["rounds (own)"])) == (str(row.rounds[0]), 7)
    assert row.mean
    assert (float(found["mean"]), float(found["mean (own)"])) == (row.mean.mean, 0.75)


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
    assert first.consensus_error == (records[1].final["consensus_error"].mean(), None)
    assert (lone.consensus_error, lone.generalization_gap) == (None, None)
    (loss,) = [d for d in draw([records[0], records[2]]) if d.name == "loss"]
    assert loss.figure.axes[0].get_ylim()[1] < 10
    assert len(drawn_lines(loss, style.LIGHT[0])[0][0]) == 3, "of four evaluations the last is out"


def test_predictions_before_a_run_diverged_do_not_count() -> None:
    """What has been sent and computed until then does."""
    wild = streamed()
    wild[-1] = {"kind": "stop", "round": 60, "cause": "diverged", "reason": "DSGD diverged"}
    (row,) = summarize([from_lines(wild)])
    assert (row.mean, row.wrong, row.cumulative_loss) == (None, None, None)
    assert row.communication == (10 * 4810 * 4 * 2 * 60, None)
    assert row.gradient_evaluations == (120, None)


def test_one_network_of_all_has_no_worst_agent() -> None:
    pooled, one = summarize([from_lines(lines("Centralized")), from_lines(lines())])
    assert (pooled.worst, pooled.best) == (None, None)
    assert pooled.mean
    assert one.worst


def test_of_what_a_team_measures_no_agent_is_best() -> None:
    record = from_lines(lines(measure="team_reward"))
    (row,) = summarize([record])
    assert (row.best, row.worst, row.variance) == (None, None, None)
    assert row.mean == pytest.approx((record.final["team_reward"].mean(), None))


def test_of_one_agent_its_own_is_best_and_worst() -> None:
    (row,) = summarize([from_lines(lines("Isolated", agents=1))])
    assert row.best == row.worst == row.mean
    assert row.variance == (0, None)


def test_rounds_are_those_of_all_seeds_and_seconds_have_no_spread() -> None:
    whole, part = lines("DSGD"), [*lines("DSGD", seed=1)[:4], STOP]
    both, one = (summarize([from_lines(run) for run in runs]) for runs in ((whole, part), (part,)))
    assert [cells(row)["rounds"] for (row,) in (both, one)] == ["40 to 600 of 600", "40 of 600"]
    assert [r.total_seconds for (r,) in (both, one)] == [(0.017 * 320, None), (0.017 * 40, None)]


def test_where_the_last_evaluation_tells_no_seconds_the_one_before_does() -> None:
    run = lines()
    run[-2]["seconds"] = {}
    (row,) = summarize([from_lines(run)])
    assert row.total_seconds == (0.017 * 580, None)


def test_numbers_that_are_worked_out() -> None:
    run = lines()
    run[1]["measures"]["train_accuracy"] = [0.9] * 10  # the gap is that of the end
    (row,) = summarize([from_lines(run)])
    assert row.generalization_gap
    assert row.generalization_gap.mean == pytest.approx(0.01)
    assert cells(row)["generalization gap"] == "1.0\u00a0points"
    assert row.variance
    final = from_lines(lines()).final["accuracy"]
    assert row.variance.mean == pytest.approx(((final - final.mean()) ** 2).mean())
    assert row.total_seconds == (0.017 * 600, None)
    assert cells(row)["seconds: gradient / exchange / evaluation"] == "7.8 / 1.2 / 0.6"
    assert cells(row)["bytes sent per agent"] == "46.2 MB"


def test_seeds_give_mean_and_spread() -> None:
    records = [from_lines(lines("DSGD", seed=s)) for s in range(3)]
    (row,) = summarize(records)
    worst = [r.final["accuracy"].min() for r in records]
    assert row.seeds == (0, 1, 2)
    assert row.worst == pytest.approx((np.mean(worst), np.std(worst, ddof=1)))
    assert "±" in cells(row)["worst agent"]


def test_a_loss_is_best_where_it_is_smallest() -> None:
    (row,) = summarize([from_lines(lines(measure="position_error"))])
    assert row.measure == "position_error"
    assert row.best
    assert row.worst
    assert row.best.mean < row.worst.mean
    assert row.generalization_gap
    assert row.generalization_gap.mean == pytest.approx(-0.01)
    assert cells(row)["generalization gap"] == "-0.01"


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


SWEEPS = {
    "flat": ({"lr-0.1-s{}": 0.1, "lr-0.9-s{}": 0.9}, ["DSGD, lr-0.1-s", "DSGD, lr-0.9-s"]),
    "below": ({"low/{}": 0.1, "high/{}": 0.9}, ["DSGD, high", "DSGD, low"]),
    "again": ({"a/run{}": 0.1, "b/run{}": 0.1}, ["DSGD, a", "DSGD, b"]),
}


@pytest.mark.parametrize("name", SWEEPS)
def test_seeds_are_found_whatever_the_folders_are_called(name: str, tmp_path: Path) -> None:
    folders, expected = SWEEPS[name]
    for folder, lr in folders.items():
        for seed in (0, 1):
            start, *rest = lines("DSGD", seed=seed)
            run = tmp_path / folder.format(seed)
            run.mkdir(parents=True)
            changed = {**start, "settings": {"lr": lr}}
            text = "".join(json.dumps(x) + "\n" for x in [changed, *rest])
            (run / "record.jsonl").write_text(text)
    rows = {row.label: row.seeds for row in summarize(read_all(tmp_path))}
    assert rows == dict.fromkeys(expected, (0, 1))


def test_runs_that_were_written_and_runs_that_were_not_stand_in_one_table(tmp_path: Path) -> None:
    start, *rest = lines("DSGD")
    changed = [{**start, "settings": {"lr": lr}} for lr in (0.1, 0.5, 0.9)]
    folders = (None, tmp_path / "a", Path("b"))
    records = [from_lines([s, *rest], f) for s, f in zip(changed, folders, strict=True)]
    first, *others = [row.label for row in summarize(records)]
    assert first == "DSGD"
    assert [label.rpartition("/")[2] for label in others] == ["a", "b"]


OTHER = {
    "task": {"task": {"name": "digits", "partition": "iid", "batch": 16}},
    "graph": {"graph": {"agents": 4, "name": "cycle", "edges": [], "schedule": "p=0.9"}},
}


@pytest.mark.parametrize("change", OTHER.values(), ids=OTHER)
def test_other_tasks_and_graphs_are_no_seeds(change: dict, tmp_path: Path) -> None:
    for seed, own in enumerate(({}, change)):
        start, *rest = lines("DSGD", seed=seed)
        run = tmp_path / f"run-{seed}"
        run.mkdir()
        text = "".join(json.dumps(x) + "\n" for x in [{**start, **own}, *rest])
        (run / "record.jsonl").write_text(text)
    assert [row.seeds for row in summarize(read_all(tmp_path))] == [(0,), (1,)]


def test_unlike_runs_in_one_folder_are_not_averaged(tmp_path: Path) -> None:
    for seed, lr in enumerate((0.1, 0.9)):
        start, *rest = lines("DSGD", seed=seed)
        run = tmp_path / "x" / "DSGD" / f"seed-{seed}"
        run.mkdir(parents=True)
        text = "".join(json.dumps(x) + "\n" for x in [{**start, "settings": {"lr": lr}}, *rest])
        (run / "record.jsonl").write_text(text)
    assert [row.seeds for row in summarize(read_all(tmp_path))] == [(0,), (1,)]


def test_what_the_seed_deals_is_no_other_request(tmp_path: Path) -> None:
    for seed in (0, 1):
        start, *rest = lines("DSGD", seed=seed)
        task = {"name": "digits", "partition_seed": seed, "data": f"digest {seed}"}
        (tmp_path / f"run-{seed}").mkdir()
        text = "".join(json.dumps(x) + "\n" for x in [{**start, "task": task}, *rest])
        (tmp_path / f"run-{seed}" / "record.jsonl").write_text(text)
    assert [row.seeds for row in summarize(read_all(tmp_path))] == [(0, 1)]


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([], "not finished"),
        ([STOP], f"stopped after 40 rounds: {STOP['reason']}"),
        ([STOP | {"round": 1}], f"stopped after 1 round: {STOP['reason']}"),
        ([STOP, {"kind": "resume", "round": 40}], "not finished"),
        ([STOP, {"kind": "resume", "round": 40}, {"kind": "end", "round": 40}], ""),
    ],
)
def test_how_a_run_ended(events: list[dict], expected: str) -> None:
    (row,) = summarize([from_lines([*KILLED, *events])])
    assert "; ".join(row.remarks) == expected


def test_rounds_after_the_last_evaluation_are_done_too() -> None:
    (row,) = summarize([from_lines([*KILLED, {**STOP, "round": 47}])])
    assert row.rounds == (47,)


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
        (Number(1000), "consensus_error", "1,000"),
        (Number(-5000), "loss", "-5,000"),
        (Number(999_999), "loss", "999,999"),
        (Number(1e6), "loss", "1e+06"),
        (Number(-1234.56, 0.25), "team_reward", "-1,234.6 ± 0.2"),
        (Number(1_234_567.4), "messages_sent", "1,234,567"),
        (Number(1_234_567.4), "gradient_evaluations", "1,234,567"),
        (Number(0.25, 0.0), "loss", "0.25"),
        (None, "loss", "\N{EN DASH}"),
        (Number(0.034), "gradient_norm", "0.034"),
        (Number(2.34), "bytes_per_token", "2.34"),
        (Number(21), "points", "21"),
        (Number(0.02), "s", "0.02"),
    ],
)
def test_numbers_in_words(number: Number | None, measure: str, expected: str) -> None:
    assert show(number, measure) == expected


def test_the_table_of_a_stream() -> None:
    rows = summarize([from_lines(streamed(m)) for m in ("DSGD", "Centralized")])
    for row in rows:
        assert row.measure == "error_rate"
        assert row.mean == pytest.approx((0.225, None), nan_ok=False)
        assert row.cumulative_loss == (4000, None)
        assert row.wrong == pytest.approx((0.225, None))
        assert cells(row)["coordinator: sent / received"] == NOTHING
        assert cells(row)["wrong predictions"] == NOTHING, "they are the main measure"
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
