"""Messages and bytes, counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers import METHODS, classification, needs_quadratic, with_batch_norm

import peerlearn as pl
from peerlearn.engines import StackedEngine
from peerlearn.graphs import metropolis
from peerlearn.links import CONTROL_BYTES, Traffic

PARAMETERS = 4 * 5 + 5 + 5 * 3 + 3
DEGREES = np.array([1, 2, 2, 1])
VECTORS = {"DSGT": 2}  # network and tracker; all others send their network alone
TALKING = [m for m in METHODS.values() if m.communicates]
ROUNDS = 3


def sent(algorithm, task=None, graph=None, **options):
    run = pl.train(
        task or classification(), algorithm, pl.graphs.path(4) if graph is None else graph,
        rounds=ROUNDS, device="cpu", **options,
    )  # fmt: skip
    return {name: run.final[name].astype(int) for name in Traffic.names()}


@pytest.mark.parametrize("method", TALKING, ids=lambda m: m.__name__)
@pytest.mark.parametrize(("dtype", "size"), [("float32", 4), ("float64", 8)])
def test_one_message_to_each_neighbor_a_round(method, dtype, size):
    task, width = classification(), PARAMETERS
    if needs_quadratic(method):
        task, width = pl.tasks.quadratic(4, 7), 7
    found = sent(method(), task, dtype=dtype)
    each = VECTORS.get(method.__name__, 1) * width * size
    for direction in ("sent", "received"):
        assert found[f"messages_{direction}"].tolist() == (ROUNDS * DEGREES).tolist()
        assert found[f"bytes_{direction}"].tolist() == (ROUNDS * DEGREES * each).tolist()


def test_isolated_agents_send_nothing():
    assert not any(values.any() for values in sent(pl.Isolated()).values())


def test_centralized_training_sends_the_raw_data_once():
    task = classification(sizes=(6, 2, 3, 4))
    found = sent(pl.Centralized(), task)
    assert found["messages_sent"].tolist() == [1, 1, 1, 1]
    each_sample = 4 * 8 + 8  # four float64 features and an int64 class
    assert found["bytes_sent"].tolist() == [n * each_sample for n in (6, 2, 3, 4)]


def test_the_size_of_a_raw_sample_can_be_given():
    found = sent(pl.Centralized(), classification((6, 2, 3, 4), sample_bytes=5))
    assert found["bytes_sent"].tolist() == [30, 10, 15, 20]


def test_traffic_adds_up_over_evaluations():
    run = pl.train(
        classification(), pl.DSGD(), pl.graphs.path(4), rounds=3, evaluate_every=1, device="cpu"
    )
    expected = np.arange(4)[:, None] * DEGREES * PARAMETERS * 4
    assert run.history["bytes_sent"].tolist() == expected.tolist()


def test_mixed_buffers_are_a_message_of_their_own_and_local_ones_are_not_sent():
    norms = 5 + 5  # weight and bias of the batch norm
    row, buffers = 4 * (PARAMETERS + norms), 4 * (5 + 5)  # running mean and variance; no counter
    local, mixed = (
        sent(pl.DSGD(), classification(model=with_batch_norm, buffers=b))
        for b in ("local", "mixed")
    )
    assert local["bytes_sent"].tolist() == (ROUNDS * DEGREES * row).tolist()
    assert mixed["bytes_sent"].tolist() == (ROUNDS * DEGREES * (row + buffers)).tolist()
    assert mixed["messages_sent"].tolist() == (2 * ROUNDS * DEGREES).tolist()


def test_isolated_agents_do_not_mix_buffers():
    found = sent(pl.Isolated(), classification(model=with_batch_norm, buffers="mixed"))
    assert not found["bytes_sent"].any()


def test_links_that_failed_carry_nothing():
    schedule = pl.graphs.link_failures(pl.graphs.complete(4), p=0.5, seed=3)
    degrees = sum(np.array([schedule.at(k).degree[i] for i in range(4)]) for k in range(ROUNDS))
    assert degrees.sum() < ROUNDS * 12
    found = sent(pl.DSGD(), graph=schedule)
    assert found["messages_sent"].tolist() == degrees.tolist()
    assert found["bytes_received"].tolist() == (degrees * PARAMETERS * 4).tolist()


def engine(seed=5):
    return StackedEngine(total=4, weights=metropolis, dtype=torch.float64, seed=seed)


def test_the_coordinator_counts_both_ways():
    one = engine()
    links = one.links(0, None)
    rows = torch.arange(12.0, dtype=torch.float64).reshape(4, 3)
    flags = torch.tensor([False, True, False, True])
    assert links.coordinator.raised(flags) == [1, 3]
    assert links.hosted([1, 3]).tolist() == flags.tolist()
    assert torch.equal(links.coordinator.receive(rows, [1, 3]), rows[[1, 3]])
    assert torch.equal(links.coordinator.send(rows[0], [1, 2, 3]), rows[0])
    assert torch.equal(links.coordinator.ask(rows, [1, 2]), rows[[1, 2]])
    assert links.coordinator.ask_number(rows[:, 1], [0, 2]).tolist() == [1.0, 7.0]
    assert links.coordinator.ask(rows, []).shape == (0, 3)
    traffic, c = one.traffic, CONTROL_BYTES
    assert traffic.messages_sent.tolist() == [1, 2, 2, 1]
    assert traffic.bytes_sent.tolist() == [c, 2 * 24, 24 + c, 24]
    assert traffic.messages_received.tolist() == [1, 2, 3, 1]
    assert traffic.bytes_received.tolist() == [c, 24 + c, 24 + 2 * c, 24]
    assert traffic.coordinator_messages_received.tolist() == [6]
    assert traffic.coordinator_bytes_received.tolist() == [4 * 24 + 2 * c]
    assert traffic.coordinator_messages_sent.tolist() == [7]
    assert traffic.coordinator_bytes_sent.tolist() == [3 * 24 + 4 * c]
    assert traffic.communication == 7 * 24 + 6 * c


def test_setting_up_the_team_is_not_counted():
    one = engine()
    coordinator = one.links(-1, None).coordinator
    coordinator.receive(torch.zeros(4, 3), range(4))
    coordinator.ask(torch.zeros(4, 3), range(4))
    assert one.traffic.communication == 0


def test_the_coordinator_draws_alike_everywhere_and_differently_in_each_round_and_run():
    first, again, later, other = (
        torch.rand(3, generator=engine(seed).links(k, None).coordinator.generator)
        for seed, k in ((5, 0), (5, 0), (5, 1), (6, 0))
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, later)
    assert not torch.equal(first, other)


def test_traffic_goes_on_from_its_state():
    first, second = Traffic(3), Traffic(3)
    first.count(np.array([1, 2, 0]), np.array([0, 1, 1]), bytes_each=10)
    second.load(first.state())
    second.count(np.array([1, 0, 0]), np.array([0, 0, 2]), bytes_each=5)
    assert second.bytes_sent.tolist() == [15, 20, 0]
    assert second.messages_received.tolist() == [0, 1, 3]
    assert first.bytes_sent.tolist() == [10, 20, 0]


def test_counts_that_were_given_out_do_not_grow():
    traffic, ones = Traffic(2), np.ones(2, np.int64)
    traffic.count(ones, ones, 5)
    for given in (traffic.agents(), traffic.state()):
        kept = {name: counts.clone() for name, counts in given.items()}
        traffic.count(ones, ones, 5)
        traffic.count_coordinator([0, 1], up=3, down=3)
        assert all(torch.equal(given[name], kept[name]) for name in kept)
