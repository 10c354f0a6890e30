"""What pictures of kept snapshots have in common."""

from __future__ import annotations

from .. import snapshots
from ..record import Record


def kept_rounds(record: Record) -> list[int]:
    """After which rounds there are snapshots, ascending.

    Those of rounds not on record do not count: after a crash those rounds are run again.
    """
    known = {*record.rounds.tolist()}
    return [k for k in snapshots.rounds(record.folder) if k in known] if record.folder else []


def file_name(picture: str, *counts: int) -> str:
    """Of a picture, and which one of its kind it is: only further ones are counted."""
    return "-".join([picture, *(str(n) for n in counts if n > 1)])
