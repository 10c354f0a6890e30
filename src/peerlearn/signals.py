"""Signals that ask a run to stop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def stop_signals(patient: bool = False) -> Iterator[threading.Event]:
    """SIGINT and SIGTERM ask the loop to stop after its round; a second one stops it at once.

    Args:
        patient: a second one asks for the same, because whoever started the processes of a team
            hands on what all of them have got already.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    previous = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}

    def ask(number: int, frame: Any) -> None:
        asked.set()
        if not patient:
            restore()

    def restore() -> None:
        for s, handler in previous.items():
            signal.signal(s, handler)

    for s in previous:
        signal.signal(s, ask)
    try:
        yield asked
    finally:
        restore()
