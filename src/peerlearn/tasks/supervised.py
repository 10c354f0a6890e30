"""Supervised learning: a module, a loss, and one dataset per agent."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence, Sized
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..data import Stream
from ..data.datasets import Data, Deferred, concatenated, length, loaded, stored_bytes
from ..data.streams import interleaved
from ..learners import SupervisedLearner
from ..learners.minibatches import Parts
from ..randomness import SPREAD, seed_from, seeded
from . import checks
from .base import BaseTask
from .fingerprint import digest_of_data, digest_of_model, digest_of_tensors, name_of

Measure = Callable[[Any, Any], Tensor]
Module = TypeVar("Module", bound=nn.Module)


@dataclass(frozen=True, kw_only=True)
class Task(BaseTask):
    """Bring your own PyTorch: any module, any loss, any data.

    Args:
        model: a module (its parameters, possibly pretrained, are where every agent starts; frozen
            ones stay as they are and are not sent), a function that makes one (called under the
            run's seed), or one module per agent, identical but for the values of parameters. It is
            trained in training mode, but for the layers of a module in training mode that are in
            evaluation mode themselves. What it remembers must be in parameters and buffers.
        loss: (outputs, targets) -> the mean loss of a batch. Of a module whose tensors are on
            another device or of another type than the networks, a copy is used; likewise below.
        data: one dataset per agent: a torch map-style dataset of (input, target) pairs, or the
            tensors (inputs, targets). Sizes may differ. A `peerlearn.data.Deferred` dataset is
            loaded only by the process in which its agent lives. Or a stream
            (`peerlearn.data.streams`), of which every gradient draws the agent's next samples: the
            loss there, and the errors if there is a measure ``accuracy``, are what the agent
            suffered before it learned, with its network in training mode.
        test: what networks are evaluated on: one dataset for all, or one per agent. A stream's
            own test set takes precedence.
        measures: name -> function of (outputs, targets) whose mean over the test set is reported,
            and as ``train_...`` that over the agent's own data, of which a stream keeps none; the
            loss always is. One whose name ends in accuracy or error_rate is a share, and shown in
            percent.
        evaluate: a function of an agent's module (in evaluation mode) to further measures.
        falls: name of one of these measures -> whether less of it is better, as in
            {"latency_s": True}. A report needs it to tell the best agent from the worst. It is
            told by the name where nothing is said: what is called an error falls, and what is
            called by no word of that kind rises.
        batch_size: for all, or one per agent; None takes all of an agent's data every time. A
            batch larger than an agent's data is all of them. Of a stream, the sampling rates.
        transform: (inputs, targets) -> the same, applied to each training batch under the agent's
            own random numbers: those of the global generators of torch, NumPy and Python. It must
            keep nothing from one batch to the next, which a resumed run would not know.
        buffers: floating point buffers (batch norm) are kept "local", or "mixed" after each round
            over the same links as the networks (over a coordinator: whenever networks are
            averaged), and counted as bytes. Integer ones stay local.
        weighting: "equal": the team minimizes the mean of the agents' mean losses; "size": the
            agents weigh as much as their data (with a stream: as their sampling rates), so that
            every sample counts alike.
        rates: name of a parameter or submodule -> multiplier of the learning rate.
        gradients: "loop", "vmap", or "auto" for the faster one, found by timing.
        training_sample: at most this many of an agent's training samples are evaluated for the
            generalization gap; None evaluates all.
        sample_bytes: the size of a raw sample, if it is smaller than its tensors (8-bit pixels);
            what centralized training is said to have sent.
        initial_spread: epsilon: the first network of agent i is common + epsilon (own_i - common),
            where own_i is drawn for the agent alone (Kamp et al. 2018, Figure 8). 0: all alike.
        name, details: for the record.
        parts: of pooled data, how its minibatches are drawn; see `pooled`.

    Example:
        >>> import torch, peerlearn as pl
        >>> data = [(torch.randn(20, 3), torch.randn(20, 1)) for _ in range(4)]
        >>> task = pl.Task(
        ...     model=lambda: torch.nn.Linear(3, 1), loss=torch.nn.functional.mse_loss, data=data
        ... )
        >>> task.agents
        4
    """

    model: nn.Module | Callable[[], nn.Module] | Sequence[nn.Module]
    loss: Callable[[Any, Any], Tensor]
    data: Sequence[Data | Deferred] | Stream
    test: Data | Sequence[Data] | None = None
    measures: Mapping[str, Measure] = field(default_factory=dict)
    evaluate: Callable[[nn.Module], Mapping[str, float]] | None = None
    falls: Mapping[str, bool] = field(default_factory=dict)
    batch_size: int | Sequence[int] | None = 64
    transform: Callable[[Any, Any], tuple[Any, Any]] | None = None
    buffers: Literal["local", "mixed"] = "local"
    weighting: Literal["equal", "size"] = "equal"
    rates: Mapping[str, float] = field(default_factory=dict)
    gradients: Literal["auto", "loop", "vmap"] = "auto"
    training_sample: int | None = 1000
    sample_bytes: int | None = None
    initial_spread: float = 0.0
    name: str = "task"
    details: Mapping[str, Any] = field(default_factory=dict)
    parts: Parts | None = None  # where they are not drawn from all alike

    @property
    def stream(self) -> Stream | None:
        """The data, if they are a stream."""
        return self.data if isinstance(self.data, Stream) else None

    @property
    def datasets(self) -> Sequence[Data | Deferred]:
        """The data, if they are one dataset per agent; none of a stream."""
        return [] if isinstance(self.data, Stream) else self.data

    @property
    def agents(self) -> int:  # type: ignore[override]
        if isinstance(self.data, Stream):
            return self.data.agents
        return len(self.data) if isinstance(self.data, Sized) else 0

    def models(self, seed: int) -> list[nn.Module]:
        """The first network of all, or of each agent."""
        if isinstance(self.model, nn.Module):
            return [self.model]
        if isinstance(self.model, Sequence):
            return list(self.model)
        return [made(self.model, seed)]

    def own_model(self, seed: int, agent: int) -> nn.Module:
        """The network drawn for one agent alone."""
        assert callable(self.model)
        return made(self.model, seed_from(seed, SPREAD, agent))

    def tests(self) -> list[Data | None]:
        """The test set of all, or of each agent."""
        if isinstance(self.test, list) or (
            isinstance(self.test, tuple) and not isinstance(next(iter(self.test), None), Tensor)
        ):
            return list(self.test)
        return [self.test]  # type: ignore[list-item]

    def batch_size_of(self, agent: int) -> int | None:
        """How many samples an agent draws at a time, no more than it has; None: all of them."""
        size = self.batch_size[agent] if isinstance(self.batch_size, Sequence) else self.batch_size
        if size is None or self.stream is not None:
            return size
        return min(size, length(self.datasets[agent]))

    @property
    def batch_sizes(self) -> list[int | None]:
        """(A,) how many samples each agent draws at a time; None: all it has."""
        return [self.batch_size_of(a) for a in range(self.agents)]

    def sizes(self) -> list[int]:
        """(A,) how many samples each agent has; of a stream, how many come at a time."""
        if self.stream is not None:
            return [b or 0 for b in self.batch_sizes]
        return [length(d) for d in self.datasets]

    def loss_weights(self) -> Tensor | None:
        """(A,) n_i A / sum n under "size"; None where all weigh one."""
        if self.weighting == "equal" or self.agents == 1:
            return None
        sizes = torch.tensor(self.sizes(), dtype=torch.float64)
        return sizes * len(sizes) / sizes.sum()

    def learner(
        self,
        seed: int,
        device: torch.device,
        dtype: torch.dtype,
        agents: Sequence[int] | None = None,
    ) -> SupervisedLearner:
        return SupervisedLearner(self._moved(device, dtype), seed, device, dtype, agents)

    def _moved(self, device: torch.device, dtype: torch.dtype) -> Task:
        """The same task; copies of losses and measures that lie elsewhere follow the networks."""
        functions = {"loss": self.loss, **self.measures}
        modules = {n: f for n, f in functions.items() if isinstance(f, nn.Module)}
        here = torch.empty(0, device=device).device
        if not any(_is_elsewhere(module, here, dtype) for module in modules.values()):
            return self
        try:
            modules = copy.deepcopy(modules)
        except Exception as error:
            raise ValueError(
                f"{' or '.join(modules)} cannot be copied to {here} and {dtype} ({error}); make it "
                "there"
            ) from error
        functions |= {name: module.to(here, dtype) for name, module in modules.items()}
        return replace(self, loss=functions.pop("loss"), measures=functions)

    def pooled(self, in_turn: bool = False) -> Task:
        """One agent with all data, which begins with the first agent's network.

        Its minibatches are as large as the agents' together. With agents of different sizes that
        weigh alike, every batch counts each of them alike, which keeps the objective: the mean of
        the agents' mean losses.

        Args:
            in_turn: rather, its k-th minibatch is the next one of agent k mod m.
        """
        sizes, batches = self.sizes(), self.batch_sizes
        total = None if None in batches else sum(b for b in batches if b is not None)
        uneven = self.weighting == "equal" and len(set(sizes)) > 1
        if in_turn:
            parts = Parts(sizes, batches, in_turn=True, weights=self.loss_weights())
        elif self.stream is None and total is not None:
            parts = Parts(sizes, [-(-total // len(sizes))] * len(sizes))
        else:
            parts = Parts(sizes, None)
        return replace(
            self,
            model=self.model[0] if isinstance(self.model, Sequence) else self.model,
            data=(
                [concatenated(self.datasets)]
                if self.stream is None
                else interleaved(self.stream, sizes)
            ),
            test=self._pooled_test(),
            batch_size=total,
            initial_spread=0.0,
            parts=parts if in_turn or uneven else None,
        )

    def _pooled_test(self) -> Data | None:
        tests = self.tests()
        return concatenated([t for t in tests if t is not None]) if len(tests) > 1 else tests[0]

    def data_bytes(self) -> list[int]:
        if self.sample_bytes is not None:
            return [length(d) * self.sample_bytes for d in self.datasets]
        return [stored_bytes(loaded(d, agent)) for agent, d in enumerate(self.datasets)]

    def drifts(self, seed: int, rounds: int) -> list[int]:
        return [] if self.stream is None else self.stream.drifts(seed, rounds)

    def positions(self, round: int) -> NDArray[np.float64] | None:
        return None if self.stream is None else self.stream.positions(round)

    def judge(self, module: nn.Module, agent: int) -> Mapping[str, float]:
        """Further measures of an agent's network, in evaluation mode."""
        if self.evaluate is None:
            return {}
        return self.evaluate(copy.deepcopy(module))  # which it may change as it likes

    def snapshot(self, module: nn.Module) -> dict[str, Tensor]:
        """What is kept of a network at every evaluation, to be drawn: small, on the CPU."""
        return {}

    def stream_bytes(self, gradients: int, in_turn: bool, round: int) -> list[int] | None:
        if self.stream is None:
            return None
        each = [gradients] * self.agents
        if in_turn:
            each = [-(-(gradients - a) // self.agents) for a in range(self.agents)]
        drawn = [n * b for n, b in zip(each, self.sizes(), strict=True)]
        if self.sample_bytes is not None:
            return [n * self.sample_bytes for n in drawn]
        return [self.stream.raw_bytes(agent, n, round) for agent, n in enumerate(drawn)]

    def stream_messages(self, gradients: int, turns: int, round: int) -> int:
        return 1 if self.stream is None else gradients // turns

    def stream_problems(self, gradients: int, rounds: int) -> list[str]:
        return checks.supply_problems(self, gradients, rounds)

    def problems(self) -> list[str]:
        return checks.problems(self)

    def describe(self) -> dict[str, Any]:
        each = isinstance(self.batch_size, Sequence)
        sizes: Any = self.batch_size if each else [self.batch_size]
        counts = [None if b is None else int(b) for b in sizes]
        return {
            **super().describe(),
            **self.details,
            "batch_size": counts if each else counts[0],
            "buffers": self.buffers,
            "weighting": self.weighting,
            "gradients": self.gradients,
            "training_sample": self.training_sample and int(self.training_sample),
            "initial_spread": float(self.initial_spread),
            "rates": {name: float(rate) for name, rate in self.rates.items()},
            "loss": name_of(self.loss),
            "measures": {name: name_of(measure) for name, measure in self.measures.items()},
            "evaluate": name_of(self.evaluate),
            "transform": name_of(self.transform),
            **self._fingerprints,
        }

    @cached_property
    def _fingerprints(self) -> dict[str, Any]:
        """Of what is too large to write down; a task is not changed, so once is enough."""
        return {
            **self._data_fingerprints(),
            "test": digest_of_data(self.tests()),
            "network": digest_of_model(self.model, self.models(0)),
        }

    def _data_fingerprints(self) -> dict[str, Any]:
        if self.stream is not None:
            told = self.stream.describe().items()
            plain = {name: name_of(v) if callable(v) else v for name, v in told}
            return {"stream": plain, "data": digest_of_tensors(self.stream.tensors())}
        sizes = self.sizes()
        return {
            "samples": {"fewest": min(sizes), "most": max(sizes), "total": sum(sizes)},
            "data": digest_of_data(self.datasets),
        }


def made(model: Callable[[], Module], seed: int) -> Module:
    """A network made under a seed; the global generators stay as they are."""
    with seeded(torch.device("cpu"), seed):
        return model()


def _is_elsewhere(module: nn.Module, device: torch.device, dtype: torch.dtype) -> bool:
    tensors = (*module.parameters(), *module.buffers())
    return any(t.device != device or (t.is_floating_point() and t.dtype != dtype) for t in tensors)
