"""A run that was stopped anywhere goes on to the same numbers, bit for bit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import (
    METHODS,
    classification,
    needs_quadratic,
    network,
    recorded,
    same_history,
    with_everything,
)

import peerlearn as pl
from peerlearn.checkpoint import FILE_NAME as CHECKPOINT
from peerlearn.checkpoint import load, save
from peerlearn.errors import ConfigurationError


class Crash(Exception):
    pass


def crash_after(round):
    def strike(done):
        if done == round:
            raise Crash

    return strike


def scheduled(method):
    """The method with a schedule in every rate."""
    schedule = pl.schedules.log(0.02, 0.005)
    return method(**{f.name: schedule for f in fields(method) if f.name in ("lr", "rho")})


def failing(algorithm):
    if not algorithm.communicates:
        return None
    return pl.graphs.link_failures(pl.graphs.cycle(4), p=0.3, seed=2)


def train(task=None, algorithm=None, graph="failing", **options):
    algorithm = algorithm or pl.DSGD()
    settings = {"rounds": 9, "evaluate_every": 3, "device": "cpu", **options}
    chosen = failing(algorithm) if graph == "failing" else graph
    return pl.train(task or classification(), algorithm, chosen, **settings)


def check_resumed(make_task, algorithm, folder, **options):
    """Crash twice, at a checkpoint and between two, and compare with the run that did not."""
    options = {"checkpoint_every": 2, **options}
    whole = train(make_task(), algorithm, **options)
    for round in (4, 7):
        with pytest.raises(Crash):
            train(
                make_task(), algorithm, out=folder, resume=True, on_round=crash_after(round),
                **options,
            )  # fmt: skip
    resumed = train(make_task(), algorithm, out=folder, resume=True, **options)
    assert torch.equal(resumed.theta, whole.theta)
    same_history(resumed, whole)
    for name, values in recorded(folder).items():
        expected = whole.record.rounds if name == "rounds" else whole.history[name]
        np.testing.assert_array_equal(values, expected)
    events = resumed.record.events
    assert [e["kind"] for e in events if e["kind"] != "stop"] == ["resume", "resume", "end"]
    where = {"kind", "round", "device", "engine", "processes", "versions"}
    assert all({*e} == where for e in events if e["kind"] == "resume")
    assert {e["cause"] for e in events if e["kind"] == "stop"} == {"failed"}
    return resumed


@pytest.mark.parametrize("gradients", ["loop", "vmap"])
@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_every_method_resumes_to_the_bit(method, gradients, tmp_path):
    if needs_quadratic(method):
        check_resumed(lambda: pl.tasks.quadratic(4, 3), scheduled(method), tmp_path)
        return
    model = {"loop": with_everything, "vmap": network}[gradients]
    sizes = (6, 6, 6, 6) if method.pools_data else (5, 3, 8, 6)
    check_resumed(
        lambda: classification(sizes, model, gradients=gradients, buffers="mixed"),
        scheduled(method), tmp_path,
    )  # fmt: skip


ELSE = {
    "momentum": pl.Isolated(optimizer="sgd", options={"momentum": 0.9}),
    "adagrad": pl.Isolated(optimizer="adagrad"),
    "rprop": pl.Centralized(optimizer="rprop"),
    "persistent": pl.DiNNO(persistent=True),
    "clipped": pl.DSGT(clip=0.1, weight_decay=0.01),
    "mixed": pl.DSGD(gradient_at="mixed"),
    "strata": pl.Centralized(),
}


@pytest.mark.parametrize("algorithm", ELSE.values(), ids=ELSE)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_variants_resume_to_the_bit(algorithm, dtype, tmp_path):
    check_resumed(lambda: classification((5, 3, 8, 6), network), algorithm, tmp_path, dtype=dtype)


def test_transforms_resume_to_the_bit(tmp_path):
    def noisy(inputs, targets):
        return inputs + torch.randn_like(inputs), targets

    check_resumed(lambda: classification(transform=noisy), pl.DSGD(), tmp_path)


GRAPHS = {
    "one peer": lambda: pl.graphs.one_peer_exponential(4),
    "matchings": lambda: pl.graphs.random_matchings(pl.graphs.complete(4), seed=3),
    "positions": lambda: pl.graphs.proximity(4, 1.5, lambda k: np.eye(4)[:, :2] * (1 + k % 2)),
    "function": lambda: pl.graphs.function(lambda k: pl.graphs.cycle(4), agents=4),
}


@pytest.mark.parametrize("make", GRAPHS.values(), ids=GRAPHS)
def test_schedules_resume_to_the_bit(make, tmp_path):
    whole = train(graph=make())
    with pytest.raises(Crash):
        train(graph=make(), out=tmp_path, on_round=crash_after(5))
    resumed = train(graph=make(), out=tmp_path, resume=True)
    assert torch.equal(resumed.theta, whole.theta)
    same_history(resumed, whole)


def test_what_is_told_of_a_graph_in_parts_goes_on(tmp_path):
    def places(round):
        return [[0.0], [1.0], [2.0], [4.0 if round in (2, 3, 7) else 3.0]]

    def told(run):
        return [(e["round"], len(e["parts"])) for e in run.record.events if e["kind"] == "graph"]

    graph = pl.graphs.proximity(4, 1.0, places)
    with pytest.raises(Crash):
        train(graph=graph, out=tmp_path, on_round=crash_after(6))
    resumed = train(graph=graph, out=tmp_path, resume=True)
    assert told(resumed) == told(train(graph=graph)) == [(2, 2), (4, 1), (7, 2), (8, 1)]


@pytest.mark.parametrize("gradients", ["loop", "vmap"])
def test_the_choice_between_loop_and_vmap_is_kept(gradients, tmp_path, monkeypatch):
    def favor(way):
        seconds = {"loop": 1.0, "vmap": 1.0, way: 0.5}
        monkeypatch.setattr("peerlearn.learners.gradients._seconds", lambda w, _: seconds[w.name])

    favor(gradients)
    task = classification(gradients="auto")
    whole = train(task)
    assert whole.record.start["gradients"].startswith(f"{gradients}: ")
    with pytest.raises(Crash):
        train(task, out=tmp_path, on_round=crash_after(5))
    assert bool(load(tmp_path / CHECKPOINT).learner["vmapped"]) == (gradients == "vmap")
    favor({"loop": "vmap", "vmap": "loop"}[gradients])
    resumed = train(task, out=tmp_path, resume=True)
    assert torch.equal(resumed.theta, whole.theta)
    same_history(resumed, whole)


@pytest.mark.parametrize("round", [0, 3, 9])
def test_an_evaluation_whose_checkpoint_was_never_written_is_made_again(
    round, tmp_path, monkeypatch
):
    def crash(path, kept):
        if kept.round == round:
            raise Crash
        save(path, kept)

    options = {"out": tmp_path, "checkpoint_every": 1}
    with monkeypatch.context() as patch:
        patch.setattr("peerlearn.archive.checkpoints.save", crash)
        with pytest.raises(Crash):
            train(**options)
    resumed = train(**options, resume=True)
    assert pl.record.read(tmp_path).rounds.tolist() == [0, 3, 6, 9]
    same_history(resumed, train())


def test_each_checkpoint_is_written_once_after_its_record_is_on_the_disk(tmp_path, monkeypatch):
    """Also that of a round that is evaluated, and of one after which the run is stopped."""
    written = []
    monkeypatch.setattr(pl.record.Recorder, "keep", lambda self: written.append("record"))
    monkeypatch.setattr(
        "peerlearn.archive.checkpoints.save", lambda path, kept: written.append(kept.round)
    )

    def interrupt(done):
        if done == 5:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(out=tmp_path, checkpoint_every=1, on_round=interrupt)
    assert written == [step for round in range(6) for step in ("record", round)]


def test_a_finished_run_is_given_back(tmp_path):
    whole = train(out=tmp_path)
    text = (tmp_path / "record.jsonl").read_bytes()
    again = train(out=tmp_path, resume=True)
    assert torch.equal(again.theta, whole.theta)
    same_history(again, whole)
    assert again.rounds == 9
    assert (tmp_path / "record.jsonl").read_bytes() == text


def test_buffers_and_models_come_back_with_a_finished_run(tmp_path):
    task = classification(model=with_everything)
    first, again = train(task, out=tmp_path), train(task, out=tmp_path, resume=True)
    for one, other in zip(
        first.model(2).state_dict().values(), again.model(2).state_dict().values(), strict=True
    ):
        assert torch.equal(one, other)


def test_seconds_go_on(tmp_path):
    with pytest.raises(Crash):
        train(out=tmp_path, on_round=crash_after(5))
    resumed = train(out=tmp_path, resume=True)
    for name, values in resumed.record.seconds.items():
        assert (np.diff(values) >= 0).all(), name


def test_resuming_where_nothing_is_begins(tmp_path):
    assert torch.equal(train(out=tmp_path / "new", resume=True).theta, train().theta)


def test_a_run_that_was_killed_before_its_first_checkpoint_begins_anew(tmp_path):
    train(out=tmp_path)
    (tmp_path / CHECKPOINT).unlink()
    start, first, *_ = (tmp_path / "record.jsonl").read_text().splitlines(keepends=True)
    for text in ("", '{"kind": "start", "alg', start, start + first):
        (tmp_path / CHECKPOINT).unlink(missing_ok=True)
        (tmp_path / "record.jsonl").write_text(text)
        resumed = train(out=tmp_path, resume=True)
        assert torch.equal(resumed.theta, train().theta)
        assert pl.record.read(tmp_path).rounds.tolist() == [0, 3, 6, 9]


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """A folder for each case of killed.py, with one run that was killed and one that was not."""
    here, folder = Path(__file__).parent, tmp_path_factory.mktemp("killed")
    done = subprocess.run(
        [sys.executable, "-W", "error", str(here / "killed.py"), str(folder)],
        env={**os.environ, "PYTHONPATH": str(here), "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert all(int(kills) >= 2 for kills in done.stdout.split())
    return folder


@pytest.mark.parametrize("case", ["dsgt", "dinno", "dynamic"])
def test_a_run_killed_at_random_moments_gives_the_same_numbers(case, killed):
    struck, whole = killed / case / "killed", killed / case / "whole"
    assert any(e["kind"] == "resume" for e in pl.record.read(struck).events)
    first, second = recorded(struck), recorded(whole)
    assert first.keys() == second.keys()
    for name, values in first.items():
        np.testing.assert_array_equal(values, second[name], err_msg=name)
    one, other = load(struck / CHECKPOINT), load(whole / CHECKPOINT)
    assert one.round == other.round == 30
    for part in ("state", "learner", "traffic"):
        for name, value in getattr(one, part).items():
            assert torch.equal(value, getattr(other, part)[name]), name


# --- more rounds than were planned --------------------------------------------------------

GROWING = pl.schedules.geometric(0.1, 1.05)


@pytest.mark.parametrize("stopped", [False, True], ids=["finished", "stopped"])
@pytest.mark.parametrize(
    "algorithm", [pl.DiNNO(rho=GROWING, persistent=True), pl.DSGD(), pl.Centralized()],
    ids=lambda a: a.name,
)  # fmt: skip
def test_more_rounds_go_on_to_the_numbers_of_all_at_once(algorithm, stopped, tmp_path):
    def callback(evaluation):
        return stopped and evaluation["round"] == 6

    whole = train(algorithm=algorithm, rounds=12)
    train(algorithm=algorithm, rounds=9, out=tmp_path, callback=callback)
    longer = train(algorithm=algorithm, rounds=12, out=tmp_path, resume=True)
    assert torch.equal(longer.theta, whole.theta)
    same_history(longer, whole)
    kept = pl.record.read(tmp_path)
    assert kept.rounds.tolist() == [0, 3, 6, 9, 12]
    assert kept.start["rounds"] == 12
    assert [e["kind"] for e in kept.events if e["kind"] != "stop"] == ["resume", "end"]
    assert train(algorithm=algorithm, rounds=12, out=tmp_path, resume=True).rounds == 12


def test_fewer_rounds_are_fine_until_they_are_done(tmp_path):
    train(rounds=12, out=tmp_path, callback=lambda e: e["round"] == 6)
    assert train(rounds=9, out=tmp_path, resume=True).record.rounds.tolist() == [0, 3, 6, 9]
    with pytest.raises(ConfigurationError, match="rounds was 9 and is now 6"):
        train(rounds=6, out=tmp_path, resume=True)


def test_a_last_round_that_is_none_any_more_is_evaluated_no_more_than_others(tmp_path):
    train(rounds=8, out=tmp_path)
    assert pl.record.read(tmp_path).rounds.tolist() == [0, 3, 6, 8]
    longer = train(rounds=12, out=tmp_path, resume=True)
    assert longer.record.rounds.tolist() == [0, 3, 6, 9, 12]
    same_history(longer, train(rounds=12))


def test_a_round_that_becomes_the_last_one_is_evaluated(tmp_path):
    with pytest.raises(Crash):
        train(rounds=12, out=tmp_path, checkpoint_every=4, on_round=crash_after(5))
    shorter = train(rounds=4, out=tmp_path, resume=True)
    assert shorter.record.rounds.tolist() == [0, 3, 4]
    same_history(shorter, train(rounds=4))


def test_agents_that_move_go_on_for_more_rounds(tmp_path):
    def run(rounds, **options):
        task = pl.tasks.mapping(agents=3, scans=40, beams=8, validation=5, features=8, hidden=[8])
        graph = pl.graphs.proximity(3, radius=30.0)
        return train(task, pl.DSGD(), graph, rounds=rounds, **options)

    run(6, out=tmp_path)
    longer = run(9, out=tmp_path, resume=True)
    assert torch.equal(longer.theta, run(9).theta)


def test_a_later_drift_is_in_the_record_of_more_rounds(tmp_path):
    task = pl.tasks.digits_stream(agents=4, drift="labels", drift_probability=0.5)
    train(task, rounds=9, out=tmp_path)
    before = pl.record.read(tmp_path).drifts
    train(task, rounds=12, out=tmp_path, resume=True)
    assert pl.record.read(tmp_path).drifts == task.drifts(0, 12) > before


# --- what cannot be resumed ---------------------------------------------------------------


OTHERS = {
    "algorithm": ({"algorithm": pl.DSGT()}, ["algorithm was 'DSGD' and is now 'DSGT'"]),
    "setting": ({"algorithm": pl.DSGD(lr=0.5)}, ["settings.lr was", "is now 0.5"]),
    "numpy": ({"algorithm": pl.DSGD(lr=np.float64(0.5))}, ["settings.lr was", "is now 0.5"]),
    "seed": ({"seed": 4}, ["seed was 0 and is now 4"]),
    "rounds": ({"rounds": 6}, ["rounds was 9 and is now 6"]),
    "how often": ({"evaluate_every": 2}, ["evaluate_every was 3 and is now 2"]),
    "dtype": ({"dtype": "float64"}, ["dtype was 'float32' and is now 'float64'"]),
    "weights": ({"weights": "maximum_degree"}, ["weights was 'metropolis'"]),
    "graph": ({"graph": pl.graphs.complete(4)}, ["graph.edges was"]),
    "schedule": (
        {"graph": pl.graphs.link_failures(pl.graphs.cycle(4), p=0.4, seed=2)},
        ["graph.schedule was 'link_failures(p=0.3, seed=2)'", "p=0.4"],
    ),
    "batch": ({"task": classification(batch_size=3)}, ["task.batch_size was 2 and is now 3"]),
    "data": ({"task": classification((6, 6, 6, 7))}, ["task.samples.most was 6 and is now 7"]),
    "model": (
        {"task": classification(model=lambda: torch.nn.Linear(4, 3))},
        ["parameters was 43 and is now 15"],
    ),
    "several": ({"seed": 4, "rounds": 6}, ["seed was", "rounds was"]),
}


@pytest.mark.parametrize(("changed", "words"), OTHERS.values(), ids=OTHERS)
def test_another_configuration_is_refused_and_left_alone(changed, words, tmp_path):
    train(out=tmp_path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    for missing in (None, CHECKPOINT):  # without the checkpoint the record tells
        if missing:
            (tmp_path / missing).unlink()
            before.pop(missing)
        with pytest.raises(ConfigurationError, match="another configuration") as caught:
            train(**changed, out=tmp_path, resume=True)
        for word in words:
            assert word in str(caught.value)
        assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_more_rounds_are_refused_where_the_rates_would_have_been_others(tmp_path):
    algorithm = scheduled(pl.DSGD)
    train(algorithm=algorithm, out=tmp_path)
    with pytest.raises(ConfigurationError, match="rounds was 9 and is now 12, which changes lr"):
        train(algorithm=algorithm, rounds=12, out=tmp_path, resume=True)


@pytest.mark.parametrize("lines", [1, 2, 4])
def test_a_record_that_ends_before_its_checkpoint_is_told(lines, tmp_path):
    train(out=tmp_path)  # evaluated after 0, 3, 6 and 9 rounds
    record = tmp_path / "record.jsonl"
    whole = record.read_text().splitlines(keepends=True)
    record.write_text("".join(whole[:lines]) + whole[lines][:-9])
    kept = record.read_bytes()
    said = (
        rf"lacks the evaluation of round {3 * (lines - 1)}, though the checkpoint .* of round 9; "
    )
    with pytest.raises(ConfigurationError, match=said):
        train(out=tmp_path, resume=True)
    assert record.read_bytes() == kept


@pytest.mark.parametrize(("rounds", "until"), [(9, 6), (9, 3)])
def test_the_latest_evaluation_before_a_checkpoint_is_needed_too(rounds, until, tmp_path):
    train(out=tmp_path, rounds=rounds, callback=lambda e: e["round"] == until)
    record = tmp_path / "record.jsonl"
    lines = record.read_text().splitlines(keepends=True)
    record.write_text("".join(x for x in lines if f'"round": {until}, "measures"' not in x))
    with pytest.raises(ConfigurationError, match=f"lacks the evaluation of round {until}, though"):
        train(out=tmp_path, rounds=rounds, resume=True)


def test_a_record_whose_checkpoint_is_gone_is_left_alone(tmp_path):
    train(out=tmp_path)
    (tmp_path / CHECKPOINT).unlink()
    kept = (tmp_path / "record.jsonl").read_bytes()
    said = r"goes up to round 9, but checkpoint\.safetensors beside it is missing; put it back"
    with pytest.raises(ConfigurationError, match=said):
        train(out=tmp_path, resume=True)
    assert (tmp_path / "record.jsonl").read_bytes() == kept


def test_a_damaged_checkpoint_is_told(tmp_path):
    train(out=tmp_path)
    path = tmp_path / CHECKPOINT
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ValueError, match=r"no readable checkpoint .*; remove .* to train this run"):
        train(out=tmp_path, resume=True)


@pytest.mark.parametrize("left", [None, "", '{"kind": "sta'])
def test_a_checkpoint_without_its_record_is_told(left, tmp_path):
    train(out=tmp_path)
    (tmp_path / "record.jsonl").unlink()
    if left is not None:
        (tmp_path / "record.jsonl").write_text(left)
    with pytest.raises(ConfigurationError, match=r"has no record\.jsonl beside it .*; remove chec"):
        train(out=tmp_path, resume=True)


def test_numbers_of_numpy_are_numbers(tmp_path):
    numbers = {
        "rounds": np.int64(4), "seed": np.int64(3), "evaluate_every": np.int32(2),
        "checkpoint_every": np.uint8(1),
    }  # fmt: skip
    algorithm = pl.DiNNO(local_steps=np.int64(2))
    first = train(algorithm=algorithm, out=tmp_path, **numbers)
    plain = {name: int(value) for name, value in numbers.items()}
    again = train(algorithm=pl.DiNNO(local_steps=2), out=tmp_path, resume=True, **plain)
    assert torch.equal(first.theta, again.theta)
