"""Averages over the coordinator, which all methods that average share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..learner import Learner
from ..links import Links


def everyone(links: Links) -> range:
    """The numbers of all agents of the team."""
    return range(links.total)


def average(
    rows: Tensor, numbers: Sequence[int], links: Links, weights: Tensor | None = None
) -> Tensor:
    """Those agents send their rows up, and get the mean back: rows (A, P) in place.

    Args:
        rows: (A, P) of the agents hosted here.
        numbers: the k agents that take part.
        links: to the coordinator.
        weights: (k,) in the order of the numbers; all alike by default.

    Returns:
        The mean (P,).
    """
    received = links.coordinator.receive(rows, numbers)
    row = links.coordinator.send(mean(received, weights), numbers)
    overwrite(rows, links.hosted(numbers), row)
    return row


def mean(rows: Tensor, weights: Tensor | None = None) -> Tensor:
    """The mean (P,) of rows (k, P), weighted by ``weights`` (k,) where they are given."""
    if weights is None:
        return rows.mean(dim=0)
    return (weights / weights.sum()).to(rows) @ rows


def overwrite(rows: Tensor, chosen: Tensor, row: Tensor) -> None:
    """Write one row (P,) over the ``chosen`` (A,) ones of rows (A, P)."""
    if bool(chosen.all()):
        rows.copy_(row.expand_as(rows))  # several times faster than through a mask
    else:
        rows[chosen.to(rows.device)] = row


def first_mean(theta: Tensor, links: Links) -> Tensor:
    """(P,) the mean of the first networks; where they are all alike, exactly their network."""
    rows = links.coordinator.receive(theta, everyone(links))
    alike = (rows == rows[0]).all(dim=0)  # so are infinite ones, as in the buffer of a mask
    return torch.where(alike, rows[0], rows[0] + (rows - rows[0]).mean(dim=0))


def average_buffers(
    learner: Learner, numbers: Sequence[int], links: Links, weights: Tensor | None = None
) -> None:
    """Average the buffers that are to be mixed, among the agents whose networks were averaged."""
    buffers = learner.buffers
    if buffers is not None:
        average(buffers, numbers, links, weights)
        learner.buffers = buffers
