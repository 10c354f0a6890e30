"""Random numbers that belong to an agent, wherever it lives and whatever it is stacked with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

MINIBATCH, MODEL, PARTS = 1, 2, 3  # what the numbers are for, so that streams never coincide


def generator(*key: int) -> np.random.Generator:
    """A NumPy generator that depends on nothing but the key, such as (seed, purpose, agent)."""
    words = np.array([k & 0xFFFFFFFF for k in key], np.uint32)  # a list is ten times slower
    return np.random.default_rng(words)


def seed_from(*key: int) -> int:
    """63 bits that depend on nothing but the key."""
    words = np.random.SeedSequence([k & 0xFFFFFFFF for k in key]).generate_state(1, np.uint64)
    return int(words[0] >> 1)


@contextmanager
def preserved(device: torch.device) -> Iterator[None]:
    """Leave torch's global generators as they were found."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        yield


def seed_torch(device: torch.device, *key: int) -> None:
    """Seed torch's global generators, from which dropout and transforms draw."""
    seed = seed_from(*key)
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
