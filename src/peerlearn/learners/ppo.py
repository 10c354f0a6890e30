"""Proximal policy optimization of a team, every agent from its own experience."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from ..environments.base import Environment
from ..learner import Learner
from ..randomness import ACTING, SHOWN, WORLD, generator
from .experience import Batch, Episodes, generalized_advantages, play, rewards_to_go, standardized
from .minibatches import Minibatches
from .modules import Layout

if TYPE_CHECKING:
    from ..tasks.ppo import PPOTask


class PPOLearner(Learner):
    """Gradients of the clipped surrogate and of the critic's squared error (Schulman et al. 2017).

        loss_i = - mean_t min(q_t A_t, clip(q_t, 1 - epsilon, 1 + epsilon) A_t)
                 + mean_t (V(o_t) - R_t)^2 - c mean_t entropy
        q_t = pi(a_t | o_t) / pi_old(a_t | o_t)

    with the rewards to go R_t of agent i's own steps and A_t = R_t - V_old(o_t), or generalized
    advantages and R_t = A_t + V_old(o_t); A is standardized once. All agents act in one world: a
    process that hosts some of them needs the others' policies to play its episodes.

    Args:
        task: what is learned.
        seed: of the run; every random number is drawn from (seed, purpose, collection, agent).
        device, dtype: where, and of what, networks are.
        agents: the numbers of the agents hosted here; all by default.
    """

    def __init__(
        self,
        task: PPOTask,
        seed: int = 0,
        device: torch.device = torch.device("cpu"),  # noqa: B008 - a constant
        dtype: torch.dtype = torch.float32,
        agents: Sequence[int] | None = None,
    ) -> None:
        self.agents = range(task.agents) if agents is None else list(agents)
        self._task, self._seed, self._device, self._dtype = task, seed, device, dtype
        self._environment = task.make_environment()
        self._policy = task.policy(seed).to(dtype)
        self.layout = Layout(self._policy)
        row = self.layout.row(self._policy)
        self._initial = row.expand(len(self.agents), -1).to(device, copy=True)
        rates = self.layout.rates(task.rates)
        self.rates = None if rates is None else rates.to(device, dtype)
        acting = self._environment.agents
        self.turns = acting if task.in_turn else 1
        self._own = range(acting) if task.shared else self.agents  # whose experience is learned
        together = acting if task.shared and not task.in_turn else 1  # agents in a row's experience
        self._samples = together * task.episodes * self._environment.steps
        self._batch_size = task.batch_size and together * task.batch_size
        sizes, batch_sizes = [self._samples] * self._rows, [self._batch_size] * self._rows
        hosted = self._own if task.in_turn else self.agents
        self._minibatches = Minibatches(hosted, sizes, batch_sizes, seed)
        self._evaluations = torch.zeros(len(self.agents), dtype=torch.int64)
        self.losses = torch.zeros(len(self.agents), device=device, dtype=dtype)
        self._collected = 0
        self._steps = 0
        self._names = ["reward", "team_reward", *self._environment.measures]
        recent = (len(self.agents), task.recent, len(self._names))
        self._recent = torch.full(recent, math.nan, dtype=torch.float64)
        self._batch = self._nothing()
        self.note = "batched: all agents' dense layers as one product"

    @property
    def _rows(self) -> int:
        """How many lots of experience there are: one for each network, or for each turn."""
        return self.turns if self._task.in_turn else len(self.agents)

    def _nothing(self) -> Batch:
        size = (self._rows, self._samples)
        choice = () if self._environment.discrete else (self._environment.actions,)
        seen = (*size, self._environment.observation_size)
        return self._moved(Batch(*(torch.zeros(s) for s in (seen, size + choice, *[size] * 4))))

    def initial(self) -> Tensor:
        return self._initial.clone()

    # --- experience -----------------------------------------------------------------------

    def begin_round(self, theta: Tensor, round: int) -> None:
        """Collect experience, at the start and then every so many rounds.

        What is collected at the start, round -1, is what the first rounds learn from.
        """
        every = self._task.rounds_per_collection
        if self._collected == 0 or (round > 0 and round % every == 0):
            self._collect(theta)

    @torch.no_grad()
    def _collect(self, theta: Tensor) -> None:
        rows = self._everyone(theta)
        seed, number = self._seed, self._collected
        shape = (self._environment.steps, self._task.episodes, self._environment.actions)
        noise = [
            self._policy.noise(generator(seed, ACTING, number, agent), shape)
            for agent in range(self._environment.agents)
        ]
        drawn = torch.stack(noise, dim=1).to(self._dtype)
        found = self._play(rows, self._task.episodes, generator(seed, WORLD, number), drawn)
        self._batch = self._moved(self._learned_from(found, rows))
        self._note_measures(found)
        self._collected += 1
        self._steps += found.steps

    def _everyone(self, theta: Tensor) -> Tensor:
        """(A, P) on the CPU: the network that each agent of the environment acts with."""
        rows = theta if self.gather is None else self.gather(theta)
        return rows.detach().cpu().expand(self._environment.agents, -1)

    def _play(
        self,
        rows: Tensor,
        episodes: int,
        world: np.random.Generator,
        noise: Tensor | None = None,
        watch: Callable[[], None] = lambda: None,
    ) -> Episodes:
        """Episodes with actions drawn by the noise (T, A, E, actions), or the most likely ones."""
        actor = self._policy.team_actor(self.layout.views(rows))

        def act(t: int, seen: np.ndarray) -> np.ndarray:
            numbers = actor(torch.from_numpy(seen).to(self._dtype))
            numbers = numbers.nan_to_num()  # of what has diverged the next loss will tell
            return self._policy.chosen(numbers, None if noise is None else noise[t]).numpy()

        return play(self._environment, act, episodes, world, watch)

    def _learned_from(self, found: Episodes, rows: Tensor) -> Batch:
        """The experience of the agents hosted here; of one network for all, everybody's."""
        own, steps = list(self._own), self._environment.steps

        def of_own(values: np.ndarray) -> Tensor:  # (T, A, E, ...) -> (T, own, E, ...)
            part = torch.from_numpy(values[:, own])
            return part if part.dtype == torch.int64 else part.to(self._dtype)

        seen, actions = of_own(found.observations), of_own(found.actions)
        rewards, acted, valued = map(of_own, (found.rewards, found.acted, found.valued))
        views = self.layout.views(rows[own])
        flat = seen.transpose(0, 1).flatten(1, 2)  # (own, (T + 1) E, O)
        numbers = self._policy.team_actor(views)(flat)
        values = self._policy.team_critic(views)(flat)
        shape = (steps + 1, self._task.episodes)
        numbers, values = (x.unflatten(1, shape).transpose(0, 1) for x in (numbers, values))
        log_probs = self._policy.log_prob(numbers[:-1], actions)
        advantages, returns = self._advantages(rewards, values, acted, valued)
        parts = (seen[:-1], actions, log_probs, advantages, returns, acted)
        batch = Batch(*(self._in_rows(p) for p in parts))
        mean = batch.weights.mean(dim=1, keepdim=True).clamp_min(1e-30)
        return batch._replace(
            advantages=standardized(batch.advantages, batch.weights), weights=batch.weights / mean
        )

    def _advantages(
        self, rewards: Tensor, values: Tensor, acted: Tensor, valued: Tensor
    ) -> tuple[Tensor, Tensor]:
        """A_t and R_t, (T, own, E) each; see the class."""
        discount, decay = self._task.discount, self._task.gae
        if decay is None:
            returns = rewards_to_go(rewards, discount)
            return returns - values[:-1], returns
        goes_on = torch.cat([acted[1:], torch.zeros_like(acted[:1])])
        advantages = generalized_advantages(rewards, values, valued, goes_on, discount, decay)
        return advantages, advantages + values[:-1]

    def _in_rows(self, values: Tensor) -> Tensor:
        """(T, own, E, ...) -> (rows, N, ...)."""
        return values.transpose(0, 1).reshape(self._rows, self._samples, *values.shape[3:])

    def _moved(self, batch: Batch) -> Batch:
        numbers = [p.to(self._device) for p in batch]
        return Batch(*(p.to(self._dtype) if p.is_floating_point() else p for p in numbers))

    def _note_measures(self, found: Episodes) -> None:
        """Each agent's mean episode reward, the team's, and what the environment counts."""
        own = found.rewards.sum(axis=0).mean(axis=1)  # (A,)
        rewards = [own.mean()] if self._task.shared else own[list(self._own)]
        team = [own.sum(), *(found.tally[n].mean() for n in self._environment.measures)]
        values = torch.tensor([[reward, *team] for reward in rewards], dtype=torch.float64)
        self._recent[:, self._collected % self._task.recent] = values

    # --- gradients ------------------------------------------------------------------------

    def gradient(self, theta: Tensor, agents: Sequence[int] | None = None) -> Tensor:
        chosen = list(range(len(self.agents))) if agents is None else list(agents)
        rows = [int(self._evaluations[0]) % self.turns] if self._task.in_turn else chosen
        batch = self._batch if rows == list(range(self._rows)) else self._batch.of(rows)
        if self._batch_size is not None:
            batch = batch.minibatch(self._minibatches.next(rows)[0].index.to(self._device))
        at = theta.detach().requires_grad_()
        losses = self.loss(at, batch)
        (gradient,) = torch.autograd.grad(losses.sum(), at)
        places = torch.tensor(chosen)
        assert self.losses is not None
        self.losses = self.losses.index_put((places.to(self._device),), losses.detach())
        self._evaluations[places] += 1
        return gradient

    def loss(self, theta: Tensor, batch: Batch) -> Tensor:
        """(rows,) each network's own loss; see the class."""
        views, task = self.layout.views(theta), self._task
        numbers = self._policy.team_actor(views)(batch.observations)
        values = self._policy.team_critic(views)(batch.observations)
        log_probs = self._policy.log_prob(numbers, batch.actions)
        loss = -clipped(log_probs, batch.log_probs, batch.advantages, task.clip)
        loss = loss + (values - batch.returns).square()
        if task.entropy:
            loss = loss - task.entropy * self._policy.entropy(numbers)
        return (batch.weights * loss).mean(dim=1)

    # --- measures -------------------------------------------------------------------------

    def evaluate(self, theta: Tensor) -> dict[str, Tensor]:
        """Of the latest collections (``recent`` of the task): means over their episodes.

        Rewards are sums over an episode, of each agent and of the whole team.
        """
        means = self._recent.nanmean(dim=1)
        steps = torch.full((len(self.agents),), self._steps, dtype=torch.float64)
        return {**dict(zip(self._names, means.T, strict=True)), "environment_steps": steps}

    @torch.no_grad()
    def snapshot(self, theta: Tensor) -> dict[str, Tensor]:
        """An episode of the most likely actions, always from the same start.

        name -> (A, T + 1, things, 2), the same for all agents.
        """
        if type(self._environment).scene is Environment.scene:
            return {}
        kept: list[dict[str, np.ndarray]] = []
        world = generator(self._seed, SHOWN)
        rows = self._everyone(theta)
        self._play(rows, 1, world, watch=lambda: kept.append(self._environment.scene()))
        frames = {n: torch.from_numpy(np.stack([k[n][:, 0] for k in kept])) for n in kept[0]}
        return {n: f.float().expand(len(self.agents), *f.shape) for n, f in frames.items()}

    def module(self, theta: Tensor, row: int) -> nn.Module:
        """The `Policy` with the parameters ``theta`` (P,)."""
        policy = self._task.policy(self._seed).to(self._dtype)
        policy.load_state_dict(self.layout.views(theta.detach().cpu()))
        return policy.eval()

    def gradient_evaluations(self) -> Tensor:
        return self._evaluations.clone()

    @property
    def epoch_steps(self) -> Tensor:
        size = self._batch_size or self._samples
        return torch.full((len(self.agents),), -(-self._samples // size) * self.turns)

    # --- what a checkpoint holds ----------------------------------------------------------

    def state(self) -> dict[str, Tensor]:
        held = {f"batch.{name}": part for name, part in self._batch._asdict().items()}
        return {
            **held, **self._minibatches.state(), "evaluations": self._evaluations.clone(),
            "recent": self._recent.clone(), "losses": self.losses,
            "collected": torch.tensor(self._collected), "steps": torch.tensor(self._steps),
        }  # fmt: skip

    def load(self, state: dict[str, Tensor]) -> None:
        parts = (state[f"batch.{name}"] for name in Batch._fields)
        self._batch = self._moved(Batch(*(p.clone() for p in parts)))
        self._minibatches.load(state)
        self._evaluations = state["evaluations"].clone()
        self._recent = state["recent"].clone()
        self.losses = state["losses"].to(self._device, copy=True)
        self._collected, self._steps = int(state["collected"]), int(state["steps"])


def clipped(log_probs: Tensor, old: Tensor, advantages: Tensor, epsilon: float) -> Tensor:
    """min(q A, clip(q, 1 - epsilon, 1 + epsilon) A) with q = exp(log_probs - old)."""
    ratio = (log_probs - old).exp()
    return torch.minimum(ratio * advantages, ratio.clamp(1 - epsilon, 1 + epsilon) * advantages)
