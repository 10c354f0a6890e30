"""``peerlearn check FILE``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .console import console, told


def check(
    file: Annotated[Path, typer.Argument(help="The experiment file, or the folder of its runs.")],
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a setting; may be repeated."),
    ] = None,
) -> None:
    """Name every mistake in an experiment file at once; nothing is trained."""
    with told():
        from .. import experiment

        found = experiment.load(file, overrides or [])
        console().print(f"{file} is fine: {found.summary()}", markup=False, soft_wrap=True)
