"""The summary as a table in the terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Literal

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from ..record import Record
from .numbers import NOTHING
from .summary import TEXTUAL, cells, summarize


def summary_table(records: Sequence[Record], full: bool = False) -> Table:
    """The rows of `summarize` for a terminal, with what is to be remarked below them.

    Args:
        records: runs of any number of algorithms and seeds.
        full: every column that the page has; by default those that fit into 80 characters.
    """
    rows = [
        {heading: cell.replace(" ± ", "±") for heading, cell in cells(row).items()}
        for row in summarize(records)
    ]
    remarks = [f"{row['algorithm']}: {row['remarks']}" for row in rows if row["remarks"]]
    caption = Text("\n".join(remarks), "default") if remarks else None
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True)
    table.caption, table.caption_justify = caption, "left"
    headings = list(rows[0])[:-1] if full else narrow(rows)
    for heading in headings:
        side: Literal["left", "right"] = "left" if heading in TEXTUAL else "right"
        name = textwrap.fill(heading, 10, break_long_words=False)
        table.add_column(Text(name), justify=side, overflow="fold")
    for row in rows:
        table.add_row(*(Text(row[heading]) for heading in headings))
    return table


def narrow(rows: Sequence[Mapping[str, str]]) -> list[str]:
    """The headings that fit into 80 characters; of streams, what learning cost."""
    name, mean, *agents = list(rows[0])[:4]
    agents = [h for h in agents if any(row[h] != NOTHING for row in rows)]
    if any(row["cumulative loss"] != NOTHING for row in rows):
        return [name, mean, *agents[:1], "cumulative loss", "communication"]
    return [name, mean, *agents, "consensus error", "bytes sent per agent"]
