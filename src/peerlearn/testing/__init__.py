"""Checks for anyone who writes an algorithm: `check_algorithm`, and an engine without mercy.

>>> import peerlearn as pl
>>> from peerlearn.testing import check_algorithm
>>> check_algorithm(pl.DSGD(lr=0.05))
"""

from .alone import run_alone
from .conformance import CHECKS, check_algorithm
from .memory_engine import InMemoryEngine

__all__ = ["CHECKS", "InMemoryEngine", "check_algorithm", "run_alone"]
