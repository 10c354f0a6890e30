"""What a report takes from a record: which measure counts, and which way is better."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import CLASSES, classification, samples
from made_up import drawings, streamed
from torch import Tensor

import peerlearn as pl
from peerlearn.errors import ConfigurationError
from peerlearn.record import FILE_NAME, Record, from_lines, read_all
from peerlearn.report import build, summarize
from peerlearn.report.figures import draw
from peerlearn.report.measures import leading, measured, rises

FALLS = {"wer": True, "terror_accuracy": False}


def wrong(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs.argmax(dim=-1) != targets).double()


def right(outputs: Tensor, targets: Tensor) -> Tensor:
    return 1 - wrong(outputs, targets)


def learnable(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Inputs and the class that can be read from them."""
    inputs, _ = samples(count, seed)
    return inputs, inputs[:, :CLASSES].argmax(dim=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two methods; of the first measure less is better, though its name does not tell."""
    found = tmp_path_factory.mktemp("declared")
    data = [learnable(20, seed=agent) for agent in range(3)]
    task = classification(
        data=data, test=learnable(40, seed=9), falls=FALLS,
        measures={"wer": wrong, "terror_accuracy": right},
    )  # fmt: skip
    for name, lr in (("slow", 1e-4), ("quick", 0.3)):
        graph = pl.graphs.cycle(3)
        pl.train(task, pl.DSGD(lr=lr), graph, rounds=20, out=found / name, label=name)
    return found


def without_word(folder: Path, out: Path) -> list[Record]:
    """The same runs, had nobody declared anything."""
    for path in folder.rglob(FILE_NAME):
        first, *rest = path.read_text().splitlines()
        start = json.loads(first)
        assert start.pop("falls") == FALLS
        (out / path.parent.name).mkdir(parents=True)
        (out / path.parent.name / FILE_NAME).write_text("\n".join([json.dumps(start), *rest, ""]))
    return read_all(out)


def means(records: Sequence[Record], measure: str) -> dict[str, float]:
    return {r.label: float(r.final[measure].mean()) for r in records}


def test_what_falls_is_best_where_it_is_smallest(folder: Path) -> None:
    """Told by the record alone."""
    records = read_all(folder)
    for row, record in zip(summarize(records), records, strict=True):
        own = record.final["wer"]
        assert row.measure == "wer"
        assert row.best == (own.min(), None)
        assert row.worst == (own.max(), None)
        gap = own.mean() - record.final["train_wer"].mean()
        assert row.generalization_gap
        assert row.generalization_gap.mean == pytest.approx(gap)
    assert any(np.ptp(r.final["wer"]) > 0 for r in records), "else best and worst are the same"


def test_the_page_begins_with_the_method_that_fell_farthest(folder: Path, tmp_path: Path) -> None:
    records = read_all(folder)
    of = means(records, "wer")
    assert of["quick"] < of["slow"]
    page = build(folder, tmp_path).read_text(encoding="utf-8")
    assert page.index("Mean wer: quick") < page.index(", slow")
    drawing = {d.name: d for d in draw(records)}["rounds"]
    assert drawing.title == "Wer against rounds"
    lines = [np.asarray(line.get_ydata())[-1] for line in drawing.figure.axes[0].lines]
    assert lines == pytest.approx(list(of.values()))


def test_an_older_record_is_read_by_its_names(folder: Path, tmp_path: Path) -> None:
    records = without_word(folder, tmp_path)
    assert [rises(name, records) for name in ("wer", "terror_accuracy")] == [True, False]
    assert [rises(name, read_all(folder)) for name in FALLS] == [False, True]
    for row, record in zip(summarize(records), records, strict=True):
        assert row.best == (record.final["wer"].max(), None)


@pytest.mark.parametrize("name", ["wer", "train_wer"])
def test_training_data_are_measured_the_same_way(name: str, folder: Path) -> None:
    assert not rises(name, read_all(folder))


def test_a_task_that_declares_nothing_writes_nothing(tmp_path: Path) -> None:
    """And what is declared changes no configuration: runs from before go on."""
    plain = classification(measures={"wer": wrong})
    declaring = classification(measures={"wer": wrong}, falls={"wer": True})
    assert plain.describe() == declaring.describe()
    graph, options = pl.graphs.cycle(4), {"rounds": 2, "out": tmp_path}
    run = pl.train(plain, pl.DSGD(), graph, **options)
    assert "falls" not in run.record.start
    again = pl.train(declaring, pl.DSGD(), graph, resume=True, **options)
    assert again.record.rounds.tolist() == run.record.rounds.tolist()


def test_what_is_evaluated_and_what_environments_count_is_declared_alike() -> None:
    task = classification(evaluate=lambda module: {"latency_s": 0.1}, falls={"latency_s": True})
    run = pl.train(task, pl.DSGD(), pl.graphs.cycle(4), rounds=1)
    assert run.record.falls == {"latency_s": True}
    assert pl.tasks.pursuit().falls["first_capture"]


@pytest.mark.parametrize(
    ("falls", "said"),
    [
        (["wer"], "falls is ['wer'], expected a dict of name -> whether less is better"),
        ({"wer": "yes"}, "falls gives 'wer' 'yes', expected a dict"),
        ({"wre": True}, "falls names 'wre', which is no measure of the task's own; did you mean"),
        ({"loss": True}, "falls names 'loss', which is no measure of the task's own; known: wer"),
    ],
)
def test_mistakes_are_found_before_training(falls: Any, said: str) -> None:
    task = classification(measures={"wer": wrong}, falls=falls)
    with pytest.raises(ConfigurationError) as caught:
        pl.train(task, pl.DSGD(), pl.graphs.cycle(4), rounds=1)
    assert said in str(caught.value)


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


def test_a_stream_with_a_test_set_is_judged_by_its_accuracy() -> None:
    task = pl.tasks.digits_stream(2, pool="train", gradients="loop")
    record = pl.train(task, pl.DSGD(), pl.graphs.path(2), rounds=2).record
    (row,) = summarize([record])
    assert row.measure == "accuracy"
    assert row.cumulative_loss
    assert row.cumulative_loss.mean == pytest.approx(record.final["cumulative_loss"].sum())
