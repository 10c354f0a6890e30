"""What torch says of a model that does not fit the data, with whose they are and what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ..errors import ConfigurationError, first_line


def whose(what: str, agent: int, agents: int) -> str:
    """``what of agent 3``; of a single one, which may have all agents' data, just ``what``."""
    return f"{what} of agent {agent}" if agents > 1 else what


@contextmanager
def explained(what: str) -> Iterator[None]:
    """What torch says of a model that does not fit the data, with what to do about it."""
    try:
        yield
    except (torch.OutOfMemoryError, ConfigurationError, OSError):
        raise
    except Exception as error:
        raise ValueError(
            f"{what} failed: {first_line(error)}; check model, loss and data"
        ) from error
