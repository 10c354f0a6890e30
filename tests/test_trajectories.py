"""Drives: splines through waypoints, and loops planned through free space."""

from __future__ import annotations

import math
from dataclasses import replace

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from peerlearn.mapping.floor_plan import DOOR_M, floor_plan
from peerlearn.mapping.trajectories import (
    _homes,
    _spread,
    check_free,
    check_way,
    load_waypoints,
    planned,
    smooth,
    through,
)
from peerlearn.mapping.ways import largest, planning_grid, ways
from peerlearn.mapping.world import World

MPP = 0.05
SQUARE = np.array([[1.0, 1], [-1, 1], [-1, -1], [1, -1]])


def rooms(door=True):
    """8 m x 4 m: two rooms and a wall between them, with a door of 1 m at the bottom."""
    walls = np.zeros((80, 160), bool)
    walls[[0, -1]] = walls[:, [0, -1]] = True
    walls[:, 78:82] = True
    if door:
        walls[55:75, 78:82] = False
    return World(walls, MPP)


def baffles(gap, apart):
    """8 m x 1.7 m: walls across, so many pixels apart, each with a gap above or below."""
    walls = np.zeros((34, 160), bool)
    walls[[0, -1]] = walls[:, [0, -1]] = True
    for k, column in enumerate(range(20, 140, apart)):
        walls[slice(gap + 1, None) if k % 2 else slice(33 - gap), column] = True
    return World(walls, MPP)


def in_walls(world, places):
    """By hand: which pixel each place is in."""
    rows, columns = world.walls.shape
    column = np.floor(places[:, 0] / world.metres_per_pixel + columns / 2).astype(int)
    row = np.floor(rows / 2 - places[:, 1] / world.metres_per_pixel).astype(int)
    return world.walls[row, column]


def finely(loop):
    return smooth(loop, 20_000)[:, :2]


# --- files --------------------------------------------------------------------------------


def test_waypoints_come_from_npy_and_csv_and_are_scaled(tmp_path):
    np.save(tmp_path / "a.npy", SQUARE)
    (tmp_path / "b.csv").write_text("x,y\n" + "".join(f"{x}, {y}\n" for x, y in SQUARE))
    text = "".join(f"{x},{y}\n" for x, y in SQUARE) + "\n"
    (tmp_path / "c.CSV").write_text(text, encoding="utf-8-sig")
    (tmp_path / "d.NPY").write_bytes((tmp_path / "a.npy").read_bytes())
    for name in ("a.npy", "b.csv", "c.CSV", "d.NPY"):
        np.testing.assert_array_equal(load_waypoints(tmp_path / name), SQUARE)
    scaled = load_waypoints(tmp_path / "a.npy", scale=(10, -5))  # half an image, y down
    np.testing.assert_array_equal(scaled, [[10, -5], [-10, -5], [-10, 5], [10, 5]])


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("none.npy", None, r"cannot read waypoints from .*none\.npy .* expected a \.npy or \.csv"),
        ("a.npy", "no array", r"cannot read waypoints from .*a\.npy"),
        ("a.npy", "", r"cannot read waypoints from .*a\.npy"),
        ("a.csv", "", r"shape \(0, 2\), expected \(k, 2\)"),
        ("a.txt", "1,2\n3,4", "ends with neither"),
        ("a.csv", "x,y\n1,2\n3;4\n", "line 3 is '3;4'"),
        ("a.csv", "1,2,3\n1,2,3\n", "line 1 is '1,2,3'"),
        ("a.csv", "1;7\n1,2\n3,4\n", "line 1 is '1;7'"),
        ("a.csv", "x,y\n1,2\n", r"shape \(1, 2\), expected \(k, 2\)"),
        ("a.csv", "1,2\nnan,4\n", r"waypoint 1 of .* is \[nan, 4.0\], expected finite"),
    ],
)
def test_files_that_hold_no_waypoints_are_refused(tmp_path, name, text, said):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=said):
        load_waypoints(tmp_path / name)


@pytest.mark.parametrize(
    "array", [np.array([{"x": 1}], dtype=object), np.zeros(2, [("x", float), ("y", float)])]
)
def test_waypoints_that_are_no_plain_numbers_are_refused(array, tmp_path):
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(ValueError, match="cannot read waypoints"):
        load_waypoints(tmp_path / "a.npy")


# --- splines ------------------------------------------------------------------------------


@pytest.mark.parametrize("repeated", [False, True])
def test_a_closed_spline_through_a_circle_is_the_circle(repeated):
    angles = np.linspace(0, 2 * math.pi, 13)[: 13 if repeated else 12]  # as good as repeated
    poses = smooth(3 * np.column_stack([np.cos(angles), np.sin(angles)]), 100)
    turned = 2 * math.pi * np.arange(100) / 100  # evenly, and the end is not the beginning again
    np.testing.assert_allclose(np.hypot(*poses[:, :2].T), 3, atol=0.01)
    exact = 3 * np.column_stack([np.cos(turned), np.sin(turned)])
    np.testing.assert_allclose(poses[:, :2], exact, atol=0.02)
    across = np.cos(poses[:, 2] - (turned + math.pi / 2))  # counter-clockwise along the tangent
    np.testing.assert_allclose(across, 1, atol=1e-3)


def test_an_open_drive_ends_at_its_ends():
    poses = smooth([[0, 0], [1, 0], [1, 0], [4, 0]], 5, closed=False)
    np.testing.assert_allclose(poses, [[k, 0, 0] for k in range(5)], atol=1e-3)


def test_an_open_drive_may_end_where_it_began():
    poses = smooth([[0, 0], [1, 0], [0, 0]], 3, closed=False)
    np.testing.assert_allclose(poses[:, :2], [[0, 0], [1, 0], [0, 0]], atol=1e-3)


def test_an_open_spline_through_an_arc_is_the_arc_up_to_its_ends():
    angles = np.linspace(0, math.pi, 7)
    poses = smooth(3 * np.column_stack([np.cos(angles), np.sin(angles)]), 100, closed=False)
    np.testing.assert_allclose(np.hypot(*poses[:, :2].T), 3, atol=0.01)


def test_a_spline_hardly_overshoots():
    """Around a narrow rectangle; times by lengths go 1.2 m astray, equal ones 0.9 m."""
    poses = smooth([[0, 0], [5, 0], [5, 0.5], [0, 0.5]], 2000)
    assert (poses[:, :2].min(axis=0) > -0.4).all()
    assert (poses[:, :2].max(axis=0) < np.array([5.4, 0.9])).all()


@pytest.mark.parametrize("closed", [False, True])
def test_few_poses_are_some_of_many(closed):
    waypoints = np.random.default_rng(0).uniform(-5, 5, (12, 2))
    many = smooth(waypoints, 1201 - closed, closed)[::600]
    np.testing.assert_allclose(smooth(waypoints, 3 - closed, closed), many, atol=1e-2)


@given(st.integers(2, 12), st.integers(1, 300), st.booleans(), st.integers(0, 99))
def test_the_spline_passes_through_its_waypoints_evenly(k, points, closed, seed):
    waypoints = np.random.default_rng(seed).uniform(-5, 5, (k, 2))
    poses = smooth(waypoints, points, closed)
    assert poses.shape == (points, 3)
    dense = smooth(waypoints, 4000, closed)[:, :2]
    steps = np.linalg.norm(np.diff(dense, axis=0), axis=1)
    apart = np.linalg.norm(dense[:, None] - waypoints, axis=-1).min(axis=0)
    assert apart.max() <= steps.max()
    assert np.quantile(steps, 0.1) > 0.97 * steps.max()  # shorter only where it turns about


@pytest.mark.parametrize(
    ("waypoints", "points", "said"),
    [
        ([[1, 1], [1, 1]], 5, "the 2 waypoints are all in one place"),
        ([[1, 1, 1], [1, 1, 2]], 5, r"shape \(2, 3\), expected \(k, 2\)"),
        ([[1, 1], [1, math.inf]], 5, "waypoint 1 of waypoints is"),
        (SQUARE, 0, "points is 0, expected a whole number of at least 1"),
    ],
)
def test_what_cannot_be_smoothed_is_refused(waypoints, points, said):
    with pytest.raises(ValueError, match=said):
        smooth(waypoints, points)


# --- planned loops ------------------------------------------------------------------------


def test_a_loop_goes_through_the_door_and_visits_every_waypoint():
    world = rooms()
    stops = np.array([[-3.0, 1.5], [3.0, 1.5], [-3.0, -1.5], [-3.0, 1.5]])
    loop = through(world, stops)
    places = finely(loop)
    assert not in_walls(world, places).any()
    assert np.linalg.norm(places[:, None] - stops, axis=-1).min(axis=0).max() < 0.01
    at_wall = places[np.abs(places[:, 0]) < 0.02]
    assert len(at_wall)
    np.testing.assert_allclose(at_wall[:, 1], -1.25, atol=0.2)  # the middle of the door
    # Around the upper corner of the door, there and back, and straight to where it began.
    legs = np.linalg.norm(stops - [0, -0.75], axis=1)
    shortest = legs[0] + 2 * legs[1] + legs[2] + 3
    length = np.linalg.norm(np.diff(places, axis=0), axis=1).sum()
    assert 0.97 * shortest < length < 1.15 * shortest


def test_a_waypoint_may_be_just_as_far_from_walls_as_asked_for():
    world = World(np.zeros((15, 15), bool), 0.5)
    stops = [[-2.5, 0.0], [2.5, 0.0]]
    assert world.clearance(stops).tolist() == [1, 1]
    assert len(through(world, stops, 1.0))


def test_waypoints_next_to_each_other_are_all_visited():
    stops = np.array([[0.0, 0.0], [0.0, 0.3], [2.0, -1.0]])
    places = finely(through(World(np.zeros((80, 160), bool), MPP), stops))
    assert np.linalg.norm(places[:, None] - stops, axis=-1).min(axis=0).max() < 0.01


def test_the_waypoints_are_visited_in_their_order():
    stops = np.array([[-3.0, 1.5], [-1.0, -1.5], [-1.0, 1.5], [-3.0, -1.5]])
    places = finely(through(rooms(), stops))
    nearest = np.linalg.norm(places[:, None] - stops, axis=-1).argmin(axis=0)
    assert (np.diff(nearest) > 0).all()


@pytest.mark.parametrize(
    ("gap", "apart", "most", "room"), [(14, 16, 140, 0.15), (12, 12, 170, 0.05), (10, 16, 100, 0.1)]
)
def test_a_loop_winds_between_baffles(gap, apart, most, room):
    """Of loops with equal room that with the fewest waypoints."""
    world = baffles(gap, apart)
    loop = through(world, [[-3.6, 0], [3.6, 0]])
    assert len(loop) <= most
    assert not in_walls(world, finely(loop)).any()
    assert world.clearance(finely(loop)).min() >= room


def test_a_loop_that_touches_walls_is_refused(monkeypatch):
    monkeypatch.setattr("peerlearn.mapping.trajectories.SPACINGS", (8,))
    with pytest.raises(ValueError, match="no smooth loop through the waypoints stays out of all"):
        through(baffles(12, 12), [[-3.6, 0], [3.6, 0]])


def test_thin_walls_between_the_places_of_a_coarse_grid_are_seen():
    """In 360 m places are 30 cm apart, each at least 10 cm from the wall between them."""
    walls = np.zeros((20, 7200), bool)
    walls[:, 3600] = True
    with pytest.raises(ValueError, match="cannot be reached"):
        through(World(walls, MPP), [[-5, 0], [5, 0]], clearance_m=0.05)


def test_a_tour_is_short():
    angles = 2 * math.pi * np.array([0, 4, 1, 6, 3, 7, 2, 5]) / 8
    stops = 3 * np.column_stack([np.cos(angles), np.sin(angles)])
    world = World(np.zeros((160, 160), bool), MPP)
    grid = planning_grid(world, 0.3)
    lengths = [
        sum(np.linalg.norm(np.diff(way, axis=0), axis=1).sum() for way in found)
        for found in (ways(world, grid, stops, shortest) for shortest in (False, True))
    ]
    octagon = 8 * 2 * 3 * math.sin(math.pi / 8)
    assert octagon < lengths[1] < 1.5 * octagon < lengths[0]  # the bound of Christofides


@pytest.mark.parametrize(
    ("world", "stops", "clearance_m", "said"),
    [
        (rooms(), [[-3, 0], [0.02, 1], [9, 9]], 0.3, r"waypoint 1 at \(0.02, 1.00\), 2 at \(9.00"),
        (rooms(), [[-3, 0], [-3.8, 0]], 0.3, r"waypoint 1 at \(-3.80, 0.00\) is 0.1. m from a"),
        (
            rooms(False),
            [[-3, 0], [-2, 0], [3, 0]],
            0.3,
            r"waypoint 2 at .* from waypoint 0 at \(-3",
        ),
        (rooms(False), [[3, 0], [-2, 0], [-3, 0]], 0.3, r"waypoint 0 at \(3.00, 0.00\) cannot be"),
        (rooms(), [[-2, 0], [2, 0]], 1.2, r"cannot be reached .* a smaller clearance_m"),
        (rooms(), [[-3, 0], [-3, 0]], 0.3, "all in one place"),
        (rooms(), [[-3, 0], [3, 0]], 0, "clearance_m is 0, expected a positive"),
    ],
)
def test_what_cannot_be_driven_is_refused(world, stops, clearance_m, said):
    with pytest.raises(ValueError, match=said):
        through(world, stops, clearance_m)


def test_walls_are_named_for_poses_as_for_waypoints():
    poses = np.array([[1.0, 0, 0.5]] + [[0, 1.0, 0.5]] * 7)
    with pytest.raises(ValueError, match=r"agent 3's pose 1 at \(0.00, 1.00\), 2 .* and 2 more, "):
        check_free(rooms(), poses, "agent 3's pose")
    with pytest.raises(ValueError, match=r"x from -4.00 to 4.00 and y from -2.00 to 2.00: move"):
        check_free(rooms(), poses)
    with pytest.raises(ValueError, match=r"5 at \(0.00, 1.00\), in metres"):
        check_free(rooms(), poses[:6])
    check_free(rooms(), poses[[0, 0]])


def test_a_way_that_cuts_a_wall_is_told_where():
    """Between two rooms: both waypoints are free, the line through them is not."""
    with pytest.raises(ValueError, match=r"the way runs into walls of .* at \(-?0.\d\d, ") as error:
        check_way(rooms(), [[-3, 1], [3, 1]])
    assert str(error.value).count("), (") == 1, "there and back"
    with pytest.raises(ValueError, match=r"at \(0.00, 1.00\), "):
        check_way(rooms(), [[0, 1], [-1, 1], [-1, -1]])
    check_way(rooms(), [[-3, 1], [-1, 1], [-1, -1]])


@pytest.mark.parametrize(("entries", "more"), [(5, ""), (6, " and 1 more")])
def test_of_many_places_where_a_way_cuts_a_wall_five_are_told(entries, more):
    teeth = [[k % 2 - 1, 1 - k / 10] for k in range(2 * entries)]
    with pytest.raises(ValueError, match=rf"\){more}, in metres") as error:
        check_way(rooms(), teeth)
    assert str(error.value).count("(-0.") == 5


def test_a_way_through_the_thinnest_wall_is_seen():
    walls = np.zeros((80, 160), bool)
    walls[:, 80] = True
    for y in np.linspace(-1, 1, 20):
        with pytest.raises(ValueError, match="runs into walls"):
            check_way(World(walls, MPP), [[-3, y], [3, y]])


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 50), st.integers(1, 7), st.sampled_from([(7, 9), (14, 10), (24, 18)]))
def test_planned_loops_stay_out_of_walls(seed, agents, size):
    world = floor_plan(*size, seed=seed)
    loops = planned(world, agents, seed)
    assert len(loops) == agents
    for loop in loops:
        assert not in_walls(world, finely(loop)).any()


def test_a_planned_loop_is_a_short_tour():
    """Of 40 places in 8 m x 8 m; in any order it would be 0.52 * 8 * 40 = 167 m long."""
    (loop,) = planned(World(np.zeros((160, 160), bool), MPP), agents=1, waypoints_each=40)
    assert np.linalg.norm(np.diff(finely(loop), axis=0), axis=1).sum() < 90


def test_five_agents_in_a_corridor_have_half_of_it_each():
    corridor = World(np.zeros((20, 400), bool), MPP)
    shares = [np.ptp(loop[:, 0]) / corridor.width for loop in planned(corridor, agents=5)]
    assert min(shares) > 0.35
    assert max(shares) < 0.55


def test_who_visits_as_many_places_as_there_are_visits_all():
    world = World(np.zeros((20, 20), bool), MPP)
    grid = planning_grid(world, 0.3)
    roomy = grid.places[grid.clearance >= 0.3]
    for loop in planned(world, len(roomy), waypoints_each=len(roomy)):
        apart = np.linalg.norm(finely(loop)[:, None] - roomy, axis=-1).min(axis=0)
        assert apart.max() < 0.01


def test_waypoints_that_see_no_place_of_a_coarse_grid_but_their_own_are_reached():
    """In a corridor of 100 m places are 8 cm apart, and 5 cm from its walls."""
    corridor = World(np.zeros((4, 2000), bool), MPP)
    assert len(planned(corridor, agents=1, waypoints_each=2, clearance_m=0.05)) == 1


def test_seven_agents_tour_different_parts_that_overlap():
    world = floor_plan(seed=1)
    loops = [finely(loop) for loop in planned(world)]
    assert len(loops) == 7
    assert all(np.linalg.norm(np.diff(p, axis=0), axis=1).sum() > 20 for p in loops)
    cells = [set(map(tuple, np.floor(p).astype(int))) for p in loops]  # of 1 m
    shared = [len(a & b) / min(len(a), len(b)) for i, a in enumerate(cells) for b in cells[:i]]
    assert np.mean(shared) < 0.6
    assert all(any(a & b for b in cells if b is not a) for a in cells)
    covered = np.concatenate(loops)
    assert (np.ptp(covered, axis=0) > 0.8 * np.array([world.width, world.height])).all()


def test_loops_depend_on_the_seed_alone():
    world = floor_plan(12, 9)
    first, again, other = planned(world, 2, 5), planned(world, 2, 5), planned(world, 2, 6)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])


@pytest.mark.parametrize("seed", range(3))
def test_planned_loops_keep_half_the_clearance_by_few_waypoints(seed):
    world = floor_plan(10, 8, seed=seed)
    for loop in planned(world, 2, seed, clearance_m=0.3):
        places = finely(loop)
        assert world.clearance(places).min() >= 0.3 / 2
        length = np.linalg.norm(np.diff(places, axis=0), axis=1).sum()
        assert length / len(loop) > 2 * planning_grid(world, 0.3).cell


def test_a_world_that_lies_elsewhere_has_its_loops_there():
    here = floor_plan(10, 8, seed=2)
    there = replace(here, middle=(32.0, -7.0))
    pairs = zip(planned(here, 2, 5), planned(there, 2, 5), strict=True)
    for one, other in pairs:
        np.testing.assert_allclose(other - one, np.tile((32.0, -7.0), (len(one), 1)), atol=1e-9)


def test_homes_lie_far_from_each_other():
    line = csr_array(nx.to_scipy_sparse_array(nx.path_graph(9)))
    for seed in range(5):
        away = _homes(line, np.arange(9), 3, np.random.default_rng(seed))
        homes = [int(a.argmin()) for a in away]
        assert (sorted(homes[:2]), homes[2]) == ([0, 8], 4)


def test_waypoints_are_spread():
    """Of four corners and a heap in the middle all corners are chosen."""
    places = np.concatenate([np.random.default_rng(0).uniform(-0.1, 0.1, (20, 2)), SQUARE])
    for seed in range(5):
        chosen = _spread(places, 5, np.random.default_rng(seed)).tolist()
        assert len(chosen) == 5
        assert all(corner in chosen for corner in SQUARE.tolist())


def test_next_to_every_roomy_place_is_one_of_the_grid():
    world = floor_plan(10, 8, seed=2)
    anywhere = np.random.default_rng(0).uniform((-5, -4), (5, 4), (900, 2))
    roomy = anywhere[world.clearance(anywhere) >= 0.3]
    apart = np.linalg.norm(roomy[:, None] - planning_grid(world, 0.3).places, axis=-1).min(axis=1)
    assert len(roomy) > 100
    assert apart.max() < 0.3 / 2


def test_the_largest_part_is_the_one_with_the_most_roomy_places():
    """A corridor of five places, one of them roomy, and a room of three, two of them roomy."""
    steps = nx.disjoint_union(nx.path_graph(5), nx.complete_graph(3))
    roomy = np.array([0, 0, 1, 0, 0, 1, 0, 1], bool)
    assert largest(csr_array(nx.to_scipy_sparse_array(steps)), roomy).tolist() == [5, 7]


def test_too_little_space_is_refused():
    walls = np.ones((40, 40), bool)
    walls[10:22, 10:22] = False  # 0.6 m
    with pytest.raises(ValueError, match=r"has room for \d waypoints, expected 7; take a larger"):
        planned(World(walls, MPP), clearance_m=0.2)
    with pytest.raises(ValueError, match=r"has room for 2 waypoints, expected 6; .* or waypoints"):
        planned(World(walls, MPP), agents=1, clearance_m=0.2)
    assert len(planned(World(walls, MPP), agents=2, waypoints_each=2, clearance_m=0.2)) == 2
    with pytest.raises(ValueError, match="has room for 2 waypoints, expected 3"):
        planned(World(walls, MPP), agents=3, waypoints_each=2, clearance_m=0.2)
    with pytest.raises(ValueError, match="has room for 0 waypoints"):
        planned(World(walls, MPP), clearance_m=2.0)
    for options in ({"agents": 0}, {"waypoints_each": 1}, {"agents": 2.5}):
        with pytest.raises(ValueError, match="expected a whole number of at least"):
            planned(rooms(), **options)


def test_ways_through_a_large_building_find_its_doors():
    """A grid as coarse as doors are wide would miss them; one as fine as here would be large."""
    cell = planning_grid(floor_plan(400, 300, metres_per_pixel=0.25), 0.3).cell
    assert 400 / 1201 < cell < DOOR_M[0] / 2
