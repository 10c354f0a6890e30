"""peerlearn: many agents train one PyTorch network together, talking only to their neighbors."""

from . import starting  # noqa: F401  first, for Ctrl-C while the rest is imported

# isort: split

from . import algorithms, data, environments, graphs, learners, mapping, schedules, tasks
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
from .learners import Policy
from .optimizer import LocalOptimizer
from .tasks import PPOTask, Task
from .training import Run, train

__all__ = [
    "CDMSGD", "CDSGD", "DMSGD", "DSGD", "DSGT", "Algorithm", "Centralized", "ConfigurationError",
    "ConsensusADMM", "DiNNO", "Diverged", "DynamicAveraging", "FedAvg", "Isolated",
    "LocalOptimizer", "Lost", "Needs", "PPOTask", "PeerlearnError", "PeriodicAveraging", "Policy",
    "Run", "Serial", "Task", "algorithms", "data", "environments", "graphs", "learners", "mapping",
    "schedules", "tasks", "train",
]  # fmt: skip
