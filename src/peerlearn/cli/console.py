"""What all verbs say alike: errors as sentences, and the exit status that goes with them."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import typer
from rich.console import Console

from ..starting import INTERRUPTED, started

FAILED, BAD_INPUT, LOST = 1, 2, 3


def console() -> Console:
    """Where results go; numbers and paths stay as they are."""
    return Console(highlight=False)


def tell(sentences: Iterable[str], kind: str = "error") -> None:
    """Print each sentence on a line of its own to the standard error."""
    for sentence in sentences:
        typer.echo(f"{kind}: {sentence}", err=True)


@contextmanager
def _heard_out() -> Iterator[None]:
    """After an error the launcher ends the other processes; the one that tells it is not cut off.

    What is told takes no time, and a process that does not end is killed.
    """
    from ..engines import launched

    try:
        yield
    except BaseException:
        if launched():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise


@contextmanager
def told(on_interrupt: str = "stopped") -> Iterator[None]:
    """Errors of the library become sentences and an exit status, without a traceback.

    What all processes of a machine meet, one of them tells.

    Args:
        on_interrupt: what to say after Ctrl-C; nothing if it is empty.
    """
    from ..engines import speaks
    from ..errors import Diverged, Lost, Unwritten, sentences

    try:
        started()
        with _heard_out():
            yield
    except (Diverged, Lost, Unwritten) as error:
        tell([str(error)] if speaks(error) else [])
        raise typer.Exit(LOST if isinstance(error, Lost) else FAILED) from None
    except (ValueError, OSError) as error:
        tell(sentences(error) if speaks(error) else [])
        raise typer.Exit(BAD_INPUT) from None
    except KeyboardInterrupt as error:
        if on_interrupt and speaks(error):
            typer.echo(on_interrupt, err=True)
        raise typer.Exit(INTERRUPTED) from None
