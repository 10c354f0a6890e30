"""What is measured besides the task's own measures: consensus, and where the time went."""

from .clock import Clock
from .consensus import consensus_error, consensus_error_normalized
from .names import RESERVED

__all__ = ["RESERVED", "Clock", "consensus_error", "consensus_error_normalized"]
