"""Hyper-parameters that change with the round: a function of (round, rounds planned).

Wherever a method takes a rate, a float or one of these is accepted. In an experiment file:
``lr = {schedule = "log", start = 0.005, end = 0.0005}``.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import Field, dataclass, fields, is_dataclass
from functools import lru_cache

from .values import as_python, is_number


class Schedule(ABC):
    """A value for each round; ``round`` counts from 0, ``rounds`` is how many are planned."""

    def __post_init__(self) -> None:
        own: tuple[Field, ...] = fields(self) if is_dataclass(self) else ()
        for field in own:
            value = as_python(getattr(self, field.name))
            if field.type not in (float, "float"):
                continue  # of a schedule of one's own
            if not is_number(value, 0):
                raise ValueError(
                    f"{field.name} of the {type(self).__name__} schedule is {value!r}, expected a "
                    "finite number that is not negative"
                )
            object.__setattr__(self, field.name, value)

    @abstractmethod
    def __call__(self, round: int, rounds: int) -> float: ...

    def telling(self, rounds: int) -> set[int]:
        """The rounds, of so many, in which a value that cannot be would show."""
        return {0, min(1, rounds - 1), rounds - 1}


@dataclass(frozen=True)
class constant(Schedule):
    """The same value in every round."""

    value: float

    def __call__(self, round: int, rounds: int) -> float:
        return self.value


@dataclass(frozen=True)
class linear(Schedule):
    """Equal differences from ``start`` in the first round to ``end`` in the last."""

    start: float
    end: float

    def __call__(self, round: int, rounds: int) -> float:
        return self.start + (self.end - self.start) * _progress(round, rounds)


@dataclass(frozen=True)
class log(Schedule):
    """Equal ratios from ``start`` in the first round to ``end`` in the last."""

    start: float
    end: float

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.start <= 0 or self.end <= 0:
            raise ValueError(
                f"a log schedule needs positive ends, got start={self.start} and end={self.end}; "
                "use linear to reach zero"
            )

    def __call__(self, round: int, rounds: int) -> float:
        return self.start * (self.end / self.start) ** _progress(round, rounds)


@dataclass(frozen=True)
class geometric(Schedule):
    """``start * factor ** round``, whatever the number of rounds: DiNNO's growing rho."""

    start: float
    factor: float

    def __call__(self, round: int, rounds: int) -> float:
        return self.start * self.factor**round


@dataclass(frozen=True)
class decaying(Schedule):
    """alpha_k = alpha_{k-1} (1 - mu alpha_{k-1}), alpha_0 = start: DSGD's step in DiNNO's paper."""

    start: float
    mu: float = 0.001

    def __call__(self, round: int, rounds: int) -> float:
        steps = _decay(self.start, self.mu)
        while len(steps) <= round:
            steps.append(steps[-1] * (1 - self.mu * steps[-1]))
        return steps[round]

    def telling(self, rounds: int) -> set[int]:
        return {0, min(1, rounds - 1)}  # what does not fall below zero then never does


@dataclass(frozen=True)
class diminishing(Schedule):
    """alpha_k = start / (1 + k / scale)^power, power in (0.5, 1]: CDSGD's diminishing step."""

    start: float
    scale: float = 100.0
    power: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.5 < self.power <= 1:
            raise ValueError(f"power is {self.power}, expected more than 0.5 and at most 1")
        if self.scale <= 0:
            raise ValueError(f"scale is {self.scale}, expected a positive number of rounds")

    def __call__(self, round: int, rounds: int) -> float:
        return self.start / (1 + round / self.scale) ** self.power


Rate = float | Schedule
RATES: dict[str, type[Schedule]] = {
    s.__name__: s for s in (constant, linear, log, geometric, decaying, diminishing)
}


def value_at(rate: Rate, round: int, rounds: int) -> float:
    """The value of a rate in one round; the start of a run (round -1) counts as round 0.

    Raises:
        ValueError: a schedule has grown beyond the largest number.
    """
    if not isinstance(rate, Schedule):
        return rate
    try:
        value = float(rate(max(round, 0), rounds))
    except OverflowError:
        value = math.inf
    if not math.isfinite(value):
        raise ValueError(
            f"the schedule {rate} is too large for a number in round {round}; let it grow more "
            "slowly, or end below 1e308"
        )
    return value


def _progress(round: int, rounds: int) -> float:
    return min(round / max(rounds - 1, 1), 1.0)


@lru_cache(maxsize=32)
def _decay(start: float, mu: float) -> list[float]:
    """The steps so far."""
    return [start]
