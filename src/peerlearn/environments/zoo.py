"""Any PettingZoo parallel environment as the environment of a team."""

from __future__ import annotations

import json
import pkgutil
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from importlib.metadata import metadata
from importlib.util import find_spec
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import nearest
from ..values import require_count
from .base import Environment, Floats, Step

INSTALL = 'pip install "peerlearn[pettingzoo]"'
PACKAGES = {  # whose environments have short names, the later ones first; how they are installed
    "pettingzoo": INSTALL,
    "mpe2": "pip install mpe2",
}
STEPS = 1_000  # of an environment that does not say when its episodes end


class Zoo(Environment):
    """A PettingZoo parallel environment whose agents are alike: one own copy for each episode.

    The copies are stepped one after another, each reset with an own seed. An observation that is a
    Box is flattened, a Discrete one is one-hot. An action that is a Box is what the policy gives,
    flat, clipped to the bounds and cast to the space's type; it is NOT scaled to the bounds, so a
    policy whose actions lie around 0 reaches only one side of a Box from 0 to 1.

    An agent that the environment terminates or truncates no longer acts; its observation in that
    step is delivered, later ones are 0. All agents must be there from the reset on.

    Args:
        name: a module that has a `parallel_env`, such as ``"mpe2.simple_spread_v3"``; of the
            environments in mpe2 and pettingzoo its last part is enough. Or a function that makes a
            new ParallelEnv.
        arguments: what the environment is made with.
        steps: the most steps an episode has; one that is not over then is truncated. By default
            the environment's own ``max_cycles``, or else 1,000.

    Raises:
        ValueError: no such environment, one that cannot be made, or whose agents differ, or whose
            spaces are neither Box nor Discrete.

    Example:
        >>> from peerlearn.environments.zoo import Zoo
        >>> spread = Zoo("simple_spread_v3", {"continuous_actions": True})
        >>> spread.agents, spread.observation_size, spread.actions, spread.steps
        (3, 18, 5, 25)
    """

    def __init__(
        self,
        name: str | Callable[..., Any],
        arguments: Mapping[str, Any] = {},
        steps: int | None = None,
    ) -> None:
        self._parallel, spaces = _libraries()
        self.name = name if isinstance(name, str) else _words(name)
        self.arguments = dict(arguments)
        self._make = _maker(name)
        self._copies: list[Any] = []
        first = self._copy(0)
        self.names = list(first.possible_agents)
        sight = self._common(first.observation_space, "observation", spaces)
        self._space = self._common(first.action_space, "action", spaces)
        self.agents = self.turns = len(self.names)
        self.observation_size = spaces.flatdim(sight)
        self.actions = spaces.flatdim(self._space)
        self.discrete = isinstance(self._space, spaces.Discrete)
        self.steps = _longest(first, self.arguments) if steps is None else steps
        require_count("steps", self.steps)
        one_hot = isinstance(sight, spaces.Discrete)
        self._choices = sight.start + np.arange(sight.n) if one_hot else None
        self._acting: NDArray[np.bool_] = np.zeros((self.agents, 0), bool)
        self._taken = 0

    def reset(self, episodes: int, generator: np.random.Generator) -> Floats:
        require_count("episodes", episodes)
        self._acting, self._taken = np.ones((self.agents, episodes), bool), 0
        observations = np.zeros((self.agents, episodes, self.observation_size))
        for episode, seed in enumerate(generator.integers(2**31, size=episodes).tolist()):
            world = self._copy(episode)
            seen, _ = world.reset(seed=seed)
            if set(world.agents) != set(self.names):
                raise ValueError(
                    f"the environment {self.name} began with the agents {list(world.agents)}, "
                    f"expected all of {self.names}; use one in which every agent is there from "
                    "the reset on"
                )
            observations[:, episode] = [self._numbers(seen[name]) for name in self.names]
        return observations

    def step(self, actions: NDArray[Any]) -> Step:
        shape = (*self._acting.shape, *(() if self.discrete else (self.actions,)))
        if actions.shape != shape:
            raise ValueError(
                f"got actions of shape {actions.shape}, expected {shape}, for the agents and the "
                "episodes of the last reset"
            )
        self._taken += 1
        before = self._acting
        step = Step(
            observations=np.zeros((*before.shape, self.observation_size)),
            rewards=np.zeros(before.shape),
            acting=np.zeros(before.shape, bool),
            truncated=np.zeros(before.shape, bool),
        )
        for episode in np.flatnonzero(before.any(0)).tolist():
            self._advance(episode, actions[:, episode], step)
        if self._taken >= self.steps:
            step.truncated[step.acting] = True
            step.acting[:] = False
        self._acting = step.acting.copy()
        return step

    def _advance(self, episode: int, actions: NDArray[Any], step: Step) -> None:
        """Step one episode's copy, and write down what its agents got."""
        world = self._copies[episode]
        here = np.flatnonzero(self._acting[:, episode]).tolist()
        given = {self.names[agent]: self._action(actions[agent]) for agent in here}
        seen, rewards, terminations, truncations, _ = world.step(given)
        joined = [name for name in world.agents if name not in given]
        if joined:
            raise ValueError(
                f"agent {joined[0]!r} of the environment {self.name} joined in step {self._taken}; "
                "use one in which agents leave, but do not join after the reset"
            )
        for agent in here:
            name = self.names[agent]
            terminated, truncated = terminations[name], truncations[name]
            step.observations[agent, episode] = self._numbers(seen[name])
            step.rewards[agent, episode] = rewards[name]
            step.truncated[agent, episode] = truncated and not terminated
            step.acting[agent, episode] = name in world.agents and not (terminated or truncated)

    def describe(self) -> dict[str, Any]:
        arguments = json.loads(json.dumps(self.arguments, default=_words))
        return {"name": self.name, "arguments": arguments, "steps": self.steps}

    def _copy(self, episode: int) -> Any:
        """The episode's own environment, made when it is first needed."""
        while len(self._copies) <= episode:
            self._copies.append(self._made())
        return self._copies[episode]

    def _made(self) -> Any:
        try:
            made = self._make(**self.arguments)
        except Exception as error:
            raise ValueError(
                f"the environment {self.name} could not be made with the arguments "
                f"{self.arguments} ({type(error).__name__}: {error}); look up what it takes and "
                "what it needs installed"
            ) from error
        if not isinstance(made, self._parallel) or not getattr(made, "possible_agents", None):
            raise ValueError(
                f"{self.name} made a {type(made).__name__}, expected a PettingZoo ParallelEnv "
                "with possible_agents; pettingzoo.utils.aec_to_parallel makes one of an AECEnv"
            )
        if any(made is other for other in self._copies):
            raise ValueError(
                f"{self.name} made the same environment twice, expected a new one for every "
                "episode; make it inside the function"
            )
        return made

    def _common(self, space_of: Callable[[Any], Any], what: str, spaces: Any) -> Any:
        """The space that all agents have."""
        first = space_of(self.names[0])
        for name in self.names[1:]:
            if (other := space_of(name)) != first:
                raise ValueError(
                    f"the {what} spaces of agents {self.names[0]!r} and {name!r} differ, {first} "
                    f"and {other}, expected the same for all; use an environment whose agents "
                    "are alike, or wrap it so that they are"
                )
        if not isinstance(first, spaces.Box | spaces.Discrete):
            raise ValueError(
                f"the {what} space of the environment {self.name} is a {type(first).__name__}, "
                "expected a Box or a Discrete; wrap the environment so that it has one"
            )
        return first

    def _numbers(self, observation: Any) -> NDArray[Any]:
        """(O,) an observation as the agents' networks take it."""
        return np.ravel(observation) if self._choices is None else self._choices == observation

    def _action(self, action: NDArray[Any]) -> Any:
        space = self._space
        if self.discrete:
            return int(space.start + action)
        return np.clip(action.reshape(space.shape), space.low, space.high).astype(space.dtype)


def _libraries() -> tuple[type, Any]:
    """PettingZoo's ParallelEnv, and Gymnasium's spaces."""
    try:
        return import_module("pettingzoo").ParallelEnv, import_module("gymnasium.spaces")
    except ModuleNotFoundError as error:
        raise _absent(str(error.name).partition(".")[0]) from error


def _absent(package: str) -> ValueError:
    return ValueError(
        f"the environment needs the package {package!r}, which is not installed; install it with "
        f"{PACKAGES.get(package, INSTALL)}"
    )


def _maker(name: str | Callable[..., Any]) -> Callable[..., Any]:
    """The function that makes an environment."""
    if callable(name):
        return name
    if not isinstance(name, str):
        raise ValueError(
            f"environment is {name!r}, expected a module's name, such as 'mpe2.simple_spread_v3', "
            "or a function that makes a ParallelEnv"
        )
    module = _imported(name)
    try:
        return module.parallel_env
    except AttributeError:
        raise ValueError(
            f"the module {module.__name__} has no parallel_env, expected one that makes a "
            "ParallelEnv; choose another, for agents that take turns cannot be trained here"
        ) from None


def _imported(name: str) -> Any:
    """The module of an environment."""
    path = _installed().get(name, name)
    if not all(part.isidentifier() for part in name.split(".")):
        raise _unknown(name)
    package = path.split(".")[0]
    if package in PACKAGES and find_spec(package) is None:
        raise _absent(package)
    try:
        with warnings.catch_warnings():  # since 1.27 PettingZoo would rather have its registry used
            old = "The old environment creation API"
            warnings.filterwarnings("ignore", old, DeprecationWarning)
            return import_module(path)
    except ImportError as error:
        if f"{path}.".startswith(f"{error.name}."):
            raise _unknown(name) from error
        raise ValueError(
            f"the environment {name!r} cannot be imported ({error}); install {_needs(path)}"
        ) from error


def _needs(path: str) -> str:
    """What an environment's family wants to be installed: PettingZoo has an extra for each."""
    package, _, rest = path.partition(".")
    family = rest.split(".")[0]
    if package == "pettingzoo" and family in (metadata(package).get_all("Provides-Extra") or []):
        return f'it with pip install "pettingzoo[{family}]"'
    return "what it needs"


def _unknown(name: str) -> ValueError:
    more = "" if find_spec("mpe2") else f"; {PACKAGES['mpe2']} brings more"
    return ValueError(
        f"unknown environment {name!r}; {nearest(name.split('.')[-1], _installed())}{more}"
    )


def _installed() -> dict[str, str]:
    """The environments of the installed packages, nothing imported: last part -> whole name."""
    specs = [spec for package in PACKAGES if (spec := find_spec(package)) is not None]
    names = [n for s in specs for n in _modules(s.name, list(s.submodule_search_locations or []))]
    pattern = re.compile(r"\w+(\.\w+)?\.(\w+_v\d+)")  # what lies deeper are examples and parts
    return {found[2]: n for n in names if (found := pattern.fullmatch(n))}


def _modules(package: str, folders: list[str]) -> Iterator[str]:
    for module in pkgutil.iter_modules(folders):
        name = f"{package}.{module.name}"
        yield name
        if module.ispkg:
            yield from _modules(name, [f"{folder}/{module.name}" for folder in folders])


def _longest(world: Any, arguments: Mapping[str, Any]) -> int:
    """After how many steps the environment itself ends its episodes, if it says so."""
    inner = world.unwrapped
    told = [getattr(place, "max_cycles", None) for place in (inner, getattr(inner, "env", None))]
    found = (n for n in (arguments.get("max_cycles"), *told) if isinstance(n, Integral))
    return int(next(found, STEPS))


def _words(value: Any) -> Any:
    """What is neither a number nor a word, as JSON has it: an array's entries, else a name."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return getattr(value, "__qualname__", type(value).__qualname__)
