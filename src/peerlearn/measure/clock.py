"""Seconds spent in gradients, exchange and evaluation."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Clock:
    """Adds up wall-clock seconds under names; ``total`` runs from the start."""

    def __init__(self) -> None:
        self.seconds = {"gradient": 0.0, "exchange": 0.0, "evaluation": 0.0}
        self._started = time.perf_counter()

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        begun = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - begun

    def read(self) -> dict[str, float]:
        """Everything so far, in seconds."""
        return {**self.seconds, "total": time.perf_counter() - self._started}

    def resume(self, seconds: dict[str, float]) -> None:
        """Go on from what an earlier part of the run had spent."""
        self._started = time.perf_counter() - seconds["total"]
        self.seconds = {name: seconds[name] for name in self.seconds}
