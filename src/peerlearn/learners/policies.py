"""Policies: an actor and a critic in one network, and what an actor's numbers mean."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from .. import checkpoint as checkpoints
from ..files import replacing

LOG_2PI = math.log(2 * math.pi)


class Policy(nn.Module):
    """What an agent does, and what it expects of it: an actor and a critic, each of dense layers.

    The actor's numbers are the mean of a normal distribution with covariance ``variance`` I, or
    where actions are ``discrete`` the logits of the choices.

    Args:
        observation_size: O, how many numbers it sees.
        actions: how many numbers an action has, or among how many it chooses.
        hidden: widths of the ReLU layers, of actor and critic alike.
        discrete: whether an action is one of a few.
        variance: of each number of an action that is a vector.

    Example:
        >>> policy = Policy(12, 5, hidden=(8,))
        >>> policy.act([0.0] * 12).shape
        (5,)
    """

    def __init__(
        self,
        observation_size: int,
        actions: int,
        hidden: Sequence[int] = (64, 64, 64),
        discrete: bool = False,
        variance: float = 0.5,
    ) -> None:
        super().__init__()
        hidden = tuple(int(h) for h in hidden)
        sizes = (observation_size, actions, *hidden)
        if min(sizes) < 1 or not 0 < variance < math.inf:
            raise ValueError(
                f"a policy of sizes {sizes} and variance {variance}, expected positive numbers"
            )
        self.observation_size, self.actions = int(observation_size), int(actions)
        self.hidden, self.discrete, self.variance = hidden, bool(discrete), float(variance)
        self.actor = _dense((observation_size, *hidden, actions))
        self.critic = _dense((observation_size, *hidden, 1))

    def forward(self, observations: Tensor) -> Tensor:
        """(..., O) -> (..., actions + 1): the actor's numbers, and last the value."""
        return torch.cat([self.actor(observations), self.critic(observations)], dim=-1)

    @torch.no_grad()
    def act(self, observation: Any, generator: np.random.Generator | None = None) -> np.ndarray:
        """What it does: drawn with a generator, the most likely action without one.

        Args:
            observation: (..., O).
            generator: whose random numbers are taken.

        Returns:
            (..., actions) numbers, or (...,) choices.
        """
        like = next(self.parameters())
        seen = torch.as_tensor(np.asarray(observation, np.float64)).to(like.device, like.dtype)
        if seen.shape[-1:] != (self.observation_size,):
            raise ValueError(
                f"an observation has shape {tuple(seen.shape)}, expected {self.observation_size} "
                "numbers in its last axis"
            )
        numbers = self.actor(seen)
        noise = None if generator is None else self.noise(generator, tuple(numbers.shape))
        return self.chosen(numbers.cpu(), noise).numpy()

    def noise(self, generator: np.random.Generator, shape: tuple[int, ...]) -> Tensor:
        """What is added to an actor's numbers to draw an action."""
        drawn = generator.gumbel(size=shape) if self.discrete else generator.normal(size=shape)
        return torch.from_numpy(drawn)

    def chosen(self, numbers: Tensor, noise: Tensor | None = None) -> Tensor:
        """The actions (..., actions) or choices (...,) that follow from an actor's numbers.

        The largest of logits and Gumbel noise is drawn from the softmax of the logits.
        """
        if self.discrete:
            return (numbers if noise is None else numbers + noise).argmax(dim=-1)
        return numbers if noise is None else numbers + math.sqrt(self.variance) * noise

    def log_prob(self, numbers: Tensor, actions: Tensor) -> Tensor:
        """(...,) log pi(actions), for an actor's numbers (..., actions)."""
        if self.discrete:
            picked = actions.long().unsqueeze(-1)
            return numbers.log_softmax(dim=-1).gather(-1, picked).squeeze(-1)
        squares = (actions - numbers).square().sum(dim=-1) / self.variance
        return -(squares + self.actions * (LOG_2PI + math.log(self.variance))) / 2

    def entropy(self, numbers: Tensor) -> Tensor:
        """(...,) of the distribution of actions; of the normal one, it is a constant."""
        if self.discrete:
            logs = numbers.log_softmax(dim=-1)
            return -(logs.exp() * logs).sum(dim=-1)
        constant = self.actions * (1 + LOG_2PI + math.log(self.variance)) / 2
        return torch.full_like(numbers[..., 0], constant)

    # --- many at once ---------------------------------------------------------------------

    def team_actor(self, parameters: Mapping[str, Tensor]) -> Callable[[Tensor], Tensor]:
        """With (A, ...) parameters: observations (A, N, O) -> numbers (A, N, actions)."""
        return _team("actor", self.actor, parameters)

    def team_critic(self, parameters: Mapping[str, Tensor]) -> Callable[[Tensor], Tensor]:
        """The same of the critics: (A, N, O) -> (A, N) values."""
        critic = _team("critic", self.critic, parameters)
        return lambda observations: critic(observations).squeeze(-1)

    # --- on disk --------------------------------------------------------------------------

    def settings(self) -> dict[str, Any]:
        """The arguments that make another like it."""
        return {
            "observation_size": self.observation_size, "actions": self.actions,
            "hidden": list(self.hidden), "discrete": self.discrete, "variance": self.variance,
        }  # fmt: skip

    def save(self, path: str | Path) -> None:
        """Write it to a safetensors file, whole or not at all; missing folders are made."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        tensors = {name: p.detach().cpu().contiguous() for name, p in self.state_dict().items()}
        with replacing(Path(path)) as scratch:
            save_file(tensors, scratch, {"policy": json.dumps(self.settings())})

    @classmethod
    def load(cls, path: str | Path) -> Policy:
        """What `save` has written, in evaluation mode.

        Raises:
            ValueError: the file is none that `save` has written.
            FileNotFoundError: there is no such file.
        """
        if not Path(path).is_file():
            raise FileNotFoundError(f"there is no policy at {path}; save one with Policy.save")
        try:
            with safe_open(path, "pt") as file:
                settings = json.loads((file.metadata() or {})["policy"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            policy = cls(**settings)
            policy.to(tensors["actor.0.weight"].dtype).load_state_dict(tensors)
        except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ValueError(
                f"{path} holds no policy; expected a file that Policy.save has written"
            ) from error
        return policy.eval()

    @classmethod
    def of_run(cls, folder: str | Path, agent: int = 0) -> Policy:
        """An agent's policy as of the latest checkpoint in a run's folder, in evaluation mode.

        Raises:
            ValueError: the folder has no checkpoint of policies, or no such agent.
        """
        path = Path(folder) / checkpoints.FILE_NAME
        if not path.exists():
            raise ValueError(
                f"{folder} has no {path.name}; give the folder of one run, such as DiNNO/seed-0"
            )
        kept = checkpoints.load(path)
        settings, theta = kept.configuration["task"].get("policy"), kept.state["theta"]
        if settings is None:
            raise ValueError(f"{path} holds no policies, but networks of another task")
        if agent not in range(len(theta)):
            shared = ", which is one for all agents" if len(theta) == 1 else ""
            raise ValueError(
                f"agent is {agent!r}, expected a number from 0 to {len(theta) - 1}{shared}"
            )
        policy = cls(**settings).to(theta.dtype)
        nn.utils.vector_to_parameters(theta[agent], policy.parameters())
        return policy.eval()


def _dense(widths: Sequence[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def _team(
    name: str, layers: nn.Sequential, parameters: Mapping[str, Tensor]
) -> Callable[[Tensor], Tensor]:
    """Agents' dense networks as one batched product a layer: several times faster than a loop."""
    affine = [  # contiguous, which makes small products four times faster
        (parameters[f"{n}.weight"].mT.contiguous(), parameters[f"{n}.bias"].unsqueeze(1))
        for n, layer in layers.named_modules(prefix=name) if isinstance(layer, nn.Linear)
    ]  # fmt: skip

    def apply(x: Tensor) -> Tensor:
        for depth, (weight, bias) in enumerate(affine):
            x = torch.baddbmm(bias, torch.relu(x) if depth else x, weight)
        return x

    return apply
