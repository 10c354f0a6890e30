"""What is learned. `TASKS` lists what an experiment file can name."""

from __future__ import annotations

from collections.abc import Callable

from .base import BaseTask
from .images import accuracy, cifar10, cifar100, digits, fashion_mnist, images, mnist
from .quadratic import QuadraticTask, quadratic
from .supervised import Task

TASKS: dict[str, Callable[..., BaseTask]] = {
    t.__name__: t for t in (digits, mnist, fashion_mnist, cifar10, cifar100, quadratic)
}

__all__ = [
    "TASKS", "BaseTask", "QuadraticTask", "Task", "accuracy", "cifar10", "cifar100", "digits",
    "fashion_mnist", "images", "mnist", "quadratic",
]  # fmt: skip
