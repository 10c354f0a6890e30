"""Predator and prey: pursuers, which learn, hunt a faster evader, which flees by a script.

The world is "simple tag" of the multi-agent particle environments as DiNNO's experiments have it.
Its lengths have no unit; a step takes 0.1 units of time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..values import require_count, require_known
from .base import Environment, Floats, Step

Complex = NDArray[np.complex128]
Source = Literal["published", "mpe2"]


class Body(NamedTuple):
    """What bodies of a kind are like; their mass is 1."""

    radius: float
    acceleration: float = 0.0
    top_speed: float = 0.0


PURSUER, EVADER, OBSTACLE = Body(0.075, 3.0, 1.0), Body(0.05, 4.0, 1.3), Body(0.2)
_X = (-1.2, 0.1, -0.3, 0.9, -0.9, -0.1, -1.2, 1.3)
_Y = (-0.6, -1.1, 0.4, 0.75, 1.2, 1.3, 0.0, 0.0)
PLACES = np.column_stack([_X, _Y])  # (8, 2) of the obstacles in DiNNO's experiments
DT, DAMPING = 0.1, 0.25  # damping: the share of its velocity that a body loses in a step
STIFFNESS, SOFTNESS = 100.0, 0.001  # of contacts
UNFELT = 40 * SOFTNESS  # across a wider gap a contact's force is below 1e-18
BORDER = 1.2  # evaders do not push themselves beyond it
START, OBSTACLES_WITHIN = 1.0, 0.9  # places are drawn with |x| and |y| up to these
MOST_BODIES = 1000  # of a kind; each that moves looks at all of them
CAPTURE, NEARNESS = 10.0, 0.1  # rewards, of a touch and of a unit of distance less


class Pursuit(Environment):
    """Pursuers, all rewarded alike, chase evaders among round obstacles that they do not observe.

    In a step a pursuer pushes itself by 3 (right - left, up - down), where its action is the five
    numbers none, right, left, up, down, each clipped to [0, 1]. An evader pushes itself by 4 times
    the direction straight away from its nearest pursuer, scaled so that the larger component is 1.
    Bodies with a gap g between them push each other apart by 0.1 log(1 + exp(-g / 0.001)). Then

        v <- 0.75 v + 0.1 force,  cut to the top speed: pursuers 1, evaders 1.3
        x <- x + 0.1 v

    A pursuer observes its own velocity and position, where the other pursuers and then the evaders
    are relative to it, and the evaders' velocities. The reward of each is the sum over all
    pursuers of 10 for each evader touched less 0.1 times the distance to the nearest evader.

    Where the publication is silent: distances are between centres; bodies touch if they overlap
    after the step; an evader at the border, |x| or |y| = 1.2, or beyond it leaves out the
    components of its push that lead further out, but may drift out; of pursuers equally near it
    flees the first; bodies at one and the same place do not push each other.

    Args:
        pursuers: how many agents there are.
        evaders: how many flee.
        obstacles: at how many of the eight published places there is one; or their places (O, 2).
        random_obstacles: whether the obstacles' places are drawn anew for each episode, uniform in
            [-0.9, 0.9]^2; then there may be up to 1,000 of them.
        steps: the length of every episode.
        integration: "published": positions move by the new velocity; "mpe2": by the old one,
            before it changes, as in today's package of that name.
        reward: "published"; or "mpe2": for touches alone.

    Attributes:
        positions: (bodies, E, 2) now: of pursuers, evaders and obstacles, in this order.
        velocities: (pursuers + evaders, E, 2) now.

    Source: Yu et al. (DiNNO), 2022, Section V-C, and the code of its experiments.

    Example:
        >>> import numpy as np
        >>> world = Pursuit(obstacles=4)
        >>> world.reset(14, np.random.default_rng(0)).shape
        (3, 14, 12)
        >>> world.step(np.zeros((3, 14, 5))).rewards.shape
        (3, 14)
    """

    actions = 5
    discrete = False
    measures = ("captures", "first_capture")
    falls = {"captures": False, "first_capture": True}

    def __init__(
        self,
        *,
        pursuers: int = 3,
        evaders: int = 1,
        obstacles: int | ArrayLike = 8,
        random_obstacles: bool = False,
        steps: int = 50,
        integration: Source = "published",
        reward: Source = "published",
    ) -> None:
        require_count("pursuers", pursuers, most=MOST_BODIES)
        require_count("evaders", evaders, most=MOST_BODIES)
        require_count("steps", steps)
        for name, choice in (("integration", integration), ("reward", reward)):
            require_known(name, choice, get_args(Source))
        self.agents, self.evaders, self.steps = int(pursuers), int(evaders), int(steps)
        self.integration, self.reward = integration, reward
        self.turns = self.agents + self.evaders
        self.observation_size = 2 * (1 + self.turns + self.evaders)
        self.obstacles, self._places = _obstacles(obstacles, random_obstacles)
        bodies = [PURSUER] * self.agents + [EVADER] * self.evaders + [OBSTACLE] * self.obstacles
        moving = bodies[: self.turns]
        self._accelerations = np.array([[body.acceleration] for body in moving])  # (moving, 1)
        self._top_speeds = np.array([[body.top_speed] for body in moving])
        radii = np.array([body.radius for body in bodies])
        self._reach = (radii[: self.turns, None] + radii)[:, :, None]  # (moving, bodies, 1)
        self._felt = np.square(self._reach + UNFELT)
        self._felt[range(self.turns), range(self.turns)] = -1.0  # nobody is near itself
        others = [[b for b in range(self.turns) if b != agent] for agent in range(self.agents)]
        self._others = np.arange(self.agents)[:, None], np.array(others)
        self.place(np.zeros((self.turns, 0, 2)), None, np.zeros((self.obstacles, 0, 2)))
        self._done = self.steps  # until a reset there are no episodes

    def reset(self, episodes: int, generator: np.random.Generator) -> Floats:
        require_count("episodes", episodes)
        drawn = self.turns + (self.obstacles if self._places is None else 0)
        places = generator.uniform(-START, START, (episodes, drawn, 2)).swapaxes(0, 1)
        obstacles = OBSTACLES_WITHIN / START * places[self.turns :]
        return self.place(places[: self.turns], None, obstacles if self._places is None else None)

    def place(
        self,
        positions: ArrayLike,
        velocities: ArrayLike | None = None,
        obstacles: ArrayLike | None = None,
    ) -> Floats:
        """Begin episodes in given states, as ``reset`` does in drawn ones.

        Args:
            positions: (pursuers + evaders, E, 2), pursuers first.
            velocities: of the same shape; by default all rest.
            obstacles: their places, (obstacles, E, 2); by default the fixed ones.
        """
        moving = np.ascontiguousarray(positions, np.float64)
        episodes = moving.shape[1] if moving.ndim == 3 else 1
        if velocities is None:
            velocities = np.zeros_like(moving)
        if obstacles is None:
            if self._places is None:
                raise ValueError("random obstacles have no fixed places; give obstacles as well")
            obstacles = np.repeat(self._places[:, None], episodes, 1)
        fixed = np.ascontiguousarray(obstacles, np.float64)
        going = np.array(velocities, np.float64, order="C")
        _require("positions", moving, (self.turns, episodes, 2), "(pursuers + evaders, E, 2)")
        _require("velocities", going, moving.shape, "(pursuers + evaders, E, 2)")
        _require("obstacles", fixed, (self.obstacles, episodes, 2), "(obstacles, E, 2)")
        self.positions, self.velocities = np.concatenate([moving, fixed]), going
        self._at, self._going = _complex(self.positions), _complex(self.velocities)
        self._relative = np.empty((*self._reach.shape[:2], episodes), np.complex128)
        self._squared, self._scratch = np.empty((2, *self._relative.shape))
        self._touching = np.zeros((self.agents, self.evaders, episodes), bool)
        self._captures = np.zeros(episodes)
        self._first_capture = np.full(episodes, float(self.steps))
        self._done = 0
        self._look()
        return self._observations()

    def step(self, actions: NDArray[Any]) -> Step:
        if self._done == self.steps:
            raise ValueError(f"no episode of {self.steps} steps is under way; call reset first")
        force = self._accelerations * _complex(self._directions(actions))
        self._add_contacts(force)
        moving, going = self._at[: self.turns], self._going
        if self.integration == "mpe2":
            moving += DT * going
        going *= 1 - DAMPING
        going += DT * force
        speeds = np.sqrt(going.real**2 + going.imag**2)
        going *= self._top_speeds / np.maximum(speeds, self._top_speeds)
        if self.integration == "published":
            moving += DT * going
        self._done += 1
        self._look()
        over = np.full((self.agents, len(self._captures)), self._done == self.steps)
        return Step(self._observations(), self._rewards(), ~over, over)

    def flight(self) -> Floats:
        """(evaders, E, 2) the directions in which the evaders push themselves now."""
        pursuers, evaders = slice(self.agents), slice(self.agents, self.turns)
        nearest = self._squared[evaders, pursuers].argmin(1)  # (evaders, E)
        rows, episodes = np.arange(self.agents, self.turns)[:, None], np.arange(nearest.shape[1])
        away = _floats(-self._relative[rows, nearest, episodes])
        away /= np.abs(away).max(-1, keepdims=True).clip(np.finfo(np.float64).tiny)
        places = self.positions[evaders]
        return np.minimum(np.maximum(away, (places <= -BORDER) - 1.0), places < BORDER)

    def tally(self) -> dict[str, Floats]:
        """What became of the episodes so far.

        "captures": how many times a pursuer began to touch an evader; contact that lasts counts
        once. "first_capture": after which step somebody first did; ``steps`` if nobody has.
        """
        return {"captures": self._captures.copy(), "first_capture": self._first_capture.copy()}

    def scene(self) -> dict[str, Floats]:
        parts = np.split(self.positions.copy(), (self.agents, self.turns))
        return dict(zip(("pursuers", "evaders", "obstacles"), parts, strict=True))

    def describe(self) -> dict[str, Any]:
        return {
            "kind": type(self).__name__,
            "pursuers": self.agents,
            "evaders": self.evaders,
            "obstacles": self.obstacles if self._places is None else self._places.tolist(),
            "random_obstacles": self._places is None,
            **{name: getattr(self, name) for name in ("steps", "integration", "reward")},
        }

    def _directions(self, actions: NDArray[Any]) -> Floats:
        """(moving, E, 2) where all push themselves, each component in [-1, 1]."""
        given = np.asarray(actions, np.float64)
        _require("actions", given, (self.agents, len(self._captures), 5), "(pursuers, E, 5)")
        given = given.clip(0, 1)
        own = given[..., 1::2] - given[..., 2::2]  # right - left, up - down
        return np.concatenate([own, self.flight()])

    def _add_contacts(self, force: Complex) -> None:
        """Add to the forces (moving, E) those of bodies that touch, or nearly."""
        near = np.flatnonzero(self._squared < self._felt)
        if not near.size:
            return
        pair, episode = np.divmod(near, force.shape[1])
        distance = np.sqrt(self._squared.ravel()[near])
        gap = distance - self._reach.ravel()[pair]
        push = STIFFNESS * SOFTNESS * np.logaddexp(0, gap / -SOFTNESS)
        push /= np.where(distance > 0, distance, np.inf)
        mover = pair // len(self._at)
        pushed = push * self._relative.ravel()[near]
        np.subtract.at(force.ravel(), mover * force.shape[1] + episode, pushed)

    def _look(self) -> None:
        """Where each that moves sees each body, (moving, bodies, E), and the squared distances."""
        np.subtract(self._at, self._at[: self.turns, None], out=self._relative)
        np.square(self._relative.real, out=self._squared)
        self._squared += np.square(self._relative.imag, out=self._scratch)

    def _observations(self) -> Floats:
        seen = np.empty((self.agents, len(self._captures), self.observation_size // 2), complex)
        seen[:, :, 0] = self._going[: self.agents]
        seen[:, :, 1] = self._at[: self.agents]
        seen[:, :, 2 : 1 + self.turns] = self._relative[self._others].swapaxes(1, 2)
        seen[:, :, 1 + self.turns :] = self._going[self.agents :].T
        return seen.view(np.float64)

    def _rewards(self) -> Floats:
        """(A, E) of the states reached; counts the captures in them."""
        pairs = slice(self.agents), slice(self.agents, self.turns)
        distance = np.sqrt(self._squared[pairs])  # (pursuers, evaders, E)
        touching = distance < self._reach[pairs]
        touches = touching.sum((0, 1))
        self._captures += (touching > self._touching).sum((0, 1))
        self._touching = touching
        now = np.where(touches, self._done, self.steps)
        np.minimum(self._first_capture, now, out=self._first_capture)
        reward = CAPTURE * touches
        if self.reward == "published":
            for nearest in distance.min(1):  # one by one: the same bits for any number of episodes
                reward -= NEARNESS * nearest
        return np.repeat(reward[None], self.agents, 0)


def _complex(vectors: Floats) -> Complex:
    """(..., 2) seen as complex numbers (...): NumPy moves a pair faster as one number."""
    return vectors.view(np.complex128)[..., 0]


def _floats(points: Complex) -> Floats:
    return points.view(np.float64).reshape(*points.shape, 2)


def _require(name: str, values: Floats, shape: tuple[int, ...], axes: str) -> None:
    """Refuse arrays of another shape, and values that are not finite."""
    if values.shape != shape:
        raise ValueError(f"{name} have shape {values.shape}, expected {shape}: {axes}")
    if not np.isfinite(values).all():
        raise ValueError(f"{name} hold NaN or infinite values, expected finite numbers")


def _obstacles(obstacles: int | ArrayLike, random: bool) -> tuple[int, Floats | None]:
    """How many there are, and their places (O, 2) unless those are drawn."""
    if isinstance(obstacles, Sequence | np.ndarray) and not isinstance(obstacles, str):
        if random:
            raise ValueError("random_obstacles draws the places of obstacles; give their number")
        try:
            places = np.array(obstacles, np.float64).reshape(len(obstacles), -1)
        except (ValueError, TypeError) as error:
            raise ValueError(
                f"obstacles is {obstacles!r}, expected a number or a list of places [x, y]"
            ) from error
        places = places if len(places) else np.zeros((0, 2))
        _require("obstacles", places, (len(places), 2), "(obstacles, 2)")
        return len(places), places
    require_count("obstacles", obstacles, 0, MOST_BODIES)
    count = int(obstacles)  # type: ignore[arg-type]
    if not random and count > len(PLACES):
        raise ValueError(
            f"obstacles is {count}, but only {len(PLACES)} places are published; give the places "
            "(O, 2), or random_obstacles=True"
        )
    return count, None if random else PLACES[:count]
