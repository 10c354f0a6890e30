"""peerlearn: many agents train one PyTorch network together, talking only to their neighbors."""

from . import starting  # noqa: F401  first, for Ctrl-C while the rest is imported

# isort: split

from . import (
    algorithms,
    data,
    environments,
    graphs,
    learners,
    mapping,
    record,
    schedules,
    tasks,
)  # fmt: skip
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
from .errors import ConfigurationError, Diverged, Lost, PeerlearnError, Unwritten
from .learners import Policy
from .optimizer import LocalOptimizer
from .tasks import PPOTask, Task
from .training import Evaluation, Run, train

__all__ = [
    "CDMSGD", "CDSGD", "DMSGD", "DSGD", "DSGT", "Algorithm", "Centralized", "ConfigurationError",
    "ConsensusADMM", "DiNNO", "Diverged", "DynamicAveraging", "Evaluation", "FedAvg", "Isolated",
    "LocalOptimizer", "Lost", "Needs", "PPOTask", "PeerlearnError", "PeriodicAveraging", "Policy",
    "Run", "Serial", "Task", "Unwritten", "algorithms", "data", "environments", "graphs",
    "learners", "mapping", "record", "schedules", "tasks", "train",
]  # fmt: skip
