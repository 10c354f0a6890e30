"""Learners: rows of gradients, in a loop or vectorised, and the wrappers around them."""

from .quadratic import QuadraticInTurn, QuadraticLearner
from .supervised import SupervisedLearner
from .wrapped import Regularized, Timed

__all__ = ["QuadraticInTurn", "QuadraticLearner", "Regularized", "SupervisedLearner", "Timed"]
