"""The learner of supervised tasks: any module, any loss, each agent its own data."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from ..learner import Learner
from .gradients import LoopGradient, Loss, VmapGradient, Way, choose
from .minibatches import Group, Minibatches
from .modules import Buffers, Layout
from .randomness import EVALUATION, MODEL, preserved, seed_from, seed_generators
from .samples import Data, Samples, length, pick

if TYPE_CHECKING:
    from ..tasks.supervised import Task

EVALUATION_BATCH = 250  # a batch that stays in the cache: 1.5 times faster than all at once


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
        models = task.models(seed)
        self._module = copy.deepcopy(models[0]).to(device, dtype).train()
        self._judge = copy.deepcopy(self._module).eval()
        self.layout = Layout(self._module)
        rows = [self.layout.row(models[a if len(models) > 1 else 0]) for a in self.agents]
        self._initial = torch.stack(rows).to(device, dtype)
        rates = self.layout.rates(task.rates)
        self.rates = None if rates is None else rates.to(device, dtype)
        self._samples = Samples([task.data[a] for a in self.agents], device, dtype)
        self._minibatches = self._sampler()
        self._tests = self._held_out()
        self._evaluations = torch.zeros(len(self.agents), dtype=torch.int64)
        self._scale = self._weights()
        self._loss = _training_loss(task)
        self._loop = LoopGradient(self._module, self._loss, self.layout)
        self.losses = torch.zeros(len(self.agents), device=device, dtype=dtype)
        self._random, moving = self._probe()
        self._buffers = Buffers(self._module, len(self.agents), device) if moving else None
        self._judge_buffers = self._buffers.sharing(self._judge) if self._buffers else None
        self._way, self.note = self._choose()

    # --- what the agents draw -------------------------------------------------------------

    def _sampler(self) -> Minibatches:
        task = self._task
        if task.strata is not None and task.strata[1] is not None:
            sizes, share = task.strata
            return Minibatches(range(len(sizes)), sizes, [share] * len(sizes), self._seed)
        batch_sizes = [task.batch_size_of(a) for a in self.agents]
        return Minibatches(self.agents, self._samples.sizes, batch_sizes, self._seed)

    def _draw(self, rows: Sequence[int] | None, advance: bool = True) -> list[Group]:
        """The next minibatch of each row: which samples."""
        if self._task.strata is None or self._task.strata[1] is None:
            return self._minibatches.next(rows, advance)
        (group,) = self._minibatches.next(None, advance)
        starts = np.cumsum([0, *self._task.strata[0][:-1]])
        index = group.index + torch.from_numpy(starts)[:, None]
        return [Group(np.zeros(1, np.int64), index.reshape(1, -1))]

    def _weights(self) -> Tensor | None:
        """(A, 1) what each agent's loss weighs in the team's mean; None where all weigh one."""
        weights = self._task.loss_weights()
        if weights is None:
            return None
        return weights[list(self.agents), None].to(self._device, self._dtype)

    # --- gradients ------------------------------------------------------------------------

    def initial(self) -> Tensor:
        return self._initial.clone()

    def gradient(self, theta: Tensor, agents: Sequence[int] | None = None) -> Tensor:
        chosen = np.arange(len(self.agents)) if agents is None else np.asarray(agents, np.int64)
        gradient, losses = self._compute(theta, chosen, self._draw(agents))
        self._note(agents, losses)
        return gradient if self._scale is None else gradient.mul_(self._scale[chosen])

    def add_gradient(self, out: Tensor, theta: Tensor, scale: float = 1.0) -> Tensor:
        if self._alone or self._scale is not None or not self._minibatches.alike:
            return super().add_gradient(out, theta, scale)
        every = np.arange(len(self.agents))
        (group,) = self._draw(None)
        batch = self._samples.batches(every, group.index)
        out, losses = self._way.add(out, scale, theta, *batch)
        self._note(None, losses)
        return out

    def _note(self, agents: Sequence[int] | None, losses: Tensor) -> None:
        """Keep the losses, and count."""
        losses = losses.to(self._dtype)
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
        losses = theta.new_empty(len(theta))
        for rows, index in groups:
            if self._alone:
                for row, picked in zip(rows, index, strict=True):
                    losses[row] = self._one(theta[row], int(chosen[row]), picked, gradient[row])
            else:
                batch = self._samples.batches(chosen[rows], index)
                gradient[rows], losses[rows] = self._way(theta[rows], *batch)
        return gradient, losses

    @property
    def _alone(self) -> bool:
        """Whether each agent's gradient must be computed by itself."""
        return (
            self._random
            or self._buffers is not None
            or self._samples.stacked is None
            or self._task.transform is not None
        )

    def _one(self, row: Tensor, agent: int, index: Tensor, out: Tensor) -> Tensor:
        """One agent's gradient, with its own buffers and its own random numbers."""
        count = int(self._evaluations[agent])
        with preserved(self._device):
            self._seed_for(MODEL, self.agents[agent], count)
            batch = self._samples.batch(agent, index, self._task.transform)
            if self._buffers is not None:
                self._buffers.point(agent)
            loss = self._loop.one(row, *batch, out)
            if self._buffers is not None:
                self._buffers.collect(agent)
        return loss

    def _seed_for(self, purpose: int, *key: int) -> None:
        seed_generators(self._device, seed_from(self._seed, purpose, *key))

    def _choose(self) -> tuple[Way, str]:
        """Loop or vmap, by what the model allows and then by the clock; and why."""
        reasons = {
            "it draws random numbers, and each agent has its own": self._random,
            "its buffers move, and each agent has its own": self._buffers is not None,
            "the data are no tensors of one shape": self._samples.stacked is None,
            "batches are transformed agent by agent": self._task.transform is not None,
        }
        why = next((reason for reason, holds in reasons.items() if holds), None)
        if why is not None and self._task.gradients == "vmap":
            raise ValueError(f"gradients='vmap' was asked for, but {why}; use 'auto' or 'loop'")
        if why is not None:
            return self._loop, f"loop: {why}"
        rows, index = self._draw(None, advance=False)[0]
        example = (self._initial[torch.from_numpy(rows)], *self._samples.batches(rows, index))
        return choose(self._task.gradients, self._loop, self._vmapped(), example)

    def _vmapped(self) -> VmapGradient:
        return VmapGradient(self._module, self._loss, self.layout)

    def _probe(self) -> tuple[bool, bool]:
        """Whether one gradient draws from torch's generator, and whether it moves buffers."""
        module = copy.deepcopy(self._module)
        buffers = {n: b.clone() for n, b in module.named_buffers()}
        loop = LoopGradient(module, _checked(self._loss), self.layout)
        index = self._draw([0], advance=False)[0].index[0]
        with preserved(self._device), _explained(self.agents[0]):
            batch = self._samples.batch(0, index, None)
            before = _generator_state(self._device)
            loop.one(self._initial[0], *batch, self._initial.new_empty(self.layout.width))
            random = any(
                not torch.equal(a, b)
                for a, b in zip(before, _generator_state(self._device), strict=True)
            )
        return random, any(not torch.equal(b, buffers[n]) for n, b in module.named_buffers())

    # --- evaluation -----------------------------------------------------------------------

    def _held_out(self) -> list[Any]:
        """Each row's test batches, shared where the test set is."""
        tests = self._task.tests()
        with preserved(self._device):
            self._seed_for(EVALUATION)
            shared = {
                id(t): list(self._batches(t, range(length(t)))) for t in tests if t is not None
            }
        return [shared.get(id(tests[a if len(tests) > 1 else 0]), []) for a in self.agents]

    def _batches(self, data: Data, index: Sequence[int]) -> Iterator[tuple[int, Any]]:
        """How many samples, and their (inputs, targets)."""
        for begin in range(0, len(index), EVALUATION_BATCH):
            part = index[begin : begin + EVALUATION_BATCH]
            yield len(part), pick(data, part, self._device, self._dtype)

    @torch.no_grad()
    def evaluate(self, theta: Tensor) -> dict[str, Tensor]:
        """The task's measures of each network on the test set, and on the agent's training data.

        The latter are named ``train_...`` and taken from ``task.training_sample`` samples spread
        evenly over the agent's data.
        """
        judged = [self._judge_one(row, theta[row]) for row in range(len(theta))]
        return {
            name: torch.tensor([j[name] for j in judged], dtype=torch.float64) for name in judged[0]
        }

    def _judge_one(self, row: int, theta: Tensor) -> dict[str, float]:
        self.layout.point(self._judge, theta)
        if self._judge_buffers is not None:
            self._judge_buffers.point(row)
        with preserved(self._device):
            self._seed_for(EVALUATION, self.agents[row])
            measured = self._measure(self._tests[row])
            if self._task.evaluate is not None:
                measured.update(self._task.evaluate(self._judge))
            data = self._samples.data[row]
            count = min(length(data), self._task.training_sample or length(data))
            spread = np.linspace(0, length(data) - 1, count).astype(int).tolist()
            own = self._measure(self._batches(data, spread))
        return measured | {f"train_{name}": value for name, value in own.items()}

    def _measure(self, batches: Iterable[tuple[int, Any]]) -> dict[str, float]:
        sums: dict[str, float] = {}
        seen = 0
        measures = {"loss": self._task.loss, **self._task.measures}
        for count, (inputs, targets) in batches:
            outputs = self._judge(inputs)
            for name, measure in measures.items():
                value = measure(outputs, targets).double().mean().item()
                sums[name] = sums.get(name, 0.0) + value * count
            seen += count
        return {name: total / seen for name, total in sums.items()}

    # --- the rest of the contract ---------------------------------------------------------

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
        self.layout.point(self._judge, theta)
        if self._judge_buffers is not None:
            self._judge_buffers.point(row)
        return copy.deepcopy(self._judge)

    def gradient_evaluations(self) -> Tensor:
        return self._evaluations.clone()

    def state(self) -> dict[str, Tensor]:
        held = {"evaluations": self._evaluations.clone(), **self._minibatches.state()}
        if self._buffers is not None:
            held |= self._buffers.state()
        held["vmapped"] = torch.tensor(isinstance(self._way, VmapGradient))
        return held

    def load(self, state: Mapping[str, Tensor]) -> None:
        self._evaluations = state["evaluations"].clone()
        self._minibatches.load(dict(state))
        if self._buffers is not None:
            self._buffers.load(dict(state))
        self._way = self._vmapped() if bool(state["vmapped"]) else self._loop
        self.note = f"{self._way.name}: as before the run was resumed"


def _training_loss(task: Task) -> Loss:
    """The loss of a minibatch; of all pooled data, the mean of the parts' own mean losses."""
    if task.strata is None or task.strata[1] is not None:
        return task.loss
    sizes = task.strata[0]

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        pairs = zip(outputs.split(sizes), targets.split(sizes), strict=True)
        return torch.stack([task.loss(o, t) for o, t in pairs]).mean()

    return loss


def _checked(loss: Loss) -> Loss:
    """A loss that says so where it is not one number."""

    def checked(outputs: Any, targets: Any) -> Tensor:
        value = loss(outputs, targets)
        if not isinstance(value, Tensor) or value.dim():
            got = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else repr(value)
            raise ValueError(
                f"the loss of a batch has {got}, expected a tensor of one number; take the mean"
            )
        return value

    return checked


@contextmanager
def _explained(agent: int) -> Iterator[None]:
    """What torch says of a model that does not fit the data, with what to do about it."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ValueError(
            f"the first minibatch of agent {agent} failed: {reason}; check model, loss and data"
        ) from error


def _generator_state(device: torch.device) -> list[Tensor]:
    states = [torch.get_rng_state()]
    return [*states, torch.cuda.get_rng_state(device)] if device.type == "cuda" else states
