"""What came of the runs in a folder: one self-contained page, its figures, and a table."""

from .page import build
from .table import Number, Row, summarize, summary_table

__all__ = ["Number", "Row", "build", "summarize", "summary_table"]
