"""The lidar, against boxes hit one by one and against a slow march along each beam."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from peerlearn.mapping.floor_plan import floor_plan
from peerlearn.mapping.lidar import Lidar, _cast
from peerlearn.mapping.world import World

SHARE = st.floats(0, 1)
EDGES = 1e-7  # pixels by which a wall is made larger or smaller


def plan(pixels, metres_per_pixel=1.0):
    """A world from lines of text, # for walls."""
    return World(np.array([[c == "#" for c in line] for line in pixels.split()]), metres_per_pixel)


def nearest_box(walls, place, angle, grown):
    """Where a ray enters the first pixel of wall, each a box by itself, or leaves the image."""
    height, width = walls.shape
    rows, columns = np.nonzero(np.pad(walls, 1, constant_values=True))
    low = np.stack([columns - 1 - width / 2, height / 2 - rows], axis=1) - grown
    high = np.stack([columns - width / 2, height / 2 - rows + 1], axis=1) + grown
    way = np.array([math.cos(angle), math.sin(angle)])
    with np.errstate(all="ignore"):
        one, other = (low - place) / way, (high - place) / way
    enter, leave = np.fmin(one, other).max(axis=1), np.fmax(one, other).min(axis=1)
    met = (enter <= leave) & (leave >= 0)
    return float(np.maximum(enter[met], 0).min(initial=np.inf))


def march(world, pose, angle, range_m, step):
    """The first point of the beam in a wall, looked up one after another."""
    height, width = world.walls.shape
    for distance in np.arange(0, range_m, step):
        x = pose[0] + distance * math.cos(pose[2] + angle)
        y = pose[1] + distance * math.sin(pose[2] + angle)
        column = math.floor(x / world.metres_per_pixel + width / 2)
        row = math.floor(height / 2 - y / world.metres_per_pixel)
        if not (0 <= row < height and 0 <= column < width) or world.walls[row, column]:
            return distance
    return np.inf


# --- distances ----------------------------------------------------------------------------


@given(
    st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 12),
    st.sampled_from([0.0, 0.03, 0.3]), SHARE, SHARE,
    st.sampled_from([k * math.pi / 4 for k in range(8)]) | st.floats(-7, 7), st.booleans(),
)  # fmt: skip
def test_a_beam_ends_where_it_enters_the_first_box(
    seed, width, height, dense, across, down, angle, whole
):
    walls = np.random.default_rng(seed).random((height, width)) < dense
    assume(not walls.all())
    place = np.array([(across - 0.5) * width, (down - 0.5) * height])
    if whole:  # on the edges of pixels, and at their corners
        place = np.round(place * 2) / 2
    lidar = Lidar(beams=1, range_m=100.0)
    ((found,),) = lidar.scan(World(walls, 1.0), [[*place, angle]]).ranges
    early, late = (nearest_box(walls, place, angle, grown) for grown in (EDGES, -EDGES))
    assert early - 1e-9 <= found <= late + 1e-9


@pytest.mark.parametrize("seed", range(4))
def test_no_wall_is_passed_and_a_wall_is_met_as_a_slow_march_finds(seed):
    world = floor_plan(14, 10, seed=seed, metres_per_pixel=0.1)
    lidar, pixel = Lidar(beams=9, range_m=6.0), world.metres_per_pixel
    scans = lidar.scan(world, world.free_poses(10, np.random.default_rng(seed)))
    for pose, ranges in zip(scans.poses, scans.ranges, strict=True):
        for angle, found in zip(scans.angles, ranges, strict=True):
            assert march(world, pose, angle, min(found, 6.0) - pixel / 2, pixel / 20) == np.inf
    ends = scans.hits + 1e-6 * scans.directions[np.isfinite(scans.ranges)]
    assert world.is_wall(ends).all()
    assert 0.2 < np.isfinite(scans.ranges).mean() < 1


def test_random_pixels_agree_with_the_slow_march_within_half_a_pixel():
    generator = np.random.default_rng(5)
    world = World(generator.random((40, 60)) < 0.05, 0.5)
    lidar = Lidar(beams=16, range_m=9.0)
    scans = lidar.scan(world, world.free_poses(12, generator))
    marched = np.array(
        [[march(world, pose, a, 9.0, 0.005) for a in scans.angles] for pose in scans.poses]
    )
    same = np.isclose(scans.ranges, marched, atol=0.25)
    assert same.mean() > 0.98, "more than beams that graze a corner by less than a step"
    assert (scans.ranges[~same] < marched[~same]).all()


@pytest.mark.parametrize("sign", [1, -1])
def test_far_walls_are_found_whatever_the_leap(sign):
    walls = np.zeros((3, 2001), bool)
    walls[:, 0 if sign < 0 else -1] = True
    wide = np.zeros((1501, 1501), bool)
    place = [[0.0, 0.0, 0.0 if sign > 0 else math.pi]]
    for world, far in ((World(walls, 0.1), 99.95), (World(wide, 0.1), 75.05)):
        ((found,),) = Lidar(1, 200.0).scan(world, place).ranges
        assert found == pytest.approx(far, abs=1e-9)


def test_nothing_slips_through_walls_that_touch_at_their_corners():
    world = World(np.eye(40, dtype=bool), 1.0)  # from the top left to the bottom right
    along = np.arange(-15.0, 15.0, 0.5)
    for side, heading in ((1, -3 * math.pi / 4), (-1, math.pi / 4)):
        poses = np.stack([along + 2 * side, -along + 2 * side, np.full(60, heading)], axis=1)
        ranges = Lidar(1, 100.0).scan(world, poses).ranges
        assert (ranges < math.hypot(2, 2) + 1e-9).all()
        assert (ranges > math.hypot(2, 2) - math.hypot(1, 1)).all()


def test_not_even_exactly_through_the_corner():
    """As no angle has a sine equal to its cosine in floating point, the ways are given."""
    world = World(np.eye(8, dtype=bool)[::-1], 1.0)  # from the bottom left to the top right
    start = np.array([[1.0, 7.0], [1.0, 7.0]])  # one at each side of the corner at (4, 4)
    ways = np.array([[1.0, -1.0], [1.0, -1.0]]) / math.sqrt(2)
    np.testing.assert_allclose(_cast(world.leaps, start, ways, 100.0), 3 * math.sqrt(2))


def test_rounding_at_corners_keeps_no_beam_from_going_on():
    """Down the diagonal, where each next corner is computed to be a little before it is."""
    start = np.tile(np.random.default_rng(0).random(1000), (2, 1))
    found = _cast(World(np.zeros((8, 8), bool), 1.0).leaps, start, np.full((2, 1000), 0.5**0.5), 99)
    np.testing.assert_allclose(found, (8 - start[0]) * math.sqrt(2))


def test_the_range_ends_the_beam():
    world = plan("....#")
    (ranges,) = Lidar(1, 1.5).scan(world, [[0, 0]]).ranges
    assert ranges == [1.5]
    assert Lidar(1, 1.4).scan(world, [[0, 0]]).ranges == [[np.inf]]


def test_metres_scale_with_pixels():
    generator = np.random.default_rng(1)
    walls = generator.random((30, 30)) < 0.1
    coarse, fine = World(walls, 1.0), World(walls, 0.05)
    poses = coarse.free_poses(50, generator)
    scaled = poses * (0.05, 0.05, 1)
    large, small = (
        Lidar(7, 8.0 * w.metres_per_pixel).scan(w, p).ranges
        for w, p in ((coarse, poses), (fine, scaled))
    )
    np.testing.assert_allclose(large * 0.05, small, atol=1e-9)


def test_in_walls_and_outside_of_the_image_ranges_are_zero():
    world = plan("#.. ... ...")
    outside = [[9.0, 0.0], [-9.0, 0.0], [0.0, -1e300], [0.0, 1e300], [1.5, 0.0]]
    poses = [[-1.0, 1.0], [-1.5, 1.5], *outside]
    ranges = Lidar(6, 5.0).scan(world, poses).ranges
    assert (ranges == 0).all()
    border = Lidar(3, 5.0).scan(world, [[-1.5, 0.0]]).ranges  # the second beam leaves at once
    np.testing.assert_allclose(border, [[3, 0, 0]], atol=1e-12)


def test_a_beam_along_an_edge_is_in_the_pixels_below_it():
    for pixels, found in (("### ...", 1.5), ("... ###", 0.0)):
        assert Lidar(1, 9.0).scan(plan(pixels), [[0, 0]]).ranges == [[found]]
        assert plan(pixels).is_wall([0, 0]) == (found == 0)


# --- beams --------------------------------------------------------------------------------


def test_beams_turn_counter_clockwise_from_the_heading():
    world = plan("..... ..... ..... ....# .....")
    assert Lidar(4, 9.0).scan(world, [[0, 0]]).ranges.tolist() == [[2.5, 2.5, 2.5, 2.5]]
    ahead, left, behind, right = Lidar(4, 9.0).scan(world, [[0, -1, math.pi / 2]]).ranges[0]
    assert [ahead, left, behind] == pytest.approx([3.5, 2.5, 1.5])
    assert right == pytest.approx(1.5), "the wall in the second row from below"


def test_angles():
    assert Lidar(4).angles == pytest.approx([0, math.pi / 2, math.pi, 3 * math.pi / 2])
    half = Lidar(5, field_of_view_deg=180).angles
    assert half == pytest.approx(np.radians([-90, -45, 0, 45, 90]))
    assert Lidar(1, field_of_view_deg=90).angles == [0]


def test_scans_do_not_depend_on_what_is_scanned_with_them(monkeypatch):
    world = floor_plan(10, 8, seed=2, metres_per_pixel=0.1)
    poses = world.free_poses(40, np.random.default_rng(0))
    whole = Lidar(11, 4.0).scan(world, poses).ranges
    for rays in (30, 5):  # of two scans, and of less than one
        monkeypatch.setattr("peerlearn.mapping.lidar.TOGETHER", rays)
        np.testing.assert_array_equal(Lidar(11, 4.0).scan(world, poses).ranges, whole)
    np.testing.assert_array_equal(Lidar(11, 4.0).scan(world, poses[7:8]).ranges, whole[7:8])
    assert Lidar(11, 4.0).scan(world, np.empty((0, 3))).ranges.shape == (0, 11)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"beams": 0}, "beams is 0"),
        ({"beams": 2.5}, "beams is 2.5"),
        ({"range_m": 0.0}, "range_m is 0.0"),
        ({"range_m": -3.0}, "range_m is -3.0"),
        ({"range_m": math.nan}, "range_m is nan"),
        ({"range_m": math.inf}, "range_m is inf"),
        ({"field_of_view_deg": 0}, "field_of_view_deg is 0"),
        ({"field_of_view_deg": 361}, "field_of_view_deg is 361"),
    ],
)
def test_a_lidar_that_cannot_be(options, said):
    with pytest.raises(ValueError, match=f"{said}, expected"):
        Lidar(**options)


@pytest.mark.parametrize(
    ("poses", "said"),
    [
        ([0, 0, 0], r"shape \(3,\), expected \(n, 3\)"),
        ([[0], [1]], r"shape \(2, 1\), expected \(n, 3\)"),
        ([[0, 0, 0, 0]], r"shape \(1, 4\), expected \(n, 3\)"),
        ([[0, 0], [0, math.nan]], r"pose 1 is \[0.0, nan\], expected finite"),
    ],
)
def test_poses_that_cannot_be(poses, said):
    with pytest.raises(ValueError, match=said):
        Lidar().scan(plan("..."), poses)
