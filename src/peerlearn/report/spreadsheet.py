"""The last numbers as a CSV file, for tables of one's own: all digits, plain units."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from ..files import replacing
from .numbers import Number
from .summary import Row
from .words import column


def save(rows: Sequence[Row], path: Path) -> None:
    """Write one line for each algorithm.

    Columns are the attributes of `Row`, and the task's own measures (one that is called like an
    attribute has "(own)" behind its name). A number over several seeds is its mean; its standard
    deviation stands in the column ``..._spread`` beside it. Shares are between 0 and 1, and what
    was not measured is empty.
    """
    lines = [_line(row) for row in rows]
    empty = {name for name in lines[0] if all(line[name] in ("", None) for line in lines)}
    with replacing(path) as scratch, scratch.open("w", newline="", encoding="utf-8") as file:
        names = [name for name in lines[0] if name not in empty]
        writer = csv.DictWriter(file, names, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(lines)


def _line(row: Row) -> dict[str, Any]:
    found: dict[str, Any] = {}
    names = {field.name for field in fields(row)}
    for field in fields(row):
        value = getattr(row, field.name)
        if isinstance(value, Mapping):
            for name, number in value.items():
                found |= _number(column(name, names), number)
        elif isinstance(value, tuple) and not isinstance(value, Number):
            found[field.name] = "; ".join(map(str, value))
        elif isinstance(value, str | int):
            found[field.name] = value
        else:
            found |= _number(field.name, value)
    return found


def _number(name: str, number: Number | None) -> dict[str, float | None]:
    mean, spread = number or (None, None)
    return {name: mean, f"{name}_spread": spread}
