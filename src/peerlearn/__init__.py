"""peerlearn: many agents train one PyTorch network together, talking only to their neighbors."""

from . import algorithms, data, graphs, learners, mapping, schedules, tasks
from .algorithm import Algorithm, Needs
from .algorithms import (
    CDMSGD,
    CDSGD,
    DMSGD,
    DSGD,
    DSGT,
    Centralized,
    ConsensusADMM,
    DiNNO,
    DynamicAveraging,
    FedAvg,
    Isolated,
    PeriodicAveraging,
    Serial,
)  # fmt: skip
from .errors import ConfigurationError, Diverged, Lost, PeerlearnError
from .optimizer import LocalOptimizer
from .tasks import Task
from .training import Run, train

__all__ = [
    "CDMSGD", "CDSGD", "DMSGD", "DSGD", "DSGT", "Algorithm", "Centralized", "ConfigurationError",
    "ConsensusADMM", "DiNNO", "Diverged", "DynamicAveraging", "FedAvg", "Isolated",
    "LocalOptimizer", "Lost", "Needs", "PeerlearnError", "PeriodicAveraging", "Run", "Serial",
    "Task", "algorithms", "data", "graphs", "learners", "mapping", "schedules", "tasks",
    "train",
]  # fmt: skip
