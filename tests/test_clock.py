"""Seconds: those of each name add up, and go on after a run is resumed."""

from contextlib import suppress

import pytest

from peerlearn.measure import Clock


@pytest.fixture
def waiting(monkeypatch):
    """A function that lets so many seconds pass."""
    now = [1000.0]
    monkeypatch.setattr("peerlearn.measure.clock.time.perf_counter", lambda: now[0])
    return lambda seconds: now.__setitem__(0, now[0] + seconds)


def test_what_is_spent_under_a_name_adds_up_even_where_it_fails(waiting):
    clock = Clock()
    for seconds in (1, 2):
        with clock("gradient"):
            waiting(seconds)
    waiting(4)
    with suppress(KeyError), clock("exchange"):
        waiting(8)
        raise KeyError
    assert clock.read() == {"gradient": 3, "exchange": 8, "evaluation": 0, "total": 15}


def test_a_resumed_clock_goes_on_from_what_was_read(waiting):
    spent = {"gradient": 3.0, "exchange": 8.0, "evaluation": 0.0, "total": 15.0}
    clock = Clock()
    waiting(100)  # what was needed to begin again has been spent in no part of the run
    clock.resume(spent)
    with clock("evaluation"):
        waiting(2)
    assert clock.read() == {**spent, "evaluation": 2, "total": 17}
    assert spent["evaluation"] == 0
