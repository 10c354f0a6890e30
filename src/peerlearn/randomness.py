"""Random numbers that belong to an agent, wherever it lives and whatever it is stacked with."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

# The purposes, no two alike, so that streams never coincide. Other numbers would be other runs.
MINIBATCH, MODEL, EVALUATION = 1, 2, 3
SPREAD, DEAL, SAMPLE, HELD_OUT, DRIFT, CONCEPT, VALIDATION = 11, 12, 13, 14, 15, 16, 17
WORLD, ACTING, SHOWN = 21, 22, 23
COORDINATOR = 0xC0


def generator(*key: int) -> np.random.Generator:
    """A NumPy generator that depends on nothing but the key, such as (seed, purpose, agent)."""
    words = np.array([k & 0xFFFFFFFF for k in key], np.uint32)  # a list is ten times slower
    return np.random.default_rng(words)


def seed_from(*key: int) -> int:
    """63 bits that depend on nothing but the key; keys of different lengths differ."""
    words = [len(key), *(k & 0xFFFFFFFF for k in key)]  # zeros at the end count for nothing
    return int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0] >> 1)


@contextmanager
def preserved(device: torch.device) -> Iterator[None]:
    """Leave the global generators of torch, NumPy and Python as they were found."""
    devices = [device] if device.type == "cuda" else []
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


@contextmanager
def seeded(device: torch.device, seed: int) -> Iterator[None]:
    """The global generators, from which dropout, datasets and transforms draw, under a seed."""
    with preserved(device):
        torch.default_generator.manual_seed(seed)
        if device.type == "cuda":
            with torch.cuda.device(device):  # it seeds the current one
                torch.cuda.manual_seed(seed)
        np.random.seed(seed & 0xFFFFFFFF)
        random.seed(seed)
        yield
