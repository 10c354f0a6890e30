"""Weights: rules that turn the graph of a round into the mixing matrix W.

A rule maps a graph of the agents 0..n-1 to a sparse matrix (n, n) in CSR form, float64. Mixing is
x_i <- sum_j W_ij x_j. An agent without neighbors in a round keeps what it has: W_ii = 1.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import networkx as nx
import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from ..algorithm import Needs
from ..values import require_known
from ..words import agents_named
from .checks import require_agents, undirected
from .spectrum import TOLERANCE, Matrix, asymmetry, extremes, square

Rule = Callable[[nx.Graph], sparse.csr_array]

GAP = 1e-9  # between eigenvalues that count as two; sums of 1,000 weights round to about 1e-13


def metropolis(graph: nx.Graph) -> sparse.csr_array:
    """Metropolis-Hastings: W_ij = 1 / (1 + max(d_i, d_j)) for neighbors, W_ii = 1 - sum_j W_ij.

    Symmetric and doubly stochastic; each edge needs to know no more than its two degrees.
    """
    i, j, degree = ends(graph)
    return _matrix(i, j, 1 / (1.0 + np.maximum(degree[i], degree[j])), len(graph))


def maximum_degree(graph: nx.Graph) -> sparse.csr_array:
    """W_ij = 1 / (d_max + 1) for neighbors: every edge alike; d_max must be known to everybody."""
    i, j, degree = ends(graph)
    return _matrix(i, j, np.full(len(i), 1 / (1.0 + degree.max())), len(graph))


def uniform(graph: nx.Graph) -> sparse.csr_array:
    """W = 1/n everywhere: one round gives the exact average.

    Raises:
        ValueError: the graph is not complete.
    """
    n, edges = len(graph), graph.number_of_edges() - nx.number_of_selfloops(graph)
    if edges < n * (n - 1) // 2:
        raise ValueError(
            f"uniform weights need a complete graph of {n * (n - 1) // 2} edges, got one of "
            f"{edges} edges for {n} agents; use metropolis weights"
        )
    return sparse.csr_array(np.full((n, n), 1 / n))


@dataclass(frozen=True)
class lazy:
    """(I + W) / 2 for the W of another rule: half as fast, and no eigenvalue below zero."""

    rule: Rule  # a name or a matrix becomes one

    def __post_init__(self) -> None:
        object.__setattr__(self, "rule", as_rule(self.rule))

    def __call__(self, graph: nx.Graph) -> sparse.csr_array:
        itself = sparse.csr_array(sparse.identity(len(graph), format="csr"))
        return ((itself + self.rule(graph)) / 2).tocsr()


@dataclass(frozen=True, eq=False)
class given:
    """A matrix of one's own, for a graph that never changes.

    Args:
        matrix: (n, n), zero where two agents are no neighbors.

    Raises:
        ValueError: it is not square, not finite, or does not fit the graph it is used for.
    """

    matrix: Matrix

    def __post_init__(self) -> None:
        object.__setattr__(self, "matrix", square(self.matrix))

    def __call__(self, graph: nx.Graph) -> sparse.csr_array:
        if self.matrix.shape[0] != len(graph):
            raise ValueError(
                f"the given weights are for {self.matrix.shape[0]} agents, the graph has "
                f"{len(graph)}; give a matrix of shape ({len(graph)}, {len(graph)})"
            )
        outside = _outside(self.matrix, graph)
        if outside:
            raise ValueError(
                f"the given weights do not fit the graph: {outside}; set them to zero or add the "
                "edges (a graph that changes needs a rule instead, such as metropolis)"
            )
        return self.matrix.copy()


def as_rule(weights: str | Rule | Matrix) -> Rule:
    """A rule from the name of one, a rule, or a matrix (which becomes `given`).

    Raises:
        ValueError: an unknown name, or a matrix that is not square and finite.
    """
    if isinstance(weights, str):
        require_known("weights", weights, WEIGHTS)
        return WEIGHTS[weights]
    return weights if callable(weights) else given(weights)


WEIGHTS: dict[str, Rule] = {
    "metropolis": metropolis,
    "maximum_degree": maximum_degree,
    "uniform": uniform,
    "lazy_metropolis": lazy(metropolis),
    "lazy_maximum_degree": lazy(maximum_degree),
    "lazy_uniform": lazy(uniform),
}


def problems(W: Matrix, graph: nx.Graph, needs: Needs, apart: bool = False) -> list[str]:
    """Why the weights do not serve, one sentence for each reason; nothing where they do.

    Args:
        W: (n, n).
        graph: whose weights they are, agents 0..n-1.
        needs: what the algorithm declares that it needs. `Needs.ASSUMPTION_2` is that of Jiang et
            al., "Collaborative deep learning in fixed topology networks" (CDSGD), (a) to (d). It
            does not ask for lambda_N >= 0: the Metropolis weights of the 10-cycle have -1/3.
        apart: the graph is that of one round, which may fall apart: (c) is not asked for.
    """
    try:
        W = square(W)
    except ValueError as error:
        return [f"the weights: {error}"]
    if W.shape[0] != len(graph):
        return [f"the weights are for {W.shape[0]} agents, expected the {len(graph)} of the graph"]
    found = [_sums(W, "row")]
    if Needs.DOUBLY_STOCHASTIC in needs:
        found.append(_sums(W, "column"))
    if Needs.SYMMETRIC in needs and Needs.ASSUMPTION_2 not in needs:  # there it is letter (b)
        found.append(_mirror(W))
    if Needs.ASSUMPTION_2 in needs:
        found += _assumption_2(W, graph, apart)
    else:
        found.append(_outside(W, graph))
    return [sentence for sentence in found if sentence]


def parts(W: Matrix) -> list[str]:
    """Why weights that never change let no agreement come about: some agents never hear of others.

    The eigenvalue 1 of doubly stochastic weights is simple exactly where they leave one part.
    """
    uses = sparse.csr_array(abs(square(W)) > GAP)
    count, part = connected_components(uses, directed=True, connection="strong")
    if count == 1:
        return []
    first = agents_named(np.flatnonzero(part == part[0]).tolist(), most=5)
    return [
        f"the weights leave {count} parts of the team that never hear of each other, the first of "
        f"{first}; give positive weights to the edges between them"
    ]


def disagreement(W: Matrix) -> list[str]:
    """Why agents that mix with weights that never change would not agree.

    Their distance to the mean vanishes exactly where all eigenvalues of W - 1 1^T / n have a
    modulus below one.
    """
    n = square(W).shape[0]
    largest = float(abs(np.linalg.eigvals(square(W).toarray() - 1 / n)).max())
    if largest < 1 - GAP:
        return []
    return [
        "with these weights agents do not come nearer to each other: W - 1 1^T / n has an "
        f"eigenvalue of modulus {largest:.6g}, expected less than one; lazy weights, (I + W) / 2, "
        "remove eigenvalues of -1, others need weights that are not negative"
    ]


def _assumption_2(W: sparse.csr_array, graph: nx.Graph, apart: bool) -> list[str]:
    letters = {"(a), no weight without an edge": _outside(W, graph), "(b), W = W^T": _mirror(W)}
    if not letters["(b), W = W^T"]:  # (c) and (d) speak of the eigenvalues of a symmetric matrix
        values = extremes(W)
        letters["(c), null{I - W} = span{1}"] = "" if apart else _null_space(W, values)
        letters["(d), I >= W > -I"] = _order(values)
    return [f"Assumption 2 {letter}: {why}" for letter, why in letters.items() if why]


def _null_space(W: sparse.csr_array, values: np.ndarray) -> str:
    if _sums(W, "row"):
        return "equal agents do not stay equal, because rows do not sum to one; divide by the sums"
    one = values[abs(values - 1).argmin()]  # but for the rounding of the weights
    ones = int((abs(values - one) < GAP).sum())
    if ones == 1:
        return ""
    return (
        f"the eigenvalue 1 is there {ones} times, expected once (lambda_2 = {values[1]:.10g}), so "
        "parts of the team never hear of each other; connect them"
    )


def _order(values: np.ndarray) -> str:
    if values[0] <= 1 + TOLERANCE and values[-1] > -1 + GAP:
        return ""
    return (
        f"the eigenvalues reach from {values[-1]:.10g} to {values[0]:.10g}, expected more than -1 "
        "and at most 1; lazy weights, (I + W) / 2, raise what is too low"
    )


def _sums(W: sparse.csr_array, what: str) -> str:
    """What is wrong with the sums of every "row" or "column"."""
    sums = np.asarray(W.sum(axis=1 if what == "row" else 0)).ravel()
    worst = int(abs(sums - 1).argmax())
    if abs(sums[worst] - 1) <= TOLERANCE:
        return ""
    return (
        f"the {what}s of the weights do not all sum to one: {what} {worst} sums to "
        f"{sums[worst]:.10g}; metropolis weights do"
    )


def _mirror(W: sparse.csr_array) -> str:
    if asymmetry(W) <= TOLERANCE:
        return ""
    return (
        "the weights are not symmetric: an entry and its mirror image differ by "
        f"{asymmetry(W):.6g}; metropolis weights are symmetric"
    )


def _outside(W: sparse.csr_array, graph: nx.Graph) -> str:
    """Which weights stand between agents that are no neighbors."""
    n = len(graph)
    i, j, _ = ends(graph)
    rows, columns = np.repeat(np.arange(n), np.diff(W.indptr)), W.indices
    edges = np.concatenate([i * n + j, np.arange(n) * (n + 1)])  # and the diagonal
    strange = np.flatnonzero((W.data != 0) & ~np.isin(rows * n + columns, edges))
    if not len(strange):
        return ""
    first = strange[0]
    return (
        f"weights stand between agents that are no neighbors, at {len(strange)} places; the first "
        f"is {W.data[first]:.6g} in row {rows[first]}, column {columns[first]}"
    )


def ends(graph: nx.Graph) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each edge in both directions, from i (2E,) to j (2E,), and the degrees (n,).

    Read from the adjacency: `graph.edges` and `graph.degree` would tie the graph of every round
    into a reference cycle, and collecting those takes longer than the weights themselves.
    """
    neighbors = dict(undirected(graph).adjacency())
    counts = np.fromiter(map(len, neighbors.values()), np.int64, len(neighbors))
    try:
        agents = np.fromiter(neighbors, np.int64, len(neighbors))
        j = np.fromiter(itertools.chain.from_iterable(neighbors.values()), np.int64, counts.sum())
    except (TypeError, ValueError):
        agents = np.full(len(neighbors), -1)
    if not np.array_equal(np.sort(agents), np.arange(len(agents))):
        require_agents(graph)
    degree = np.empty_like(counts)
    degree[agents] = counts
    return np.repeat(agents, counts), j, degree


def _matrix(i: np.ndarray, j: np.ndarray, weight: np.ndarray, n: int) -> sparse.csr_array:
    """The matrix of the edges' weights, its diagonal chosen so that rows sum to one."""
    agents = np.arange(n)
    own = 1 - np.bincount(i, weight, n)
    rows, columns = np.concatenate([i, agents]), np.concatenate([j, agents])
    data = np.concatenate([weight, own])
    return sparse.coo_array((data, (rows, columns)), shape=(n, n)).tocsr()
