"""What measures are called by people."""

from __future__ import annotations

from collections.abc import Container

from .measures import TEAM_LOSS


def words(measure: str) -> str:
    """A measure's name as people write it."""
    known = {TEAM_LOSS: "cumulative loss"}.get(measure, measure)
    known = known.replace("wall_iou", "IoU of walls")
    return known.replace("_normalized", " (normalized)").replace("_", " ")


def titled(measure: str) -> str:
    """Its name at the beginning of a title."""
    name = words(measure)
    return f"{name[:1].upper()}{name[1:]}"


def column(measure: str, others: Container[str]) -> str:
    """The name of a column for a task's own measure, beside the others of a table."""
    return f"{measure} (own)" if measure in others else measure
