"""The methods, one file each, readable beside their papers.

`ALGORITHMS` lists them all; the command line, the documentation and the shared tests read it.
Besides its own arguments every method takes ``clip`` and ``weight_decay``, those of
`peerlearn.Algorithm`.
"""

from __future__ import annotations

from ..algorithm import Algorithm
from ..errors import unknown
from .alone import Centralized, Isolated, Serial
from .cdmsgd import CDMSGD
from .cdsgd import CDSGD
from .consensus_admm import ConsensusADMM
from .dinno import DiNNO
from .dmsgd import DMSGD
from .dsgd import DSGD
from .dsgt import DSGT
from .dynamic_averaging import DynamicAveraging
from .fedavg import FedAvg
from .periodic_averaging import PeriodicAveraging

ALGORITHMS: tuple[type[Algorithm], ...] = (
    DiNNO,
    ConsensusADMM,
    DSGD,
    DSGT,
    CDSGD,
    CDMSGD,
    DMSGD,
    PeriodicAveraging,
    FedAvg,
    DynamicAveraging,
    Serial,
    Centralized,
    Isolated,
)
ALIASES: dict[str, type[Algorithm]] = {"nosync": Isolated, "continuous": PeriodicAveraging}
BY_NAME: dict[str, type[Algorithm]] = {a.__name__: a for a in ALGORITHMS} | ALIASES


def find(name: str) -> type[Algorithm]:
    """The method of that name, in any case.

    Raises:
        ValueError: there is none; the message names the nearest.
    """
    known = {n.lower(): method for n, method in BY_NAME.items()}
    if name.lower() not in known:
        raise unknown("algorithm", name, BY_NAME)
    return known[name.lower()]


__all__ = [
    "ALGORITHMS", "ALIASES", "BY_NAME", "CDMSGD", "CDSGD", "DMSGD", "DSGD", "DSGT", "Centralized",
    "ConsensusADMM", "DiNNO", "DynamicAveraging", "FedAvg", "Isolated", "PeriodicAveraging",
    "Serial", "find",
]  # fmt: skip
