"""Topologies and spectra: every entry of the registry, closed forms, and what is refused."""

import itertools
import math

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peerlearn import graphs
from peerlearn.graphs import spectrum
from peerlearn.graphs.checks import first_few

AGENTS = 16  # a size that every topology can have

NEEDED = {"random_geometric": {"radius": 0.6}}  # options without a default


def build(name: str, tmp_path, agents: int = AGENTS, **options):
    if name == "edge_list":
        nx.write_edgelist(nx.cycle_graph(agents), tmp_path / "edges.txt", data=False)
        options["path"] = tmp_path / "edges.txt"
    return graphs.build(name, agents, **(NEEDED.get(name, {}) | options))


def edges(graph: nx.Graph) -> set[frozenset[int]]:
    return set(map(frozenset, graph.edges))


@pytest.mark.parametrize("name", graphs.TOPOLOGIES)
def test_every_topology_is_a_connected_plain_graph_of_its_agents(name, tmp_path):
    graph = build(name, tmp_path)
    assert type(graph) is nx.Graph
    assert list(graph) == list(range(AGENTS))
    assert all(type(agent) is int for agent in graph)
    assert nx.is_connected(graph)
    assert nx.number_of_selfloops(graph) == 0
    assert graphs.fiedler_value(graph) > 1e-6
    assert graphs.problems(graph) == []
    assert graph.name == {"edge_list": "edges"}.get(name, name), "reports call it so"


@pytest.mark.parametrize("name", graphs.TOPOLOGIES)
def test_every_topology_is_the_same_every_time(name, tmp_path):
    assert edges(build(name, tmp_path)) == edges(build(name, tmp_path))


@pytest.mark.parametrize("name", graphs.TOPOLOGIES)
def test_every_topology_refuses_an_option_it_does_not_have(name):
    with pytest.raises(ValueError, match=f"unknown option of graph {name} 'sead'"):
        graphs.build(name, AGENTS, sead=3)


@pytest.mark.parametrize("name", graphs.TOPOLOGIES)
def test_every_topology_refuses_a_team_of_none(name):
    with pytest.raises(ValueError, match="expected a whole number of at least 1"):
        graphs.build(name, 0)


RANDOM = ["erdos_renyi", "random_regular", "small_world", "barabasi_albert", "random_geometric"]


@pytest.mark.parametrize("name", RANDOM)
def test_seeds_make_different_graphs(name, tmp_path):
    drawn = {frozenset(edges(build(name, tmp_path, seed=seed))) for seed in range(5)}
    assert len(drawn) == 5


def circle(n: int, hop: int = 1) -> float:
    return 2 - 2 * math.cos(2 * math.pi * hop / n)


FIEDLER = {
    "complete": float(AGENTS),
    "cycle": circle(16),
    "edge_list": circle(16),
    "path": circle(32),
    "star": 1.0,
    "wheel": 1 + circle(15),
    "grid": circle(8),  # a path of 4
    "torus": circle(4),
    "hypercube": 2.0,
    "bipartite": 8.0,
    # frequency 8 / hop decides: hops 1, 2, 4 and, counted once because 8 = -8 mod 16, 8
    "exponential": min(
        sum(circle(16, m * h) for h in (1, 2, 4)) + circle(2, m) / 2 for m in range(1, 16)
    ),
}


@pytest.mark.parametrize("name", sorted(set(graphs.TOPOLOGIES) - set(RANDOM)))
def test_fiedler_value_has_its_closed_form(name, tmp_path):
    assert graphs.fiedler_value(build(name, tmp_path)) == pytest.approx(FIEDLER[name], abs=1e-10)


@given(n=st.integers(3, 40))
@settings(max_examples=15, deadline=None)
def test_fiedler_values_of_any_size(n):
    assert graphs.fiedler_value(graphs.cycle(n)) == pytest.approx(circle(n), abs=1e-9)
    assert graphs.fiedler_value(graphs.path(n)) == pytest.approx(circle(2 * n), abs=1e-9)
    assert graphs.fiedler_value(graphs.complete(n)) == pytest.approx(n, abs=1e-9)
    assert graphs.fiedler_value(graphs.star(n)) == pytest.approx(1, abs=1e-9)


def test_fiedler_value_is_zero_where_the_graph_falls_apart():
    for n in range(2, 30):
        assert (
            0 <= graphs.fiedler_value(nx.disjoint_union(nx.path_graph(n), nx.cycle_graph(n))) < 1e-9
        )
    assert graphs.fiedler_value(graphs.complete(1)) == 0


def test_edge_weights_do_not_enter_the_fiedler_value():
    heavy = nx.path_graph(4)
    nx.set_edge_attributes(heavy, 100.0, "weight")
    assert graphs.fiedler_value(heavy) == pytest.approx(graphs.fiedler_value(graphs.path(4)))


# ------------------------------------------------------------------------------------- shapes


def test_exponential_links_powers_of_two():
    graph = graphs.exponential(11)
    assert set(graph[0]) == {1, 2, 4, 8, 10, 9, 7, 3}


def test_hypercube_links_numbers_that_differ_in_one_digit():
    assert edges(graphs.hypercube(4)) == {
        frozenset((i, i ^ 2**k)) for i in range(16) for k in range(4)
    }


def test_grid_is_numbered_row_by_row():
    assert set(graphs.grid(3, 4)[5]) == {1, 4, 6, 9}
    assert set(graphs.torus(3, 4)[0]) == {1, 3, 4, 8}


def test_wheel_and_star_have_agent_0_in_the_middle():
    assert set(graphs.star(6)[0]) == set(graphs.wheel(6)[0]) == {1, 2, 3, 4, 5}


@pytest.mark.parametrize(("n", "degree"), [(2, 1), (12, 2), (10, 3), (9, 4)])
def test_random_regular_gives_everybody_the_degree(n, degree):
    graph = graphs.random_regular(n, degree, seed=1)
    assert {d for _, d in graph.degree} == {degree}


def test_sizes_are_taken_as_square_as_they_can_be():
    assert edges(graphs.build("grid", 12)) == edges(graphs.grid(3, 4))
    assert edges(graphs.build("torus", 15)) == edges(graphs.torus(3, 5))
    assert edges(graphs.build("grid", 12, columns=2)) == edges(graphs.grid(6, 2))
    assert edges(graphs.build("grid", 12, rows=2)) == edges(graphs.grid(2, 6))
    assert edges(graphs.build("bipartite", 7)) == edges(graphs.bipartite(3, 4))
    assert edges(graphs.build("bipartite", 7, a=5)) == edges(graphs.bipartite(5, 2))
    assert edges(graphs.build("bipartite", 7, b=1)) == edges(graphs.bipartite(6, 1))


# ---------------------------------------------------------------------------- random geometric


@given(seed=st.integers(0, 1000), radius=st.floats(0.5, 1.5))
@settings(max_examples=20, deadline=None)
def test_random_geometric_links_what_is_within_the_radius(seed, radius):
    graph = graphs.random_geometric(12, radius=radius, seed=seed)
    position = nx.get_node_attributes(graph, "position")
    assert all(0 <= x <= 1 for p in position.values() for x in p)
    for i, j in itertools.combinations(range(12), 2):
        assert graph.has_edge(i, j) == (math.dist(position[i], position[j]) <= radius)


@pytest.mark.parametrize(
    ("n", "wanted"), [(10, 1.0), (40, 1.0), (20, 0.1), (20, 0.5), (20, 2.0), (5, 5.0)]
)
def test_random_geometric_meets_the_wanted_connectivity(n, wanted):
    graph = graphs.random_geometric(n, connectivity=wanted, seed=3)
    assert graphs.fiedler_value(graph) == pytest.approx(wanted, rel=0.05)
    assert len(nx.get_node_attributes(graph, "position")) == n


def test_probabilities_are_those_that_were_asked_for():
    ring = {frozenset((i, (i + step) % 12)) for i in range(12) for step in (1, 2)}
    assert edges(graphs.small_world(12, 4, p=0.0)) == ring
    rewired = edges(graphs.small_world(12, 4, p=1.0))
    assert rewired != ring
    assert len(rewired) == len(ring), "edges are moved, none is added"
    counts = {p: graphs.erdos_renyi(60, p=p).number_of_edges() for p in (0.15, 0.5, 0.9)}
    for p, count in counts.items():
        assert count == pytest.approx(p * 60 * 59 / 2, rel=0.15)


@pytest.mark.parametrize("seed", [2, 3])  # the wanted value itself, and one below it
def test_random_geometric_takes_the_closest_step(seed):
    graph = graphs.random_geometric(10, connectivity=1.0, seed=seed)
    position = nx.get_node_attributes(graph, "position")
    lengths = sorted(
        (math.dist(position[i], position[j]), i, j) for i in range(10) for j in range(i)
    )
    steps = []
    growing = nx.empty_graph(10)
    for _, i, j in lengths:
        growing.add_edge(i, j)
        steps.append(abs(graphs.fiedler_value(growing) - 1.0))
    assert abs(graphs.fiedler_value(graph) - 1.0) == pytest.approx(min(steps), abs=1e-12)


def test_random_geometric_says_what_it_came_close_to():
    with pytest.raises(ValueError, match=r"no radius gives 2 agents .* the closest was 2: ask"):
        graphs.random_geometric(2, connectivity=1.0)


# ------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("name", "agents", "options", "sentence"),
    [
        ("cycel", 5, {}, "unknown graph 'cycel'; did you mean 'cycle'"),
        ("erdos_renyi", 5, {"P": 1}, "unknown option of graph erdos_renyi 'P'; .*p, seed"),
        ("grid", 12, {"row": 3}, "did you mean 'rows'"),
        ("cycle", 2, {}, "cycle: n is 2, expected a whole number of at least 3"),
        ("cycle", 5.0, {}, "cycle: agents is 5.0, expected a whole number"),
        ("complete", True, {}, "agents is True, expected a whole number"),
        ("star", 1, {}, "star: n is 1"),
        ("wheel", 3, {}, "wheel: n is 3"),
        ("hypercube", 12, {}, "got 12 agents, expected a power of two; take 8 or 16"),
        ("hypercube", 1, {}, "got 1 agents, expected a power of two; take 2 or 4"),
        ("torus", 7, {}, "torus: 7 agents in 1 rows and 7 columns"),
        ("torus", 4, {}, "torus: 4 agents in 2 rows and 2 columns"),
        ("grid", 12, {"rows": 5}, "grid: 12 agents in 5 rows and 2 columns"),
        ("grid", 12, {"columns": 0}, "grid: columns is 0, expected a whole number of at least 1"),
        ("grid", 12, {"rows": "3"}, "grid: rows is '3', expected a whole number of at least 1"),
        ("bipartite", 9, {"a": 3, "b": 4}, "3 and 4 are 7, expected 9 agents"),
        ("bipartite", 4, {"a": 4}, "bipartite: b is 0"),
        ("random_regular", 5, {"degree": 3}, "half an edge left over"),
        ("random_regular", 5, {"degree": 5}, "degree is 5, .* at most 4"),
        ("random_regular", 6, {"degree": 1}, "no connected graph of 6 agents .* raise degree"),
        ("small_world", 9, {"neighbors": 3}, "neighbors is 3, expected an even number"),
        ("small_world", 9, {"p": 1.5}, "p is 1.5, expected a probability"),
        ("barabasi_albert", 4, {"links": 4}, "links is 4, .* at most 3"),
        ("erdos_renyi", 10, {"p": "often"}, "p is 'often', expected a probability"),
        ("erdos_renyi", 60, {"p": 0.001}, "no connected graph of 60 agents .* raise p"),
        ("erdos_renyi", 10, {"seed": None}, "erdos_renyi: seed is None, expected a whole number"),
        ("random_geometric", 5, {"radius": 1, "seed": -1}, "random_geometric: seed is -1"),
        ("random_geometric", 5, {}, "radius=None and connectivity=None, expected exactly one"),
        ("random_geometric", 5, {"radius": 1, "connectivity": 1}, "expected exactly one"),
        ("random_geometric", 5, {"radius": -1.0}, "radius is -1.0, expected a positive finite"),
        ("random_geometric", 5, {"connectivity": 6}, "connectivity is 6, .* at most 5"),
        ("random_geometric", 5, {"connectivity": 0}, "connectivity is 0, .* positive"),
        ("random_geometric", 30, {"radius": 0.01}, "no connected graph of 30 agents"),
        ("edge_list", 5, {}, "no path was given"),
    ],
)
def test_impossible_topologies_are_refused(name, agents, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        graphs.build(name, agents, **options)


# --------------------------------------------------------------------------------- own graphs


def write(tmp_path, text: str):
    file = tmp_path / "edges.txt"
    file.write_text(text, encoding="utf-8")
    return file


def test_an_edge_list_may_hold_comments_commas_and_both_directions(tmp_path):
    file = write(tmp_path, "# a path\n0 1\n\n1, 2  # the second\n2\t3\n1 0\n")
    assert edges(graphs.from_edge_list(file)) == edges(graphs.path(4))
    assert len(graphs.from_edge_list(file, n=6)) == 6


def test_every_bad_line_of_an_edge_list_is_named(tmp_path):
    file = write(tmp_path, "0 1\n1 one\n2 02\n1 5\n3\n0 ²\n")
    with pytest.raises(ValueError, match="is no edge list") as caught:
        graphs.from_edge_list(file, n=5)
    message = str(caught.value)
    assert [f"line {k}:" in message for k in range(1, 7)] == [False, *[True] * 5]
    assert "line 2: got '1 one', expected two agent numbers" in message
    assert "line 3: got '2 02', expected two different agents" in message
    assert "line 4: got '1 5', expected numbers from 0 to 4" in message


def test_an_edge_list_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "edges.txt").write_bytes(b"0 1\n\xff")
    with pytest.raises(ValueError, match=r"cannot read .*edges.txt .* expected a text file"):
        graphs.from_edge_list(tmp_path / "edges.txt")


def test_random_graphs_are_drawn_until_they_are_connected():
    assert all(nx.is_connected(graphs.erdos_renyi(12, p=0.2, seed=seed)) for seed in range(20))


def test_an_empty_edge_list_is_refused(tmp_path):
    with pytest.raises(ValueError, match="holds no edge"):
        graphs.from_edge_list(write(tmp_path, "# nothing\n"))


def test_a_missing_edge_list_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"cannot read .*nowhere.txt .* expected a text file"):
        graphs.build("edge_list", 4, path=tmp_path / "nowhere.txt")


def test_any_networkx_graph_is_numbered_in_its_order():
    named = nx.Graph([("b", "a"), ("a", "c")])
    named.nodes["b"]["position"] = (0.0, 1.0)
    graph = graphs.from_networkx(named)
    assert list(graph.edges) == [(0, 1), (1, 2)]
    assert graph.nodes[0] == {"position": (0.0, 1.0)}
    assert "b" in named


def test_dots_stand_for_what_is_left_out_of_a_list():
    assert [first_few(range(n)) for n in (4, 5, 6)] == [
        "0, 1, 2, 3", "0, 1, 2, 3, 4", "0, 1, 2, 3, 4, ...",
    ]  # fmt: skip


def test_nodes_that_are_agents_already_keep_their_numbers():
    graph = graphs.from_networkx(nx.Graph([(2, 1), (1, 0), (0, 3)]))
    assert list(graph) == [0, 1, 2, 3]
    assert edges(graph) == {frozenset(e) for e in [(2, 1), (1, 0), (0, 3)]}


@pytest.mark.parametrize(
    ("graph", "sentence"),
    [
        (nx.DiGraph([(0, 1)]), "got a DiGraph, expected an undirected"),
        (nx.MultiGraph([(0, 1), (0, 1)]), "got a MultiGraph"),
        ("cycle", "got a str"),
        (nx.Graph(), "the graph has no nodes"),
        (nx.Graph([(0, 1), (1, 1)]), "have an edge to themselves: 1;"),
    ],
)
def test_graphs_that_are_no_team_are_refused(graph, sentence):
    with pytest.raises(ValueError, match=sentence):
        graphs.from_networkx(graph)


# ------------------------------------------------------------------------------------- spectra


@given(n=st.integers(2, 12), seed=st.integers(0, 100))
@settings(max_examples=20, deadline=None)
def test_the_trace_is_the_sum_of_the_eigenvalues(n, seed):
    W = np.random.default_rng(seed).normal(size=(n, n))
    W = W + W.T
    values = graphs.eigenvalues(W)
    assert values.shape == (n,)
    assert list(values) == sorted(values, reverse=True)
    assert values.sum() == pytest.approx(np.trace(W))
    assert graphs.lambda_2(W) == pytest.approx(values[1])
    assert graphs.lambda_N(W) == pytest.approx(values[-1])


def test_metropolis_on_the_10_cycle():
    W = graphs.metropolis(graphs.cycle(10))
    assert graphs.lambda_N(W) == pytest.approx(-1 / 3)
    assert graphs.lambda_2(W) == pytest.approx(1 / 3 + 2 / 3 * math.cos(2 * math.pi / 10))
    assert graphs.spectral_gap(W) == pytest.approx(1 - graphs.lambda_2(W))


def test_the_gap_is_one_for_the_exact_average_and_counts_negative_eigenvalues():
    assert graphs.spectral_gap(np.full((4, 4), 0.25)) == pytest.approx(1)
    swap = nx.to_numpy_array(graphs.cycle(4)) / 2  # eigenvalues 1, 0, 0, -1: swaps forever
    assert graphs.spectral_gap(swap) == pytest.approx(0)


@pytest.mark.parametrize("graph", [graphs.cycle(30), graphs.star(30), graphs.complete(30)])
def test_the_sparse_way_finds_the_same_eigenvalues(graph, monkeypatch):
    laplacian = nx.laplacian_matrix(graph).astype(float)
    both = graphs.metropolis(graph), laplacian  # entries of either sign beside the diagonal
    dense = [spectrum.extremes(W) for W in both]
    fiedler = graphs.fiedler_value(graph)
    monkeypatch.setattr(spectrum, "DENSE_UP_TO", 5)
    for W, values in zip(both, dense, strict=True):
        assert len(spectrum.extremes(W)) == 3
        assert np.array_equal(spectrum.extremes(W), spectrum.extremes(W)), "to the bit"
        assert graphs.lambda_2(W) == pytest.approx(values[1], abs=1e-8)
        assert graphs.lambda_N(W) == pytest.approx(values[-1], abs=1e-8)
    assert graphs.fiedler_value(graph) == pytest.approx(fiedler, abs=1e-8)


@pytest.mark.parametrize(
    ("W", "sentence"),
    [
        ([[1.0, 2.0]], r"shape \(1, 2\), expected \(n, n\)"),
        ([1.0, 2.0], r"shape \(2,\), expected \(n, n\)"),
        ([[0.0, 1.0], [0.5, 0.0]], "not symmetric: .* differ by 0.5"),
        ([[math.nan]], "NaN"),
        ([[math.inf, 0.0], [0.0, 1.0]], "NaN or infinite entries"),
        (np.zeros((0, 0)), r"shape \(0, 0\), expected \(n, n\)"),
        ([[1.0, 0.0], [1.0]], "the matrix is no table of numbers"),
        ([[{}]], "the matrix is no table of numbers"),
    ],
)
def test_matrices_without_ordered_eigenvalues_are_refused(W, sentence):
    with pytest.raises(ValueError, match=sentence):
        graphs.eigenvalues(W)


@pytest.mark.parametrize("of", [graphs.spectral_gap, graphs.lambda_2])
def test_a_team_of_one_has_no_second_eigenvalue(of):
    with pytest.raises(ValueError, match="two agents or more"):
        of([[1.0]])
