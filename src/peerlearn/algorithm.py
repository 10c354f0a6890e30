"""The contract of a learning algorithm.

An algorithm is a frozen dataclass of hyper-parameters with two methods. It never knows where its
rows live: it gets its state, a learner (where gradients come from) and links (whom it talks to).

    s = algorithm.start(theta, learner, links)
    s = algorithm.round(s, learner, links)        # again and again

Every agent's network is one row of a matrix theta (A, P): A agents hosted here, P parameters. State
is a NamedTuple of tensors with a leading agent axis, or of dicts of such tensors (the moments of a
local optimizer). Whatever is reduced over parameters is reduced along the last axis, never over
agents. What an algorithm needs and promises is declared on it; the checks before training and the
shipped conformance tests read the declarations.
"""

from __future__ import annotations

import enum
import math
import typing
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from .errors import nearest
from .optimizer import LocalOptimizer

if TYPE_CHECKING:
    from .learner import Learner
    from .links import Links


class Needs(enum.Flag):
    """What an algorithm requires of weights, links and learner; checked before training."""

    NOTHING = 0
    DOUBLY_STOCHASTIC = enum.auto()  # rows and columns of the weights sum to one
    SYMMETRIC = enum.auto()  # W = W^T
    ASSUMPTION_2 = enum.auto()  # CDSGD's Assumption 2, (a) to (d)
    COORDINATOR = enum.auto()  # links.coordinator
    MINIMIZE = enum.auto()  # learner.minimize


@dataclass(frozen=True, kw_only=True)
class Algorithm(ABC):
    """Base of all methods: two hyper-parameters that every method shares, and the declarations.

    Args:
        clip: largest Euclidean norm of an agent's gradient; longer ones are scaled down to it.
        weight_decay: adds ``weight_decay * theta`` to every gradient (after clipping), that is
            ``weight_decay / 2 * ||theta||^2`` to every agent's loss.
    """

    clip: float | None = None
    weight_decay: float = 0.0

    needs: ClassVar[Needs] = Needs.NOTHING
    communicates: ClassVar[bool] = True  # uses links.exchange; needs a graph
    pools_data: ClassVar[bool] = False  # one learner that sees all agents' data
    consumes_state: ClassVar[bool] = False  # round may overwrite the state it was given
    preserves_average: ClassVar[bool] = False  # with zero gradients the mean of theta stays
    exact: ClassVar[bool] = False  # reaches the optimum with a fixed step and full gradients
    State: ClassVar[type]  # the NamedTuple of its rows

    def __post_init__(self) -> None:
        problems = self.problems()
        if problems:
            raise ValueError("; ".join(f"{self.name}: {p}" for p in problems))

    def problems(self) -> list[str]:
        """What is wrong with the hyper-parameters, one sentence each."""
        return [p for f in fields(self) for p in self._field_problems(f.name, f.type)]

    def _field_problems(self, name: str, kind: Any) -> list[str]:
        value = getattr(self, name)
        if name == "optimizer":
            return _reason(lambda: LocalOptimizer(value, getattr(self, "options", {})))
        choices = typing.get_args(typing.get_type_hints(type(self))[name])
        if isinstance(value, str) and value not in choices:
            return [f"{name} is {value!r}; {nearest(value, map(str, choices))}"]
        if isinstance(value, bool) or not isinstance(value, int | float):
            return []
        if not math.isfinite(value) or value < 0:
            return [f"{name} is {value}, expected a finite number that is not negative"]
        if kind == "int" and value < 1:
            return [f"{name} is {value}, expected at least 1"]
        return []

    def below_one(self, name: str) -> list[str]:
        """The complaint about a momentum that never dies away."""
        value = getattr(self, name)
        return [f"{name} is {value}, expected less than 1"] if value >= 1 else []

    @property
    def reaches_consensus(self) -> bool:
        """Whether the agents' networks approach each other; an exemption is a declaration."""
        return self.communicates

    @abstractmethod
    def start(self, theta: Tensor, learner: Learner, links: Links) -> Any:
        """The state before the first round, from the first networks theta (A, P)."""

    @abstractmethod
    def round(self, s: Any, learner: Learner, links: Links) -> Any:
        """One step of the algorithm for every agent hosted here."""

    def vanishing(self, s: Any) -> Tensor | None:
        """Rows (A, P) whose sum over ALL agents stays zero, if the method has such (duals)."""
        return None

    @property
    def name(self) -> str:
        return type(self).__name__


def flatten(state: Any, prefix: str = "") -> dict[str, Tensor]:
    """Every tensor of a state under its dotted name, in order: ``theta``, ``moments.exp_avg``."""
    flat: dict[str, Tensor] = {}
    fields = state if isinstance(state, dict) else state._asdict()
    for name, value in fields.items():
        if isinstance(value, Tensor):
            flat[prefix + name] = value
        else:
            flat.update(flatten(value, f"{prefix}{name}."))
    return flat


def unflatten(kind: type, flat: dict[str, Tensor]) -> Any:
    """The inverse of `flatten` for the state class ``kind``."""
    fields: dict[str, Any] = {}
    for name, annotation in typing.get_type_hints(kind).items():
        if annotation is Tensor:
            fields[name] = flat[name]
        else:
            start = f"{name}."
            fields[name] = {k[len(start) :]: v for k, v in flat.items() if k.startswith(start)}
    return kind(**fields)


class ThetaState(NamedTuple):
    """The state of a method that remembers nothing but its networks."""

    theta: torch.Tensor  # (A, P)


def _reason(build: Callable[[], Any]) -> list[str]:
    """What the constructor complains about, if it does."""
    try:
        build()
    except ValueError as error:
        return [str(error)]
    return []
