"""The learner of supervised tasks: any module, any loss, each agent its own data."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from ..learner import Learner
from ..randomness import MODEL, preserved, seed_from, seeded
from .evaluation import Judge
from .explained import explained, whose
from .gradients import LoopGradient, VmapGradient, Way, choose
from .minibatches import Draws, Group, Together
from .modules import Buffers, Layout, differing_buffers
from .prequential import Suffered
from .probe import probe, training_loss
from .samples import Samples
from .supply import epoch_steps_of, minibatches_of, samples_of, weights_of

if TYPE_CHECKING:
    from ..tasks.supervised import Task


class SupervisedLearner(Learner):
    """Gradients and evaluation of a `Task` for the agents hosted here.

    Args:
        task: what is learned.
        seed: of the run; every random number is drawn from (seed, purpose, agent, count).
        device, dtype: where, and of what, networks and floating point data are.
        agents: the numbers of the agents hosted here; all by default.
    """

    def __init__(
        self,
        task: Task,
        seed: int = 0,
        device: torch.device = torch.device("cpu"),  # noqa: B008 - a constant
        dtype: torch.dtype = torch.float32,
        agents: Sequence[int] | None = None,
    ) -> None:
        self.agents = range(task.agents) if agents is None else list(agents)
        self._task, self._seed, self._device, self._dtype = task, seed, device, dtype
        self.turns = len(task.parts.sizes) if task.parts and task.parts.in_turn else 1
        models = task.models(seed)
        own = [models[a if len(models) > 1 else 0] for a in self.agents]
        self._module = copy.deepcopy(models[0]).to(device, dtype)
        if not self._module.training:  # single layers may stay as they were set
            self._module.train()
        self.layout = Layout(self._module)
        self._initial = self._first_networks(own).to(device, dtype)
        rates = self.layout.rates(task.rates)
        self.rates = None if rates is None else rates.to(device, dtype)
        self._samples = samples_of(task, self.agents, seed, device, dtype)
        self._minibatches = minibatches_of(task, self.agents, seed)
        self._evaluations = torch.zeros(len(self.agents), dtype=torch.int64)
        weights = weights_of(task, self.agents)
        self._weights = None if weights is None else weights.to(device, dtype)
        self._loss = training_loss(task)
        self._suffered: Suffered | None = None
        if task.stream is not None and task.stream.prequential:
            same = self._loss is task.loss
            self._suffered = Suffered(task, len(self.agents), same, device)
        self._observed = self._suffered.observed if self._suffered else ()
        self._loop = LoopGradient(self._module, self._loss, self.layout, self._observed)
        self.losses = torch.zeros(len(self.agents), device=device, dtype=dtype)
        self._random, moving = self._probe()
        own_buffers = moving or differing_buffers(models)
        self._buffers = Buffers(self._module, own, device) if own_buffers else None
        self._judge = Judge(
            task, self._module, self.layout, self._samples, self._buffers, self.agents, seed
        )
        with explained("the first test batch"):
            self._judge.try_out(self._initial)
        self._alone = self._why_alone()
        self._way, self.note = self._choose()

    def _first_networks(self, models: Sequence[nn.Module]) -> Tensor:
        """(A, P) of the agents' models; or spread around them."""
        rows = [self.layout.row(model) for model in models]
        spread, task = self._task.initial_spread, self._task
        if spread:
            own = [self.layout.row(task.own_model(self._seed, a)) for a in self.agents]
            rows = [row + spread * (other - row) for row, other in zip(rows, own, strict=True)]
        return torch.stack(rows)

    def begin_round(self, theta: Tensor, round: int) -> None:
        self._samples.begin_round(round)

    # --- gradients ------------------------------------------------------------------------

    def initial(self) -> Tensor:
        return self._initial.clone()

    def gradient(self, theta: Tensor, agents: Sequence[int] | None = None) -> Tensor:
        chosen = np.arange(len(self.agents)) if agents is None else np.asarray(agents, np.int64)
        weights = self._weights
        if weights is not None:  # asked before the draw, while it is their turn
            weights = weights[self._minibatches.owners(chosen)]
        groups = self._minibatches.next(agents)
        with self._naming(theta, chosen, groups):
            gradient, values = self._compute(theta, chosen, groups)
        self._keep(agents, values, groups)
        return gradient if weights is None else gradient.mul_(weights)

    def add_gradient(self, out: Tensor, theta: Tensor, scale: float = 1.0) -> Tensor:
        if self._alone or self._weights is not None or not self._minibatches.alike:
            return super().add_gradient(out, theta, scale)
        every = np.arange(len(self.agents))
        groups = self._minibatches.next(None)
        batch = self._samples.batches(every, groups[0].index)
        with self._naming(theta, every, groups):
            out, values = self._way.add(out, scale, theta, *batch)
        self._keep(None, values, groups)
        return out

    @contextmanager
    def _naming(self, theta: Tensor, chosen: np.ndarray, groups: list[Group]) -> Iterator[None]:
        """Where a model or a loss refuses a minibatch, tell whose it was: tried one by one."""
        try:
            yield
        except Exception:
            for rows, index in groups:
                for row, picked in zip(rows, index, strict=True):
                    with explained(self._whose("a minibatch", chosen[row])):
                        unused = torch.empty_like(theta[row])
                        self._one(theta[row], int(chosen[row]), picked, unused)
            raise

    def _keep(self, agents: Sequence[int] | None, values: Tensor, groups: list[Group]) -> None:
        """Keep the losses, which come first among the values, and count the gradients."""
        if self._suffered is not None:
            chosen = range(len(self.agents)) if agents is None else agents
            self._suffered.add(torch.as_tensor(chosen, dtype=torch.int64), values, groups)
        losses = (values[:, 0] if values.dim() > 1 else values).to(self._dtype)
        if agents is None:
            self.losses = losses
            self._evaluations += 1
        else:
            assert self.losses is not None
            places = torch.as_tensor(agents, dtype=torch.int64)
            self.losses = self.losses.index_put((places.to(self._device),), losses)
            self._evaluations[places] += 1

    def _compute(
        self, theta: Tensor, chosen: np.ndarray, groups: list[Group]
    ) -> tuple[Tensor, Tensor]:
        if not self._alone and len(groups) == 1:
            return self._way(theta, *self._samples.batches(chosen, groups[0].index))
        gradient = torch.empty_like(theta)
        columns = (1 + len(self._observed),) if self._observed else ()
        values = theta.new_empty((len(theta), *columns))
        for rows, index in groups:
            if self._alone:
                for row, picked in zip(rows, index, strict=True):
                    values[row] = self._one(theta[row], int(chosen[row]), picked, gradient[row])
            else:
                batch = self._samples.batches(chosen[rows], index)
                gradient[rows], values[rows] = self._way(theta[rows], *batch)
        return gradient, values

    def _one(self, row: Tensor, agent: int, index: Tensor, out: Tensor) -> Tensor:
        """One agent's gradient, with its own buffers and its own random numbers."""
        count = int(self._evaluations[agent])
        with seeded(self._device, seed_from(self._seed, MODEL, self.agents[agent], count)):
            batch = self._samples.batch(agent, index, self._task.transform)
            if self._buffers is not None:
                self._buffers.point(agent)
            loss = self._loop.one(row, *batch, out)
            if self._buffers is not None:
                self._buffers.collect(agent)
        return loss

    def _whose(self, what: str, row: int) -> str:
        return whose(what, self.agents[row], self._task.agents)

    def _why_alone(self) -> str | None:
        """Why each agent's gradient must be computed by itself, if it must."""
        reasons = {
            "it draws random numbers, and each agent has its own": self._random,
            "each agent has buffers of its own": self._buffers is not None,
            "the data are no tensors of one shape": not self._samples.uniform,
            "batches are transformed agent by agent": self._task.transform is not None,
        }
        return next((reason for reason, holds in reasons.items() if holds), None)

    def _choose(self) -> tuple[Way, str]:
        """Loop or vmap, by what the model allows and then by the clock; and why."""
        if self._alone and self._task.gradients == "vmap":
            raise ValueError(
                f"gradients='vmap' was asked for, but {self._alone}; use 'auto' or 'loop'"
            )
        if self._alone:
            return self._loop, f"loop: {self._alone}"
        rows, index = self._minibatches.next(None, advance=False)[0]
        example = (self._initial[torch.from_numpy(rows)], *self._samples.batches(rows, index))
        return choose(self._task.gradients, self._loop, self._vmapped(), example)

    def _vmapped(self) -> VmapGradient:
        return VmapGradient(self._module, self._loss, self.layout, self._observed)

    def _probe(self) -> tuple[bool, bool]:
        """Whether one gradient draws from a global generator, and whether it moves buffers."""
        of_each_size = (int(group.rows[0]) for group in self._minibatches.next(None, advance=False))
        rows = sorted({*self._samples.unlike(), *of_each_size})

        def batch(row: int, transform: Callable | None = None) -> tuple[Any, Any]:
            index = self._minibatches.next([row], advance=False)[0].index[0]
            return self._samples.batch(row, index, transform)

        for row in rows:  # what a transform gives is only looked at: it may draw, the model may not
            with explained(self._whose("the first minibatch", row)), preserved(self._device):
                batch(row, self._task.transform)
        first = {
            self._whose("the first minibatch", r): (self._initial[r], partial(batch, r))
            for r in rows
        }
        return probe(self._module, self._loss, self.layout, first, self._device)

    @property
    def way(self) -> str | None:
        return self._way.name

    @way.setter
    def way(self, name: str | None) -> None:
        if name != self._way.name:
            self._way = self._vmapped() if name == VmapGradient.name else self._loop
            self.note = f"{name}: chosen by the first process for all"

    # --- the rest of the contract ---------------------------------------------------------

    def evaluate(self, theta: Tensor) -> dict[str, Tensor]:
        """The task's measures of each network on the test set, and on the agent's training data.

        The latter are named ``train_...`` and taken from ``task.training_sample`` samples spread
        evenly over the agent's data. A stream has none; its test set is that of the concept.
        """
        return self._judge.evaluate(theta)

    def snapshot(self, theta: Tensor) -> dict[str, Tensor]:
        return self._judge.snapshot(theta)

    @property
    def buffers(self) -> Tensor | None:
        if self._buffers is None or self._task.buffers == "local":
            return None
        return self._buffers.rows()

    @buffers.setter
    def buffers(self, value: Tensor) -> None:
        assert self._buffers is not None
        self._buffers.set_rows(value)

    def module(self, theta: Tensor, row: int) -> nn.Module:
        """A module of its own with the parameters ``theta`` (P,) and the buffers of ``row``."""
        return self._judge.module(theta, row)

    @property
    def sizes(self) -> Tensor:
        sizes = self._task.sizes()
        return torch.tensor([sizes[a] for a in self.agents], dtype=torch.float64)

    @property
    def epoch_steps(self) -> Tensor:
        return epoch_steps_of(self._task, self.agents)

    def suffered(self) -> dict[str, Tensor]:
        return {} if self._suffered is None else self._suffered.measures()

    def gradient_evaluations(self) -> Tensor:
        return self._evaluations.clone()

    @property
    def _moving(self) -> Sequence[Draws | Together | Buffers | Suffered | Samples]:
        """What a checkpoint holds the state of."""
        parts = (self._minibatches, self._buffers, self._suffered, self._samples)
        return [part for part in parts if part is not None]

    def state(self) -> dict[str, Tensor]:
        held = {"evaluations": self._evaluations.clone()}
        for part in self._moving:
            held |= part.state()
        return held | {"vmapped": torch.tensor(isinstance(self._way, VmapGradient))}

    def load(self, state: dict[str, Tensor]) -> None:
        self._evaluations = state["evaluations"].clone()
        for part in self._moving:
            part.load(state)
        self._way = self._vmapped() if bool(state["vmapped"]) else self._loop
        self.note = f"{self._way.name}: as before the run was resumed"
