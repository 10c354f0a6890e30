"""Serial, continuous, periodic and federated averaging: what they compute, and what they send."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers import classification, hosted, line_fit, samples, with_batch_norm
from torch import nn
from torch.nn.functional import mse_loss

import peerlearn as pl
from peerlearn.algorithms.averages import first_mean
from peerlearn.checks import coordinator_problems
from peerlearn.engines import ENGINES, StackedEngine
from peerlearn.graphs import metropolis
from peerlearn.testing.alone import advance, begin

AGENTS, DIMENSION = 5, 3
ROW = 8 * DIMENSION  # bytes of a network in float64
TASK = pl.tasks.quadratic(AGENTS, DIMENSION, smoothness=2.0, convexity=0.5, seed=1)


def run(method, rounds=4, task=TASK, **options):
    options = {"dtype": "float64", "device": "cpu", "evaluate_every": 1, **options}
    return pl.train(task, method, rounds=rounds, **options)


class Team:
    """A method on a task, whose state, learner and traffic can be looked at."""

    def __init__(self, method, task):
        self.method, self.learner = method, hosted(task)
        self.engine = StackedEngine(task.agents, metropolis, 10, dtype=torch.float64)
        self.state = begin(method, self.learner, self.engine.links(-1, None))

    def round(self, k):
        self.state = advance(self.method, self.state, self.learner, self.engine.links(k, None))
        return self.state


# --- messages and bytes, by hand -----------------------------------------------------------------


def test_periodic_averaging_sends_all_networks_up_and_down_every_period():
    record = run(pl.PeriodicAveraging(lr=0.05, period=3), rounds=7).record
    times = np.array([0, 0, 0, 1, 1, 1, 2, 2])  # averaged after the third and the sixth round
    for direction in ("sent", "received"):
        each = np.repeat(times[:, None], AGENTS, axis=1)
        np.testing.assert_array_equal(record.history[f"messages_{direction}"], each)
        np.testing.assert_array_equal(record.history[f"bytes_{direction}"], each * ROW)
        own = record.team[f"coordinator_messages_{direction}"]
        np.testing.assert_array_equal(own, times * AGENTS)
    np.testing.assert_array_equal(record.team["communication"], 2 * times * AGENTS * ROW)


def test_what_goes_over_the_coordinator_takes_time():
    seconds = run(pl.PeriodicAveraging(lr=0.05), rounds=2).record.seconds["exchange"]
    assert seconds[0] < seconds[-1]


@pytest.mark.parametrize("unselected", ["idle", "train"])
def test_only_the_selected_send_and_receive(unselected):
    method = pl.FedAvg(lr=0.05, fraction=0.4, local_steps=2, unselected=unselected)
    found = run(method, rounds=6)
    up = np.diff(found.history["messages_sent"], axis=0)
    down = np.diff(found.history["messages_received"], axis=0)
    np.testing.assert_array_equal(up, down)
    np.testing.assert_array_equal(up.sum(axis=1), [2] * 6)  # 0.4 of five agents
    assert (up.sum(axis=0) > 0).sum() > 2  # not always the same ones
    assert found.record.team["communication"][-1] == 6 * 4 * ROW
    drawn = found.final["gradient_evaluations"]
    expected = 2 * up.sum(axis=0) if unselected == "idle" else np.full(AGENTS, 12)
    np.testing.assert_array_equal(drawn, expected)


@pytest.mark.parametrize(("fraction", "count"), [(0.01, 1), (0.5, 2), (0.7, 4), (1.0, 5)])
def test_the_fraction_is_rounded_and_at_least_one(fraction, count):
    found = run(pl.FedAvg(lr=0.05, fraction=fraction), rounds=1)
    assert found.final["messages_sent"].sum() == count


def test_serial_learning_sends_the_raw_data():
    found = run(pl.Serial(lr=0.05), rounds=2)
    raw = 8 * (DIMENSION**2 + DIMENSION)
    assert found.final["bytes_sent"].tolist() == [raw] * AGENTS
    assert found.record.team["communication"][-1] == raw * AGENTS
    assert found.record.team["coordinator_bytes_received"][-1] == raw * AGENTS
    assert found.record.team["coordinator_messages_received"][-1] == AGENTS


# --- what is computed -----------------------------------------------------------------------------


def same(one, other):
    torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def summed(outputs, targets):
    return mse_loss(outputs, targets, reduction="sum")


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize(("loss", "serial"), [(summed, 0.01), (mse_loss, 0.03)])
def test_proposition_3(batch, loss, serial):
    """With sums, as in the paper, the serial rate is eta / m; with means it is eta itself."""
    eta, m = 0.03, 3
    data = [(samples(batch, a)[0], samples(batch, a + 50)[0][:, :1]) for a in range(m)]
    pool = [tuple(torch.cat(parts) for parts in zip(*data, strict=True))]
    model = {"model": lambda: nn.Linear(4, 1), "loss": loss, "batch_size": None}
    averaged = run(pl.PeriodicAveraging(lr=eta), 5, pl.Task(data=data, **model)).theta
    alone = pl.Isolated(lr=serial, optimizer="sgd")  # with mB samples a step
    same(averaged, run(alone, 5, pl.Task(data=pool, **model)).theta.expand(m, -1))


def test_continuous_averaging_with_full_gradients_is_centralized_training():
    central = run(pl.Centralized(lr=0.1, optimizer="sgd")).theta
    same(run(pl.PeriodicAveraging(lr=0.1)).theta, central.expand(AGENTS, -1))


@pytest.mark.parametrize("unselected", ["idle", "train"])
def test_federated_averaging_of_all_after_one_step_is_continuous_averaging(unselected):
    federated = pl.FedAvg(lr=0.1, fraction=1.0, local_steps=1, unselected=unselected)
    same(run(federated).theta, run(pl.PeriodicAveraging(lr=0.1)).theta)


def test_federated_averages_are_weighted_by_the_sizes_of_the_data():
    class Sized(pl.learners.QuadraticLearner):
        sizes = torch.tensor([1.0, 2.0, 3.0, 4.0, 10.0], dtype=torch.float64)

    learner = Sized(TASK.hessians, TASK.optima)
    engine = StackedEngine(AGENTS, metropolis, 1, dtype=torch.float64)
    method = pl.FedAvg(lr=0.1, fraction=1.0, local_steps=1)
    state = begin(method, learner, engine.links(-1, None))
    steps = -0.1 * learner.gradient(state.theta)
    state = advance(method, state, learner, engine.links(0, None))
    same(state.theta, (Sized.sizes[:, None] / 20 * steps).sum(dim=0).expand(AGENTS, -1))
    assert engine.traffic.communication == 2 * AGENTS * ROW  # sizes are known beforehand


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("steps", [1, 3])  # from the second on, agents step where they are
@pytest.mark.parametrize("unselected", ["idle", "train"])
def test_a_part_is_weighted_by_the_sizes_of_its_own_data(unselected, steps, seed):
    class Sized(pl.learners.QuadraticLearner):
        sizes = torch.tensor([1.0, 2.0, 3.0, 4.0, 10.0], dtype=torch.float64)

    learner = Sized(TASK.hessians, TASK.optima)
    engine = StackedEngine(AGENTS, metropolis, 1, dtype=torch.float64, seed=seed)
    method = pl.FedAvg(lr=0.1, fraction=0.4, local_steps=steps, unselected=unselected)
    state = begin(method, learner, engine.links(-1, None))
    alone = state.theta.clone()
    for _ in range(steps):
        alone -= 0.1 * learner.gradient(alone)
    state = advance(method, state, learner, engine.links(0, None))
    chosen = torch.from_numpy(engine.traffic.messages_sent > 0)
    assert int(chosen.sum()) == 2
    weights = Sized.sizes[chosen] / Sized.sizes[chosen].sum()
    same(state.theta[chosen], (weights[:, None] * alone[chosen]).sum(dim=0).expand(2, -1))


def test_the_unselected_idle_and_wait_for_the_global_network():
    team = Team(pl.FedAvg(fraction=0.5, local_steps=3, options={"momentum": 0.9}), classification())
    before = team.learner.state()
    state = team.round(0)
    chosen = team.engine.traffic.messages_sent == 1
    assert chosen.sum() == 2
    assert team.learner.gradient_evaluations().tolist() == (3 * chosen).tolist()
    moved = state.moments["momentum_buffer"].abs().sum(dim=1) > 0
    assert moved.tolist() == chosen.tolist()
    assert (state.theta == state.theta[0]).all()
    assert any(not torch.equal(v, before[n]) for n, v in team.learner.state().items())


def test_the_global_network_has_its_buffers_with_it():
    task = classification(model=with_batch_norm, buffers="mixed", batch_size=2)
    method = pl.FedAvg(fraction=0.5, local_steps=3)
    team = Team(method, task)
    first = team.learner.buffers[0].clone()
    team.round(0)
    buffers = team.learner.buffers
    assert (buffers == buffers[0]).all()
    assert not torch.equal(buffers[0], first)
    traffic = team.engine.traffic  # of two agents: network and buffers down, and both up again
    assert (traffic.messages_received.sum(), traffic.messages_sent.sum()) == (4, 4)


@pytest.mark.parametrize("unselected", ["idle", "train"])
def test_buffers_are_weighted_as_their_networks_are(unselected):
    task = classification((2, 4, 6, 12), model=with_batch_norm, buffers="mixed", batch_size=2)
    team, alone = (
        Team(pl.FedAvg(fraction=1.0, local_steps=1, unselected=unselected), task),
        hosted(task),
    )
    alone.gradient(alone.initial())
    team.round(0)
    weights = alone.sizes / alone.sizes.sum()
    same(team.learner.buffers, (weights @ alone.buffers).expand(4, -1))


@pytest.mark.parametrize(
    "method", [pl.PeriodicAveraging(), pl.DynamicAveraging(delta=1e-30, period=1)]
)
def test_buffers_are_averaged_with_their_networks(method):
    task = classification(model=with_batch_norm, buffers="mixed", batch_size=2)
    team, alone = Team(method, task), hosted(task)
    alone.gradient(alone.initial())
    team.round(0)
    same(team.learner.buffers, alone.buffers.mean(dim=0).expand(4, -1))


def test_the_unselected_who_train_keep_their_own_networks():
    team = Team(pl.FedAvg(fraction=0.5, unselected="train"), classification())
    theta = team.round(0).theta
    chosen = team.engine.traffic.messages_sent == 1
    assert (theta[chosen] == theta[chosen][0]).all()
    assert len(theta.unique(dim=0)) == 3  # the average, and two of their own
    assert team.learner.gradient_evaluations().tolist() == [5] * 4


@pytest.mark.parametrize("unselected", ["idle", "train"])
def test_epochs_are_as_long_as_the_data(unselected):
    method = pl.FedAvg(fraction=1.0, local_epochs=2, unselected=unselected)
    task = classification(sizes=(6, 5, 2, 1), batch_size=2)
    team = Team(method, task)
    team.round(0)
    assert team.learner.gradient_evaluations().tolist() == [6, 6, 2, 2]  # of 3, 3, 1, 1 batches
    assert method.gradients(rounds=1, epoch=3) == 6


def test_moments_stay_with_their_agent_and_who_sits_out_takes_no_step():
    method = pl.FedAvg(optimizer="adam", lr=0.01, fraction=1.0, local_epochs=1)
    team = Team(method, classification(sizes=(6, 2, 2, 6), batch_size=2))
    state = team.round(0)
    assert state.moments["step"].flatten().tolist() == [3, 1, 1, 3]
    assert len(state.moments["exp_avg"].unique(dim=0)) == 4
    assert (state.theta == state.theta[0]).all()


def test_periodic_averages_leave_moments_alone():
    settings = {"optimizer": "sgd", "options": {"momentum": 0.9}, "lr": 0.05}
    team = Team(pl.PeriodicAveraging(**settings), line_fit())
    alone = Team(pl.Isolated(**settings), line_fit())
    one, other = team.round(0), alone.round(0)
    assert torch.equal(one.moments["momentum_buffer"], other.moments["momentum_buffer"])
    same(one.theta, other.theta.mean(dim=0).expand_as(one.theta))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_networks_that_start_alike_have_exactly_their_network_in_common(dtype):
    theta = torch.rand(1, 7, dtype=dtype).expand(10, 7).contiguous()
    links = StackedEngine(10, metropolis).links(-1, None)
    assert torch.equal(first_mean(theta, links), theta[0])


def test_networks_that_start_apart_have_their_mean_in_common():
    links = StackedEngine(4, metropolis).links(-1, None)
    theta = torch.tensor([[1.0, 2], [1, 4], [1, 9], [1, 5]])
    assert first_mean(theta, links).tolist() == [1, 5]


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "rmsprop", "adagrad", "nadam"])
@pytest.mark.parametrize("kind", [pl.PeriodicAveraging, pl.FedAvg, pl.DynamicAveraging, pl.Serial])
def test_any_elementwise_optimizer_lowers_the_loss(kind, optimizer):
    found = run(kind(optimizer=optimizer, lr=0.02), rounds=30)
    loss = found.history["loss"].mean(axis=1)
    assert loss[-1] < 0.95 * loss[0]


@pytest.mark.parametrize("name", ["continuous", "periodicaveraging", "FedAvg", "serial"])
def test_methods_are_found_by_name(name):
    assert pl.algorithms.find(name) in pl.algorithms.ALGORITHMS


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: pl.PeriodicAveraging(period=0), "period is 0, expected at least 1"),
        (lambda: pl.PeriodicAveraging(period=1.5), "period is 1.5, expected a whole number"),
        (lambda: pl.FedAvg(fraction=0.0), "fraction is 0.0, expected more than 0 and at most 1"),
        (lambda: pl.FedAvg(fraction=1.5), "fraction is 1.5, expected more than 0 and at most 1"),
        (lambda: pl.FedAvg(fraction=-1), "fraction is -1, expected more than 0 and at most 1"),
        (
            lambda: pl.FedAvg(local_steps=2, local_epochs=1),
            "give one of them, and the other as None",
        ),
        (lambda: pl.FedAvg(local_epochs=0), "local_epochs is 0, expected at least 1"),
        (lambda: pl.FedAvg(local_steps=0), "local_steps is 0, expected at least 1"),
        (lambda: pl.FedAvg(unselected="wait"), "unselected is 'wait'"),
    ],
)
def test_bad_settings_are_said_once(make, complaint):
    with pytest.raises(ValueError, match=complaint) as caught:
        make()
    assert str(caught.value).count("expected") <= 1


def test_a_method_that_needs_a_coordinator_is_refused_where_there_is_none(monkeypatch):
    class Without:
        has_coordinator = False

    monkeypatch.setitem(ENGINES, "processes", Without)
    (complaint,) = coordinator_problems(pl.FedAvg(), "processes")
    assert complaint == (
        "FedAvg needs a coordinator, which the engine 'processes' does not have; use stacked"
    )
    assert not coordinator_problems(pl.FedAvg(), "stacked")
    assert not coordinator_problems(pl.DSGD(), "processes")
