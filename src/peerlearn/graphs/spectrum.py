"""Spectra: how well a graph is connected, and how fast its weights mix.

Eigenvalues are numbered from the largest to the smallest, lambda_1 >= lambda_2 >= ... >= lambda_N.
A matrix W (n, n) that is not square, finite and symmetric is a ValueError.
"""

from __future__ import annotations

from typing import Any

import networkx as nx
import numpy as np
from scipy import sparse
from scipy.sparse.linalg import eigsh

Matrix = Any  # (n, n): a numpy array, a scipy sparse matrix, or what numpy makes an array of

DENSE_UP_TO = 1000  # agents; all eigenvalues of 1,000 agents take a fraction of a second
TOLERANCE = 1e-6  # what counts as equal: weights may be rounded to single precision


def fiedler_value(graph: nx.Graph) -> float:
    """The algebraic connectivity: second smallest eigenvalue of the Laplacian D - A.

    It is zero where the graph falls apart, and n for the complete graph of n agents; more edges
    never make it smaller. A team of one has no second eigenvalue: zero, too.
    """
    if len(graph) < 2:
        return 0.0
    laplacian = nx.laplacian_matrix(graph, weight=None).astype(float)
    return max(0.0, -lambda_2(-laplacian))


def eigenvalues(W: Matrix) -> np.ndarray:
    """All eigenvalues (n,) of a symmetric matrix, from the largest to the smallest.

    Raises:
        ValueError: the matrix is not square or not symmetric.
    """
    return np.linalg.eigvalsh(_symmetric(W).toarray())[::-1]


def extremes(W: Matrix) -> np.ndarray:
    """Eigenvalues of a symmetric matrix that hold at least lambda_1, lambda_2 and lambda_N.

    All of them for up to `DENSE_UP_TO` agents, otherwise just those three.
    """
    matrix = _symmetric(W)
    if matrix.shape[0] <= DENSE_UP_TO:
        return eigenvalues(matrix)
    diagonal = matrix.diagonal()
    radius = abs(matrix).sum(axis=1) - abs(diagonal)  # of Gershgorin's discs: they hold all of them
    largest = _nearest(matrix, float((diagonal + radius).max()) + 1e-6, 2)
    return np.append(largest, _nearest(matrix, float((diagonal - radius).min()) - 1e-6, 1))


def lambda_2(W: Matrix) -> float:
    """The second largest eigenvalue of a symmetric matrix, counted with multiplicity."""
    return float(extremes(_several(W))[1])


def lambda_N(W: Matrix) -> float:
    """The smallest eigenvalue of a symmetric matrix."""
    return float(extremes(W)[-1])


def spectral_gap(W: Matrix) -> float:
    """1 - max(|lambda_2|, |lambda_N|): the part of a disagreement that one mixing surely removes.

    One is an exact average after one round; zero means that some disagreement never fades.
    """
    values = extremes(_several(W))
    return float(1 - max(abs(values[1]), abs(values[-1])))


def _nearest(matrix: sparse.csr_array, shift: float, count: int) -> np.ndarray:
    """The ``count`` eigenvalues nearest to ``shift``, which lies outside the spectrum."""
    start = np.random.default_rng(0).random(matrix.shape[0])  # the same numbers every time
    found = eigsh(matrix.tocsc(), count, sigma=shift, v0=start, return_eigenvectors=False)
    return np.sort(found)[::-1]


def asymmetry(W: Matrix) -> float:
    """The largest |W_ij - W_ji|."""
    matrix = square(W)
    return float(abs(matrix - matrix.T).max())


def square(W: Matrix) -> sparse.csr_array:
    """``W`` as a sparse matrix of float64, after checking that it is square and finite."""
    try:
        matrix: Any = W if sparse.issparse(W) else np.asarray(W, dtype=np.float64)
    except (TypeError, ValueError) as error:  # of rows of several lengths, or of words
        raise ValueError(
            "the matrix is no table of numbers, expected n rows of n numbers each"
        ) from error
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or matrix.shape[0] == 0:
        raise ValueError(f"the matrix has shape {matrix.shape}, expected (n, n) for n agents")
    result: sparse.csr_array = sparse.csr_array(matrix, dtype=np.float64)
    if not np.isfinite(result.data).all():
        raise ValueError("the matrix holds NaN or infinite entries, expected finite numbers")
    return result


def _several(W: Matrix) -> sparse.csr_array:
    matrix = square(W)
    if matrix.shape[0] < 2:
        raise ValueError("a team of one has no second eigenvalue; expected two agents or more")
    return matrix


def _symmetric(W: Matrix) -> sparse.csr_array:
    matrix = square(W)
    if asymmetry(matrix) > TOLERANCE:
        raise ValueError(
            f"the matrix is not symmetric: an entry and its mirror image differ by "
            f"{asymmetry(matrix):.3g}; expected W = W^T, whose eigenvalues are real"
        )
    return matrix
