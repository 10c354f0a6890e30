"""Laws of the minibatches: nothing lost, nothing twice, nothing that depends on the others."""

from __future__ import annotations

import numpy as np
import torch
from helpers import classification
from hypothesis import given, settings
from hypothesis import strategies as st

from peerlearn.learners.minibatches import Minibatches

AGENT = st.tuples(st.integers(1, 12), st.one_of(st.none(), st.integers(1, 15)))  # size, batch size
TEAMS = st.lists(AGENT, min_size=1, max_size=5)


def sampler(team, agents=None, seed=0):
    sizes, batch_sizes = zip(*team, strict=True)
    return Minibatches(agents or range(len(team)), sizes, batch_sizes, seed)


def drawn(minibatches, row, times, alone=True):
    """What agent ``row`` sees in so many minibatches, one after the other."""
    seen = []
    for _ in range(times):
        for places, index in minibatches.next([row] if alone else None):
            chosen = np.flatnonzero(places == (0 if alone else row))
            seen += [index[i].tolist() for i in chosen]
    return seen


@given(AGENT, st.integers(1, 12), st.integers(0, 2**40))
def test_each_epoch_sees_each_sample_once_without_a_gap(agent, times, seed):
    size, batch = agent
    batches = drawn(sampler([agent], seed=seed), 0, times)
    assert [len(b) for b in batches] == [batch or size] * times
    stream = [i for b in batches for i in b]
    for begin in range(0, len(stream) - size + 1, size):
        assert sorted(stream[begin : begin + size]) == list(range(size))
    rest = stream[len(stream) // size * size :]
    assert len(set(rest)) == len(rest)


@given(TEAMS, st.integers(1, 6), st.data())
def test_minibatches_do_not_depend_on_the_other_agents(team, times, data):
    row = data.draw(st.integers(0, len(team) - 1))
    alone = sampler([team[row]], agents=[row])
    assert drawn(sampler(team), row, times, alone=False) == drawn(alone, 0, times)


@given(TEAMS, st.data())
def test_rows_that_are_not_asked_stand_still(team, data):
    minibatches = sampler(team)
    asked = [data.draw(st.sets(st.integers(0, len(team) - 1))) for _ in range(6)]
    counts = np.zeros(len(team), int)
    seen = {row: [] for row in range(len(team))}
    for rows in map(sorted, asked):
        for places, index in minibatches.next(rows):
            for place, batch in zip(places, index.tolist(), strict=True):
                seen[rows[place]].append(batch)
        counts[rows] += 1
    for row, batches in seen.items():
        assert batches == drawn(sampler([team[row]], agents=[row]), 0, int(counts[row]))


@given(TEAMS, st.integers(0, 8), st.integers(1, 4), st.integers(0, 3))
def test_the_state_is_the_counts_of_samples_drawn(team, before, after, elsewhere):
    minibatches, other = sampler(team), sampler(team)
    for _ in range(before):
        minibatches.next()
    state = minibatches.state()
    assert state["drawn"].tolist() == [before * (b or n) for n, b in team]
    for _ in range(elsewhere):
        other.next()
    other.load(state)
    for _ in range(after):
        for mine, its in zip(minibatches.next(), other.next(), strict=True):
            assert torch.equal(mine.index, its.index)


@given(TEAMS)
@settings(max_examples=30)
def test_looking_ahead_draws_nothing(team):
    minibatches = sampler(team)
    looked = minibatches.next(advance=False)
    assert minibatches.drawn.tolist() == [0] * len(team)
    for ahead, group in zip(looked, minibatches.next(), strict=True):
        assert torch.equal(ahead.index, group.index)


def test_looking_ahead_for_one_agent_leaves_the_others_as_they_are():
    looking, plain = (sampler([(4, 4)] * 3) for _ in range(2))
    for _ in range(3):
        looking.next([0], advance=False)
        (group,), (expected,) = looking.next(), plain.next()
        assert torch.equal(group.index, expected.index)


@given(TEAMS)
@settings(max_examples=30)
def test_groups_hold_every_row_once_and_have_one_size_each(team):
    groups = sampler(team).next()
    assert sorted(np.concatenate([g.rows for g in groups]).tolist()) == list(range(len(team)))
    widths = [g.index.shape[1] for g in groups]
    assert len(set(widths)) == len(widths)


def test_none_takes_all_samples_in_their_order():
    assert drawn(sampler([(5, None)]), 0, 3) == [[0, 1, 2, 3, 4]] * 3


def test_epochs_agents_and_seeds_are_shuffled_differently():
    first, second = drawn(sampler([(12, 12)]), 0, 2)
    assert first != second
    assert drawn(sampler([(12, 12)], agents=[1]), 0, 1) != [first]
    assert drawn(sampler([(12, 12)], seed=1), 0, 1) != [first]


def test_a_task_clips_batches_to_the_data_of_the_agent():
    task = classification((3, 8), batch_size=5)
    assert [task.batch_size_of(a) for a in range(2)] == [3, 5]
    assert [classification((3, 8), batch_size=[9, None]).batch_size_of(a) for a in range(2)] == [
        3,
        None,
    ]
