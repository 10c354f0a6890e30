"""The contract of a learning algorithm.

An algorithm is a frozen dataclass of hyper-parameters with two methods. It never knows where its
rows live: it gets its state, a learner (where gradients come from) and links (whom it talks to).

    s = algorithm.start(theta, learner, links)
    s = algorithm.round(s, learner, links)        # again and again

Every agent's network is one row of a matrix theta (A, P): A agents hosted here, P parameters. State
is a NamedTuple of tensors with a leading agent axis, or of dicts of such tensors (the moments of a
local optimizer); what all agents hold alike is marked `Shared`. Whatever is reduced over parameters
is reduced along the last axis, never over agents. What an algorithm needs and promises is declared
on it; the checks before training and the shipped conformance tests read the declarations.
"""

from __future__ import annotations

import enum
import typing
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from numbers import Integral, Real
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from .errors import nearest
from .optimizer import LocalOptimizer
from .schedules import Schedule
from .values import as_python, is_number

if TYPE_CHECKING:
    from .learner import Learner
    from .links import Links


Shared = Annotated[Tensor, "shared"]
"""A field of a State that all agents hold alike: a reference model (P,), a counter (1,)."""


class Needs(enum.Flag):
    """What an algorithm requires of weights, links and learner; checked before training."""

    NOTHING = 0
    DOUBLY_STOCHASTIC = enum.auto()  # rows and columns of the weights sum to one
    SYMMETRIC = enum.auto()  # W = W^T
    ASSUMPTION_2 = enum.auto()  # CDSGD's Assumption 2, (a) to (d)
    COORDINATOR = enum.auto()  # links.coordinator
    MINIMIZE = enum.auto()  # learner.minimize


class Limit(NamedTuple):
    """Which finite numbers a hyper-parameter may be."""

    holds: Callable[[float], bool]
    words: str  # after "expected"


NOT_NEGATIVE = Limit(lambda x: x >= 0, "a finite number that is not negative")
BELOW_ONE = Limit(lambda x: 0 <= x < 1, "a number of at least 0 and less than 1")
UP_TO_ONE = Limit(lambda x: 0 <= x <= 1, "a number from 0 to 1")


@dataclass(frozen=True, kw_only=True)
class Algorithm(ABC):
    """Base of all methods: two hyper-parameters that every method shares, and the declarations.

    Args:
        clip: largest Euclidean norm of an agent's gradient; longer ones are scaled down to it.
        weight_decay: adds ``weight_decay * theta`` to every gradient (after clipping), that is
            ``weight_decay / 2 * ||theta||^2`` to every agent's loss.

    Raises:
        ValueError: hyper-parameters that cannot be; all of them are named.
    """

    clip: float | None = None
    weight_decay: float = 0.0

    needs: ClassVar[Needs] = Needs.NOTHING
    communicates: ClassVar[bool] = True  # with neighbors: uses links.exchange, needs a graph
    pools_data: ClassVar[bool] = False  # one learner that sees all agents' data
    in_turn: ClassVar[bool] = False  # and sees the agents' minibatches one after another
    consumes_state: ClassVar[bool] = False  # round may overwrite the state it was given
    preserves_average: ClassVar[bool] = False  # with zero gradients the mean of theta stays
    limits: ClassVar[Mapping[str, Limit]] = {}  # of hyper-parameters that are not just >= 0
    exact: ClassVar[bool] = False  # reaches the optimum with a fixed step and full gradients
    State: ClassVar[type]  # the NamedTuple of its rows

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            object.__setattr__(self, name, as_python(value))
        problems = self.problems()
        if problems:
            raise ValueError("; ".join(f"{self.name}: {p}" for p in problems))

    def problems(self) -> list[str]:
        """What is wrong with the hyper-parameters, one sentence each."""
        hints = typing.get_type_hints(type(self))
        found = [p for f in fields(self) for p in self._field_problems(f.name, hints[f.name])]
        return found + self._clip_problems()

    def _field_problems(self, name: str, kind: Any) -> list[str]:
        value = getattr(self, name)
        if name == "optimizer":
            return _reason(lambda: LocalOptimizer(value, getattr(self, "options", {})))
        allowed = typing.get_args(kind) or (kind,)
        if typing.get_origin(kind) is Literal:
            wrong = value not in allowed
            return [f"{name} is {value!r}; {nearest(value, map(str, allowed))}"] if wrong else []
        if kind is bool:
            wrong = not isinstance(value, bool)
            return [f"{name} is {value!r}, expected true or false"] if wrong else []
        if float in allowed or int in allowed:
            return _number_problems(name, value, allowed, self.limits.get(name, NOT_NEGATIVE))
        return []

    def _clip_problems(self) -> list[str]:
        if self.clip is not None and Needs.MINIMIZE in self.needs:
            return [
                f"clip is {self.clip}, but losses are minimized exactly, without gradients to "
                "clip; leave clip out"
            ]
        if self.clip == 0:
            return ["clip is 0, which stops every gradient; expected a positive number, or None"]
        return []

    @property
    def counts_epochs(self) -> bool:
        """Whether its rounds are measured in passes over the data, which a stream does not have."""
        return False

    @property
    def reaches_consensus(self) -> bool:
        """Whether the agents' networks approach each other; an exemption is a declaration."""
        return self.communicates or Needs.COORDINATOR in self.needs

    def gradients(self, rounds: int, epoch: int = 1) -> int:
        """How many minibatch gradients an agent draws at most in so many rounds; one in each here.

        Args:
            rounds: how many rounds are planned; gradients that `start` draws come on top.
            epoch: how many minibatches the longest epoch has, for methods that train for epochs.
        """
        return rounds

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


def shared(kind: type) -> frozenset[str]:
    """The names of a state class's fields that all agents hold alike."""
    hints = typing.get_type_hints(kind, include_extras=True)
    return frozenset(name for name, hint in hints.items() if hint == Shared)


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


def _number_problems(name: str, value: Any, allowed: Sequence[Any], limit: Limit) -> list[str]:
    """What is wrong with a number, or with a schedule or None where the field allows them."""
    others = tuple(k for k in allowed if k not in (int, float))
    if others and isinstance(value, others):
        return []
    wanted = "a number" if float in allowed else "a whole number"
    wanted += " or a schedule" if Schedule in others else ""
    wanted += " or None" if type(None) in others else ""
    if isinstance(value, bool) or not isinstance(value, Real if float in allowed else Integral):
        return [f"{name} is {value!r}, expected {wanted}"]
    if not (is_number(value) and limit.holds(float(value))):
        return [f"{name} is {value}, expected {limit.words}"]
    if float not in allowed and value < 1:
        return [f"{name} is {value}, expected at least 1"]
    return []


def _reason(build: Callable[[], Any]) -> list[str]:
    """What the constructor complains about, if it does."""
    try:
        build()
    except ValueError as error:
        return [str(error)]
    return []
