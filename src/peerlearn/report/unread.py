"""Folders that look like those of runs, but have no record that a report could be made of."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from .. import checkpoint, record


def left_out(folder: str | Path) -> list[str]:
    """Which folders below ``folder`` a report leaves out, and why, a sentence each."""
    root = Path(folder)
    return [f"{path.relative_to(root)} is left out, for {why}" for path, why in _unread(root)]


def _unread(root: Path) -> Iterator[tuple[Path, str]]:
    for path in sorted(root.rglob(record.FILE_NAME)):
        if not record.start_line(path):
            yield path.parent, f"its {path.name} says nothing: the run has not begun"
    for path in sorted(root.rglob(checkpoint.FILE_NAME)):
        if not path.with_name(record.FILE_NAME).exists():
            yield path.parent, f"its {path.name} has no {record.FILE_NAME} beside it"
