"""How far the agents' networks are from agreement."""

from __future__ import annotations

from torch import Tensor


def consensus_error(theta: Tensor) -> Tensor:
    """||theta_i - mean_j theta_j|| of each agent: (A, P) -> (A,); exactly 0 where all are alike."""
    apart = theta - theta[0]  # a mean of equal numbers need not be that number
    return (apart - apart.mean(dim=0)).norm(dim=1)


def consensus_error_normalized(theta: Tensor) -> Tensor:
    """The same of the normalized rows theta_i / ||theta_i||, as DiNNO's experiments plot it."""
    return consensus_error(theta / theta.norm(dim=1, keepdim=True).clamp_min(1e-30))
