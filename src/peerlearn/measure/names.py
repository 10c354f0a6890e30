"""The names of what is measured of every run, which no measure of a task may have."""

from __future__ import annotations

from ..links import Traffic

RESERVED = frozenset({
    *Traffic.names(), "loss", "consensus_error", "consensus_error_normalized",
    "gradient_evaluations", "predictions", "cumulative_loss", "cumulative_error", "team_loss",
    "communication",
})  # fmt: skip
