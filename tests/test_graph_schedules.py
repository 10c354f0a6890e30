"""Graphs that change: pure functions of the round whose union connects the team."""

import itertools
import math
from functools import partial
from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import peerlearn as pl
from peerlearn import graphs
from peerlearn.graphs import SCHEDULES

BASE = graphs.erdos_renyi(12, p=0.4, seed=1)


def drifting(round: int) -> np.ndarray:
    """(12, 2) agents on a circle, each turning at its own pace."""
    angle = np.arange(12) * (1 + 0.1 * round)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


NEEDED: dict[str, dict[str, Any]] = {
    "link_failures": {"p": 0.3},
    "proximity": {"radius": 0.8, "positions": drifting, "window": 20},
}


def build(name: str) -> graphs.GraphSchedule:
    return graphs.build_schedule(name, BASE, **NEEDED.get(name, {}))


def edges(graph: nx.Graph) -> set[frozenset[int]]:
    return set(map(frozenset, graph.edges))


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_is_a_pure_function_of_the_round(name):
    one, other = build(name), build(name)
    forward = [edges(one.at(k)) for k in range(20)]
    backward = [edges(other.at(k)) for k in reversed(range(20))]
    assert forward == backward[::-1]


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_gives_plain_graphs_of_all_its_agents(name):
    schedule = build(name)
    assert schedule.agents == 12
    assert not schedule.any_graph, "no round's graph need be looked at, or copied"
    assert schedule.watched == (name == "proximity"), "where parts are no news, none is told"
    for k in range(10):
        graph = schedule.at(k)
        assert type(graph) is nx.Graph
        assert list(graph) == list(range(12))
        assert all(type(end) is int for edge in graph.edges for end in edge)
        assert nx.number_of_selfloops(graph) == 0


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_connects_the_team_within_its_window(name):
    schedule = build(name)
    union = nx.compose_all([schedule.at(k) for k in range(schedule.window)])
    assert nx.is_connected(union)
    assert graphs.problems(schedule) == []


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_serves_with_metropolis_weights(name):
    schedule = build(name)
    x = np.random.default_rng(0).normal(size=12)
    mean = x.mean()
    for k in range(300):
        x = graphs.metropolis(schedule.at(k)) @ x
    np.testing.assert_allclose(x, mean, atol=1e-3)


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_start_counts_as_round_0(name):
    assert edges(build(name).at(-1)) == edges(build(name).at(0))


@pytest.mark.parametrize("name", ["link_failures", "random_matchings"])
def test_seeds_and_rounds_give_different_graphs_from_the_edges_of_the_base(name):
    make = partial(graphs.build_schedule, name, BASE, **NEEDED.get(name, {}))
    drawn = [edges(make(seed=seed).at(k)) for seed in range(4) for k in range(4)]
    assert all(d <= edges(BASE) for d in drawn)
    assert len(set(map(frozenset, drawn))) == 16, "no seed's rounds are another's, moved"


@pytest.mark.parametrize("name", ["link_failures", "random_matchings"])
def test_the_order_of_the_edges_does_not_matter(name):
    shuffled = nx.Graph([(j, i) for i, j in reversed(list(BASE.edges))])
    other = graphs.build_schedule(name, shuffled, **NEEDED.get(name, {}))
    assert [edges(other.at(k)) for k in range(5)] == [edges(build(name).at(k)) for k in range(5)]


# -------------------------------------------------------------------------------- one by one


def test_a_static_schedule_is_the_graph():
    schedule = graphs.as_schedule(BASE)
    assert isinstance(schedule, graphs.static)
    assert edges(schedule.at(7)) == edges(BASE)
    assert schedule.at(0) is schedule.at(1)
    assert graphs.as_schedule(schedule) is schedule


def test_later_changes_of_a_graph_do_not_reach_its_schedule():
    mine = nx.cycle_graph(5)
    schedule = graphs.static(mine)
    mine.remove_edge(0, 1)
    assert schedule.at(0).has_edge(0, 1)


def test_links_fail_as_often_as_asked():
    schedule = graphs.link_failures(graphs.complete(20), p=0.3, seed=4)
    alive = np.mean([schedule.at(k).number_of_edges() / 190 for k in range(200)])
    assert alive == pytest.approx(0.7, abs=0.01)  # five standard deviations are 0.012
    assert edges(graphs.link_failures(BASE, p=0).at(3)) == edges(BASE)


@pytest.mark.parametrize("p", [0.0, 0.5, 0.95])
def test_the_window_of_link_failures_sees_the_bottlenecks(p):
    for seed in range(5):
        schedule = graphs.link_failures(graphs.path(20), p=p, seed=seed)
        seen = nx.compose_all([schedule.at(k) for k in range(schedule.window)])
        assert edges(seen) == edges(graphs.path(20))


@pytest.mark.parametrize(
    ("schedule", "missing"),
    [
        (graphs.link_failures(graphs.path(30), p=0.6), 0.6),
        (graphs.random_matchings(graphs.cycle(30)), 2 / 3),  # each edge has two rivals
        (graphs.random_matchings(graphs.complete(4)), 4 / 5),
    ],
    ids=["failures", "cycle", "complete"],
)
def test_the_window_is_the_shortest_that_misses_an_edge_once_in_a_million(schedule, missing):
    expected = len(schedule.edges) * missing ** np.array([schedule.window, schedule.window - 1])
    assert expected[0] <= 1e-6 < expected[1]


@given(n=st.integers(2, 14), p=st.floats(0.3, 1), seed=st.integers(0, 50), k=st.integers(0, 9))
@settings(max_examples=40, deadline=None)
def test_matchings_are_maximal_matchings(n, p, seed, k):
    base = graphs.erdos_renyi(n, p=p, seed=seed)
    schedule = graphs.random_matchings(base, seed=seed)
    assert nx.is_maximal_matching(base, set(schedule.at(k).edges))
    assert graphs.problems(schedule) == []


@given(n=st.integers(2, 70), k=st.integers(0, 60))
@settings(max_examples=60, deadline=None)
def test_one_peer_exponential_pairs_agents_one_hop_apart(n, k):
    schedule = graphs.one_peer_exponential(n)
    hop = 2 ** (k % math.ceil(math.log2(n)))
    graph = schedule.at(k)
    assert max(d for _, d in graph.degree) <= 1
    assert all((i - j) % n in (hop, n - hop) for i, j in graph.edges)
    cycles = math.gcd(n, hop)
    assert nx.number_of_isolates(graph) == (cycles if n // cycles % 2 else 0)


@pytest.mark.parametrize("n", range(2, 40))
def test_one_peer_exponential_connects_every_team(n):
    assert graphs.problems(graphs.one_peer_exponential(n)) == []


@pytest.mark.parametrize("n", [2, 4, 8, 16, 32, 64])
@pytest.mark.parametrize("sweep", [0, 1, 2])
def test_one_sweep_of_a_power_of_two_gives_the_exact_average(n, sweep):
    schedule = graphs.one_peer_exponential(n)
    product = np.eye(n)
    for k in range(sweep * schedule.hops, (sweep + 1) * schedule.hops):
        product = graphs.metropolis(schedule.at(k)) @ product
    np.testing.assert_allclose(product, np.full((n, n), 1 / n), atol=1e-14)


@pytest.mark.parametrize(("n", "sweeps"), [(8, 2), (7, 7)])
def test_rounds_with_the_same_pairs_share_a_graph(n, sweeps):
    """Which an engine then prepares once."""
    schedule = graphs.one_peer_exponential(n)
    drawn = [schedule.at(k * schedule.hops) for k in range(2 * sweeps)]
    assert len({*map(id, drawn)}) == sweeps
    assert len({frozenset(edges(graph)) for graph in drawn}) == sweeps
    still = graphs.proximity(3, 1.0, positions=lambda k: [[0.0], [k / 10], [2.0]])
    assert still.at(1) is still.at(2)


def test_one_peer_exponential_pairs_others_in_the_next_sweep():
    schedule = graphs.one_peer_exponential(8)
    assert edges(schedule.at(0)) == {frozenset(e) for e in [(0, 1), (2, 3), (4, 5), (6, 7)]}
    assert edges(schedule.at(3)) == {frozenset(e) for e in [(1, 2), (3, 4), (5, 6), (7, 0)]}


def test_nobody_always_sits_out_an_odd_team():
    schedule = graphs.one_peer_exponential(7)
    for k in range(3):
        idle = {next(nx.isolates(schedule.at(3 * sweep + k))) for sweep in range(7)}
        assert idle == set(range(7))


@given(seed=st.integers(0, 100), n=st.integers(1, 12), dimensions=st.integers(1, 3))
@settings(max_examples=30, deadline=None)
def test_proximity_links_those_within_the_radius(seed, n, dimensions):
    positions = np.random.default_rng(seed).random((n, dimensions))
    graph = graphs.proximity(n, radius=0.5).at(0, torch.from_numpy(positions))
    for i, j in itertools.combinations(range(n), 2):
        assert graph.has_edge(i, j) == (math.dist(positions[i], positions[j]) <= 0.5)


def test_proximity_includes_the_radius_itself():
    assert graphs.proximity(2, radius=1.0).at(0, [[0.0, 0.0], [0.0, 1.0]]).has_edge(0, 1)


def test_proximity_follows_its_function_of_the_round():
    schedule = graphs.proximity(2, 1.0, positions=lambda k: [[0.0], [k]])
    assert [schedule.at(k).number_of_edges() for k in range(4)] == [1, 1, 0, 0]


@pytest.mark.parametrize(
    ("positions", "sentence"),
    [
        (None, "no positions in round 4"),
        (np.zeros((2, 2)), r"shape \(2, 2\), expected \(3, dimensions\)"),
        (np.zeros(3), r"shape \(3,\)"),
        (np.full((3, 2), np.nan), "finite"),
    ],
)
def test_proximity_refuses_positions_that_are_none(positions, sentence):
    with pytest.raises(ValueError, match=sentence):
        graphs.proximity(3, 1.0).at(4, positions)


def test_a_function_may_give_any_graph_of_the_team():
    last_first = nx.Graph([(2, 1), (1, 0)])
    schedule = graphs.function(lambda k: last_first if k else nx.empty_graph(3), 3, 2)
    assert edges(schedule.at(0)) == set()
    assert edges(schedule.at(1)) == edges(graphs.path(3))
    assert list(schedule.at(1)) == [0, 1, 2]
    assert edges(schedule.at(-1)) == edges(schedule.at(0))
    assert graphs.problems(schedule) == []


# ---------------------------------------------------------------------------------- problems


def test_the_parts_of_a_disconnected_graph_are_told():
    graph = nx.disjoint_union_all([nx.path_graph(6), nx.path_graph(2), nx.empty_graph(1)])
    assert graphs.problems(graph) == [
        "the graph falls into 3 parts: agents 0, 1, 2, 3, ...; agents 6, 7; agent 8; "
        "add edges between them"
    ]
    assert (
        "9 parts: agent 0; agent 1; agent 2; agent 3; ...;" in graphs.problems(nx.empty_graph(9))[0]
    )
    far = nx.empty_graph(9)
    far.add_edge(8, 1)
    assert "8 parts: agent 0; agents 1, 8; agent 2; agent 3; ...;" in graphs.problems(far)[0]


@pytest.mark.parametrize("name", ["link_failures", "random_matchings"])
def test_a_schedule_of_a_disconnected_graph_is_told(name):
    apart = nx.disjoint_union(nx.path_graph(3), nx.path_graph(3))
    schedule = graphs.build_schedule(name, apart, **NEEDED.get(name, {}))
    (found,) = graphs.problems(schedule)
    rounds = f"rounds 0 to {schedule.window - 1}"
    assert f"{rounds} falls into 2 parts: agents 0, 1, 2; agents 3, 4, 5;" in found


@pytest.mark.timeout(20)
def test_links_that_fail_almost_always_are_judged_at_once():
    assert graphs.problems(graphs.link_failures(graphs.cycle(4), p=0.999999)) == []


@pytest.mark.parametrize("name", ["link_failures", "random_matchings"])
def test_a_schedule_of_an_agent_alone_has_a_window_of_one(name):
    schedule = graphs.build_schedule(name, graphs.path(1), **NEEDED.get(name, {}))
    assert schedule.window == 1
    assert graphs.problems(schedule) == []


def test_a_union_is_judged_over_the_whole_window_and_no_longer():
    late = partial(graphs.function, lambda k: graphs.path(3) if k == 3 else nx.empty_graph(3), 3)
    (found,) = graphs.problems(late(window=3))
    assert "rounds 0 to 2 falls into 3 parts" in found
    assert graphs.problems(late(window=4)) == []


def test_proximity_is_judged_only_where_positions_are_known():
    assert graphs.problems(graphs.proximity(3, 0.1)) == []
    apart = graphs.proximity(3, 0.1, positions=lambda k: np.arange(3.0)[:, None])
    assert "3 parts" in graphs.problems(apart)[0]


@pytest.mark.parametrize(
    ("graph", "sentence"),
    [
        (nx.DiGraph([(0, 1)]), "got a DiGraph"),
        ("cycle", "got a str"),
        (graphs.function(lambda k: nx.path_graph(2), agents=3), "round 0 has 2 agents, expected 3"),
        (graphs.function(lambda k: nx.path_graph(4), agents=3), "round 0 has 4 agents, expected 3"),
        (graphs.function(lambda k: None, agents=3), "got a NoneType"),
        (nx.path_graph([2, 1]), "the nodes of the graph are 2, 1, expected the agents 0 to 1;"),
        (nx.path_graph(["a", 0]), "the nodes of the graph are a, 0, expected the agents 0 to 1;"),
        (
            graphs.function(lambda k: nx.path_graph("abc"), agents=3),
            "the nodes of the graph of round 0 are a, b, c, expected the agents 0 to 2;",
        ),
    ],
)
def test_what_is_no_graph_is_a_problem_too(graph, sentence):
    (found,) = graphs.problems(graph)
    assert sentence in found


@pytest.mark.parametrize(
    ("name", "graph", "options", "sentence"),
    [
        ("link_failure", BASE, {}, "unknown schedule 'link_failure'; did you mean 'link_failures'"),
        ("link_failures", BASE, {"probability": 0.1}, "unknown option of schedule link_failures"),
        ("link_failures", BASE, {}, "link_failures has no p"),
        ("link_failures", BASE, {"p": 1.0}, "nobody would ever be heard"),
        ("link_failures", BASE, {"p": -0.1}, "p is -0.1, expected a probability"),
        ("link_failures", BASE, {"p": 0.1, "seed": -1}, "link_failures: seed is -1"),
        ("link_failures", 12, {"p": 0.1}, "got a int, expected an undirected networkx.Graph"),
        ("random_matchings", BASE, {"seed": 0.5}, "random_matchings: seed is 0.5"),
        ("one_peer_exponential", 1, {}, "agents is 1, expected a whole number of at least 2"),
        ("proximity", 5, {}, "proximity has no radius"),
        ("proximity", 5, {"radius": 0}, "radius is 0, expected a positive finite"),
        ("proximity", 5, {"radius": 1, "window": 0}, "window is 0"),
        ("proximity", 5, {"radius": 1, "apart": "wait"}, "unknown apart 'wait'; known: contin"),
    ],
)
def test_impossible_schedules_are_refused(name, graph, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        graphs.build_schedule(name, graph, **options)


def test_a_schedule_derived_from_one_of_the_library_is_checked_like_any_other():
    class Shrinking(graphs.link_failures):
        def at(self, round, positions=None):
            return nx.Graph([(0, 1)]) if round >= 4 else super().at(round)

    class Renamed(graphs.link_failures):
        pass

    assert not Renamed(graphs.cycle(4), p=0.1).any_graph
    schedule = Shrinking(graphs.cycle(4), p=0.1)
    assert schedule.any_graph
    with pytest.raises(ValueError, match=r"the graph of round \d has 2 agents, expected 4"):
        pl.train(pl.tasks.quadratic(4), pl.DiNNO(), schedule, rounds=30, device="cpu")


def test_a_schedule_derived_from_one_of_the_library_is_judged_by_its_own_graphs():
    class Silent(graphs.link_failures):
        def at(self, round, positions=None):
            return nx.empty_graph(4)

    (found,) = graphs.problems(Silent(graphs.cycle(4), p=0.1))
    assert "falls into 4 parts: agent 0; agent 1; agent 2; agent 3; add edges" in found


def test_positions_of_a_whole_run_are_judged_over_all_its_rounds():
    def apart(round):
        return [[0.0, 0.0], [abs(3.0 - round) + 2.0, 0.0]]

    placed = graphs.proximity(2, radius=1.0).placed(apart, rounds=4)
    assert placed.placed(lambda k: [[0.0], [0.0]], rounds=9) is placed, "they have their own"
    (problem,) = graphs.problems(placed)
    assert "rounds 0 to 3" in problem
    assert "never come nearer to each other than 2;" in problem
    assert graphs.problems(graphs.proximity(2, radius=2.0).placed(apart, rounds=5)) == []
    stops = graphs.proximity(2, radius=2.0, apart="stop").placed(apart, rounds=5)
    (problem,) = graphs.problems(stops)
    assert problem.startswith("in round 0 the graph falls into 2 parts")
    assert graphs.problems(graphs.proximity(2, 5.0, apart="stop").placed(apart, rounds=5)) == []


def test_a_round_that_falls_apart_is_told_though_an_earlier_one_connects_all():
    """Where that is not allowed; else it is no matter."""
    leaving = {"agents": 2, "radius": 1.0, "positions": lambda k: [[0.0], [k / 2]], "window": 5}
    assert graphs.problems(graphs.proximity(**leaving)) == []
    (problem,) = graphs.problems(graphs.proximity(**leaving, apart="stop"))
    assert problem.startswith("in round 3 the graph falls into 2 parts")
