"""Rates that change with the round: closed forms, ends and errors."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerlearn import schedules
from peerlearn.schedules import RATES, value_at

EXAMPLES = {
    "constant": schedules.constant(0.3),
    "linear": schedules.linear(1.0, 0.2),
    "log": schedules.log(0.005, 0.0005),
    "geometric": schedules.geometric(0.5, 1.003),
    "decaying": schedules.decaying(0.1, mu=0.5),
    "diminishing": schedules.diminishing(0.1, scale=10.0, power=0.6),
}


def test_every_schedule_has_an_example():
    assert EXAMPLES.keys() == RATES.keys()
    assert all(type(EXAMPLES[name]) is kind for name, kind in RATES.items())


@pytest.mark.parametrize("schedule", EXAMPLES.values(), ids=EXAMPLES)
@given(round=st.integers(0, 300), rounds=st.integers(1, 300))
def test_every_value_is_positive_and_the_same_when_asked_again(schedule, round, rounds):
    value = schedule(round, rounds)
    assert math.isfinite(value)
    assert value > 0
    assert schedule(round, rounds) == value == value_at(schedule, round, rounds)


@pytest.mark.parametrize("schedule", EXAMPLES.values(), ids=EXAMPLES)
@pytest.mark.parametrize("rounds", [1, 2, 100])
def test_the_start_of_a_run_counts_as_its_first_round(schedule, rounds):
    first = getattr(schedule, "start", None) or schedule.value
    assert value_at(schedule, -1, rounds) == value_at(schedule, 0, rounds) == first


def test_a_plain_number_is_the_same_always():
    assert value_at(0.25, -1, 1) == value_at(0.25, 7, 10) == 0.25


@given(rounds=st.integers(2, 100))
def test_linear_and_log_end_where_they_should(rounds):
    line, curve = schedules.linear(1.0, 0.2), schedules.log(0.005, 0.0005)
    last = rounds - 1
    assert line(last, rounds) == pytest.approx(0.2)
    assert curve(last, rounds) == pytest.approx(0.0005)
    steps = [line(k + 1, rounds) - line(k, rounds) for k in range(last)]
    ratios = [curve(k + 1, rounds) / curve(k, rounds) for k in range(last)]
    assert steps == pytest.approx([steps[0]] * last)
    assert ratios == pytest.approx([ratios[0]] * last)
    assert line(rounds + 5, rounds) == pytest.approx(0.2)  # and stay there


@pytest.mark.parametrize("kind", RATES.values(), ids=RATES)
def test_numbers_of_numpy_are_kept_as_numbers_of_python(kind):
    own = {name: 0.75 for name in kind.__dataclass_fields__}
    given = kind(**{name: np.float32(value) for name, value in own.items()})
    assert repr(given) == repr(kind(**own))


def test_linear_may_reach_zero():
    assert schedules.linear(0.1, 0.0)(9, 10) == 0


@given(round=st.integers(0, 500))
def test_closed_forms(round):
    assert schedules.geometric(0.5, 1.003)(round, 1) == pytest.approx(0.5 * 1.003**round)
    slow = schedules.diminishing(0.1, scale=10.0, power=0.6)
    assert slow(round, 1) == pytest.approx(0.1 / (1 + round / 10) ** 0.6)


def test_decaying_follows_its_recursion_whatever_is_planned():
    alpha, schedule = 0.1, schedules.decaying(0.1, mu=0.5)
    for round in range(50):
        assert schedule(round, 20) == pytest.approx(alpha)
        assert schedule(round, 1000) == pytest.approx(alpha)
        alpha *= 1 - 0.5 * alpha


def test_what_is_not_given_is_as_documented():
    """mu as in DiNNO's experiments; the diminishing step has halved after a hundred rounds."""
    assert schedules.decaying(0.1)(1, 2) == pytest.approx(0.1 * (1 - 0.001 * 0.1), rel=1e-12)
    assert schedules.diminishing(0.1)(100, 200) == 0.05
    assert schedules.diminishing(0.1)(300, 400) == 0.025


def test_decaying_goes_like_one_over_mu_k():
    assert schedules.decaying(0.1, mu=1.0)(20_000, 20_001) == pytest.approx(1 / 20_000, rel=2e-3)


@pytest.mark.parametrize("name", ["start", "value", "end", "factor", "mu", "scale"])
@pytest.mark.parametrize("bad", [-0.1, math.nan, math.inf])
def test_negative_and_infinite_values_are_refused(name, bad):
    for kind in RATES.values():
        known = {f: 0.6 for f in kind.__dataclass_fields__}
        if name in known:
            with pytest.raises(ValueError, match=f"{name} of the {kind.__name__} schedule"):
                kind(**known | {name: bad})


@pytest.mark.parametrize("ends", [(0.0, 1.0), (1.0, 0.0)])
def test_log_needs_positive_ends(ends):
    with pytest.raises(ValueError, match="use linear to reach zero"):
        schedules.log(*ends)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"power": 0.5}, "more than 0.5 and at most 1"),
        ({"power": 1.1}, "more than 0.5 and at most 1"),
        ({"scale": 0.0}, "positive number of rounds"),
    ],
)
def test_diminishing_needs_steps_that_sum_up(options, message):
    with pytest.raises(ValueError, match=message):
        schedules.diminishing(0.1, **options)


@pytest.mark.parametrize("factor", [10, 10.0])
def test_what_grows_beyond_every_number_is_told_with_its_round(factor):
    schedule = schedules.geometric(1.0, factor)
    assert value_at(schedule, 308, 1000) == pytest.approx(1e308)
    with pytest.raises(ValueError, match=r"geometric\(start=1.0, .*too large .* in round 309"):
        value_at(schedule, 309, 1000)


def test_a_decaying_step_costs_nothing_however_many_rounds_are_planned():
    rate = schedules.decaying(0.1, 0.01)
    expected = 0.1
    for _ in range(3):
        expected *= 1 - 0.01 * expected
    assert schedules.value_at(rate, 3, 10**20) == expected
    assert rate.telling(10**20) == {0, 1}
    assert schedules.value_at(rate, 0, 10**20) == 0.1
