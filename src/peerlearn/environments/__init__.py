"""Worlds in which teams act: pursuit, and the parallel environments of PettingZoo."""

from .base import Environment, Step
from .pursuit import Pursuit
from .zoo import Zoo

__all__ = ["Environment", "Pursuit", "Step", "Zoo"]
