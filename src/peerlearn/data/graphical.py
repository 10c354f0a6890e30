"""Random graphical models: a classification problem that can be drawn anew at every drift."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ..randomness import CONCEPT, generator
from ..values import require_count

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class graphical_models:
    """A tree of depth two of binary variables: the class, hidden ones, observed ones.

    The class is a fair coin. Each of ``hidden`` variables depends on the class alone, each of
    ``observed`` further variables on its own hidden one alone; the learner sees the latter as -1
    and 1, and the class. Every concept draws all conditional probabilities anew, uniformly from
    [0, 1]. To be handed to `streams.generated`.

    The two-tiered source is that of N. Bshouty and P. Long, "Linear classifiers are nearly optimal
    when hidden variables have diverse effects", Machine Learning 86(2), 2012, on which Kamp et al.
    (2018), Section 5, train through drifts. Neither states the sizes and the distribution of the
    probabilities in a text available here, so those are a choice.

    Args:
        hidden: how many hidden variables.
        observed: how many observed variables each hidden one has.
        seed: of the probabilities; the samples are drawn by the generator that is given.
    """

    hidden: int = 20
    observed: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("hidden", 1), ("observed", 1), ("seed", 0)):
            require_count(name, getattr(self, name), least)

    @property
    def sample_bytes(self) -> int:
        """One byte for each variable that is seen."""
        return self.hidden * self.observed + 1

    def __call__(
        self, draw: np.random.Generator, count: int, concept: int
    ) -> tuple[Floats, NDArray[np.int64]]:
        """``count`` samples of a concept: inputs (count, hidden * observed), classes (count,)."""
        of_hidden, of_observed = probabilities(self, concept)
        targets = draw.integers(2, size=count)
        hidden = draw.random((count, self.hidden)) < of_hidden[targets]  # (n, H)
        odds = np.where(hidden[..., None], of_observed[1], of_observed[0])  # (n, H, O)
        seen = draw.random(odds.shape, np.float32) < odds
        return 2 * seen.reshape(count, -1).astype(np.float32) - 1, targets

    def classify(self, inputs: Floats, concept: int) -> NDArray[np.int64]:
        """The likelier class of each of the inputs (n, hidden * observed): Bayes' rule."""
        of_hidden, of_observed = probabilities(self, concept)
        seen = inputs.reshape(-1, 1, self.hidden, self.observed) > 0
        odds = np.where(seen, of_observed, 1 - of_observed).prod(axis=-1)  # (n, 2, H)
        off, on = odds[:, :1], odds[:, 1:]  # of what is seen below a variable, by its value
        likelihood = np.log(of_hidden * on + (1 - of_hidden) * off).sum(axis=-1)  # (n, 2)
        return likelihood.argmax(axis=-1)


@lru_cache(maxsize=64)
def probabilities(model: graphical_models, concept: int) -> tuple[Floats, Floats]:
    """P(hidden = 1 | class) (2, H) and P(observed = 1 | hidden) (2, H, O) of a concept."""
    draw = generator(model.seed, CONCEPT, concept)
    of_hidden = draw.random((2, model.hidden))
    return of_hidden, draw.random((2, model.hidden, model.observed), np.float32)
