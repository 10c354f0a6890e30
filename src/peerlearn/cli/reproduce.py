"""``peerlearn reproduce NAME``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .console import console, told


def reproduce(
    name: Annotated[
        str | None, typer.Argument(help="Which figure; without it they are listed.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="The folder for the runs; those it holds are kept and gone on with."),
    ] = None,
    short: Annotated[bool, typer.Option("--short", help="Few rounds and one seed.")] = False,
    jobs: Annotated[int, typer.Option(min=1, help="How many runs at the same time.")] = 1,
) -> None:
    """Run a paper's experiment and set its published numbers beside ours.

    The same command goes on where it was stopped: finished runs are kept.
    """
    with told("stopped; the same command goes on where it was"):
        from .. import reproduce as reproductions

        if name is None:
            _list(reproductions.REPRODUCTIONS)
            return
        folder = reproductions.run(name, out, short, jobs, _say)
        console().print((folder / "table.md").read_text(encoding="utf-8"), markup=False)
        console().print(f"table and figures: {folder}", markup=False, soft_wrap=True)


def _list(known: Any) -> None:
    for name, reproduction in known.items():
        console().print(f"{name}  {reproduction.title}", markup=False)


def _say(done: int, runs: int, folder: str) -> None:
    console().print(f"{done} of {runs} runs done: {folder}", markup=False, soft_wrap=True)
