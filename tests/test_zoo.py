"""PettingZoo's parallel environments as a team's: the same as stepping them by hand."""

from __future__ import annotations

import importlib
import json
import sys

import numpy as np
import pytest

pytest.importorskip("pettingzoo")
pytest.importorskip("mpe2")
from gymnasium import spaces
from pettingzoo import ParallelEnv

from peerlearn.environments.zoo import Zoo

EPISODES = 3


class Own(ParallelEnv):
    """Agent i terminates in step ``ends[i]``, all are truncated in step ``last``.

    An agent sees its number, the step and the episode's seed; its reward is what it does.
    """

    metadata = {"name": "own"}

    def __init__(self, ends=(9, 9), last=9, sight=None, action=None, first=None, joins=9):
        self.possible_agents = [f"agent_{i}" for i in range(len(ends))]
        self.ends, self.last, self.first = ends, last, first
        self.joins = joins
        self.sights, self.acts = sight or [seen()], action or [spaces.Discrete(3)]
        self.given = []

    def observation_space(self, agent):
        return self.sights[self.possible_agents.index(agent) % len(self.sights)]

    def action_space(self, agent):
        return self.acts[self.possible_agents.index(agent) % len(self.acts)]

    def reset(self, seed=None, options=None):
        self.agents, self.time, self.seed = self.possible_agents[: self.first], 0, seed
        return {a: self.look(a) for a in self.agents}, {a: {} for a in self.agents}

    def look(self, agent):
        if isinstance(self.sights[0], spaces.Discrete):
            return np.int64(self.sights[0].start + self.time)
        return np.array([self.possible_agents.index(agent), self.time, self.seed], np.float64)

    def step(self, actions):
        assert list(actions) == self.agents
        self.time += 1
        self.given.append(actions)
        ended = {a: self.time >= self.ends[self.possible_agents.index(a)] for a in actions}
        late = {a: self.time >= self.last for a in actions}
        self.agents = [a for a in self.agents if not ended[a] and not late[a]]
        if self.time >= self.joins:
            self.agents = self.possible_agents
        rewards = {a: float(np.sum(actions[a])) for a in actions}
        return {a: self.look(a) for a in actions}, rewards, ended, late, {a: {} for a in actions}


def seen(size=3):
    return spaces.Box(-np.inf, np.inf, (size,), np.float64)


def act(zoo, generator, episodes=EPISODES):
    """Random actions, of which a third lie outside of a Box from 0 to 1."""
    shape = (zoo.agents, episodes)
    if zoo.discrete:
        return generator.integers(zoo.actions, size=shape)
    return generator.uniform(-0.25, 1.25, (*shape, zoo.actions))


# --- the same as by hand --------------------------------------------------------------------


@pytest.mark.parametrize("continuous", [True, False])
def test_simple_spread_is_the_same_as_stepped_by_hand(continuous):
    arguments = {"N": 4, "max_cycles": 6, "continuous_actions": continuous}
    zoo = Zoo("simple_spread_v3", arguments)
    size = 24  # 2 speeds, 2 of the place, 4 landmarks, 3 others, 3 messages of 2 numbers
    assert (zoo.agents, zoo.turns, zoo.observation_size, zoo.actions) == (4, 4, size, 5)
    assert (zoo.discrete, zoo.steps) == (not continuous, 6)
    generator = np.random.default_rng(5)
    first = zoo.reset(EPISODES, generator)
    seeds = np.random.default_rng(5).integers(2**31, size=EPISODES)
    made = importlib.import_module("mpe2.simple_spread_v3").parallel_env
    worlds = [made(**arguments) for _ in range(EPISODES)]
    names = worlds[0].possible_agents
    start = [w.reset(seed=int(s))[0] for w, s in zip(worlds, seeds, strict=True)]
    np.testing.assert_array_equal(first, [[o[n] for o in start] for n in names])
    assert len({tuple(row) for row in first.reshape(-1, size)}) == 4 * EPISODES
    for time in range(1, 7):
        actions = act(zoo, generator)
        step = zoo.step(actions)
        for e, world in enumerate(worlds):
            given = np.clip(actions, 0, 1).astype(np.float32) if continuous else actions
            observations, rewards, terminated, truncated, _ = world.step(
                {n: given[i, e] for i, n in enumerate(names)}
            )
            np.testing.assert_array_equal(step.observations[:, e], [observations[n] for n in names])
            assert step.rewards[:, e].tolist() == [rewards[n] for n in names]
            assert step.truncated[:, e].tolist() == [truncated[n] for n in names]
            assert not any(terminated.values())
        assert step.truncated.all() == (time == 6)
        np.testing.assert_array_equal(step.acting, ~step.truncated)


def test_the_same_generator_gives_the_same_episodes_whatever_came_before():
    def run(zoo):
        generator = np.random.default_rng(2)
        seen = [zoo.reset(2, generator)]
        return [*seen, *(zoo.step(act(zoo, generator, 2)).observations for _ in range(4))]

    zoo = Zoo("mpe2.simple_spread_v3", {"continuous_actions": True})
    first = run(zoo)
    zoo.reset(EPISODES, np.random.default_rng(3))
    np.testing.assert_array_equal(run(zoo), first)
    assert not np.array_equal(zoo.reset(2, np.random.default_rng(4)), first[0])


def test_environments_are_found_by_their_short_name_by_module_and_from_a_function():
    whole = importlib.import_module("mpe2.simple_spread_v3").parallel_env
    for name in ("simple_spread_v3", "mpe2.simple_spread_v3", whole):
        assert Zoo(name).actions == 5
    game = Zoo("rps_v2")  # an environment of PettingZoo itself, in a subpackage
    assert (game.agents, game.observation_size, game.actions, game.steps) == (2, 4, 3, 15)


def test_the_description_is_what_json_has():
    zoo = Zoo(Own, {"ends": np.array([4, 5]), "sight": [seen()]}, steps=3)
    assert zoo.describe() == json.loads(json.dumps(zoo.describe()))
    assert zoo.describe()["name"] == "Own"
    assert zoo.describe()["arguments"]["ends"] == [4, 5]
    assert zoo.describe()["steps"] == 3
    assert (zoo.scene(), zoo.tally()) == ({}, {})


# --- who acts -------------------------------------------------------------------------------


def test_agents_leave_one_after_another():
    zoo = Zoo(Own, {"ends": (1, 3, 9), "last": 4})
    first = zoo.reset(2, np.random.default_rng(0))
    seeds = np.random.default_rng(0).integers(2**31, size=2)
    assert first[..., 0].tolist() == [[0, 0], [1, 1], [2, 2]]
    np.testing.assert_array_equal(first[..., 2], [seeds] * 3)
    acting = [[0, 1, 1], [0, 1, 1], [0, 0, 1], [0, 0, 0], [0, 0, 0]]
    rewards = [[1, 2, 1], [0, 2, 1], [0, 2, 1], [0, 0, 1], [0, 0, 0]]
    times = [[1, 1, 1], [0, 2, 2], [0, 3, 3], [0, 0, 4], [0, 0, 0]]  # 0: no longer there
    for t in range(5):
        step = zoo.step(np.array([[1, 1], [2, 2], [1, 1]]))
        for e in range(2):
            assert step.acting[:, e].tolist() == [bool(a) for a in acting[t]]
            assert step.rewards[:, e].tolist() == rewards[t]
            assert step.observations[:, e, 1].tolist() == times[t]
            assert step.truncated[:, e].tolist() == [False, False, t == 3]
    assert not step.observations.any()


def test_an_episode_that_has_ended_is_not_stepped_while_others_go_on():
    worlds = []

    def varied():
        worlds.append(Own(ends=(1, 1) if len(worlds) == 1 else (3, 3)))
        return worlds[-1]

    zoo = Zoo(varied)
    zoo.reset(EPISODES, np.random.default_rng(0))
    acting = [zoo.step(np.ones((2, EPISODES), int)).acting.any(0).tolist() for _ in range(4)]
    assert acting == [[True, False, True], [True, False, True], [False] * 3, [False] * 3]
    assert [len(world.given) for world in worlds] == [3, 1, 3]


def test_agents_that_end_and_run_out_of_time_at_once_have_ended():
    zoo = Zoo(Own, {"ends": (2, 9), "last": 2}, steps=2)
    zoo.reset(1, np.random.default_rng(0))
    for _ in range(2):
        step = zoo.step(np.zeros((2, 1), int))
    assert step.truncated[:, 0].tolist() == [False, True]
    assert not step.acting.any()


def test_an_agent_that_is_no_longer_there_does_not_act():
    class Silent(Own):
        """Says of nobody that it has ended."""

        def step(self, actions):
            observations, rewards, ended, late, infos = super().step(actions)
            return observations, rewards, dict.fromkeys(ended, False), late, infos

    zoo = Zoo(Silent, {"ends": (1, 9)})
    zoo.reset(1, np.random.default_rng(0))
    for _ in range(2):
        step = zoo.step(np.ones((2, 1), int))
        assert step.acting.tolist() == [[False], [True]]
        assert not step.truncated.any()


def test_steps_cut_an_episode_that_is_not_over():
    zoo = Zoo(Own, {"ends": (2, 9)}, steps=2)
    zoo.reset(2, np.random.default_rng(0))
    first, second, third = (zoo.step(np.ones((2, 2), int)) for _ in range(3))
    assert first.acting.all()
    assert not first.truncated.any()
    assert second.truncated.tolist() == [[False, False], [True, True]]
    assert not second.acting.any()
    assert second.observations[1, :, 1].tolist() == [2, 2]
    assert not third.rewards.any()
    assert not third.truncated.any()


def test_the_longest_episode_is_the_environments_own_where_it_has_one():
    assert Zoo("simple_spread_v3", {"max_cycles": 40}).steps == 40
    assert Zoo("simple_spread_v3").steps == 25
    assert Zoo("simple_spread_v3", steps=7).steps == 7
    assert Zoo("pursuit_v5").steps == 500  # only an inner part of that environment knows it
    assert Zoo(Own).steps == 1_000


# --- what is seen and done ------------------------------------------------------------------


def test_discrete_observations_are_one_hot_and_actions_begin_where_the_space_does():
    spaces_ = {"sight": [spaces.Discrete(4, start=-1)], "action": [spaces.Discrete(3, start=5)]}
    zoo = Zoo(Own, spaces_)
    assert (zoo.observation_size, zoo.actions, zoo.discrete) == (4, 3, True)
    assert zoo.reset(1, np.random.default_rng(0))[:, 0].tolist() == [[1, 0, 0, 0]] * 2
    step = zoo.step(np.array([[0], [2]]))
    assert step.rewards.tolist() == [[5], [7]]
    assert step.observations[:, 0].tolist() == [[0, 1, 0, 0]] * 2


def test_box_actions_are_clipped_and_take_the_shape_and_type_of_the_space():
    world = Own(action=[spaces.Box(np.array([[-1, 0]]), np.array([[1, 3]]), dtype=np.float32)])
    zoo = Zoo(lambda: world)
    assert (zoo.actions, zoo.discrete) == (2, False)
    zoo.reset(1, np.random.default_rng(0))
    zoo.step(np.array([[[-2.0, 0.3]], [[0.5, 9.0]]]))
    given = world.given[0]
    assert all(a.shape == (1, 2) and a.dtype == np.float32 for a in given.values())
    assert given["agent_0"].tolist() == [[-1, np.float32(0.3)]]
    assert given["agent_1"].tolist() == [[0.5, 3]]


def test_images_are_flattened():
    class Camera(Own):
        def look(self, agent):
            return np.arange(12, dtype=np.uint8).reshape(2, 2, 3)

    zoo = Zoo(Camera, {"sight": [spaces.Box(0, 255, (2, 2, 3), np.uint8)]})
    assert zoo.reset(1, np.random.default_rng(0))[1, 0].tolist() == list(range(12))


# --- what is refused ------------------------------------------------------------------------

FLAT = {"sight": [spaces.Dict({"near": seen()})]}
MANY = {"action": [spaces.MultiDiscrete([2, 2])]}
UNLIKE = {
    "sight": ([seen(), seen(), seen(2)], r"observation spaces of agents 'agent_0' and 'agent_2'"),
    "action": ([spaces.Discrete(3), spaces.Discrete(2)], r"Discrete\(3\) and Discrete\(2\)"),
}


@pytest.mark.parametrize("what", UNLIKE)
def test_agents_that_differ_are_refused(what):
    found, message = UNLIKE[what]
    with pytest.raises(ValueError, match=message):
        Zoo(Own, {"ends": (9, 9, 9), what: found})


@pytest.mark.parametrize(("given", "kind"), [(FLAT, "a Dict"), (MANY, "a MultiDiscrete")])
def test_other_spaces_are_refused_by_name(given, kind):
    with pytest.raises(ValueError, match=f"space of the environment Own is {kind}, expected a Box"):
        Zoo(Own, given)


@pytest.mark.parametrize("name", ["simple_sprad_v3", "mpe2.simple_spread_v2", "simple-spread-v3"])
def test_an_unknown_name_is_refused_with_the_nearest(name):
    with pytest.raises(ValueError, match=f"'{name}'; did you mean 'simple_spread_v3'"):
        Zoo(name)


LACKING = [
    ("pettingzoo", "mpe2.simple_spread_v3", "the package 'pettingzoo', which is not installed"),
    ("gymnasium", "mpe2.simple_spread_v3", "the package 'gymnasium"),
    ("mpe2", "mpe2.simple_spread_v3", "the package 'mpe2', which is not installed"),
    ("mpe2", "simple_spread_v3", "unknown environment 'simple_spread_v3'; .*brings more"),
]


@pytest.mark.parametrize(("missing", "name", "message"), LACKING)
def test_a_missing_package_is_named_with_how_to_install_it(missing, name, message, monkeypatch):
    for module in [m for m in sys.modules if m.startswith(f"{missing}.")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ValueError, match=message) as found:
        Zoo(name)
    remedy = "mpe2" if missing == "mpe2" else '"peerlearn[pettingzoo]"'
    assert f"pip install {remedy}" in str(found.value)


def test_what_an_environment_itself_lacks_is_named(monkeypatch, tmp_path):
    (tmp_path / "own_world.py").write_text("import no_such_physics\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match=r"'own_world' cannot be imported.*'no_such_physics'"):
        Zoo("own_world")


def test_what_a_family_of_environments_lacks_has_an_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "Box2D", None)
    with pytest.raises(ValueError, match=r"install it with pip install \"pettingzoo\[sisl\]\""):
        Zoo("multiwalker_v9")


REFUSED = [
    (3, {}, "environment is 3, expected a module's name"),
    ("json", {}, "json has no parallel_env"),
    ("simple_spread_v3", {"agents": 3}, "could not be made with the arguments {'agents': 3}"),
    (dict, {}, "made a dict, expected a PettingZoo ParallelEnv"),
    (Own, {"ends": ()}, "with possible_agents"),
]


@pytest.mark.parametrize(("name", "arguments", "message"), REFUSED)
def test_what_makes_no_parallel_environment_is_refused(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        Zoo(name, arguments)


@pytest.mark.parametrize("steps", [0, -1, 2.5, True])
def test_an_episode_has_at_least_one_step(steps):
    with pytest.raises(ValueError, match=rf"steps is {steps}, expected a whole number of at least"):
        Zoo(Own, steps=steps)


def test_one_environment_cannot_be_several_episodes():
    world = Own()
    zoo = Zoo(lambda: world)
    with pytest.raises(ValueError, match="made the same environment twice"):
        zoo.reset(2, np.random.default_rng(0))


def test_agents_that_join_are_refused():
    late = Zoo(Own, {"first": 1})
    with pytest.raises(ValueError, match=r"began with the agents \['agent_0'\], expected all of"):
        late.reset(1, np.random.default_rng(0))
    zoo = Zoo(Own, {"ends": (1, 9), "joins": 2})
    zoo.reset(1, np.random.default_rng(0))
    zoo.step(np.zeros((2, 1), int))
    with pytest.raises(ValueError, match="'agent_0' of the environment Own joined in step 2"):
        zoo.step(np.zeros((2, 1), int))


def test_actions_of_another_shape_are_refused():
    zoo = Zoo("simple_spread_v3", {"continuous_actions": True})
    with pytest.raises(ValueError, match=r"shape \(3, 2, 5\), expected \(3, 0, 5\)"):
        zoo.step(np.zeros((3, 2, 5)))
    zoo.reset(2, np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"shape \(3, 2\), expected \(3, 2, 5\)"):
        zoo.step(np.zeros((3, 2)))


def test_what_an_environment_raises_comes_through():
    class Broken(Own):
        def step(self, actions):
            raise ZeroDivisionError("the world is broken")

    zoo = Zoo(Broken)
    zoo.reset(1, np.random.default_rng(0))
    with pytest.raises(ZeroDivisionError, match="the world is broken"):
        zoo.step(np.zeros((2, 1), int))
