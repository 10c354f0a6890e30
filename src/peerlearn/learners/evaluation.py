"""How networks are judged: measures on held-out data, and on the agents' own."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from ..data.datasets import Data, length
from ..errors import ConfigurationError, nearest, short
from ..measure import RESERVED
from ..randomness import EVALUATION, preserved, seed_from, seeded
from ..words import listed
from .explained import explained, whose
from .modules import Buffers, Layout
from .samples import Samples, pick

if TYPE_CHECKING:
    from ..tasks.supervised import Task

EVALUATION_BATCH = 250  # a batch that stays in the cache: 1.5 times faster than all at once


class Judge:
    """Evaluates the agents' networks, one after the other. It draws nothing and changes nothing.

    Args:
        task: its loss, measures and test sets.
        module: whose structure, frozen parameters and buffers are taken.
        layout: of rows in the module.
        samples: of the agents; a stream's test set goes before the task's.
        buffers: the agents' own, where each has its own.
        agents: the agents' numbers.
        seed: of the run.
    """

    def __init__(
        self,
        task: Task,
        module: nn.Module,
        layout: Layout,
        samples: Samples,
        buffers: Buffers | None,
        agents: Sequence[int],
        seed: int,
    ) -> None:
        self._task, self._layout, self._samples = task, layout, samples
        self._agents, self._seed = agents, seed
        self._module = copy.deepcopy(module).eval()
        self._buffers = buffers.sharing(self._module) if buffers is not None else None
        self._look_up_tests()
        self._alters = False  # whether the module writes into what it is given
        self._judged: set[str] = set()  # the names of what the task's own judgement gives

    def module(self, theta: Tensor, row: int) -> nn.Module:
        """A module of its own with the parameters ``theta`` (P,) and the buffers of ``row``."""
        self._point(theta, row)
        return copy.deepcopy(self._module)

    def _point(self, theta: Tensor, row: int) -> None:
        self._layout.point(self._module, theta)
        if self._buffers is not None:
            self._buffers.point(row)

    @torch.no_grad()
    def evaluate(self, theta: Tensor) -> dict[str, Tensor]:
        """name -> (A,) for networks theta (A, P); the concept of a stream is that of its round."""
        if self._concept != self._samples.concept:
            self._look_up_tests()
        judged = [self._one(row, theta[row]) for row in range(len(theta))]
        return {
            name: torch.tensor([j[name] for j in judged], dtype=torch.float64) for name in judged[0]
        }

    @torch.no_grad()
    def try_out(self, theta: Tensor) -> None:
        """The first batch of each test set, so that what does not fit is found before training."""
        known: list[Any] = []
        for row, batches in enumerate(self._tests):
            if not any(batches is other for other in known):
                known.append(batches)
                self._point(theta[row], row)
                with self._seeded_for(self._agents[row]):
                    self._alters |= self._writes_into(batches[:1])
                    self._measure(batches[:1])
        self._point(theta[0], 0)
        with preserved(self._samples.device):
            judged = self._task.judge(self._module, self._agents[0])
        require_measures(judged, self._task.measures)
        require_measured(self._task.falls, [*self._task.measures, *judged])
        if self._samples.own(0) is None and not any(self._tests):
            require_no_measures(self._task.measures.keys() - {"accuracy"})  # errors are counted
        self._judged = set(judged)

    def _writes_into(self, batches: Sequence[tuple[int, Any]]) -> bool:
        """Whether the module changes its input, of which all evaluations get the same."""
        for _, (inputs, _) in batches:
            own = copy.deepcopy(inputs)
            before = [t._version for t in _tensors(own)]
            self._module(own)
            return before != [t._version for t in _tensors(own)]
        return False

    @torch.no_grad()
    def snapshot(self, theta: Tensor) -> dict[str, Tensor]:
        """name -> (A, ...) what the task keeps of each network, to be drawn."""
        kept = []
        for row in range(len(theta)):
            self._point(theta[row], row)
            kept.append(self._task.snapshot(self._module))
        return {name: torch.stack([k[name] for k in kept]) for name in kept[0]}

    def _one(self, row: int, theta: Tensor) -> dict[str, float]:
        self._point(theta, row)
        with self._seeded_for(self._agents[row]):
            measured = self._measure(self._tests[row])
            agent, agents = self._agents[row], self._task.agents
            with explained(whose("a batch of the training data", agent, agents)):
                own = self._measure(self._training_batches(row))
            judged = self._task.judge(self._module, agent)
        require_measures(judged, self._task.measures)
        if judged.keys() != self._judged:
            raise ValueError(
                f"evaluate gave {sorted(judged)} for agent {agent}, but {sorted(self._judged)} "
                "before training; give the same names for all agents, each time"
            )
        return {**measured, **judged, **{f"train_{name}": value for name, value in own.items()}}

    def _training_batches(self, row: int) -> Iterator[tuple[int, Any]]:
        """Samples of the agent's own, spread evenly over its data; a stream keeps none."""
        data = self._samples.own(row)
        if data is None:
            return iter(())
        count = min(length(data), self._task.training_sample or length(data))
        spread = np.linspace(0, length(data) - 1, count).astype(int).tolist()
        return self._batches(data, spread)

    def _measure(self, batches: Iterable[tuple[int, Any]]) -> dict[str, float]:
        sums: dict[str, float] = {}
        seen = 0
        measures = {"loss": self._task.loss, **self._task.measures}
        for count, (inputs, targets) in batches:
            outputs = self._module(copy.deepcopy(inputs) if self._alters else inputs)
            for name, measure in measures.items():
                value = _mean(name, measure(outputs, targets), count)
                sums[name] = sums.get(name, 0.0) + value * count
            seen += count
        return {name: total / seen for name, total in sums.items()}

    def _look_up_tests(self) -> None:
        """Each row's test batches in the present concept, shared where the test set is."""
        self._concept = self._samples.concept
        of_concept = self._samples.test()
        tests = self._task.tests() if of_concept is None else [of_concept]
        with self._seeded_for():
            shared = {
                id(t): list(self._batches(t, range(length(t)))) for t in tests if t is not None
            }
        own = [tests[a if len(tests) > 1 else 0] for a in self._agents]
        self._tests: list[Any] = [shared.get(id(test), []) for test in own]

    def _batches(self, data: Data, index: Sequence[int]) -> Iterator[tuple[int, Any]]:
        """How many samples, and their (inputs, targets)."""
        for begin in range(0, len(index), EVALUATION_BATCH):
            part = index[begin : begin + EVALUATION_BATCH]
            yield len(part), pick(data, part, self._samples.device, self._samples.dtype)

    def _seeded_for(self, *key: int) -> AbstractContextManager[None]:
        return seeded(self._samples.device, seed_from(self._seed, EVALUATION, *key))


def _mean(name: str, value: Any, count: int) -> float:
    """Of what a measure gives for a batch: one number, or as many for each sample."""
    found = torch.as_tensor(value) if _is_number(value) else value
    if not isinstance(found, Tensor) or (found.dim() and found.numel() % count):
        got = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else short(value)
        raise ValueError(
            f"the measure {name!r} of {count} samples is {got}, expected one number, or one each"
        )
    return found.double().mean().item()


def _tensors(value: Any) -> Iterator[Tensor]:
    """All tensors in a batch's inputs."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        yield from (t for part in value.values() for t in _tensors(part))
    elif isinstance(value, list | tuple):
        yield from (t for part in value for t in _tensors(part))


def require_measures(judged: Any, measures: Mapping[str, Any]) -> None:
    """What `Task.evaluate` gives must be numbers under names of their own.

    Raises:
        ConfigurationError: it is something else.
    """
    if not isinstance(judged, Mapping):
        raise ConfigurationError([f"evaluate gave {judged!r}, expected a dict of name -> number"])
    found = [
        f"evaluate gave {value!r} as {name!r}, expected a number under a name"
        for name, value in judged.items()
        if not isinstance(name, str) or not _is_number(value)
    ]
    found += [
        f"evaluate gives {name!r}, which is measured already; choose another name"
        for name in judged
        if name in RESERVED or name in measures
    ]
    if found:
        raise ConfigurationError(found)


def require_measured(falls: Mapping[str, bool], own: Sequence[str]) -> None:
    """What `Task.falls` names must be measures of the task's own.

    Raises:
        ConfigurationError: some are not.
    """
    unknown = [name for name in falls if name not in own]
    if unknown:
        raise ConfigurationError([
            f"falls names {name!r}, which is no measure of the task's own; {nearest(name, own)}"
            for name in unknown
        ])  # fmt: skip


def require_no_measures(measures: Iterable[str]) -> None:
    """Of a stream without a test set nothing is left to measure anything on.

    Raises:
        ConfigurationError: there are measures all the same.
    """
    if names := listed(sorted(map(repr, measures))):
        raise ConfigurationError([
            f"the stream has no test set, and keeps no samples to measure {names} on; give it a "
            f"test set, or leave {names} out"
        ])  # fmt: skip


def _is_number(value: Any) -> bool:
    if isinstance(value, Tensor):
        return value.numel() == 1
    return isinstance(value, Real | np.number | np.bool_) or (
        isinstance(value, np.ndarray) and value.ndim == 0
    )
