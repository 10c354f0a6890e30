"""Dynamic averaging: Algorithm 1 by hand, and Definition 2 on arbitrary networks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import peerlearn as pl
from peerlearn.algorithms.augmentation import STRATEGIES, Balancing, augmented
from peerlearn.algorithms.dynamic_averaging import DynamicState, Members
from peerlearn.engines import StackedEngine
from peerlearn.graphs import metropolis
from peerlearn.learner import Learner
from peerlearn.links import CONTROL_BYTES

TASK = pl.tasks.quadratic(5, 3, smoothness=2.0, convexity=0.5, seed=1)


class Moves(Learner):
    """Round k moves each agent's network by its row of ``moves[k]`` (with a rate of 1)."""

    def __init__(self, first, moves):
        self._first = torch.tensor(first, dtype=torch.float64)
        self._moves = [torch.tensor(m, dtype=torch.float64) for m in moves]
        self.agents = range(len(first))

    def initial(self):
        return self._first.clone()

    def gradient(self, theta, agents=None):
        return -self._moves.pop(0)

    def evaluate(self, theta):
        return {}

    def state(self):
        return {}

    def load(self, state):
        pass


def engine(agents):
    return StackedEngine(agents, metropolis, dtype=torch.float64)


def counts(traffic):
    return (
        traffic.messages_sent.tolist(), traffic.bytes_sent.tolist(),
        traffic.messages_received.tolist(), traffic.bytes_received.tolist(),
    )  # fmt: skip


def test_algorithm_1_by_hand():
    """Four agents, one parameter (8 bytes), delta 1, b = 2; the farthest from r is added first."""
    moves = [
        [[3.0], [0], [0], [0]],  # t = 1: not checked, though agent 0 has left the safe zone
        [[0.0], [-0.5], [-0.25], [0]],  # t = 2: f = 3, -0.5, -0.25, 0
        [[0.0], [0], [0], [0]],  # t = 3
        [[0.25], [-0.25], [0], [0]],  # t = 4: f = 1, 0.5, 0.75, 0: nobody violates
        [[0.0], [0], [0], [0]],  # t = 5
        [[4.0], [1.5], [1.25], [0]],  # t = 6: f = 5, 2, 2, 0: three violate
        [[0.0], [0], [0], [0]],  # t = 7
        [[-3.0], [0], [0], [0]],  # t = 8: f = -0.75, 2.25, 2.25, 2.25: one violates
    ]
    method = pl.DynamicAveraging(lr=1.0, delta=1.0, period=2, augment="farthest", optimizer="sgd")
    learner, one = Moves([[0.0]] * 4, moves), engine(4)
    state = method.start(learner.initial(), learner, one.links(-1, None))
    assert (state.reference.tolist(), state.violations.tolist()) == ([0.0], [0])
    c, model = CONTROL_BYTES, 8

    def advance(k):
        nonlocal state
        state = method.round(state, learner, one.links(k, None))
        return state.theta[:, 0].tolist()

    # t = 1: b does not divide it
    assert advance(0) == [3.0, 0.0, 0.0, 0.0]
    assert one.traffic.communication == 0

    # t = 2: agent 0 violates and sends 3; v = 1. 9 > 1, so the other three are asked how far they
    # are (control down and up): 0.25, 0.0625, 0. Agent 1 is asked for its network: mean 1.25, too
    # far still; then agent 2: mean 0.75, which is in the safe zone and goes to 0, 1 and 2.
    assert advance(1) == [0.75, 0.75, 0.75, 0.0]
    assert (state.reference.tolist(), state.violations.tolist()) == ([0.0], [1])
    assert counts(one.traffic) == (
        [1, 2, 2, 1], [model, c + model, c + model, c],
        [1, 3, 3, 1], [model, 2 * c + model, 2 * c + model, c],
    )  # fmt: skip
    assert one.traffic.coordinator_messages_sent.tolist() == [3 + 2 + 3]
    assert one.traffic.coordinator_bytes_sent.tolist() == [5 * c + 3 * model]
    assert one.traffic.coordinator_messages_received.tolist() == [1 + 3 + 2]
    assert one.traffic.coordinator_bytes_received.tolist() == [3 * c + 3 * model]

    # t = 3 is not checked, at t = 4 all conditions hold: silence
    before = one.traffic.communication
    assert before == 8 * c + 6 * model
    assert advance(2) == [0.75, 0.75, 0.75, 0.0]
    assert advance(3) == [1.0, 0.5, 0.75, 0.0]
    assert one.traffic.communication == before

    # t = 6: all but agent 3 violate: v = 1 + 3 = 4 = m, so agent 3 is asked for its network without
    # further question, all get the mean 9 / 4, which is the new reference, and v is zero again
    assert advance(4) == [1.0, 0.5, 0.75, 0.0]
    assert advance(5) == [2.25] * 4
    assert (state.reference.tolist(), state.violations.tolist()) == ([2.25], [0])
    assert one.traffic.communication == before + 3 * model + c + model + 4 * model

    # t = 8: agent 0 violates; with agent 1 the mean is 0.75, with 2 it is 1.25, at the border: in
    before = one.traffic.communication
    assert advance(6) == [2.25] * 4
    assert advance(7) == [1.25, 1.25, 1.25, 2.25]
    assert (state.reference.tolist(), state.violations.tolist()) == ([2.25], [1])
    assert one.traffic.communication == before + 6 * c + model + 2 * (c + model) + 3 * model


def test_the_counter_may_jump_over_m():
    """Two violations, then two more of three agents: v = 4 > 3 is a full synchronization."""
    moves = [[[2.0], [-2.0], [0.5]], [[2.0], [-2.0], [0.5]]]
    method = pl.DynamicAveraging(lr=1.0, delta=1.0, period=1, augment="random")
    learner, one = Moves([[0.0]] * 3, moves), engine(3)
    state = method.start(learner.initial(), learner, one.links(-1, None))
    state = method.round(state, learner, one.links(0, None))
    assert state.theta[:, 0].tolist() == [0.0, 0.0, 0.5]
    assert state.violations.tolist() == [2]
    state = method.round(state, learner, one.links(1, None))
    assert state.theta[:, 0].tolist() == [1 / 3] * 3
    assert state.reference.tolist() == [1 / 3]
    assert state.violations.tolist() == [0]


def test_balancing_that_reaches_all_is_a_full_synchronization():
    moves = [[[3.0], [3.0], [-0.5]]]
    method = pl.DynamicAveraging(lr=1.0, delta=1.0, period=1, augment="growing")
    learner, one = Moves([[0.0]] * 3, moves), engine(3)
    state = method.start(learner.initial(), learner, one.links(-1, None))
    state = method.round(state, learner, one.links(0, None))
    assert state.theta[:, 0].tolist() == [5.5 / 3] * 3
    assert (state.reference.tolist(), state.violations.tolist()) == ([5.5 / 3], [0])


# --- Definition 2 ---------------------------------------------------------------------------------


def last(balancing):
    """A strategy of one's own, whose answer is a tensor."""
    return torch.tensor(balancing.outside[-1:])


numbers = st.floats(-1e3, 1e3, width=64)


@st.composite
def situations(draw):
    shape = draw(st.integers(1, 7)), draw(st.integers(1, 4))
    theta = draw(arrays(np.float64, shape, elements=numbers))
    reference = draw(arrays(np.float64, shape[1], elements=numbers))
    violations = draw(st.integers(0, shape[0] - 1))
    return torch.from_numpy(theta), torch.from_numpy(reference), torch.tensor([violations])


@settings(max_examples=200, deadline=None)
@given(situations(), st.floats(1e-3, 1e6), st.sampled_from([*STRATEGIES, last]), st.integers(0, 99))
def test_definition_2(situation, delta, augment, round):
    theta, reference, violations = situation
    method = pl.DynamicAveraging(delta=delta, augment=augment)
    links = engine(len(theta)).links(round, None)
    learner = Moves(theta.tolist(), [])
    state = DynamicState(theta.clone(), {}, reference, violations)
    after = method.synchronize(state, learner, links).theta
    size = 1 + float(theta.abs().max())
    # (i) the mean is left as it is
    torch.testing.assert_close(after.mean(dim=0), theta.mean(dim=0), rtol=0, atol=1e-12 * size)
    # (ii) the divergence is at most delta
    divergence = float((after - after.mean(dim=0)).square().sum(dim=1).mean())
    assert divergence <= delta * (1 + 1e-9) + 1e-12 * size**2
    if bool(((theta - reference).square().sum(dim=1) <= delta).all()):
        assert torch.equal(after, theta)  # no violation, no change


# --- Algorithm 1 to the letter --------------------------------------------------------------------


@st.composite
def near_and_far(draw):
    """Whole numbers, so that every sum is exact: most agents near the reference, some far away."""
    shape = draw(st.integers(1, 12)), draw(st.integers(1, 3))
    theta = draw(arrays(np.int64, shape, elements=st.integers(-3, 3)))
    theta *= draw(arrays(np.int64, (shape[0], 1), elements=st.sampled_from([1, 1, 1, 40])))
    return theta, draw(arrays(np.int64, shape[1], elements=st.integers(-2, 2)))


def to_the_letter(theta, reference, delta, strategy, generator):
    """B, and how often it was augmented, if the mean is looked at after every augmentation."""
    away = np.square(theta - reference).sum(axis=1)
    inside, step = set(np.flatnonzero(away > delta).tolist()), 0

    def unsafe():
        sum_away = theta[sorted(inside)].sum(axis=0) - len(inside) * reference
        return np.square(sum_away).sum() > len(inside) ** 2 * delta

    while 0 < len(inside) < len(theta) and unsafe():
        outside = [i for i in range(len(theta)) if i not in inside]
        distances = torch.from_numpy(away)[outside]
        added = strategy(Balancing(outside, step, generator, lambda d=distances: d))
        inside, step = inside | {*added}, step + 1
    return sorted(inside), step


@settings(max_examples=300, deadline=None)
@given(near_and_far(), st.integers(1, 30), st.sampled_from(sorted(STRATEGIES)), st.integers(0, 9))
def test_asking_together_asks_whom_one_by_one_would(situation, delta, augment, round):
    theta, reference = situation
    one = engine(len(theta))
    members, steps = to_the_letter(
        theta, reference, delta, STRATEGIES[augment], one.links(round, None).coordinator.generator
    )
    rows, none = torch.from_numpy(theta).double(), torch.tensor([-len(theta)])  # v stays below m
    state = DynamicState(rows.clone(), {}, torch.from_numpy(reference).double(), none)
    method = pl.DynamicAveraging(delta=delta, augment=augment)
    after = method.synchronize(state, Moves(theta.tolist(), []), one.links(round, None)).theta
    if members:
        rows[members] = rows[members].mean(dim=0)
    torch.testing.assert_close(after, rows, rtol=0, atol=1e-12)
    violators = int((np.square(theta - reference).sum(axis=1) > delta).sum())
    asked_how_far = len(theta) - violators if augment == "farthest" and steps else 0
    sent = 2 * len(members) - violators + asked_how_far
    assert one.traffic.coordinator_messages_sent.tolist() == [sent]
    assert one.traffic.coordinator_messages_received.tolist() == [len(members) + asked_how_far]


@pytest.mark.parametrize(("first", "missing"), [(1.0, 0), (1.5, 1), (10.0, 4), (11.0, 5), (99, 19)])
def test_so_many_are_missing_at_least(first, missing):
    """Of 20 agents one is at ``first``, and the best that the others can do is to be at -1."""
    links = engine(20).links(0, None)
    theta = torch.full((20, 1), first, dtype=torch.float64)
    members = Members([0], theta, torch.zeros(1, dtype=torch.float64), links)
    assert members.missing(delta=1.0) == missing
    fewer = range(missing)
    assert all((first - n) / (1 + n) > 1 for n in fewer)


# --- the ends of the scale ------------------------------------------------------------------------


def run(method, rounds=6, **options):
    return pl.train(TASK, method, rounds=rounds, dtype="float64", device="cpu", **options)


@pytest.mark.parametrize("period", [1, 2, 3])
@pytest.mark.parametrize("augment", STRATEGIES)
def test_a_tiny_threshold_is_periodic_averaging(period, augment):
    dynamic = run(pl.DynamicAveraging(lr=0.1, delta=1e-30, period=period, augment=augment))
    periodic = run(pl.PeriodicAveraging(lr=0.1, period=period))
    torch.testing.assert_close(dynamic.theta, periodic.theta, rtol=0, atol=1e-12)
    assert dynamic.final["bytes_sent"].tolist() == periodic.final["bytes_sent"].tolist()


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_huge_threshold_is_no_synchronization_and_no_message(optimizer):
    dynamic = run(pl.DynamicAveraging(lr=0.1, delta=1e30, period=1, optimizer=optimizer))
    alone = run(pl.Isolated(lr=0.1, optimizer=optimizer))
    assert torch.equal(dynamic.theta, alone.theta)
    assert dynamic.record.team["communication"][-1] == 0


def test_a_larger_threshold_sends_less():
    sent = [
        run(pl.DynamicAveraging(lr=0.02, delta=d, period=1), 40).record.team["communication"][-1]
        for d in (1e-4, 1e-2, 1e-1)
    ]
    assert sent[0] > 1.5 * sent[1] > 2 * sent[2] > 0


# --- strategies -----------------------------------------------------------------------------------


def balancing(step=0, distances=None, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return Balancing([1, 4, 6, 7, 9], step, draw, distances or (lambda: None))


def test_random_adds_any_of_those_outside():
    seen = {tuple(STRATEGIES["random"](balancing(seed=s))) for s in range(60)}
    assert seen == {(1,), (4,), (6,), (7,), (9,)}


@pytest.mark.parametrize(("step", "count"), [(0, 1), (1, 2), (2, 4), (3, 5)])
def test_growing_doubles(step, count):
    added = augmented(STRATEGIES["growing"], balancing(step))
    assert len(added) == count
    assert set(added) <= {1, 4, 6, 7, 9}


def test_farthest_takes_the_one_with_the_largest_distance():
    found = STRATEGIES["farthest"](balancing(distances=lambda: torch.tensor([1.0, 3, 9, 2, 4])))
    assert found == [6]


def test_all_takes_all():
    assert STRATEGIES["all"](balancing()) == [1, 4, 6, 7, 9]


@pytest.mark.parametrize("added", [[], [2], [4, 4], [1, 10], 4, [4.5], None, torch.tensor(4)])
def test_a_strategy_must_add_agents_from_outside(added):
    with pytest.raises(ValueError, match=r"expected a list of at least one of \[1, 4, 6, 7, 9\]"):
        augmented(lambda b: added, balancing())


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"delta": 0.0}, "delta is 0.0, expected a positive number"),
        ({"delta": -1.0}, "delta is -1.0, expected a positive number"),
        ({"delta": float("nan")}, "delta is nan"),
        ({"period": 0}, "period is 0, expected at least 1"),
        ({"augment": "farthes"}, "augment is 'farthes'.*farthest"),
        ({"augment": 3}, "augment is 3"),
    ],
)
def test_bad_settings_are_said(options, complaint):
    with pytest.raises(ValueError, match=complaint):
        pl.DynamicAveraging(**options)
