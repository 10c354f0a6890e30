"""Where data comes from (sources) and which agent owns what (partitions)."""

from .partitions import PARTITIONS, partition
from .sources import NORMALIZATION, SOURCES, Images, MissingData, load

__all__ = [
    "NORMALIZATION",
    "PARTITIONS",
    "SOURCES",
    "Images",
    "MissingData",
    "load",
    "partition",
]
