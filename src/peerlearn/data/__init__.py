"""Where data comes from (sources, streams) and which agent owns what (partitions)."""

from . import drift, streams
from .datasets import Deferred
from .files import MissingData
from .graphical import graphical_models
from .partitions import PARTITIONS, partition
from .sources import SOURCES, Images, Source, load
from .streams import Stream

__all__ = [
    "PARTITIONS",
    "SOURCES",
    "Deferred",
    "Images",
    "MissingData",
    "Source",
    "Stream",
    "drift",
    "graphical_models",
    "load",
    "partition",
    "streams",
]
