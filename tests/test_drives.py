"""Agents that drive and scan: what they learn from in each round, and where they are."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import kstest

import peerlearn as pl
from peerlearn.data.drives import Drive, uniform
from peerlearn.data.streams import interleaved
from peerlearn.mapping.scans import Points

LAP = (12, 10)  # scans of each agent's drive


def told(agent):
    """Scan s of agent a has s % 3 + 1 points at (a, s); a wall where s is odd."""
    counts = np.arange(LAP[agent]) % 3 + 1
    scan = np.repeat(np.arange(LAP[agent]), counts)
    places = np.stack([np.full(len(scan), agent), scan], axis=1).astype(float)
    return Points(places, scan % 2 == 1, np.concatenate([[0], counts.cumsum()]))


def poses():
    return [np.stack([np.arange(n), np.full(n, a)], axis=1) for a, n in enumerate(LAP)]


def drive(window=4, scans_per_round=1.5, closed=True, points=told):
    return Drive(poses(), points, window, scans_per_round, closed)


def seen(stream, round, agent=0, size=4000):
    agents, first = np.array([agent]), np.array([0])
    places, walls = stream.take(0, agents, first, size, round)
    assert (places[0, :, 0] == agent).all()
    assert torch.equal(walls[0], places[0, :, 1] % 2)
    return places[0, :, 1].int()


@pytest.mark.parametrize(
    ("round", "scans"),
    [(-1, {0, 1, 2, 3}), (0, {0, 1, 2, 3}), (1, {1, 2, 3, 4}), (2, {3, 4, 5, 6}),
     (6, {9, 10, 11, 0}), (1001, {1, 2, 3, 4})],
)  # fmt: skip
def test_an_agent_learns_from_its_latest_scans(round, scans):
    """4 + floor(1.5 round) scans were made, on laps of 12."""
    assert set(seen(drive(), round).tolist()) == scans


def test_points_come_alike_often():
    counts = torch.bincount(seen(drive(), 6, size=80_000), minlength=12)
    points = np.zeros(12)
    points[[9, 10, 11, 0]] = [1, 2, 3, 1]
    expected = 80_000 * points / points.sum()
    assert np.abs(counts.numpy() - expected).max() < 5 * np.sqrt(expected.max())


def test_an_open_drive_ends_where_it_ends():
    stream = drive(closed=False)
    assert set(seen(stream, 1000).tolist()) == {8, 9, 10, 11}
    assert stream.positions(1000).tolist() == [[11, 0], [9, 1]]


def test_without_a_window_all_scans_so_far_are_learned_from():
    stream = drive(window=None, closed=False)
    assert set(seen(stream, 0).tolist()) == {0, 1}
    assert set(seen(stream, 3).tolist()) == set(range(6))
    assert set(seen(drive(window=None), 100).tolist()) == set(range(12))


def test_positions_are_those_of_the_latest_scan():
    stream = drive()
    assert stream.positions(0).tolist() == [[3, 0], [3, 1]]
    assert stream.positions(5).tolist() == [[10, 0], [0, 1]]


def test_samples_depend_on_their_numbers_alone():
    stream = drive()
    whole = stream.take(3, np.array([0, 1]), np.array([5, 7]), 8, 2)
    for k, agent in enumerate((0, 1)):
        for n in range(8):
            one = stream.take(3, np.array([agent]), np.array([[5, 7][k] + n]), 1, 2)
            assert all(torch.equal(a[0, 0], b[k, n]) for a, b in zip(one, whole, strict=True))
    other = stream.take(4, np.array([0, 1]), np.array([5, 7]), 8, 2)
    assert not torch.equal(whole[0], other[0])


def test_pooled_minibatches_hold_those_of_all_agents():
    stream = drive()
    pooled, _ = interleaved(stream, [3, 2]).take(0, np.array([0]), np.array([5]), 5, 2)
    own = [stream.take(0, np.array([a]), np.array([n]), n, 2)[0][0] for a, n in ((0, 3), (1, 2))]
    assert torch.equal(pooled[0], torch.cat(own))


def test_numbers_are_uniform_and_independent():
    drawn = uniform(5, np.arange(100_000))
    assert kstest(drawn, "uniform").pvalue > 0.01
    assert abs(np.corrcoef(drawn[:-1], drawn[1:])[0, 1]) < 0.01
    assert abs(np.corrcoef(drawn, uniform(6, np.arange(100_000)))[0, 1]) < 0.01
    assert 0 <= drawn.min() <= drawn.max() < 1


def test_only_agents_that_draw_are_loaded():
    asked = []
    stream = drive(points=lambda agent: asked.append(agent) or told(agent))
    for _ in range(3):
        seen(stream, 1, agent=1)
    assert asked == [1]


def test_raw_data_are_counted_once():
    stream = drive()
    points = [1, 2, 3] * 4
    assert stream.raw_bytes(0, 0, 2) == 0
    assert stream.raw_bytes(0, 10**9, 2) == 9 * sum(points[:7])
    assert stream.raw_bytes(0, 10**9, 500) == 9 * sum(points)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"window": 11}, "window is 11 scans, but agent 1 makes only 10"),
        ({"window": 0}, "window is 0, expected a whole number"),
        ({"scans_per_round": 0}, "scans_per_round is 0, expected a positive"),
        ({"scans_per_round": float("inf")}, "scans_per_round is inf"),
    ],
)
def test_bad_settings_are_said(options, complaint):
    with pytest.raises(ValueError, match=complaint):
        drive(**options)


# --- on a graph of those who are near ---------------------------------------------------------


def task(stream):
    return pl.Task(
        model=lambda: torch.nn.Sequential(torch.nn.Linear(2, 1), torch.nn.Flatten(0)),
        loss=torch.nn.functional.mse_loss, data=stream, batch_size=4, gradients="loop",
    )  # fmt: skip


def meeting(apart="continue", radius=1.0):
    """Two agents on parallel lines, a step apart, who both turn back to the start in time."""
    return pl.graphs.proximity(2, radius, apart=apart)


def train(graph, tmp_path=None, rounds=12, **options):
    return pl.train(
        task(drive(scans_per_round=1.0)), pl.DSGD(lr=0.01), graph=graph, rounds=rounds,
        device="cpu", out=tmp_path, **options,
    )  # fmt: skip


def events(tmp_path):
    return [
        (e["round"], e["parts"]) for e in pl.record.read(tmp_path).events if e["kind"] == "graph"
    ]


def test_the_record_tells_when_the_graph_falls_apart(tmp_path):
    """Agent 1's lap is shorter: it turns back in round 7; in round 57 they are side by side."""
    train(meeting(), tmp_path, rounds=60)
    assert events(tmp_path) == [(7, [[0], [1]]), (57, [[0, 1]])]


def test_a_graph_that_may_not_fall_apart_is_refused_beforehand():
    with pytest.raises(pl.ConfigurationError, match=r"in round 7 the graph falls into 2 parts"):
        train(meeting("stop"))
    train(meeting("stop"), rounds=7)  # also where its end is drawn


def test_who_does_not_talk_does_not_mind_the_graph(tmp_path):
    for name, alone in {"isolated": pl.Isolated(), "centralized": pl.Centralized()}.items():
        pl.train(
            task(drive(scans_per_round=1.0)), alone, meeting("stop"), rounds=9, out=tmp_path / name
        )
        assert events(tmp_path / name) == []


def test_a_radius_too_small_for_the_whole_run_is_refused():
    with pytest.raises(
        pl.ConfigurationError, match=r"never come nearer to each other than 1; widen"
    ):
        train(meeting(radius=0.5))


def test_a_policy_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="'halt'"):
        meeting("halt")


@pytest.mark.parametrize("stop", [8, 60], ids=["while it is apart", "once it is whole again"])
def test_a_run_that_is_resumed_tells_the_same(stop, tmp_path):
    options = {"rounds": stop + 4, "evaluate_every": 4}
    whole = train(meeting(), tmp_path / "whole", **options)
    with pytest.raises(KeyboardInterrupt):
        train(meeting(), tmp_path / "cut", **options, on_round=_stop_after(stop))
    resumed = train(meeting(), tmp_path / "cut", **options, resume=True)
    assert events(tmp_path / "cut") == events(tmp_path / "whole") != []
    assert torch.equal(resumed.theta, whole.theta)


def _stop_after(round):
    def on_round(done):
        if done == round:
            raise KeyboardInterrupt

    return on_round
