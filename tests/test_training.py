"""The loop: what a run gives back, when it evaluates, who may watch and stop it."""

from __future__ import annotations

import json
import resource
import signal
import threading
from contextlib import suppress

import networkx as nx
import numpy as np
import pytest
import torch
from helpers import (
    METHODS,
    classification,
    graph_for,
    hosted,
    needs_quadratic,
    network,
    recorded,
    same_history,
    samples,
    with_batch_norm,
    with_everything,
)
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import Dataset

import peerlearn as pl
from peerlearn.algorithm import Needs
from peerlearn.checkpoint import FILE_NAME as CHECKPOINT
from peerlearn.checkpoint import load
from peerlearn.errors import ConfigurationError, Diverged, Unwritten
from peerlearn.meetings import first_fault


def train(task=None, algorithm=None, graph=None, **options):
    task, algorithm = task or classification(), algorithm or pl.DSGD()
    graph = graph_for(algorithm, task.agents) if graph is None else graph
    return pl.train(task, algorithm, graph, **{"rounds": 6, "device": "cpu", **options})


# --- what a run gives back ----------------------------------------------------------------


def test_a_run_has_networks_measures_and_models():
    run = train(classification(model=with_batch_norm), evaluate_every=2, dtype="float64")
    assert run.theta.shape == (4, 53)
    assert run.theta.dtype == torch.float64
    assert run.rounds == 6
    assert run.record.rounds.tolist() == [0, 2, 4, 6]
    inputs, targets = samples(10, 99)
    for agent in range(4):
        model = run.model(agent)
        assert not model.training
        loss = cross_entropy(model(inputs), targets).item()
        assert run.final["loss"][agent] == pytest.approx(loss, abs=1e-12)
        own_inputs, own_targets = samples(6, agent)
        own = cross_entropy(model(own_inputs), own_targets).item()
        assert run.history["train_loss"][-1, agent] == pytest.approx(own, abs=1e-12)


def test_a_model_is_a_copy():
    run = train()
    kept = run.theta.clone()
    model, other = run.model(0), run.model(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert torch.equal(run.theta, kept)
    assert torch.equal(torch.cat([p.flatten() for p in other.parameters()]), kept[1])


@pytest.mark.parametrize("agent", [4, -1])
def test_a_model_of_no_agent_is_refused(agent):
    with pytest.raises(ValueError, match=f"agent is {agent}: expected an agent from 0 to 3"):
        train().model(agent)
    with pytest.raises(ValueError, match=r"there is one network here; use run\.model\(0\)"):
        train(algorithm=pl.Centralized()).model(agent)


def test_quadratics_have_no_modules():
    run = train(pl.tasks.quadratic(4, 3), pl.ConsensusADMM())
    with pytest.raises(TypeError, match=r"rows of run\.theta"):
        run.model(0)


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_every_method_trains_and_repeats_to_the_bit(method):
    task = pl.tasks.quadratic(4, 3) if needs_quadratic(method) else classification()
    first, second = (train(task, method(), seed=3) for _ in range(2))
    assert torch.equal(first.theta, second.theta)
    same_history(first, second)
    rows = 1 if method.pools_data else 4
    assert first.theta.shape[0] == rows
    assert not torch.equal(first.theta, hosted(task, seed=3, dtype=torch.float32).initial()[:rows])
    assert first.final["loss"].shape == (rows,)


def test_seeds_change_the_run():
    assert not torch.equal(train(seed=0).theta, train(seed=1).theta)


def test_the_global_generator_is_left_as_it_was():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = train(classification(model=with_everything))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    assert torch.equal(train(classification(model=with_everything)).theta, first.theta)


def test_counting_raw_data_draws_nothing_from_the_global_generator():
    class Noise(Dataset):
        def __len__(self):
            return 3

        def __getitem__(self, index):
            return torch.randn(4), index

    before = torch.get_rng_state()
    run = train(classification(data=[Noise()] * 4), pl.Centralized(), rounds=1)
    assert torch.equal(torch.get_rng_state(), before)
    assert run.final["bytes_sent"].tolist() == [3 * (4 * 4 + 8)] * 4


def test_a_task_is_not_changed_by_training():
    model = network()
    kept = [p.detach().clone() for p in model.parameters()]
    task = classification(model=model)
    first, second = train(task), train(task)
    assert torch.equal(first.theta, second.theta)
    assert all(torch.equal(p, k) for p, k in zip(model.parameters(), kept, strict=True))


def test_writing_changes_no_number(tmp_path):
    silent, written = train(), train(out=tmp_path)
    assert torch.equal(silent.theta, written.theta)
    same_history(silent, written)
    for name, values in recorded(tmp_path).items():
        np.testing.assert_array_equal(values, {"rounds": [0, 1, 2, 3, 4, 5, 6]}.get(
            name, written.history.get(name)
        ))  # fmt: skip


def test_threads_other_than_the_main_one_can_train():
    found = []
    thread = threading.Thread(target=lambda: found.append(train().theta))
    thread.start()
    thread.join()
    assert torch.equal(found[0], train().theta)


# --- measures -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("algorithm", "each_round", "at_start"),
    [
        (pl.DSGD(), 1, 0),
        (pl.DSGT(), 1, 1),
        (pl.DiNNO(local_steps=3), 3, 0),
        (pl.Isolated(local_steps=2), 2, 0),
        (pl.Centralized(), 1, 0),
    ],
    ids=lambda x: getattr(x, "name", None),
)
def test_gradient_evaluations(algorithm, each_round, at_start):
    run = train(algorithm=algorithm, evaluate_every=2)
    counts = run.history["gradient_evaluations"]
    expected = at_start + each_round * np.array([0, 2, 4, 6])
    assert (counts == expected[:, None]).all()


def test_consensus_errors_are_distances_to_the_mean():
    run = train(dtype="float64")
    theta = run.theta.numpy()
    expected = np.linalg.norm(theta - theta.mean(axis=0), axis=1)
    np.testing.assert_allclose(run.final["consensus_error"], expected, rtol=1e-12)
    unit = theta / np.linalg.norm(theta, axis=1, keepdims=True)
    expected = np.linalg.norm(unit - unit.mean(axis=0), axis=1)
    np.testing.assert_allclose(run.final["consensus_error_normalized"], expected, rtol=1e-12)
    assert (run.history["consensus_error"][0] == 0).all()


def test_networks_so_large_that_their_squares_are_not_finite_are_still_apart():
    theta = torch.tensor([[1e25, 0.0], [0.0, 1e25]])
    half = torch.full((2,), 0.5**0.5)
    torch.testing.assert_close(pl.measure.consensus_error(theta) / 1e25, half)
    torch.testing.assert_close(pl.measure.consensus_error_normalized(theta), half)


def test_mixed_buffers_are_mixed_with_the_weights_of_the_round():
    task = classification((4, 6, 8), with_batch_norm, buffers="mixed", batch_size=None)
    graph = pl.graphs.path(3)
    run = train(task, graph=graph, rounds=1, dtype="float64")
    local = hosted(task)
    local.gradient(local.initial())
    mixed = torch.from_numpy(pl.graphs.metropolis(graph).toarray()) @ local.buffers
    for agent in range(3):
        found = dict(run.model(agent).named_buffers())
        assert int(found["1.num_batches_tracked"]) == 1
        rows = torch.cat([found["1.running_mean"], found["1.running_var"]])
        torch.testing.assert_close(rows, mixed[agent], rtol=0, atol=1e-14)


# --- when, and who watches ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("rounds", "every", "expected"),
    [
        (5, 2, [0, 2, 4, 5]),
        (4, 2, [0, 2, 4]),
        (3, 7, [0, 3]),
        (1, 1, [0, 1]),
        (40, None, list(range(0, 41, 2))),
        (3, None, [0, 1, 2, 3]),
    ],
)
def test_evaluations_at_the_start_the_end_and_in_between(rounds, every, expected):
    seen = []
    run = train(rounds=rounds, evaluate_every=every, callback=lambda e: seen.append(e["round"]))
    assert run.record.rounds.tolist() == seen == expected


def test_how_often_is_evaluated_changes_no_number():
    assert torch.equal(
        train(classification(model=with_everything), evaluate_every=1).theta,
        train(classification(model=with_everything), evaluate_every=6).theta,
    )


def test_a_callback_sees_each_evaluation():
    seen = []
    run = train(evaluate_every=3, callback=seen.append)
    assert [e["round"] for e in seen] == [0, 3, 6]
    for k, evaluation in enumerate(seen):
        assert evaluation["seconds"]["total"] > 0
        for name, values in evaluation["measures"].items():
            np.testing.assert_array_equal(values, run.history[name][k])


@pytest.mark.parametrize("stop", [0, 4, 6])
def test_a_callback_can_stop_the_run(stop, tmp_path):
    run = train(evaluate_every=2, out=tmp_path, callback=lambda e: e["round"] == stop)
    assert run.rounds == stop
    assert run.record.rounds.tolist() == list(range(0, stop + 1, 2))
    assert torch.equal(run.theta, train(rounds=6, callback=lambda e: e["round"] == stop,
                                        evaluate_every=2).theta)  # fmt: skip
    assert load(tmp_path / CHECKPOINT).round == stop
    last = run.record.events[-1]
    assert (last["kind"], last.get("cause")) == (
        ("end", None) if stop == 6 else ("stop", "callback")
    )
    assert run.record.diverged is None
    assert pl.record.read(tmp_path).finished == (stop == 6)
    resumed = train(evaluate_every=2, out=tmp_path, resume=True)
    assert torch.equal(resumed.theta, train(evaluate_every=2).theta)


def test_progress_is_told_after_each_round():
    seen = []
    train(rounds=4, on_round=seen.append)
    assert seen == [1, 2, 3, 4]


def test_checkpoints_come_as_often_as_asked(tmp_path):
    rounds = []
    train(
        rounds=6, evaluate_every=4, checkpoint_every=2, out=tmp_path,
        on_round=lambda _: rounds.append(load(tmp_path / CHECKPOINT).round),
    )  # fmt: skip
    assert rounds == [0, 2, 2, 4, 4, 6]


# --- signals ------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_cleanly_with_a_checkpoint(number, tmp_path):
    before = signal.getsignal(number)

    def strike(done):
        if done == 3:
            signal.raise_signal(number)

    with pytest.raises(KeyboardInterrupt, match="after round 3"):
        train(out=tmp_path, evaluate_every=6, on_round=strike)
    assert signal.getsignal(number) is before
    assert load(tmp_path / CHECKPOINT).round == 3
    text = (tmp_path / "record.jsonl").read_text().splitlines()[-1]
    assert json.loads(text) == {
        "kind": "stop", "round": 3, "cause": "interrupted", "reason": "interrupted",
    }  # fmt: skip
    resumed, whole = train(out=tmp_path, evaluate_every=6, resume=True), train(evaluate_every=6)
    assert torch.equal(resumed.theta, whole.theta)
    same_history(resumed, whole)


@pytest.mark.parametrize("fails", [False, True])
def test_signals_do_after_a_run_what_they_did_before(fails):
    def handlers():
        return [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

    def strike(done):
        assert not set(handlers()) & set(before)
        if fails:
            raise KeyError

    before = handlers()
    with suppress(KeyError):
        train(rounds=1, on_round=strike)
    assert handlers() == before


@pytest.fixture
def interruptible():
    """Ctrl-C interrupts, even where tests were started in the background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_second_signal_does_not_wait_for_the_round(tmp_path, interruptible):
    reached = []

    def strike(done):
        signal.raise_signal(signal.SIGINT)
        reached.append("first")
        signal.raise_signal(signal.SIGINT)
        reached.append("second")

    with pytest.raises(KeyboardInterrupt):
        train(out=tmp_path, on_round=strike)
    assert reached == ["first"]


def test_without_a_folder_a_signal_still_ends_the_run():
    with pytest.raises(KeyboardInterrupt, match="after round 1"):
        train(on_round=lambda _: signal.raise_signal(signal.SIGINT))


def test_a_learner_is_told_each_round_before_it_begins(monkeypatch):
    told = []

    def note(learner, theta, round):
        told.append((round, learner.gradient_evaluations().tolist()))

    monkeypatch.setattr(pl.learners.SupervisedLearner, "begin_round", note)
    train(algorithm=pl.DSGT(), rounds=3)
    assert told == [(-1, [0] * 4), (0, [1] * 4), (1, [2] * 4), (2, [3] * 4)]


def test_messages_of_a_round_go_over_its_own_graph():
    def star(round):
        return nx.Graph([(round, other) for other in range(4) if other != round])

    schedule = pl.graphs.function(star, 4, 4)
    run = train(graph=schedule, rounds=4, evaluate_every=1)
    sent = np.diff(run.history["messages_sent"], axis=0)
    np.testing.assert_array_equal(sent, 1 + 2 * np.eye(4))


# --- divergence ---------------------------------------------------------------------------


def test_the_first_fault_is_the_earliest_and_of_all_who_share_it():
    assert first_fault(torch.tensor([-1, -1])) is None
    assert first_fault(torch.tensor([7, 3, -1, 5, 3])) == (3, [1, 4])


def poisoned(agent=2):
    """A task in which one agent's data hold a NaN, where they are not evaluated."""
    data = [samples(6, seed=a) for a in range(4)]
    data[agent][0][1, 0] = float("nan")
    return classification(data=data, batch_size=None, training_sample=1)


@pytest.mark.parametrize("algorithm", [pl.Isolated(), pl.DSGD(), pl.DiNNO()], ids=lambda a: a.name)
def test_a_loss_that_is_nan_names_method_round_and_agent(algorithm, tmp_path):
    with pytest.raises(Diverged, match="loss of agent 2 is NaN") as caught:
        train(poisoned(), algorithm, out=tmp_path, label="mine")
    error = caught.value
    assert (error.method, error.round, error.agents) == ("mine", 1, [2])
    assert "round 1" in str(error)
    last = json.loads((tmp_path / "record.jsonl").read_text().splitlines()[-1])
    assert last == {"kind": "stop", "round": 1, "cause": "diverged", "reason": str(error)}
    assert pl.record.read(tmp_path).diverged == 1
    kept = load(tmp_path / CHECKPOINT)
    assert kept.round == 0
    assert kept.state["theta"].isfinite().all()


@pytest.mark.parametrize("algorithm", [pl.Centralized(), pl.Serial()], ids=lambda a: a.name)
def test_no_agent_is_blamed_where_one_learner_has_all_data(algorithm, tmp_path):
    with pytest.raises(Diverged, match="diverged in round 1: the loss is NaN or inf") as caught:
        train(poisoned(), algorithm, out=tmp_path)
    assert caught.value.agents == []
    assert pl.record.read(tmp_path).diverged == 1


def test_a_gradient_that_is_nan_at_the_start_is_found_before_any_checkpoint(tmp_path):
    with pytest.raises(Diverged, match="round 0: the tracker of agent 2 is NaN"):
        train(poisoned(), pl.DSGT(), out=tmp_path)
    assert not (tmp_path / CHECKPOINT).exists()


@pytest.mark.parametrize("method", [pl.DSGD, pl.DSGT, pl.CDMSGD], ids=lambda m: m.__name__)
def test_parameters_that_grow_without_bound_leave_the_last_good_checkpoint(method, tmp_path):
    task = pl.tasks.quadratic(4, 3)
    with pytest.raises(Diverged, match="smaller learning rate") as caught:
        train(task, method(lr=100.0), rounds=500, evaluate_every=2, out=tmp_path)
    assert caught.value.method == method.__name__
    assert set(caught.value.agents) <= set(range(4))
    kept = load(tmp_path / CHECKPOINT)
    assert 0 < kept.round < caught.value.round
    assert all(v.isfinite().all() for v in kept.state.values())
    assert pl.record.read(tmp_path).rounds[-1] == kept.round


def test_a_checkpoint_that_would_not_be_finite_is_not_written(tmp_path):
    def strike(done):
        signal.raise_signal(signal.SIGINT)

    class Broken(pl.DSGD):
        def round(self, s, learner, links):
            return s._replace(theta=super().round(s, learner, links).theta * float("nan"))

    with pytest.raises(Diverged, match="parameters of agents 0, 1, 2, 3"):
        train(algorithm=Broken(), evaluate_every=6, out=tmp_path, on_round=strike)
    assert load(tmp_path / CHECKPOINT).round == 0


@pytest.mark.parametrize("name", [n for n, a in METHODS.items() if Needs.MINIMIZE not in a.needs])
def test_parameters_at_a_rate_of_zero_stay_where_they_began(name):
    method, task = METHODS[name](), classification(rates={"0": 0.0})
    graph = pl.graphs.cycle(4) if method.communicates else None
    run = pl.train(task, method, graph, rounds=3, dtype="float64", device="cpu")
    first, last = task.models(0)[0].double(), run.model(0)
    torch.testing.assert_close(last[0].weight, first[0].weight, rtol=0, atol=1e-12)
    assert (last[2].weight - first[2].weight).abs().max() > 1e-4, "the others move"


def test_a_callback_cannot_change_what_was_measured():
    def meddle(evaluation):
        evaluation["measures"]["train_loss"] *= 100
        evaluation["measures"].pop("loss", None)

    runs = [
        pl.train(classification(), pl.Isolated(), rounds=2, device="cpu", callback=callback)
        for callback in (meddle, None)
    ]
    assert runs[0].history.keys() == runs[1].history.keys()
    assert (runs[0].history["train_loss"] == runs[1].history["train_loss"]).all()


def test_a_callback_that_returns_many_values_is_told():
    with pytest.raises(ValueError, match="the callback returned ndarray of several values"):
        pl.train(
            classification(), pl.Isolated(), rounds=2, device="cpu",
            callback=lambda e: e["measures"]["train_loss"] < 1,
        )  # fmt: skip


@pytest.mark.parametrize("method", [pl.DSGD(), pl.FedAvg(), pl.PeriodicAveraging()])
def test_a_mask_of_minus_infinity_in_a_buffer_stays(method):
    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = with_batch_norm()
            self.register_buffer("mask", torch.full((2, 2), -torch.inf).triu(1))

        def forward(self, x):
            return self.inner(x)

    task = classification((6,) * 20, model=Masked, buffers="mixed")
    graph = pl.graphs.erdos_renyi(20, p=0.5, seed=0) if method.communicates else None
    run = pl.train(task, method, graph, rounds=2, device="cpu")
    assert torch.equal(run.model(3).mask, Masked().mask)


class Reused(pl.graphs.GraphSchedule):
    """A schedule of a user's own that changes and returns one and the same graph."""

    agents, window = 4, 2

    def __init__(self, own: bool) -> None:
        self.graph, self.own = nx.empty_graph(4), own

    def at(self, round, positions=None):
        self.graph.clear_edges()
        self.graph.add_edges_from([(0, 1), (2, 3)] if round % 2 else [(1, 2), (0, 3)])
        return self.graph if self.own else self.graph.copy()


def test_a_schedule_may_return_the_same_graph_changed():
    one, other = (
        pl.train(pl.tasks.quadratic(4, 3), pl.DSGD(lr=0.05), Reused(own), rounds=9, device="cpu")
        for own in (True, False)
    )
    assert torch.equal(one.theta, other.theta)


@pytest.mark.parametrize(
    ("graph", "said"),
    [
        (nx.cycle_graph(5), "has 5 agents, expected 4"),
        (nx.DiGraph([(0, 1), (1, 2), (2, 3)]), "got a DiGraph"),
        (nx.Graph([(0, 0), (0, 1), (1, 2), (2, 3)]), "edges from an agent to itself|itself"),
    ],
)
def test_what_a_schedule_of_ones_own_returns_is_looked_at(graph, said):
    class Own(pl.graphs.GraphSchedule):
        agents, window = 4, 1

        def at(self, round, positions=None):
            return graph if round > 1 else nx.cycle_graph(4)

    with pytest.raises(ValueError, match=said):
        pl.train(pl.tasks.quadratic(4, 3), pl.DSGD(lr=0.05), Own(), rounds=9, device="cpu")


def test_a_signal_in_the_last_evaluation_stops_whoever_runs_several(tmp_path):
    def last(evaluation):
        if evaluation["round"] == 2:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt, match="after round 2"):
        pl.train(
            classification(), pl.Isolated(), rounds=2, device="cpu", out=tmp_path, callback=last
        )
    assert pl.record.read(tmp_path).finished


@pytest.mark.parametrize("fraction", [0.25, 0.5])
def test_losses_of_a_part_of_the_agents_are_told_for_the_right_ones(fraction):
    with pytest.raises(Diverged, match="FedAvg diverged in round"):
        pl.train(
            pl.tasks.quadratic(4, dimension=3), pl.FedAvg(lr=1e30, fraction=fraction), rounds=50,
            device="cpu",
        )  # fmt: skip


@pytest.mark.parametrize("where", ["test set", "training data"])
def test_data_that_are_not_finite_stop_a_run_where_networks_are_judged(where, tmp_path):
    task = classification()
    spoiled = task.test[0] if where == "test set" else task.data[2][0]
    spoiled[1] = float("nan")
    agents = "agents 0, 1, 2, 3" if where == "test set" else "agent 2"
    said = f"before any training the loss on the {where} of {agents} is NaN"
    with pytest.raises(ConfigurationError, match=said):
        train(task, out=tmp_path / "run")
    kept = pl.record.read(tmp_path / "run")
    assert kept.events[-1]["cause"] == "failed"
    assert not (tmp_path / "run" / CHECKPOINT).exists()


def test_any_error_ends_the_record(tmp_path):
    def broken(done):
        if done == 3:
            raise ZeroDivisionError("by hand")

    with pytest.raises(ZeroDivisionError):
        train(out=tmp_path / "run", on_round=broken)
    stop = pl.record.read(tmp_path / "run").events[-1]
    assert (stop["cause"], stop["round"]) == ("failed", 3)
    assert stop["reason"] == "ZeroDivisionError: by hand"


@pytest.mark.parametrize("room", [2_000, 20_000])
def test_a_full_disk_is_told_and_loses_nothing(room, tmp_path):
    whole = train(rounds=40, evaluate_every=1, dtype="float64")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        with pytest.raises(Unwritten, match=rf"cannot write {tmp_path}.*; make room for it and go"):
            train(rounds=40, evaluate_every=1, dtype="float64", out=tmp_path / "run")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not [*(tmp_path / "run").glob("*.tmp")]
    options = {"rounds": 40, "evaluate_every": 1, "dtype": "float64", "resume": True}
    assert torch.equal(train(out=tmp_path / "run", **options).theta, whole.theta)


class Fading(nn.Module):
    """A loss that is switched off by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = 1.0

    def forward(self, outputs, targets):
        return self.weight * cross_entropy(outputs, targets)


def test_a_loss_may_be_changed_while_it_is_used():
    loss = Fading()
    run = train(classification(loss=loss), on_round=lambda done: setattr(loss, "weight", 0.0))
    assert run.final["loss"].tolist() == [0.0] * 4
