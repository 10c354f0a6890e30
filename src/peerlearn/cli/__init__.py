"""The command line: one verb per file; what is heavy is imported inside the verbs."""

from __future__ import annotations

import warnings
from typing import Annotated

import typer

from .check import check
from .list import list_
from .report import report
from .reproduce import reproduce
from .run import run

app = typer.Typer(
    help="Many agents train one PyTorch network together, talking only to their neighbors.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("run")(run)
app.command("report")(report)
app.command("list")(list_)
app.command("check")(check)
app.command("reproduce")(reproduce)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"peerlearn {version('peerlearn')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Many agents train one PyTorch network together, talking only to their neighbors."""
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"


def main() -> None:
    """What ``peerlearn`` on the command line calls."""
    app(prog_name="peerlearn")
