"""Streams: data that arrive over time, each sample seen once, perhaps from a changing source.

A stream is a function: the samples number first, first + 1, ... of an agent depend on the run's
seed, the agent, their numbers and the concept of the round, and on nothing else. So all there is
to remember is how many samples each agent has drawn.
"""

from .base import NEVER, Batch, Numbers, Stream
from .generated import generated
from .interleaved import interleaved
from .pools import dealt, finite

STREAMS: dict[str, type[Stream]] = {s.__name__: s for s in (finite, dealt, generated)}

__all__ = [
    "NEVER", "STREAMS", "Batch", "Numbers", "Stream", "dealt", "finite", "generated", "interleaved",
]  # fmt: skip
