"""The pursuit: the physics of mpe2's simple tag, and what DiNNO's experiments changed in it."""

from __future__ import annotations

import copy
import importlib
import json
import math
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peerlearn.environments.pursuit import PLACES, Pursuit

STILL = [0, 0, 0, 0, 0]
RIGHT = [0, 1, 0, 0, 0]
PERMUTED = [0, 2, 1, 4, 3]  # none, left, right, down, up


def crowd(world, episodes, seed, width=0.6):
    """States (positions, velocities, obstacles) in which bodies meet, and actions (steps, ...)."""
    draw = np.random.default_rng(seed)
    moving = draw.uniform(-width, width, (world.turns, episodes, 2))
    obstacles = draw.uniform(-0.9, 0.9, (world.obstacles, episodes, 2))
    actions = draw.uniform(-0.3, 1.3, (world.steps, world.agents, episodes, 5))
    return moving, draw.uniform(-0.5, 0.5, moving.shape), obstacles, actions


def played(world, moving, velocities, obstacles, actions):
    """Everything that is to be seen of the episodes: (steps, ...) each."""
    world.place(moving, velocities, obstacles)
    seen = []
    for given_actions in actions:
        step = world.step(given_actions)
        where = world.positions.copy(), world.velocities.copy()
        seen.append((*where, step.observations, step.rewards, *world.tally().values()))
    return [np.stack(part) for part in zip(*seen, strict=True)]


def touching(world):
    """(pursuers, evaders, E) whether they overlap, by plain loops."""
    scene = world.scene()
    return np.array(
        [
            [
                [math.dist(p, e) < 0.125 for p, e in zip(ps, es, strict=True)]
                for es in scene["evaders"]
            ]
            for ps in scene["pursuers"]
        ]
    )


def alone(positions, velocities=None, obstacles=0, **options):
    """One pursuer and one evader in one episode."""
    world = Pursuit(pursuers=1, obstacles=obstacles, **options)
    moves = np.zeros((2, 2)) if velocities is None else np.array(velocities)
    world.place(np.array(positions)[:, None], moves[:, None])
    return world


def act(world, *actions):
    return world.step(np.array(actions)[:, None])


# --- the physics --------------------------------------------------------------------------


@pytest.mark.parametrize(("pursuers", "evaders", "obstacles"), [(3, 1, 8), (4, 2, 3)])
def test_mpe2_moves_bodies_and_rewards_touches_alike(pursuers, evaders, obstacles):
    simple_tag = pytest.importorskip("mpe2.simple_tag_v3")
    counts = {"pursuers": pursuers, "evaders": evaders, "obstacles": obstacles}
    world = Pursuit(**counts, random_obstacles=True, integration="mpe2", reward="mpe2")
    moving, velocities, places, actions = crowd(world, 20, seed=0)
    world.place(moving, velocities, places)
    flights, ours, hidden = [], [], np.s_[4 : 4 + 2 * obstacles]  # mpe2 shows obstacles
    for given_actions in actions:
        flights.append(world.flight())
        step = world.step(given_actions)
        where = world.positions.copy(), world.velocities.copy()
        ours.append((*where, step.observations, step.rewards))

    theirs = simple_tag.raw_env(
        num_good=evaders,
        num_adversaries=pursuers,
        num_obstacles=obstacles,
        max_cycles=world.steps,
        continuous_actions=True,
    )
    for e in range(20):
        theirs.reset(seed=0)
        state, found = theirs.world, []
        for body, at, v in zip(state.agents, moving[:, e], velocities[:, e], strict=True):
            body.state.p_pos, body.state.p_vel = at.copy(), v.copy()
        for body, at in zip(state.landmarks, places[:, e], strict=True):
            body.state.p_pos = at.copy()
        for given_actions, flight in zip(actions, flights, strict=True):
            x, y = flight[:, e].T
            fled = np.stack([0 * x, -x, x, -y, y], axis=1)
            for order in np.clip([*given_actions[:, e, PERMUTED], *fled], 0, 1):
                theirs.step(order)
            names = theirs.possible_agents[:pursuers]
            found.append(
                (
                    np.array([b.state.p_pos for b in state.entities]),
                    np.array([b.state.p_vel for b in state.agents]),
                    np.array([np.delete(theirs.observe(n), hidden) for n in names]),
                    np.array([theirs.rewards[n] for n in names]),
                )
            )
        for got, expected in zip(zip(*ours, strict=True), zip(*found, strict=True), strict=True):
            np.testing.assert_allclose(np.stack(got)[:, :, e], expected, rtol=0, atol=1e-6)
    rewards = np.stack([step[-1] for step in ours])
    assert set(np.unique(rewards)) >= {0, 10}  # they do meet


def test_a_published_step_by_hand():
    world = alone([(0, 0), (0.5, -0.25)], [(0.2, -0.1), (0, 0.4)])
    act(world, [9, 0.5, 0, 0.25, 1.5])  # (0.5, -0.75) once clipped
    np.testing.assert_allclose(world.velocities[0, 0], [0.15 + 0.15, -0.075 - 0.225])
    np.testing.assert_allclose(world.velocities[1, 0], [0.4, 0.3 - 0.2])  # flees along (1, -0.5)
    np.testing.assert_allclose(world.positions[0, 0], [0.03, -0.03])
    np.testing.assert_allclose(world.positions[1, 0], [0.54, -0.24])


def test_in_mpe2s_order_positions_move_by_the_old_velocity():
    world = alone([(0, 0), (0.5, -0.25)], [(0.2, -0.1), (0, 0.4)], integration="mpe2")
    act(world, RIGHT)
    np.testing.assert_allclose(world.positions[:, 0], [(0.02, -0.01), (0.5, -0.21)])
    np.testing.assert_allclose(world.velocities[0, 0], [0.15 + 0.3, -0.075])


def test_an_obstacle_pushes_out_along_the_line_of_centres():
    world = alone([(0.4, 0.6), (5, 5)], obstacles=[(0.25, 0.4)])
    act(world, STILL)  # 0.25 apart, 0.275 would be free: 2.5 along (0.6, 0.8)
    np.testing.assert_allclose(world.velocities[0, 0], [0.15, 0.2])
    np.testing.assert_array_equal(world.scene()["obstacles"][0, 0], [0.25, 0.4])


def test_pursuers_push_each_other_apart_alike():
    world = Pursuit(pursuers=2, obstacles=0)
    world.place([[(0, 0)], [(0, 0.1)], [(9, 9)]])  # 0.15 would be free
    world.step(np.zeros((2, 1, 5)))
    np.testing.assert_allclose(world.velocities[:2, 0], [(0, -0.5), (0, 0.5)], atol=1e-15)


def test_nobody_is_faster_than_its_top_speed():
    world = Pursuit()
    moving, velocities, _, actions = crowd(world, 40, seed=1)
    fast = 0
    world.place(moving, 5 * velocities)
    for given_actions in actions:
        world.step(given_actions)
        speeds = np.hypot(*np.moveaxis(world.velocities, -1, 0))
        assert (speeds <= np.array([[1.0], [1.0], [1.0], [1.3]]) * (1 + 1e-12)).all()
        fast += (speeds > 0.99).sum()
    assert fast > 100


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 2**32), st.sampled_from(["published", "mpe2"]), st.integers(0, 3))
def test_mirrored_and_turned_worlds_move_mirrored_and_turned(seed, integration, which):
    world = Pursuit(evaders=2, integration=integration, steps=15)
    symmetry, order = [
        (np.array([[-1, 0], [0, 1]]), [0, 2, 1, 3, 4]),
        (np.array([[1, 0], [0, -1]]), [0, 1, 2, 4, 3]),
        (np.array([[0, 1], [1, 0]]), [0, 3, 4, 1, 2]),
        (np.array([[0, -1], [1, 0]]), [0, 4, 3, 1, 2]),
    ][which]
    *state, actions = crowd(world, 4, seed)
    one = played(world, *state, actions)
    other = played(world, *(part @ symmetry.T for part in state), actions[..., order])
    for plain, changed in zip(one[:2], other[:2], strict=True):
        np.testing.assert_allclose(plain @ symmetry.T, changed, rtol=0, atol=1e-8)
    np.testing.assert_allclose(one[3], other[3], atol=1e-7)


def test_numbering_the_pursuers_otherwise_changes_nothing_else():
    world = Pursuit(pursuers=4, steps=30)
    moving, velocities, obstacles, actions = crowd(world, 10, seed=2)
    order = [2, 0, 3, 1]
    bodies = [*order, *range(4, 13)]
    one = played(world, moving, velocities, obstacles, actions)
    moving, velocities = moving[bodies[:5]], velocities[bodies[:5]]
    other = played(world, moving, velocities, obstacles, actions[:, order])
    np.testing.assert_allclose(one[0][:, bodies], other[0], rtol=0, atol=1e-8)
    np.testing.assert_allclose(one[1][:, bodies[:5]], other[1], rtol=0, atol=1e-8)
    for plain, changed in zip(one[3:], other[3:], strict=True):
        np.testing.assert_allclose(plain, changed, atol=1e-7)


@pytest.mark.parametrize(
    ("pursuer", "evader", "direction"),
    [
        ((0, 0), (0.3, -0.4), (0.75, -1)),
        ((0, 0), (1.19, 0.119), (1, 0.1)),
        ((0, 0.12), (1.2, 0), (0, -0.1)),
        ((0, 0.12), (-1.2, 0), (0, -0.1)),
        ((-1, 0.6), (-1.1, 1.3), (-1 / 7, 0)),
        ((-1, -1), (-1.3, -1.3), (0, 0)),
        ((2, -3), (1.5, -2.5), (-1, 1)),
    ],
)
def test_the_evader_flees_but_not_over_the_border(pursuer, evader, direction):
    world = alone([pursuer, evader])
    np.testing.assert_allclose(world.flight()[0, 0], direction, atol=1e-12)


def test_each_evader_flees_its_nearest_pursuer():
    world = Pursuit(pursuers=2, evaders=2, obstacles=0)
    world.place([[(-0.5, 0)], [(0.5, 0)], [(-0.4, 0.2)], [(0.6, 0.1)]])
    np.testing.assert_allclose(world.flight()[:, 0], [(0.5, 1), (1, 1)])


def test_bodies_in_one_place_stay_finite():
    world = Pursuit(obstacles=[(0, 0)])
    world.place(np.zeros((4, 2, 2)))
    for _ in range(3):
        step = world.step(np.zeros((3, 2, 5)))
    assert np.isfinite(step.observations).all()
    np.testing.assert_array_equal(step.rewards, 30)


# --- what the agents see and get ----------------------------------------------------------


def test_what_a_pursuer_observes():
    world = Pursuit(obstacles=0)
    positions = np.array([(1, 2), (3, 5), (7, 4), (-1, 0)], float)[:, None]
    velocities = np.array([(0.1, 0.2), (0.3, 0.4), (0.5, 0.6), (0.7, 0.8)])[:, None]
    seen = world.place(positions, velocities)
    assert seen.shape == (world.agents, 1, world.observation_size) == (3, 1, 12)
    np.testing.assert_allclose(seen[0, 0], [0.1, 0.2, 1, 2, 2, 3, 6, 2, -2, -2, 0.7, 0.8])
    np.testing.assert_allclose(seen[1, 0], [0.3, 0.4, 3, 5, -2, -3, 4, -1, -4, -5, 0.7, 0.8])
    np.testing.assert_allclose(seen[2, 0], [0.5, 0.6, 7, 4, -6, -2, -4, 1, -8, -4, 0.7, 0.8])


def test_what_was_observed_does_not_change_later():
    world = Pursuit()
    given = {"seen": world.place(np.zeros((4, 3, 2))), **world.scene(), **world.tally()}
    kept = copy.deepcopy(given)
    world.step(np.full((3, 3, 5), RIGHT))
    assert (world.tally()["captures"] == 3).all()
    for name, values in given.items():
        np.testing.assert_array_equal(values, kept[name], err_msg=name)


@pytest.mark.parametrize("reward", ["published", "mpe2"])
def test_rewards_and_captures_are_those_of_plain_loops(reward):
    world = Pursuit(pursuers=3, evaders=2, reward=reward)
    moving, _, obstacles, _ = crowd(world, 12, seed=3)
    seen = world.place(moving, None, obstacles)
    before = np.zeros((3, 2, 12), bool)
    captures, first = np.zeros(12), np.full(12, 50.0)
    for number in range(1, 51):
        there = seen[..., 8:10]  # towards the first evader
        actions = np.stack(
            [0 * there[..., 0], *(s * there[..., i] for i in (0, 1) for s in (1, -1))]
        )
        step = world.step(100 * np.moveaxis(actions, 0, -1))
        seen, touch, scene = step.observations, touching(world), world.scene()
        captures += (touch & ~before).sum((0, 1))
        first = np.where((first == 50) & touch.any((0, 1)), number, first)
        before = touch
        for e in range(12):
            expected = 10.0 * touch[:, :, e].sum()
            for pursuer in scene["pursuers"][:, e] if reward == "published" else ():
                expected -= 0.1 * min(math.dist(pursuer, v) for v in scene["evaders"][:, e])
            np.testing.assert_allclose(step.rewards[:, e], expected, atol=1e-12)
    np.testing.assert_array_equal(world.tally()["captures"], captures)
    np.testing.assert_array_equal(world.tally()["first_capture"], first)
    assert captures.max() > 2
    assert tuple(world.tally()) == world.measures


def test_a_chase_at_the_border_by_hand():
    world = alone([(1.0, 0), (1.2, 0)], [(1, 0), (0, 0)])
    told = []
    for _ in range(3):
        reward = act(world, RIGHT).rewards[0, 0]
        told.append((*world.positions[:, 0, 0], reward, *(t[0] for t in world.tally().values())))
    expected = [
        (1.1, 1.2, 9.99, 1, 1),  # the evader does not push itself further out
        (1.18, 1.225, 9.9955, 1, 1),  # pushed by 2.5, contact lasts
        (1.19, 1.32375, -0.013375, 1, 1),  # by 8, and they part
    ]
    np.testing.assert_allclose(told, expected, atol=1e-7)
    while world.tally()["captures"][0] == 1:
        act(world, RIGHT)
    assert world.tally()["first_capture"] == 1  # touched again, later


# --- episodes -----------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"pursuers": 9, "evaders": 2, "random_obstacles": True}])
def test_episodes_side_by_side_are_those_one_by_one_to_the_bit(options):
    world = Pursuit(**options)
    moving, velocities, obstacles, actions = crowd(world, 5, seed=4, width=0.4)
    together = played(world, moving, velocities, obstacles, actions)
    for e in range(5):
        here = slice(e, e + 1)
        single = played(
            world, moving[:, here], velocities[:, here], obstacles[:, here], actions[:, :, here]
        )
        for many, one in zip(together[:4], single[:4], strict=True):
            np.testing.assert_array_equal(many[:, :, here], one)
        for many, one in zip(together[4:], single[4:], strict=True):
            np.testing.assert_array_equal(many[:, here], one)


@pytest.mark.parametrize("random", [False, True])
def test_a_seed_gives_its_episodes_however_many_are_asked_for(random):
    world = Pursuit(random_obstacles=random)
    few = world.reset(3, np.random.default_rng(7)), world.scene()
    many = world.reset(200, np.random.default_rng(7)), world.scene()
    np.testing.assert_array_equal(few[0], many[0][:, :3])
    for name, places in few[1].items():
        np.testing.assert_array_equal(places, many[1][name][:, :3])
    starts = np.concatenate([many[1]["pursuers"], many[1]["evaders"]])
    assert 0.97 < np.abs(starts).max() <= 1
    assert abs(starts.mean()) < 0.1
    obstacles = many[1]["obstacles"]
    if random:
        assert 0.87 < np.abs(obstacles).max() <= 0.9
        assert len(np.unique(obstacles)) == obstacles.size
    else:
        np.testing.assert_array_equal(obstacles, np.repeat(PLACES[:, None], 200, 1))
    assert not np.array_equal(world.reset(3, np.random.default_rng(8)), few[0])


def test_all_end_together_because_time_is_up():
    world = Pursuit(steps=3)
    world.reset(2, np.random.default_rng(0))
    np.testing.assert_array_equal(world.tally()["first_capture"], 3)
    for number in (1, 2, 3):
        step = world.step(np.zeros((3, 2, 5)))
        assert (step.acting == (number < 3)).all()
        assert (step.truncated == (number == 3)).all()
        assert step.acting.shape == step.truncated.shape == step.rewards.shape == (3, 2)
    np.testing.assert_array_equal(world.tally()["first_capture"], 3)
    with pytest.raises(ValueError, match="no episode of 3 steps is under way; call reset"):
        world.step(np.zeros((3, 2, 5)))


@pytest.mark.parametrize("count", [0, 3, 8])
def test_obstacles_are_the_first_so_many_of_the_published_places(count):
    x = [-1.2, 0.1, -0.3, 0.9, -0.9, -0.1, -1.2, 1.3]
    y = [-0.6, -1.1, 0.4, 0.75, 1.2, 1.3, 0.0, 0.0]
    world = Pursuit(obstacles=count)
    world.reset(1, np.random.default_rng(0))
    places = [(a, b) for a, b, _ in zip(x, y, range(count), strict=False)]
    assert [tuple(at) for at in world.scene()["obstacles"][:, 0].tolist()] == places


def test_what_it_describes_makes_it_again():
    for world in (Pursuit(), Pursuit(pursuers=2, obstacles=9, random_obstacles=True, steps=7)):
        told = json.loads(json.dumps(world.describe()))
        assert told.pop("kind") == "Pursuit"
        again = Pursuit(**told)
        assert again.describe() == world.describe()
        assert again.observation_size == world.observation_size


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps is 0, expected a whole number of at least 1"),
        ({"pursuers": 0}, "pursuers is 0, expected"),
        ({"evaders": 1.5}, "evaders is 1.5, expected"),
        ({"obstacles": 9}, "obstacles is 9, but only 8 places are published; give the places"),
        ({"obstacles": -1}, "obstacles is -1, expected a whole number of at least 0"),
        ({"obstacles": [(1, 2, 3)]}, r"obstacles have shape \(1, 3\), expected \(1, 2\)"),
        ({"obstacles": [(1, math.nan)]}, "obstacles hold NaN"),
        (
            {"obstacles": [(1, 2)], "random_obstacles": True},
            "draws the places .* give their number",
        ),
        ({"integration": "mpe"}, "unknown integration 'mpe'; did you mean 'mpe2'"),
        ({"reward": "shaped"}, "unknown reward 'shaped'; .*known: published, mpe2"),
    ],
)
def test_settings_that_make_no_world(options, message):
    with pytest.raises(ValueError, match=message):
        Pursuit(**options)


def test_states_and_actions_of_a_wrong_shape():
    world = Pursuit()
    with pytest.raises(ValueError, match="call reset"):
        world.step(np.zeros((3, 1, 5)))
    with pytest.raises(ValueError, match=r"positions have shape \(4, 2\), expected \(4, 1, 2\)"):
        world.place(np.zeros((4, 2)))
    with pytest.raises(
        ValueError, match=r"velocities have shape \(4, 1, 2\), expected \(4, 2, 2\)"
    ):
        world.place(np.zeros((4, 2, 2)), np.zeros((4, 1, 2)))
    with pytest.raises(ValueError, match=r"obstacles have shape \(2, 1, 2\), expected \(8, 1, 2\)"):
        world.place(np.zeros((4, 1, 2)), obstacles=np.zeros((2, 1, 2)))
    with pytest.raises(ValueError, match="give obstacles as well"):
        Pursuit(random_obstacles=True).place(np.zeros((4, 1, 2)))
    world.reset(14, np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"shape \(14, 3, 5\), expected \(3, 14, 5\): \(pursuers"):
        world.step(np.zeros((14, 3, 5)))
    with pytest.raises(ValueError, match="actions hold NaN or infinite"):
        world.step(np.full((3, 14, 5), np.nan))


# --- PettingZoo ---------------------------------------------------------------------------


@pytest.fixture
def parallel():
    pytest.importorskip("pettingzoo")
    return importlib.import_module("peerlearn.environments.parallel")


@pytest.mark.filterwarnings("ignore:The old environment creation API:DeprecationWarning")
def test_pettingzoos_own_checks(parallel):
    from pettingzoo.test import parallel_api_test, parallel_seed_test

    parallel_api_test(parallel.parallel_env(pursuers=2, evaders=2, steps=20), num_cycles=100)
    parallel_seed_test(parallel.parallel_env)


def test_an_episode_of_pettingzoo_is_one_of_the_pursuit(parallel):
    env, world = parallel.parallel_env(steps=4), Pursuit(steps=4)
    seen, _ = env.reset(seed=5)
    expected = world.reset(1, np.random.default_rng(5))
    for number in range(1, 5):
        for i, agent in enumerate(env.possible_agents):
            assert env.observation_space(agent).contains(seen[agent])
            np.testing.assert_array_equal(seen[agent], expected[i, 0].astype(np.float32))
        assert env.state_space.contains(env.state())
        actions = {agent: env.action_space(agent).sample() for agent in env.agents}
        seen, rewards, terminated, truncated, _ = env.step(actions)
        step = world.step(np.stack(list(actions.values()))[:, None])
        expected = step.observations
        assert list(rewards.values()) == step.rewards[:, 0].tolist()
        assert set(truncated.values()) == {number == 4}
        assert set(terminated.values()) == {False}
    assert env.agents == []
    following, _ = env.reset()
    assert not np.array_equal(following["pursuer_0"], seen["pursuer_0"])


def test_a_picture_shows_who_is_where(parallel):
    env = parallel.parallel_env("rgb_array", obstacles=[(0.8, 0.8)])
    env.world.place([[(-0.8, 0.8)], [(-0.8, 0)], [(0, 0)], [(0, -0.8)]])
    picture = env.render()
    assert picture.shape == (400, 400, 3)
    red, green, gray = picture[100, 100], picture[300, 200], picture[100, 300]
    assert red[0] > 1.5 * red[1:].max()
    assert green[1] > 1.5 * green[[0, 2]].max()
    assert gray.max() == gray.min() < 128
    assert (picture[300, 300] == 255).all()
    assert parallel.parallel_env().render() is None


def test_mistakes_with_pettingzoos_api(parallel):
    with pytest.raises(ValueError, match="unknown render_mode 'human'"):
        parallel.parallel_env("human")
    env = parallel.parallel_env()
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"actions are of \['pursuer_0'\], expected one of each"):
        env.step({"pursuer_0": np.zeros(5)})


def test_without_pettingzoo_its_api_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pettingzoo", None)
    monkeypatch.delitem(sys.modules, "peerlearn.environments.parallel", raising=False)
    with pytest.raises(ImportError, match=r'pip install "peerlearn\[pettingzoo\]"'):
        importlib.import_module("peerlearn.environments.parallel")
