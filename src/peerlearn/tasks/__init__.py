"""What is learned. `TASKS` lists what an experiment file can name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .base import BaseTask
from .drift import IMAGE_STREAMS, digits_stream, graphical, image_stream, mnist_stream
from .images import IMAGES, accuracy, cifar10, cifar100, digits, fashion_mnist, images, mnist
from .mapping import mapping
from .ppo import PPOTask, pettingzoo, pursuit
from .quadratic import QuadraticTask, quadratic
from .supervised import Task
from .survey import Survey

TASKS: dict[str, Callable[..., BaseTask]] = {
    t.__name__: t
    for t in (*IMAGES, *IMAGE_STREAMS, graphical, mapping, pettingzoo, pursuit, quadratic)
}
# What takes the further options that a task hands on.
OPTIONS: dict[str, tuple[Callable[..., Any], ...]] = {
    **{t.__name__: (images, Task) for t in IMAGES},
    **{t.__name__: (image_stream, Task) for t in IMAGE_STREAMS},
    "graphical": (Task,),
    "mapping": (Survey, Task),
    "pettingzoo": (PPOTask,),
    "pursuit": (PPOTask,),
}

__all__ = [
    "OPTIONS", "TASKS", "BaseTask", "PPOTask", "QuadraticTask", "Survey", "Task", "accuracy",
    "cifar10", "cifar100", "digits", "digits_stream", "fashion_mnist", "graphical", "image_stream",
    "images", "mapping", "mnist", "mnist_stream", "pettingzoo", "pursuit", "quadratic",
]  # fmt: skip
