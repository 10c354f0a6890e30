"""What scans tell, and the grid that maps are judged on."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from peerlearn.mapping.ground import Ground, ground_of_scans, ground_of_world
from peerlearn.mapping.scans import Scans, joined
from peerlearn.mapping.world import World


def scans(ranges, angles=(0.0, math.pi / 2), heading=0.0, range_m=4.0):
    ranges = np.array(ranges, float)
    poses = np.stack([[10.0 * k, 1.0, heading] for k in range(len(ranges))])
    return Scans(poses, np.array(angles), ranges, range_m)


def test_points_lie_evenly_along_a_beam_and_the_last_is_the_wall():
    points = scans([[2.0, math.inf]]).points(4)
    ahead = [[0.5, 1], [1, 1], [1.5, 1], [2, 1]]
    left = [[0, 2], [0, 3], [0, 4], [0, 5]]
    np.testing.assert_allclose(points.places, ahead + left, atol=1e-12)
    assert points.walls.tolist() == [False] * 3 + [True] + [False] * 4


def test_a_broken_beam_tells_nothing():
    points = scans([[2.0, math.nan], [math.nan, math.nan], [1.0, math.inf]]).points(3)
    assert points.starts.tolist() == [0, 3, 3, 9]
    assert len(points.places) == len(points.walls) == 9


def test_beams_turn_with_the_heading():
    points = scans([[2.0, math.inf]], heading=math.pi / 2).points(1)
    np.testing.assert_allclose(points.places, [[0, 3], [-4, 1]], atol=1e-12)


def test_hits_are_where_beams_end():
    np.testing.assert_allclose(
        scans([[2.0, math.inf], [3.0, 1.0]]).hits, [[2, 1], [13, 1], [10, 2]]
    )


def test_a_part_of_the_scans():
    part = scans([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]])[np.array([2, 0])]
    assert (len(part), part.ranges[:, 0].tolist(), part.range_m) == (2, [3, 1], 4)


def test_scans_of_several_lidars_reach_as_far_as_the_farthest():
    parts = [scans([[1.0, r]], range_m=r) for r in (3.0, 5.0, 4.0)]
    whole = joined(parts)
    assert (whole.ranges.tolist(), whole.range_m) == ([[1, 3], [1, 5], [1, 4]], 5)


def test_how_far_the_farthest_beam_went():
    assert scans([[1.0, math.nan], [2.0, 3.0]]).reach == 3
    assert scans([[1.0, math.inf]], range_m=4.0).reach == 4
    assert scans([[math.nan, math.nan]]).reach == 0


# --- the grid ---------------------------------------------------------------------------------


def ground(wall, known=None):
    wall = np.array(wall, bool)
    known = np.ones_like(wall) if known is None else np.array(known, bool)
    return Ground((0.0, float(wall.shape[1]), 0.0, float(wall.shape[0])), wall, known)


def test_places_begin_at_the_top_left():
    grid = ground([[0, 0, 0], [0, 0, 0]])
    assert grid.cell_m == 1
    places = grid.places
    assert places[0, 0].tolist() == [0.5, 1.5]
    assert places[1, 2].tolist() == [2.5, 0.5]


@pytest.mark.parametrize(
    ("found", "iou", "precision", "recall"),
    [
        ([[1, 1, 0, 0]], 1, 1, 1),
        ([[1, 0, 0, 0]], 1 / 2, 1, 1 / 2),
        ([[1, 1, 1, 1]], 1 / 2, 1 / 2, 1),
        ([[0, 1, 1, 0]], 1 / 3, 1 / 2, 1 / 2),
        ([[0, 0, 0, 0]], 0, 0, 0),
        ([[0, 0, 1, 1]], 0, 0, 0),
    ],
)
def test_scores_by_hand(found, iou, precision, recall):
    scores = ground([[1, 1, 0, 0]]).scores(np.array(found, bool))
    assert scores == {"iou": iou, "precision": precision, "recall": recall}


def test_what_is_not_known_is_not_judged():
    of = ground([[1, 0, 1, 0]], known=[[1, 1, 0, 0]])
    assert of.scores(np.array([[True, False, False, True]]))["iou"] == 1
    assert of.scores(np.ones((1, 4), bool), where=np.array([[1, 0, 1, 1]], bool))["precision"] == 1


def test_without_a_wall_to_find_there_is_no_score():
    assert math.isnan(ground([[0, 0]]).scores(np.array([[True, False]]))["iou"])


def test_of_a_world_walls_are_judged_that_are_no_further_than_two_cells_from_free_ground():
    walls = np.ones((9, 9), bool)
    walls[4, 4] = False
    known = np.zeros((9, 9), bool)
    known[2:7, 2:7] = True
    found = ground_of_world(World(walls, 0.5), 0.5)
    assert found.known.tolist() == known.tolist()
    assert found.wall.tolist() == walls.tolist()


@pytest.mark.parametrize("cell_m", [0.05, 0.15, 0.2])
def test_a_world_that_lies_elsewhere_has_the_same_ground_there(cell_m):
    """Though centres of cells lie on edges of pixels, where rounding would decide."""
    here = World(np.random.default_rng(0).random((30, 50)) < 0.3, 0.1)
    there = replace(here, middle=(17.3, -0.7))
    one, other = (ground_of_world(world, cell_m) for world in (here, there))
    assert (one.wall == other.wall).all()
    assert (one.known == other.known).all()
    assert np.subtract(other.extent, one.extent) == pytest.approx([17.3, 17.3, -0.7, -0.7])


def test_the_ground_of_scans_by_hand():
    """A beam along the x axis from 0.5 to a hit at 3.5, in cells of one metre."""
    poses = np.array([[0.5, 0.5, 0.0]])
    one = Scans(poses, np.array([0.0, math.pi / 2]), np.array([[3.0, 2.0]]), 10.0)
    found = ground_of_scans(one, 1.0, (0, 5, 0, 3))
    assert found.wall.astype(int).tolist() == [[1, 0, 0, 0, 0], [0] * 5, [0, 0, 0, 1, 0]]
    assert found.known.astype(int).tolist() == [[1, 0, 0, 0, 0], [1, 0, 0, 0, 0], [1, 1, 1, 1, 0]]
    assert (found.crossed(one) == found.known).all()


def test_the_border_of_the_grid_is_in_its_cells():
    """The grid reaches as far as the hits: the outermost lie on its edges."""
    places = np.array([[0.0, 0.0, 0.0], [2.0, 1.5, math.pi]])
    two = Scans(places, np.array([0.0, -math.pi / 2]), np.array([[3.0, 2.0], [3.0, 2.0]]), 10.0)
    assert sorted(map(tuple, two.hits.round(9).tolist())) == [(-1, 1.5), (0, -2), (2, 3.5), (3, 0)]
    found = ground_of_scans(two, 0.5)
    assert found.extent == pytest.approx((-1, 3, -2, 3.5))
    assert found.wall.sum() == 4
    assert found.wall[-1, 2]
    assert found.wall[7, -1]


def all_around(count=6):
    """Scans from random places, most beams of which hit something."""
    draw = np.random.default_rng(3)
    poses = draw.uniform([-3, -3, 0], [3, 3, 7], (count, 3))
    ranges = draw.uniform(0.2, 4, (count, 30))
    return Scans(poses, np.linspace(0, 6, 30), np.where(ranges < 3, ranges, math.inf), 3.0)


def test_a_part_of_the_ground_is_a_part_of_the_grid():
    """What lies beyond the grid, to whichever side, is in none of its cells."""
    whole = ground_of_scans(all_around(), 0.5, (-6, 6, -6, 6))
    part = ground_of_scans(all_around(), 0.5, (-2, 2, -1, 2))
    here = np.s_[8:14, 8:16]
    assert (part.wall == whole.wall[here]).all()
    assert (part.known == whole.known[here]).all()
    assert part.wall.any()
    assert whole.known.sum() > part.known.sum()


@pytest.mark.parametrize(
    ("extent", "cell_m", "covered", "shape"),
    [
        ((0, 4.5, 0.2, 3), 1.0, (0, 5, 0, 3), (3, 5)),  # from the top left to the whole cell
        ((0.1, 0.4, 0, 0.3), 0.1, (0.1, 0.4, 0, 0.3), (3, 3)),  # 0.4 - 0.1 is more than 3 * 0.1
        ((2, 2, 1, 1), 0.25, (2, 2.25, 0.75, 1), (1, 1)),
    ],
)
def test_a_grid_covers_what_is_asked_for_with_whole_cells(extent, cell_m, covered, shape):
    found = ground_of_scans(all_around(), cell_m, extent)
    assert found.extent == pytest.approx(covered)
    assert found.wall.shape == shape
    assert found.cell_m == pytest.approx(cell_m)


def test_no_cell_on_a_beams_way_is_left_out():
    beam = Scans(np.array([[0.005, 0.01, 0.0]]), np.zeros(1), np.array([[2.99]]), 3.0)
    assert ground_of_scans(beam, 0.02, (0, 3, 0, 0.02)).known.tolist() == [[True] * 150]


def test_many_beams_are_worked_through_a_few_at_a_time(monkeypatch):
    many = scans([[3.5, 2.0]] * 7)
    whole = ground_of_scans(many, 0.1)
    monkeypatch.setattr("peerlearn.mapping.ground.TOGETHER", 100)
    assert (ground_of_scans(many, 0.1).known == whole.known).all()


def test_scans_that_hit_nothing_judge_nothing():
    with pytest.raises(ValueError, match="no beam of the scans hits anything"):
        ground_of_scans(scans([[math.inf, math.inf]]), 1.0)
