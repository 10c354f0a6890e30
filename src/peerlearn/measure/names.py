"""The names of what is measured of every run, which no measure of a task may have."""

from __future__ import annotations

TRAFFIC = frozenset(
    f"{what}_{way}" for what in ("messages", "bytes") for way in ("sent", "received")
)
RESERVED = TRAFFIC | {
    "loss", "consensus_error", "consensus_error_normalized", "gradient_evaluations", "predictions",
    "cumulative_loss", "cumulative_error", "team_loss", "communication",
}  # fmt: skip
