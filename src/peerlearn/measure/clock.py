"""Seconds spent in gradients, exchange and evaluation."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class Clock:
    """Adds up wall-clock seconds under names; ``total`` runs from the start.

    On a GPU it waits until what was asked for is done: else the seconds would be those of asking.
    """

    def __init__(self, device: torch.device | None = None) -> None:
        self.seconds = {"gradient": 0.0, "exchange": 0.0, "evaluation": 0.0}
        self._device = device if device is not None and device.type == "cuda" else None
        self._started = time.perf_counter()

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        begun = self._now()
        try:
            yield
        finally:
            self.seconds[name] += self._now() - begun

    def _now(self) -> float:
        if self._device is not None:
            torch.cuda.synchronize(self._device)
        return time.perf_counter()

    def read(self) -> dict[str, float]:
        """Everything so far, in seconds."""
        return {**self.seconds, "total": time.perf_counter() - self._started}

    def resume(self, seconds: dict[str, float]) -> None:
        """Go on from what an earlier part of the run had spent."""
        self._started = time.perf_counter() - seconds["total"]
        self.seconds = {name: seconds[name] for name in self.seconds}
