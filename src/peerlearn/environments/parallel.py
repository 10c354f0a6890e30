"""The pursuit for PettingZoo: one episode of it, behind the parallel API.

Needs the packages of ``pip install "peerlearn[pettingzoo]"``; the library itself does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ..errors import unknown
from .pursuit import EVADER, OBSTACLE, PURSUER, Pursuit

try:
    from gymnasium.spaces import Box
    from pettingzoo import ParallelEnv
except ImportError as error:
    raise ImportError(
        f'{error}: PettingZoo\'s API needs more packages; pip install "peerlearn[pettingzoo]"'
    ) from error

Vector = NDArray[np.float32]
SIZE = 400  # pixels of a picture's side
SHOWN = 1.6  # |x| and |y| of the picture's edges
LOOKS = {  # radius and color
    "obstacles": (OBSTACLE.radius, (70, 70, 70)),
    "pursuers": (PURSUER.radius, (196, 57, 57)),
    "evaders": (EVADER.radius, (48, 150, 80)),
}


def parallel_env(render_mode: str | None = None, **settings: Any) -> PursuitEnv:
    """An episode of `Pursuit` with PettingZoo's parallel API.

    Args:
        render_mode: "rgb_array", for ``render`` to give pictures, or None.
        settings: those of `Pursuit`.

    Example:
        >>> env = parallel_env(obstacles=4)
        >>> observations, infos = env.reset(seed=0)
        >>> observations["pursuer_2"].shape
        (12,)
    """
    return PursuitEnv(render_mode, **settings)


class PursuitEnv(ParallelEnv):
    """The agents are "pursuer_0", "pursuer_1", ...; all are truncated at the end of the episode."""

    metadata: dict[str, Any] = {
        "name": "pursuit_v0",
        "render_modes": ["rgb_array"],
        "render_fps": 10,
    }

    def __init__(self, render_mode: str | None = None, **settings: Any) -> None:
        if render_mode not in (None, "rgb_array"):
            raise unknown("render_mode", render_mode, self.metadata["render_modes"])
        self.world = Pursuit(**settings)
        self.render_mode, self.max_cycles = render_mode, self.world.steps
        self.possible_agents = [f"pursuer_{i}" for i in range(self.world.agents)]
        self.agents: list[str] = []
        self.observation_spaces = {
            agent: _anywhere(self.world.observation_size) for agent in self.possible_agents
        }
        self.action_spaces = {
            agent: Box(0.0, 1.0, (self.world.actions,)) for agent in self.possible_agents
        }
        self.state_space = _anywhere(2 * (2 * self.world.turns + self.world.obstacles))
        self._generator = np.random.default_rng()

    def observation_space(self, agent: str) -> Box:
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> Box:
        return self.action_spaces[agent]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Vector], dict[str, dict[str, Any]]]:
        """Begin an episode; without a seed, the next one of the last seed. No options are known."""
        if seed is not None:
            self._generator = np.random.default_rng(seed)
        self.agents = list(self.possible_agents)
        return self._each(self.world.reset(1, self._generator)), {a: {} for a in self.agents}

    def step(self, actions: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
        """One step of all agents: observations, rewards, terminations, truncations and infos.

        Args:
            actions: of each agent: none, right, left, up, down in [0, 1].
        """
        if set(actions) != set(self.agents):
            raise ValueError(
                f"actions are of {sorted(actions)}, expected one of each of {self.agents}; "
                "after the end of an episode, call reset"
            )
        if not self.agents:
            return {}, {}, {}, {}, {}
        step = self.world.step(np.stack([actions[agent] for agent in self.agents])[:, None])
        agents = self.agents
        rewards = dict(zip(agents, step.rewards[:, 0].tolist(), strict=True))
        truncations = dict(zip(agents, step.truncated[:, 0].tolist(), strict=True))
        told = self._each(step.observations), rewards, dict.fromkeys(agents, False), truncations
        self.agents = [agent for agent in agents if not truncations[agent]]
        return *told, {agent: {} for agent in agents}

    def state(self) -> Vector:
        """The positions of pursuers, evaders and obstacles, and the velocities of all that move."""
        parts = self.world.positions.ravel(), self.world.velocities.ravel()
        return np.concatenate(parts).astype(np.float32)

    def render(self) -> NDArray[np.uint8] | None:
        """A picture (400, 400, 3), y upwards, of |x|, |y| <= 1.6; None without a render mode."""
        if self.render_mode is None:
            return None
        image = Image.new("RGB", (SIZE, SIZE), "white")
        draw = ImageDraw.Draw(image)
        scale = SIZE / (2 * SHOWN)
        scene = self.world.scene()
        for name, (length, color) in LOOKS.items():
            radius = length * scale
            for x, y in (scene[name].reshape(-1, 2) * (1, -1) + SHOWN) * scale:
                draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=color)
        return np.array(image)

    def _each(self, observations: NDArray[np.float64]) -> dict[str, Vector]:
        seen = observations[:, 0].astype(np.float32)
        return dict(zip(self.possible_agents, seen, strict=True))


def _anywhere(size: int) -> Box:
    return Box(-np.inf, np.inf, (size,))
