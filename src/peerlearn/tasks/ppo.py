"""Reinforcement learning: agents that act in one world and learn from what they get for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any, Literal

import torch

from ..environments import Environment, Pursuit, Zoo
from ..environments.pursuit import MOST_BODIES
from ..learners import PPOLearner
from ..learners.modules import Layout
from ..learners.policies import Policy
from ..values import (
    count_problems,
    is_list,
    is_number,
    is_whole,
    positive_problems,
    require_count,
)  # fmt: skip
from .base import BaseTask
from .options import require_handed_on
from .supervised import made

NUMBER_BYTES = 4  # of a number in an agent's experience, as 32-bit float


@dataclass(frozen=True, kw_only=True)
class PPOTask(BaseTask):
    """Every agent improves its policy on its own experience by proximal policy optimization.

    A row holds an agent's actor and critic, whose columns ``rates`` can give rates of their own:
    {"actor": 1.0, "critic": 0.1}. The defaults are DiNNO's settings (Yu et al. 2022, Section V-C).

    Args:
        world: makes the environment; all agents are alike in it.
        episodes: how many whole episodes are played for a collection of experience, by all agents
            with their own present policies.
        rounds_per_collection: how many rounds learn from one collection.
        hidden: widths of the ReLU layers of actor and critic.
        variance: of each number of an action, where actions are vectors.
        discount: gamma.
        clip: epsilon.
        gae: lambda of generalized advantage estimation; without it, rewards to go minus values.
        entropy: c, what the entropy of the policy counts.
        batch_size: steps in a minibatch; None takes the whole collection every time.
        rates: name of "actor", "critic" or a parameter -> multiplier of the learning rate.
        recent: rewards are reported as means over so many of the latest collections.
        shared: one network that learns from everybody's experience.
        in_turn: rather, from each agent's in turn.
        name: for the record.
    """

    world: Callable[[], Environment]
    episodes: int = 14
    rounds_per_collection: int = 1
    hidden: Sequence[int] = (64, 64, 64)
    variance: float = 0.5
    discount: float = 0.99
    clip: float = 0.2
    gae: float | None = None
    entropy: float = 0.0
    batch_size: int | None = None
    rates: Mapping[str, float] = field(default_factory=dict)
    recent: int = 10
    shared: bool = False
    in_turn: bool = False
    name: str = "ppo"

    def __post_init__(self) -> None:
        found = self.world() if callable(self.world) else self.world
        if not isinstance(found, Environment) or found is self.world:
            raise ValueError(
                f"world is {self.world!r}, expected a function that makes an Environment"
            )

    @cached_property
    def facts(self) -> Environment:
        """One of the environments, to be asked what they are like."""
        return self.world()

    @property
    def agents(self) -> int:  # type: ignore[override]
        return 1 if self.shared else self.facts.agents

    @property
    def falls(self) -> Mapping[str, bool]:  # type: ignore[override]
        return self.facts.falls

    def make_environment(self) -> Environment:
        """An environment of one's own."""
        return self.world()

    def policy(self, seed: int) -> Policy:
        """The first policy of all agents."""
        facts = self.facts
        return made(
            lambda: Policy(
                facts.observation_size, facts.actions, self.hidden, facts.discrete, self.variance
            ),
            seed,
        )

    def learner(
        self,
        seed: int,
        device: torch.device,
        dtype: torch.dtype,
        agents: Sequence[int] | None = None,
    ) -> PPOLearner:
        return PPOLearner(self, seed, device, dtype, agents)

    def pooled(self, in_turn: bool = False) -> PPOTask:
        """One policy with which all agents act, learned from all their experience."""
        return replace(self, shared=True, in_turn=in_turn)

    def data_bytes(self) -> list[int]:
        """Of one collection: observations, actions and rewards, as many as there can be."""
        facts = self.facts
        numbers = facts.observation_size + (1 if facts.discrete else facts.actions) + 1
        return [self.episodes * facts.steps * numbers * NUMBER_BYTES] * facts.agents

    def stream_bytes(self, gradients: int, in_turn: bool, round: int) -> list[int]:
        collections = self.stream_messages(gradients, 1, round)
        return [collections * each for each in self.data_bytes()]

    def stream_messages(self, gradients: int, turns: int, round: int) -> int:
        """One with each collection, once it has been learned from."""
        return 1 + max(round, 0) // self.rounds_per_collection if gradients else 0

    def problems(self) -> list[str]:
        counts = ["episodes", "rounds_per_collection", "recent"]
        counts += [] if self.batch_size is None else ["batch_size"]
        found = [
            *(s for name in counts for s in count_problems(name, getattr(self, name))),
            *positive_problems("variance", self.variance), *positive_problems("clip", self.clip),
            *positive_problems("discount", self.discount, most=1), *self._wrong_widths(),
        ]  # fmt: skip
        if self.gae is not None and not is_number(self.gae, 0, 1):
            found.append(f"gae is {self.gae!r}, expected a number from 0 to 1, or None")
        if not is_number(self.entropy, 0):
            found.append(f"entropy is {self.entropy!r}, expected a number that is not negative")
        elif self.entropy and not self.facts.discrete:
            found.append(
                f"entropy is {self.entropy}, but actions are vectors of a fixed variance, whose "
                "entropy is always the same; leave it out"
            )
        if self.in_turn and not self.shared:
            found.append("in_turn is of one network for all; set shared, too")
        return found or [*self._wrong_batch(), *self._wrong_rates()]

    def _wrong_widths(self) -> list[str]:
        if is_list(self.hidden) and all(map(is_whole, self.hidden)):
            return []
        return [f"hidden is {self.hidden!r}, expected a list of whole numbers of at least 1"]

    def _wrong_batch(self) -> list[str]:
        samples = self.episodes * self.facts.steps
        if self.batch_size is None or self.batch_size <= samples:
            return []
        return [
            f"batch_size is {self.batch_size}, but a collection has {samples} steps of an agent; "
            "take fewer, or collect more episodes"
        ]

    def _wrong_rates(self) -> list[str]:
        if not isinstance(self.rates, Mapping):
            return [f"rates is {self.rates!r}, expected a table, such as {{critic = 0.1}}"]
        names = Layout(self.policy(0)).shapes
        known = {part for n in names for part in (n, n.split(".")[0], n.rpartition(".")[0])}
        return [
            *(
                f"rates names {name!r}, which is no part of a policy; expected actor or critic"
                for name in self.rates if name not in known
            ),
            *(
                f"rates gives {name} {rate!r}, expected a number that is not negative"
                for name, rate in self.rates.items() if not is_number(rate, 0)
            ),
        ]  # fmt: skip

    def describe(self) -> dict[str, Any]:
        policy = self.policy(0)
        return {
            **super().describe(), "environment": self.facts.describe(),
            "policy": policy.settings(), "episodes": int(self.episodes),
            "rounds_per_collection": int(self.rounds_per_collection),
            "discount": self.discount, "clip": self.clip, "gae": self.gae,
            "entropy": self.entropy, "batch_size": self.batch_size, "recent": int(self.recent),
            "rates": {name: float(rate) for name, rate in self.rates.items()},
        }  # fmt: skip


def pursuit(
    agents: int = 3,
    evaders: int = 1,
    obstacles: int | Sequence[Sequence[float]] = 8,
    random_obstacles: bool = False,
    steps: int = 50,
    integration: Literal["published", "mpe2"] = "published",
    reward: Literal["published", "mpe2"] = "published",
    **options: Any,
) -> PPOTask:
    """Pursuers learn to catch a faster evader among obstacles.

    Args:
        agents, evaders: how many pursue, and how many flee by a script.
        obstacles: how many of the eight published ones, or the places (O, 2) of others.
        random_obstacles: draw their places anew for each episode.
        steps: of an episode.
        integration: positions move with the new velocity, as "published", or as in "mpe2".
        reward: with the distance to the evader, as "published", or for touching alone, as "mpe2".
        options: further arguments of `PPOTask`.

    Raises:
        ValueError: numbers or places that cannot be, or an unknown choice.

    Source: Yu, Vincent and Schwager, "DiNNO: Distributed Neural Network Optimization for
    Multi-Robot Collaborative Learning", RA-L 2022, Section V-C.
    """
    require_handed_on("pursuit", options, pursuit, PPOTask)
    require_count("agents", agents, most=MOST_BODIES)
    make = partial(
        Pursuit, pursuers=agents, evaders=evaders, obstacles=obstacles,
        random_obstacles=random_obstacles, steps=steps, integration=integration, reward=reward,
    )  # fmt: skip
    return PPOTask(world=make, name="pursuit", **options)


def pettingzoo(
    environment: str | Callable[..., Any] = "mpe2.simple_spread_v3",
    arguments: Mapping[str, Any] | None = None,
    agents: int | None = None,
    steps: int | None = None,
    **options: Any,
) -> PPOTask:
    """The agents of a PettingZoo parallel environment, which must be alike.

    Args:
        environment: its name, such as "simple_spread_v3", or a function that makes a new one.
        arguments: its own.
        agents: how many there are; what else there are is told.
        steps: of an episode at most; by default as many as it has, or 1,000 if it does not say.
        options: further arguments of `PPOTask`.

    Raises:
        ValueError: no such environment, or one whose agents differ or are not so many.
    """
    require_handed_on("pettingzoo", options, pettingzoo, PPOTask)
    if arguments is not None and not isinstance(arguments, Mapping):
        raise ValueError(f"arguments is {arguments!r}, expected a table of the environment's own")
    make = partial(Zoo, environment, dict(arguments or {}), steps)
    task = PPOTask(world=make, name="pettingzoo", **options)
    if agents is not None and agents != task.agents:
        raise ValueError(
            f"agents is {agents!r}, but {task.facts.describe()['name']} has {task.agents}; leave "
            "it out, or change the environment's arguments"
        )
    return task
