"""What came of the runs in a folder: one self-contained page, its figures, and a table."""

from .numbers import Number
from .page import build
from .summary import Row, summarize
from .table import summary_table
from .unread import left_out

__all__ = ["Number", "Row", "build", "left_out", "summarize", "summary_table"]
