"""Ctrl-C while the command is being imported, which takes seconds, ends it without a traceback.

Imported before all else. Where a script imports peerlearn, nothing is changed.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any, NoReturn

INTERRUPTED = 130  # the exit status


def _end(number: int, frame: Any) -> NoReturn:
    os._exit(INTERRUPTED)  # nothing has begun


def _command() -> bool:
    """Whether this is ``peerlearn`` or ``python -m peerlearn``, and none of its children."""
    first = next(iter(sys.argv), "")
    if first == "-m":  # until the module has been found
        return "peerlearn" in sys.orig_argv
    return os.path.basename(first) == "peerlearn" and first in sys.orig_argv


def started() -> None:
    """From here on Ctrl-C is a `KeyboardInterrupt`, as everywhere."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


if _command() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, _end)
