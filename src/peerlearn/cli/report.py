"""``peerlearn report DIR``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .console import console, tell, told


def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder with runs.")],
) -> None:
    """Write one HTML page, with figures, about all runs in a folder."""
    with told():
        from ..report import build, left_out

        console().print(f"report: {build(folder)}", markup=False, soft_wrap=True)
        tell(left_out(folder), "warning")
