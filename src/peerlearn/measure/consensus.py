"""How far the agents' networks are from agreement."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.linalg import vector_norm


def consensus_error(theta: Tensor) -> Tensor:
    """||theta_i - mean_j theta_j|| of each agent: (A, P) -> (A,); exactly 0 where all are alike."""
    apart = theta - theta[0]  # a mean of equal numbers need not be that number
    return _norms(apart - apart.mean(dim=0)).to(theta.dtype)


def consensus_error_normalized(theta: Tensor) -> Tensor:
    """The same of the normalized rows theta_i / ||theta_i||, as DiNNO's experiments plot it."""
    norms = _norms(theta)[:, None].clamp_min(1e-30)
    return consensus_error((theta / norms).to(theta.dtype))


def _norms(rows: Tensor) -> Tensor:
    """(A,) float64: the squares of single precision end at 1e38."""
    return vector_norm(rows, dim=1, dtype=torch.float64)
