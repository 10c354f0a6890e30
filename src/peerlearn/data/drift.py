"""Concept drift: when the distribution of a stream changes, and what it changes to.

A stream shows one concept after another, numbered from 0. A `Drift` says in which rounds the next
one begins, a `Change` what a concept does to a dataset. Both are functions of the run's seed, so
that all methods of an experiment meet the same drifts. Arguments that cannot be are a ValueError.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..randomness import CONCEPT, DRIFT, generator
from ..values import (
    is_number,
    is_whole,
    require_count,
    require_known,
    require_options,
    require_probability,
)

BLOCK = 1024  # rounds whose drifts are drawn together


class Drift(ABC):
    """In which rounds a new concept begins; the first one holds from the start."""

    @abstractmethod
    def concept(self, seed: int, round: int) -> int:
        """The concept of a round; the start of a run (round -1) counts as round 0."""

    @abstractmethod
    def rounds(self, seed: int, rounds: int) -> list[int]:
        """The rounds, of so many, in which a new concept begins."""

    def problems(self, rounds: int) -> list[str]:
        """Why the drifts do not fit a run of so many rounds."""
        return []

    def describe(self) -> dict[str, Any]:
        return {"kind": type(self).__name__, **vars(self)}


@dataclass(frozen=True)
class at(Drift):
    """A new concept in each of the given rounds, which count from 0; none, if none is given."""

    when: Sequence[int] = ()

    def __post_init__(self) -> None:
        when = self.when if isinstance(self.when, Sequence | np.ndarray) else [None]
        if not all(map(is_whole, when)) or list(when) != sorted({*when}):
            raise ValueError(
                f"the rounds of the drifts are {self.when!r}, expected a list of whole numbers of "
                "at least 1, ascending"
            )
        object.__setattr__(self, "when", tuple(int(r) for r in self.when))

    def concept(self, seed: int, round: int) -> int:
        return bisect_right(self.when, round)

    def rounds(self, seed: int, rounds: int) -> list[int]:
        return [r for r in self.when if r < rounds]

    def problems(self, rounds: int) -> list[str]:
        return [
            f"the drift in round {r} is past the end of the run, whose last round is {rounds - 1}; "
            "train for more rounds, or let it come earlier"
            for r in self.when
            if r >= rounds
        ]


@dataclass(frozen=True)
class random(Drift):
    """A new concept begins in every round after the first with the same probability."""

    probability: float

    def __post_init__(self) -> None:
        require_probability("the probability of a drift", self.probability)

    def concept(self, seed: int, round: int) -> int:
        return len(self.rounds(seed, max(round, 0) + 1))

    def rounds(self, seed: int, rounds: int) -> list[int]:
        blocks = range(-(-rounds // BLOCK))
        drawn = [r for block in blocks for r in _drawn(seed, block, self.probability)]
        return drawn[: bisect_right(drawn, rounds - 1)]


@lru_cache(maxsize=1024)
def _drawn(seed: int, block: int, probability: float) -> tuple[int, ...]:
    """The drifts among the rounds of one block; never in round 0."""
    drifts = generator(seed, DRIFT, block).random(BLOCK) < probability
    return tuple(r for r in (block * BLOCK + np.flatnonzero(drifts)).tolist() if r > 0)


# --- what a concept does to a dataset ---------------------------------------------------------


@dataclass(frozen=True)
class Change:
    """How a dataset looks under each concept: base of all changes, which itself changes nothing.

    Concept 0 is the dataset as it is.
    """

    def fitted(self, targets: Tensor) -> Change:
        """The change for a dataset with these targets: what was left open is read off them."""
        return self

    def apply(
        self, inputs: Tensor, targets: Tensor, seed: int, concept: int
    ) -> tuple[Tensor, Tensor]:
        """Samples as the concept has them: any shape of batch, new memory where changed."""
        return inputs, targets

    def shown(self, targets: Tensor, concept: int) -> Tensor | None:
        """The numbers (k,) of the samples that the concept shows; None for all."""
        return None

    def problems(self, inputs: Tensor, targets: Tensor) -> list[str]:
        """Why these data cannot change so."""
        return []

    def describe(self) -> dict[str, Any]:
        return {"kind": type(self).__name__, **vars(self)}


@dataclass(frozen=True)
class labels(Change):
    """Every new concept names the classes anew: a permutation drawn for it replaces the labels.

    Args:
        classes: how many there are; as many as the dataset has by default.
    """

    classes: int | None = None

    def __post_init__(self) -> None:
        if self.classes is not None:
            require_count("classes", self.classes, least=2)

    def fitted(self, targets: Tensor) -> Change:
        if self.classes is not None or _label_problems(targets):
            return self
        return labels(int(targets.max()) + 1)

    def apply(
        self, inputs: Tensor, targets: Tensor, seed: int, concept: int
    ) -> tuple[Tensor, Tensor]:
        if concept == 0:
            return inputs, targets
        return inputs, self.permutation(seed, concept).to(targets.device)[targets]

    def permutation(self, seed: int, concept: int) -> Tensor:
        """(classes,) the new label of each."""
        if self.classes is None:
            raise ValueError("classes is None, expected their number; give it, or a dataset")
        return torch.from_numpy(generator(seed, CONCEPT, concept).permutation(self.classes))

    def problems(self, inputs: Tensor, targets: Tensor) -> list[str]:
        return _label_problems(targets, self.classes)


@dataclass(frozen=True)
class rotation(Change):
    """Concept c shows the images turned by c times so many degrees, counter-clockwise."""

    degrees: float = 90.0

    def __post_init__(self) -> None:
        if not is_number(self.degrees):
            raise ValueError(f"degrees is {self.degrees!r}, expected a finite number")

    def apply(
        self, inputs: Tensor, targets: Tensor, seed: int, concept: int
    ) -> tuple[Tensor, Tensor]:
        if not inputs.numel():
            return inputs, targets  # nobody has drawn; torch turns no empty batch
        turns, rest = divmod(concept * self.degrees, 90)
        flat = inputs.reshape(-1, *inputs.shape[-3:])  # (n, C, H, W)
        flat = torch.rot90(flat, int(turns) % 4, (-2, -1))
        return (_turned(flat, rest) if rest else flat).reshape(inputs.shape), targets

    def problems(self, inputs: Tensor, targets: Tensor) -> list[str]:
        square = inputs.dim() == 4 and inputs.shape[-1] == inputs.shape[-2]
        if square and inputs.is_floating_point():
            return []
        return [
            f"the inputs have the shape {tuple(inputs.shape)} and are {inputs.dtype}; only square "
            "images (n, channels, size, size) of floating point numbers can be rotated"
        ]


@dataclass(frozen=True)
class classes(Change):
    """Classes appear: concept c shows the first ``first + c * step`` of them."""

    first: int = 2
    step: int = 1

    def __post_init__(self) -> None:
        require_count("first", self.first, least=1)
        require_count("step", self.step, least=1)

    def shown(self, targets: Tensor, concept: int) -> Tensor | None:
        return torch.nonzero(targets < self.first + concept * self.step)[:, 0]

    def problems(self, inputs: Tensor, targets: Tensor) -> list[str]:
        return _label_problems(targets) or (
            []
            if bool((targets < self.first).any())
            else [f"no sample is of the first {self.first} classes; let more appear first"]
        )


CHANGES: dict[str, type[Change]] = {c.__name__: c for c in (labels, rotation, classes)}


def change(name: str, **options: Any) -> Change:
    """The change called ``name``, one of `CHANGES`, with its own arguments.

    Raises:
        ValueError: there is no such change or option, or an option is out of range.
    """
    require_known("drift", name, CHANGES)
    require_options(f"drift {name}", CHANGES[name], options)
    return CHANGES[name](**options)


def _turned(images: Tensor, degrees: float) -> Tensor:
    """Images (n, C, H, W) turned counter-clockwise; the border goes on beyond the edge."""
    angle = np.deg2rad(degrees)
    cosine, sine = float(np.cos(angle)), float(np.sin(angle))
    matrix = images.new_tensor([[cosine, -sine, 0], [sine, cosine, 0]])
    grid = torch.nn.functional.affine_grid(
        matrix.expand(len(images), 2, 3), list(images.shape), align_corners=False
    )
    return torch.nn.functional.grid_sample(images, grid, padding_mode="border", align_corners=False)


def _label_problems(targets: Tensor, classes: int | None = None) -> list[str]:
    if targets.dim() != 1 or targets.is_floating_point() or int(targets.min()) < 0:
        return ["the targets are no class numbers 0, 1, ...; only classes can drift so"]
    if classes is not None and int(targets.max()) >= classes:
        return [f"a target is {int(targets.max())}, expected class numbers below {classes}"]
    return []
