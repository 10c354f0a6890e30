"""Where agents live."""

from .stacked import StackedEngine

ENGINES = {"stacked": StackedEngine}

__all__ = ["ENGINES", "StackedEngine"]
