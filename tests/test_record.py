"""The record: one JSON object a line, readable however it was cut short."""

from __future__ import annotations

import json
import math
import os
import re
from datetime import datetime, timedelta, timezone

import numpy as np
import pytest
import torch
from helpers import classification

import peerlearn as pl
from peerlearn import record
from peerlearn.checkpoint import FILE_NAME as CHECKPOINT
from peerlearn.lock import FILE_NAME as LOCK
from peerlearn.report import build


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The folder of a finished run, evaluated after rounds 0, 2, 4, 5."""
    folder = tmp_path_factory.mktemp("run")
    pl.train(
        classification(), pl.DSGD(lr=pl.schedules.decaying(0.1, mu=0.001)), pl.graphs.cycle(4),
        rounds=5, evaluate_every=2, seed=7,
        out=folder, label="mine", device="cpu",
    )  # fmt: skip
    return folder


def lines(folder):
    text = (folder / record.FILE_NAME).read_text().splitlines()
    return [json.loads(line, parse_constant=pytest.fail) for line in text]


def test_schema(written):
    start, *evaluations, end = lines(written)
    assert start["kind"] == "start"
    assert start["schema"] == record.SCHEMA
    named = {"algorithm": "DSGD", "label": "mine", "agents": 4, "parameters": 43, "rounds": 5}
    assert {k: start[k] for k in named} == named
    assert (start["seed"], start["dtype"], start["device"]) == (7, "float32", "cpu")
    assert start["settings"]["lr"] == {"schedule": "decaying", "start": 0.1, "mu": 0.001}
    assert start["task"]["samples"] == {"fewest": 6, "most": 6, "total": 24}
    assert start["graph"]["edges"] == [[0, 1], [0, 3], [1, 2], [2, 3]]
    assert start["gradients"] == "loop: asked for"
    assert start["versions"]["torch"] == torch.__version__
    started = datetime.fromisoformat(start["started"])
    assert timedelta(0) < datetime.now(timezone.utc) - started < timedelta(minutes=10)
    assert [e["round"] for e in evaluations] == [0, 2, 4, 5]
    for evaluation in evaluations:
        assert evaluation["kind"] == "evaluation"
        assert {len(v) for v in evaluation["measures"].values()} == {4}
        assert set(evaluation["seconds"]) == {"gradient", "exchange", "evaluation", "total"}
    assert end == {"kind": "end", "round": 5}


def test_a_run_of_which_nothing_is_drawn_has_two_files_and_its_lock(written):
    assert {p.name for p in written.iterdir()} == {record.FILE_NAME, CHECKPOINT, LOCK}


def test_the_measures_of_the_contract_are_all_there(written):
    assert set(record.read(written).history) == {
        "loss", "train_loss", "consensus_error", "consensus_error_normalized",
        "gradient_evaluations", "messages_sent", "bytes_sent", "messages_received",
        "bytes_received",
    }  # fmt: skip


def test_reading_gives_what_was_measured(written):
    run = pl.train(
        classification(), pl.DSGD(lr=pl.schedules.decaying(0.1, mu=0.001)), pl.graphs.cycle(4),
        rounds=5, evaluate_every=2, seed=7,
        device="cpu",
    )  # fmt: skip
    found = record.read(written)
    assert (found.label, found.seed, found.finished, found.folder) == ("mine", 7, True, written)
    assert found.rounds.tolist() == [0, 2, 4, 5]
    assert found.events == [{"kind": "end", "round": 5}]
    assert record.evaluated(written / record.FILE_NAME) == [0, 2, 4, 5]
    for name, values in run.history.items():
        np.testing.assert_array_equal(found.history[name], values)
        np.testing.assert_array_equal(found.final[name], values[-1])
    assert all((np.diff(s) >= 0).all() for s in found.seconds.values())


def test_a_record_cut_anywhere_reads_as_far_as_it_goes(written, tmp_path):
    whole = (written / record.FILE_NAME).read_bytes()
    ends = [i + 1 for i, byte in enumerate(whole) if byte == ord("\n")]
    path = tmp_path / record.FILE_NAME
    full = record.read(written)
    near = {e + d for e in ends for d in (-2, -1, 0, 1)} & set(range(len(whole) + 1))
    for cut in sorted({*range(0, len(whole), 37), *near}):
        path.write_bytes(whole[:cut])
        complete = sum(cut >= e - 1 for e in ends)  # only the newline may be missing
        if complete == 0:
            with pytest.raises(ValueError, match="holds no run"):
                record.read(path)
            continue
        found = record.read(path)
        count = min(complete - 1, 4)
        assert found.rounds.tolist() == full.rounds[:count].tolist()
        assert found.finished == (complete == 6)
        for name, values in found.history.items():
            np.testing.assert_array_equal(values, full.history[name][:count])


def test_a_record_cut_anywhere_can_be_written_on(written, tmp_path):
    whole = (written / record.FILE_NAME).read_bytes()
    path = tmp_path / record.FILE_NAME
    begin = whole.index(b"\n") + 1
    for cut in range(begin - 1, len(whole), 211):
        path.write_bytes(whole[:cut])
        before = record.read(path).rounds.tolist()
        record.cut(path, 2)
        recorder = record.Recorder(path)
        recorder.write("evaluation", round=9, measures={"loss": [1.0] * 4}, seconds={})
        recorder.close()
        assert record.read(path).rounds.tolist() == [k for k in before if k <= 2] + [9]


@pytest.mark.parametrize("left", [20, -20])
def test_damage_in_the_middle_is_told(left, written, tmp_path):
    path = tmp_path / record.FILE_NAME
    first, second, *rest = (written / record.FILE_NAME).read_text().splitlines(keepends=True)
    path.write_text("".join([first, second[:left] + "\n", *rest]))
    with pytest.raises(ValueError, match=r"is damaged: .* is not JSON") as caught:
        record.read(path)
    assert len(str(caught.value).replace(str(tmp_path), "")) < 200, "long lines are cut"


@pytest.mark.parametrize(
    ("line", "lack"),
    [
        ("[1]", "has no kind"),
        ('{"round": 2}', "has no kind"),
        ('{"kind": ["end"], "round": 2}', "has no kind"),
        ('{"kind": "start"}', "has no schema and no label and no seed and no agents and no rounds"),
        ('{"kind": "evaluation", "measures": {}}', "has no round and no seconds"),
        ('{"kind": "evaluation", "round": 9, "measures": [], "seconds": {}}', "has no measures"),
        ('{"kind": "stop"}', "has no round and no reason"),
        ('{"kind": "graph", "round": 2}', "has no parts"),
        ('{"kind": "end", "round": null}', "has no round"),
    ],
)
def test_a_line_that_lacks_something_is_told(line, lack, written, tmp_path):
    path = tmp_path / record.FILE_NAME
    path.write_text((written / record.FILE_NAME).read_text() + line + "\n")
    with pytest.raises(ValueError, match=rf"is damaged: line \d+, .*, {lack}; mend it, or remove"):
        record.read(path)


NUMBERS = {"loss": [1.0, 2.0, None, 4.0]}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ({"measures": {"loss": "low"}}, "measures.loss as 'low', expected a list of numbers"),
        ({"measures": {"loss": 0.5}}, "measures.loss as 0.5, expected a list of numbers"),
        ({"measures": {"loss": [1, "2", 3, 4]}}, "measures.loss as [1, '2', 3, 4], expected a l"),
        ({"measures": {"loss": [1, 2, 3]}}, "3 numbers as measures.loss, expected 4"),
        ({"measures": {"loss": [[1], [2], [3], [4]]}}, "measures.loss as [[1], [2], [3], [4]],"),
        ({"team": [7]}, "team as [7], expected a table"),
        ({"team": {"communication": "7"}}, "team.communication as '7', expected a number"),
        ({"seconds": {"total": "2.5"}}, "seconds.total as '2.5', expected a number"),
        ({"kind": "graph", "parts": [0, 1]}, "parts as [0, 1], expected a list of lists of agen"),
        ({"kind": "stop", "reason": "x", "cause": 1}, "cause as 1, expected a text"),
    ],
)
def test_a_line_that_was_mended_wrongly_is_told(line, said, written, tmp_path):
    path = tmp_path / record.FILE_NAME
    line = {"kind": "evaluation", "round": 9, "measures": NUMBERS, "seconds": {}, **line}
    path.write_text((written / record.FILE_NAME).read_text() + json.dumps(line) + "\n")
    with pytest.raises(ValueError, match=rf"damaged: line 7, .*, gives {re.escape(said)}.*; mend"):
        record.read(path)
    with pytest.raises(ValueError, match="damaged: line 7"):  # before it is written on
        record.cut(path, 5)


def drawn(**changed):
    return {"name": "path", "agents": 3, "edges": [[0, 1], [1, 2]], "schedule": None, **changed}


A_GRAPH = "expected a table of its name, its agents and the edges between them"
MOMENT = "expected a moment, as 2025-01-31T12:00:00+00:00"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("settings", [], "settings as [], expected a table"),
        ("task", "digits", "task as 'digits', expected a table"),
        ("versions", 3, "versions as 3, expected a table"),
        ("drifts", 5, "drifts as 5, expected a list of rounds"),
        ("drifts", [5, "6"], "drifts as [5, '6'], expected a list of rounds"),
        ("falls", ["loss"], "falls as ['loss'], expected a table"),
        ("falls", {"loss": 1}, "falls.loss as 1, expected true or false"),
        ("started", 2025, f"started as 2025, {MOMENT}"),
        ("started", "yesterday", f"started as 'yesterday', {MOMENT}"),
        ("graph", "path", f"graph as 'path', {A_GRAPH}"),
        ("graph", {"name": "path", "agents": 3}, A_GRAPH),
        ("graph", drawn(name=3), A_GRAPH),
        ("graph", drawn(agents="3"), A_GRAPH),
        ("graph", drawn(edges=2), A_GRAPH),
        ("graph", drawn(edges=[[0, 1, 2]]), A_GRAPH),
        ("graph", drawn(edges=[[0, 1], [2, 3]]), A_GRAPH),
        ("graph", drawn(edges=[[-1, 0]]), A_GRAPH),
        ("graph", drawn(positions=[[0.0, 1.0], [1.0, 0.0]]), A_GRAPH),
        ("graph", drawn(positions=[[0.0, 1.0, 0.0]] * 3), A_GRAPH),
        ("graph", drawn(positions=[["0", "1"]] * 3), A_GRAPH),
        ("graph", drawn(positions=[[0.0, 1.0], [1.0, 0.0], [1.0, None]]), A_GRAPH),
    ],
)
def test_a_first_line_that_was_mended_wrongly_is_told(name, value, said, written, tmp_path):
    path = tmp_path / record.FILE_NAME
    start, *rest = (written / record.FILE_NAME).read_text().splitlines(keepends=True)
    path.write_text("".join([json.dumps({**json.loads(start), name: value}) + "\n", *rest]))
    with pytest.raises(ValueError, match=rf"damaged: line 1, .*, gives .*{re.escape(said)}; mend"):
        record.read(path)


@pytest.mark.parametrize("null", [False, True])
def test_what_a_record_need_not_say_may_be_left_out(null, written, tmp_path):
    needed = {"kind", *record.OF_A_RUN, *(n for k in record.NEEDED.values() for n in k)}
    told = [
        {n: v if n in needed else None for n, v in line.items() if null or n in needed}
        for line in lines(written)
    ]
    for name, kept in (("mended", told), ("whole", lines(written))):
        (tmp_path / name).mkdir()
        path = tmp_path / name / record.FILE_NAME
        path.write_text("".join(json.dumps(line) + "\n" for line in kept))
    found, whole = record.read_all(tmp_path)
    assert (found.drifts, found.falls, found.team) == ([], {}, {})
    np.testing.assert_array_equal(found.history["loss"], whole.history["loss"])
    assert build(tmp_path).exists()


@pytest.mark.parametrize("graph", [drawn(), drawn(name=None, positions=[[0, 1]] * 3)])
def test_a_graph_that_was_mended_rightly_is_read(graph, written, tmp_path):
    path = tmp_path / record.FILE_NAME
    start, *rest = (written / record.FILE_NAME).read_text().splitlines(keepends=True)
    path.write_text("".join([json.dumps({**json.loads(start), "graph": graph}) + "\n", *rest]))
    assert record.read(path).start["graph"] == graph


def test_a_first_line_without_what_a_report_needs_is_told(written, tmp_path):
    path = tmp_path / record.FILE_NAME
    text = (written / record.FILE_NAME).read_text()
    path.write_text(text.replace('"label": "mine"', '"label": 3').replace('"rounds"', '"turns"', 1))
    with pytest.raises(ValueError, match=r"damaged: line 1, .*, has no label and no rounds; mend"):
        record.read(path)
    path.write_text(text.partition("\n")[2])
    with pytest.raises(ValueError, match=r"damaged: line 1, .*, is no start line; mend"):
        record.start_line(path)  # nor does a run go on from there


@pytest.mark.parametrize(
    ("events", "diverged", "finished"),
    [
        ([], None, False),
        (["resume", "diverged"], 7, False),
        (["diverged", "resume"], None, False),
        (["interrupted"], None, False),
        (["resume", "end"], None, True),
    ],
)
def test_how_a_run_has_ended(events, diverged, finished):
    start = {"kind": "start", "label": "x", "seed": 0, "drifts": [3], "falls": {"reward": False}}
    told = [
        {"kind": "stop", "round": 7, "cause": kind} if kind.endswith("ed") else {"kind": kind}
        for kind in events
    ]
    found = record.from_lines([start, *told])
    assert (found.diverged, found.finished, found.events) == (diverged, finished, told)
    assert (found.drifts, found.falls) == ([3], {"reward": False})


def test_bytes_that_are_no_text_are_damage(written, tmp_path):
    path = tmp_path / record.FILE_NAME
    path.write_bytes(b"\xff\n" + (written / record.FILE_NAME).read_bytes())
    with pytest.raises(
        ValueError, match=r"record.jsonl is damaged: line 1, .* is not JSON; mend it"
    ):
        record.read(path)


@pytest.mark.parametrize("schema", [0, 99])
def test_another_schema_is_refused(schema, written, tmp_path):
    path = tmp_path / record.FILE_NAME
    text = (written / record.FILE_NAME).read_text()
    path.write_text(text.replace('"schema": 1', f'"schema": {schema}'))
    with pytest.raises(ValueError, match=f"schema {schema}, expected 1"):
        record.read(path)


def test_cutting_keeps_the_rounds_that_are_not_run_again(written, tmp_path):
    path = tmp_path / record.FILE_NAME
    for round, kept in ((5, [0, 2, 4, 5]), (4, [0, 2, 4]), (3, [0, 2]), (0, [0])):
        path.write_bytes((written / record.FILE_NAME).read_bytes())
        left = record.cut(path, round)
        assert [x["kind"] for x in left] == ["start"] + ["evaluation"] * len(kept)
        found = record.read(path)
        assert found.rounds.tolist() == kept
        assert not found.finished
        assert left == lines(tmp_path)


def test_numbers_that_are_not_finite_are_null_on_disk_and_nan_when_read(tmp_path):
    recorder = record.Recorder(tmp_path / record.FILE_NAME)
    recorder.write("start", schema=1, label="x", seed=0, agents=3, rounds=2)
    values = [1.5, math.nan, math.inf]
    for k, loss in enumerate((values, np.array(values), torch.tensor(values))):
        recorder.write("evaluation", round=k, measures={"loss": loss}, seconds={})
    recorder.close()
    assert [x["measures"]["loss"] for x in lines(tmp_path)[1:]] == [[1.5, None, None]] * 3
    found = record.read(tmp_path)
    np.testing.assert_array_equal(found.history["loss"], [[1.5, math.nan, math.nan]] * 3)


def test_what_json_does_not_have_is_told_as_it_has_it():
    value = {1: (0.5, -math.inf, {"a": [np.float32("nan"), np.int64(3), None, "x", True]})}
    assert record.as_json(value) == {"1": [0.5, None, {"a": [None, 3, None, "x", True]}]}


def test_a_measure_that_comes_late_is_nan_before():
    start = {"kind": "start", "label": "x", "seed": 0}
    rows = [
        {"kind": "evaluation", "round": k, "measures": m, "seconds": {}}
        for k, m in enumerate([{"a": [1, 2]}, {"a": [3, 4], "b": [5, 6]}])
    ]
    found = record.from_lines([start, *rows])
    np.testing.assert_array_equal(found.history["b"], [[math.nan, math.nan], [5, 6]])


def test_a_line_is_on_disk_as_soon_as_it_is_written(tmp_path):
    recorder = record.Recorder(tmp_path / record.FILE_NAME)
    recorder.write("start", schema=1, label="x", seed=0, agents=3, rounds=2)
    assert record.read(tmp_path).label == "x"
    recorder.close()


def test_what_is_kept_is_on_the_disk(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(os.fstat(handle)))
    path = tmp_path / record.FILE_NAME
    recorder = record.Recorder(path)
    recorder.write("start", schema=1, label="x", seed=0, agents=3, rounds=2)
    recorder.keep()
    recorder.close()
    assert [(s.st_ino, s.st_size) for s in synced] == [(path.stat().st_ino, path.stat().st_size)]
    assert record.cut(path, 0)  # a checkpoint is there already
    assert (synced[1].st_ino, synced[1].st_size) == (path.stat().st_ino, path.stat().st_size)


def test_all_runs_below_a_folder_in_the_order_of_their_beginning(tmp_path):
    for name in ("b", "a", "c"):
        pl.train(
            classification(), pl.Isolated(), rounds=1, out=tmp_path / name, label=name, device="cpu"
        )
    assert [r.label for r in record.read_all(tmp_path)] == ["b", "a", "c"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"holds no run: no record\.jsonl"):
        record.read_all(tmp_path / "empty")
    with pytest.raises(ValueError, match=r"record\.jsonl is no record of a run, nor a folder that"):
        record.read(tmp_path / "empty")
