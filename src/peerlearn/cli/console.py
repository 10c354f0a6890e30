"""What all verbs say alike: errors as sentences, and the exit status that goes with them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import typer
from rich.console import Console

FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130


def console() -> Console:
    """Where results go; numbers and paths stay as they are."""
    return Console(highlight=False)


def tell(sentences: Iterable[str], kind: str = "error") -> None:
    """Print each sentence on a line of its own to the standard error."""
    for sentence in sentences:
        typer.echo(f"{kind}: {sentence}", err=True)


@contextmanager
def told(on_interrupt: str = "stopped") -> Iterator[None]:
    """Errors of the library become sentences and an exit status, without a traceback.

    Args:
        on_interrupt: what to say after Ctrl-C.
    """
    from ..errors import Diverged

    try:
        yield
    except Diverged as error:
        tell([str(error)])
        raise typer.Exit(FAILED) from None
    except (ValueError, OSError) as error:
        tell(getattr(error, "problems", None) or str(error).splitlines())
        raise typer.Exit(BAD_INPUT) from None
    except KeyboardInterrupt:
        typer.echo(on_interrupt, err=True)
        raise typer.Exit(INTERRUPTED) from None
