"""Weights: laws that every rule keeps, and every reason why weights may not serve."""

import re

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from peerlearn import graphs
from peerlearn.algorithm import Needs
from peerlearn.graphs import WEIGHTS, weights

ALL = Needs.DOUBLY_STOCHASTIC | Needs.SYMMETRIC | Needs.ASSUMPTION_2


@st.composite
def any_graph(draw, least: int = 1, most: int = 9):
    """Any undirected graph of the agents 0..n-1, with isolated ones, named in any order."""
    n = draw(st.integers(least, most))
    pairs = [(i, j) for i in range(n) for j in range(i)]
    graph = nx.Graph()
    graph.add_nodes_from(draw(st.permutations(range(n))))
    graph.add_edges_from(draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else [])
    return graph


def suited(name: str, graph: nx.Graph) -> nx.Graph:
    return nx.complete_graph(len(graph)) if name.endswith("uniform") else graph


@pytest.mark.parametrize("name", WEIGHTS)
@given(graph=any_graph())
@settings(max_examples=30, deadline=None)
def test_every_rule_is_symmetric_stochastic_and_of_the_graph(name, graph):
    graph = suited(name, graph)
    W = WEIGHTS[name](graph)
    assert isinstance(W, sparse.csr_array)
    assert W.dtype == np.float64
    assert W.has_canonical_format
    dense = W.toarray()
    assert dense.shape == (len(graph), len(graph))
    assert (dense == dense.T).all()
    assert (dense >= 0).all()
    np.testing.assert_allclose(dense.sum(axis=1), 1, atol=1e-14)
    neighbors = nx.to_numpy_array(graph, nodelist=range(len(graph))) > 0
    assert ((dense > 0) == (neighbors | np.eye(len(graph), dtype=bool))).all()


@pytest.mark.parametrize("name", WEIGHTS)
@given(graph=any_graph(), seed=st.integers(0, 100))
@settings(max_examples=20, deadline=None)
def test_mixing_keeps_the_average_and_never_spreads(name, graph, seed):
    graph = suited(name, graph)
    x = np.random.default_rng(seed).normal(size=(len(graph), 3))
    mixed = WEIGHTS[name](graph) @ x
    np.testing.assert_allclose(mixed.mean(axis=0), x.mean(axis=0), atol=1e-13)
    assert (mixed.max(axis=0) <= x.max(axis=0) + 1e-13).all()
    assert (mixed.min(axis=0) >= x.min(axis=0) - 1e-13).all()


@pytest.mark.parametrize("name", WEIGHTS)
@given(graph=any_graph(), data=st.data())
@settings(max_examples=20, deadline=None)
def test_renaming_agents_permutes_the_weights(name, graph, data):
    graph = suited(name, graph)
    new = np.array(data.draw(st.permutations(range(len(graph)))))
    renamed = nx.relabel_nodes(graph, dict(enumerate(new.tolist())))
    W, V = (WEIGHTS[name](g).toarray() for g in (graph, renamed))
    np.testing.assert_allclose(V[np.ix_(new, new)], W, atol=1e-15)


@pytest.mark.parametrize("name", WEIGHTS)
@given(graph=any_graph(least=2))
@settings(max_examples=20, deadline=None)
def test_connected_graphs_fulfil_every_need(name, graph):
    graph = suited(name, graph)
    nx.add_path(graph, range(len(graph)))
    W = WEIGHTS[name](graph)
    assert weights.problems(W, graph, ALL) == []
    assert 0 < graphs.spectral_gap(W) <= 1 + 1e-12


@pytest.mark.parametrize("name", [n for n in WEIGHTS if n.startswith("lazy")])
def test_lazy_rules_have_no_negative_eigenvalue(name):
    graph = suited(name, nx.lollipop_graph(4, 2))  # of several degrees
    lazy, plain = WEIGHTS[name](graph), WEIGHTS[name.removeprefix("lazy_")](graph)
    assert graphs.lambda_N(lazy) >= -1e-12
    np.testing.assert_allclose(lazy.toarray(), (np.eye(6) + plain.toarray()) / 2, atol=1e-15)


@given(graph=any_graph())
@settings(max_examples=30, deadline=None)
def test_metropolis_and_maximum_degree_are_as_written(graph):
    n, degree = len(graph), dict(graph.degree)
    metropolis, maximum = np.zeros((n, n)), np.zeros((n, n))
    for i, j in [*graph.edges, *((j, i) for i, j in graph.edges)]:
        metropolis[i, j] = 1 / (1 + max(degree[i], degree[j]))
        maximum[i, j] = 1 / (1 + max(degree.values()))
    for expected, rule in ((metropolis, graphs.metropolis), (maximum, graphs.maximum_degree)):
        np.fill_diagonal(expected, 1 - expected.sum(axis=1))
        np.testing.assert_allclose(rule(graph).toarray(), expected, atol=1e-15)


def test_an_isolated_agent_keeps_what_it_has():
    graph = nx.empty_graph(4)
    graph.add_edge(0, 2)
    for rule in (graphs.metropolis, graphs.maximum_degree, graphs.lazy(graphs.metropolis)):
        W = rule(graph).toarray()
        assert W[1, 1] == W[3, 3] == 1
        assert rule(nx.empty_graph(3)).toarray().tolist() == np.eye(3).tolist()


def test_uniform_needs_a_complete_graph():
    assert (graphs.uniform(graphs.complete(5)).toarray() == 1 / 5).all()
    with pytest.raises(ValueError, match="need a complete graph of 10 edges, got one of 5 edges"):
        graphs.uniform(graphs.cycle(5))
    with_loop = nx.Graph([(0, 1), (1, 2), (0, 0)])
    with pytest.raises(ValueError, match="need a complete graph of 3 edges, got one of 2 edges"):
        graphs.uniform(with_loop)


@pytest.mark.parametrize(
    ("graph", "sentence"),
    [
        (nx.path_graph(["a", "b"]), "the nodes of the graph are a, b, expected the agents 0 to 1"),
        (nx.grid_2d_graph(1, 2), r"the nodes of the graph are \(0, 0\), \(0, 1\), expected the a"),
        (nx.path_graph([1, 2]), "or number them in the graph's order with graphs.from_networkx"),
        (nx.path_graph([-1, 0]), "or number them in the graph's order with graphs.from_networkx"),
        (nx.DiGraph([(0, 1)]), "got a DiGraph"),
    ],
)
def test_rules_refuse_graphs_that_are_no_agents(graph, sentence):
    with pytest.raises(ValueError, match=sentence):
        graphs.metropolis(graph)


# ------------------------------------------------------------------------------------- given


@pytest.mark.parametrize(
    "make", [np.array, list, torch.tensor, sparse.csr_array, sparse.coo_matrix]
)
def test_a_given_matrix_comes_back_as_it_is(make):
    matrix = [[0.5, 0.5, 0.0], [0.5, 0.0, 0.5], [0.0, 0.5, 0.5]]
    W = graphs.given(make(matrix))(graphs.path(3))
    assert isinstance(W, sparse.csr_array)
    assert W.dtype == np.float64
    assert W.toarray().tolist() == matrix


@pytest.mark.parametrize("make", [np.array, sparse.csr_array])
def test_a_given_matrix_of_whole_numbers_mixes_numbers_of_any_kind(make):
    assert graphs.given(make(np.eye(2, dtype=int)))(graphs.path(2)).dtype == np.float64


def test_a_given_matrix_is_not_shared_with_those_who_use_it():
    rule = graphs.given(np.eye(2))
    rule(graphs.path(2)).data[:] = 7
    assert rule(graphs.path(2)).toarray().tolist() == np.eye(2).tolist()


def test_a_zero_that_is_written_down_is_no_weight():
    stored = sparse.coo_array(([1.0, 1.0, 1.0, 0.0], ([0, 1, 2, 0], [0, 1, 2, 2])))
    assert graphs.given(stored)(graphs.path(3)).toarray().tolist() == np.eye(3).tolist()


def test_a_given_matrix_must_fit_the_graph():
    rule = graphs.given(graphs.metropolis(graphs.cycle(4)))
    with pytest.raises(ValueError, match=r"0.333333 in row 0, column 3; .* a rule instead"):
        rule(graphs.path(4))
    for agents in (3, 5):
        with pytest.raises(ValueError, match=f"are for 4 agents, the graph has {agents}"):
            rule(graphs.path(agents))
    with pytest.raises(ValueError, match=r"shape \(2, 3\), expected \(n, n\)"):
        graphs.given(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="NaN"):
        graphs.given(np.full((2, 2), np.nan))


def test_rules_are_found_by_name_by_matrix_or_as_they_are():
    assert weights.as_rule("metropolis") is graphs.metropolis
    assert weights.as_rule(graphs.uniform) is graphs.uniform
    assert weights.as_rule(np.eye(3))(graphs.path(3)).toarray().tolist() == np.eye(3).tolist()
    with pytest.raises(ValueError, match="unknown weights 'metropolys'; did you mean 'metropolis'"):
        weights.as_rule("metropolys")


# ---------------------------------------------------------------------------------- problems

HALF = [[0.5, 0.5], [0.5, 0.5]]
PAIR, TRIPLE = graphs.path(2), graphs.path(3)


@pytest.mark.parametrize(
    ("W", "graph", "needs", "sentences"),
    [
        (HALF, PAIR, ALL, []),
        ([[0.5, 0.4], [0.4, 0.5]], PAIR, Needs.NOTHING, ["row 0 sums to 0.9"]),
        ([[0.5, 0.5], [0.5, 0.0]], PAIR, Needs.NOTHING, ["row 1 sums to 0.5"]),
        (
            [[0.6, 0.5, -0.1], [0.5, 0.0, 0.5], [-0.1, 0.5, 0.6]],
            TRIPLE,
            Needs.NOTHING,
            ["at 2 places; the first is -0.1 in row 0, column 2"],
        ),
        ([[0.5, 0.5], [1.0, 0.0]], PAIR, Needs.NOTHING, []),
        ([[0.5, 0.5], [1.0, 0.0]], PAIR, Needs.DOUBLY_STOCHASTIC, ["column 0 sums to 1.5"]),
        ([[0.5, 0.5], [1.0, 0.0]], PAIR, Needs.SYMMETRIC, ["not symmetric: .* differ by 0.5"]),
        (
            [[0.5, 0.5], [1.0, 0.0]],
            PAIR,
            ALL,
            ["column 0 sums to 1.5", r"Assumption 2 \(b\), .* differ by 0.5"],
        ),
        (
            np.full((3, 3), 1 / 3),
            TRIPLE,
            Needs.ASSUMPTION_2,
            [r"Assumption 2 \(a\), .* 2 places; the first is 0.333333 in row 0, column 2"],
        ),
        (
            np.eye(3),
            TRIPLE,
            Needs.ASSUMPTION_2,
            [r"Assumption 2 \(c\), .* eigenvalue 1 is there 3 times, .*lambda_2 = 1\)"],
        ),
        (
            [[0.0, 1.0], [1.0, 0.0]],
            PAIR,
            Needs.ASSUMPTION_2,
            [r"Assumption 2 \(d\), .* reach from -1 to 1, .* lazy weights"],
        ),
        (
            [[2.0, -1.0], [-1.0, 2.0]],
            PAIR,
            Needs.ASSUMPTION_2,
            [r"Assumption 2 \(d\), .* reach from 1 to 3"],
        ),
        (
            [[0.5, 0.4], [0.4, 0.5]],
            PAIR,
            Needs.ASSUMPTION_2,
            ["row 0 sums to 0.9", r"Assumption 2 \(c\), .* rows do not sum to one"],
        ),
        (HALF, TRIPLE, ALL, ["are for 2 agents, expected the 3 of the graph"]),
        (np.eye(3), PAIR, ALL, ["are for 3 agents, expected the 2 of the graph"]),
        (np.full((3, 3), 0.3), TRIPLE, Needs.NOTHING, ["row 0 sums to 0.9", "at 2 places; the fi"]),
        ([[0.5, 0.5]], TRIPLE, ALL, [r"shape \(1, 2\), expected \(n, n\)"]),
        ([[np.inf, 0.5], [0.5, 0.5]], PAIR, ALL, ["NaN or infinite"]),
        ([[1.0]], graphs.complete(1), ALL, []),
    ],
)
def test_each_violated_need_has_its_sentence(W, graph, needs, sentences):
    found = weights.problems(np.array(W), graph, needs)
    assert len(found) == len(sentences)
    for sentence, words in zip(found, sentences, strict=True):
        assert re.search(words, sentence), sentence


def test_a_disconnected_graph_breaks_assumption_2c():
    graph = nx.disjoint_union(nx.cycle_graph(3), nx.cycle_graph(4))
    (sentence,) = weights.problems(graphs.metropolis(graph), graph, ALL)
    assert "(c)" in sentence
    assert "2 times" in sentence
    assert weights.problems(graphs.metropolis(graph), graph, ALL, apart=True) == []


def test_negative_eigenvalues_are_no_violation():
    graph = graphs.cycle(10)
    W = graphs.metropolis(graph)
    assert graphs.lambda_N(W) < 0
    assert weights.problems(W, graph, ALL) == []


@pytest.mark.parametrize("blocks", [1, 2, 3])
def test_parts_that_never_hear_of_each_other_are_counted(blocks):
    W = np.kron(np.eye(blocks), np.full((2, 2), 0.5))
    simple = (abs(graphs.eigenvalues(W) - 1) < 1e-9).sum() == 1
    found = weights.parts(W)
    assert (found == []) == simple == (blocks == 1)
    assert all(f"leave {blocks} parts" in sentence for sentence in found)


def test_hearing_in_one_direction_around_a_circle_is_enough():
    assert weights.parts(0.5 * np.eye(5) + 0.5 * np.roll(np.eye(5), 1, axis=1)) == []
    assert weights.parts(np.array([[1.0, 0.0], [0.5, 0.5]]))  # agent 0 hears of nobody


@pytest.mark.parametrize("n", range(4, 24, 2))
def test_agents_that_only_swap_do_not_come_nearer(n):
    ring = graphs.cycle(n)
    (said,) = weights.disagreement(nx.to_numpy_array(ring) / 2)  # with an eigenvalue of -1
    assert "an eigenvalue of modulus 1, expected less than one" in said
    (said,) = weights.problems(nx.to_numpy_array(ring) / 2, ring, Needs.ASSUMPTION_2)
    assert said.startswith("Assumption 2 (d), I >= W > -I: the eigenvalues reach from -1 to 1")
    assert weights.disagreement(graphs.metropolis(ring)) == []


def test_lazy_weights_take_the_name_of_a_rule():
    graph = graphs.star(5)
    by_name, by_rule = (
        graphs.lazy(rule)(graph).toarray() for rule in ("metropolis", graphs.metropolis)
    )
    assert (by_name == by_rule).all()


MATRIX = nx.to_numpy_array(graphs.cycle(4)) / 2  # with an eigenvalue of -1


def test_lazy_weights_of_a_matrix_serve():
    rule = graphs.lazy(MATRIX)
    np.testing.assert_allclose(rule(graphs.cycle(4)).toarray(), (np.eye(4) + MATRIX) / 2)
    assert weights.problems(rule(graphs.cycle(4)), graphs.cycle(4), Needs.ASSUMPTION_2) == []


THIRDS = graphs.metropolis(graphs.cycle(5)).toarray()


@pytest.mark.parametrize(
    "matrix", [THIRDS.astype(np.float32), THIRDS.round(9), torch.tensor(THIRDS).float()],
    ids=["single", "nine digits", "torch"],
)  # fmt: skip
def test_rounded_weights_serve(matrix):
    every = Needs.ASSUMPTION_2 | Needs.DOUBLY_STOCHASTIC | Needs.SYMMETRIC
    assert weights.problems(matrix, graphs.cycle(5), every) == []


def test_how_far_sums_are_off_is_shown():
    (said, *_) = weights.problems(THIRDS * (1 + 1e-5), graphs.cycle(5), Needs.DOUBLY_STOCHASTIC)
    assert "row 0 sums to 1.00001" in said or re.search(r"row \d sums to 1\.00001", said)


def test_negative_weights_are_heard_too():
    assert weights.parts([[1.5, -0.5], [-0.5, 1.5]]) == []
