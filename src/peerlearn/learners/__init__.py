"""Learners: rows of gradients, in a loop or vectorized, and the wrappers around them."""

from .policies import Policy
from .ppo import PPOLearner
from .quadratic import QuadraticInTurn, QuadraticLearner
from .supervised import SupervisedLearner
from .wrapped import Regularized, Timed

__all__ = [
    "PPOLearner", "Policy", "QuadraticInTurn", "QuadraticLearner", "Regularized",
    "SupervisedLearner", "Timed",
]  # fmt: skip
