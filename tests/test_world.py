"""Worlds from images, from maps of ROS and drawn by the library."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage
from scipy.stats import kstest

from peerlearn.mapping import Lidar, floor_plan, ground_of_world, through
from peerlearn.mapping.plans import from_image, from_ros
from peerlearn.mapping.world import World

GRAYS = np.array([[0, 100, 255], [200, 205, 254]], np.uint8)


def saved(folder, pixels, name="plan.png"):
    path = folder / name
    Image.fromarray(pixels).save(path)
    return path


def ros(folder, **changes):
    """A map of ROS of six cells; None takes a line away."""
    saved(folder, GRAYS, "map.pgm")
    lines = {
        "image": "map.pgm", "resolution": 0.05, "origin": "[-1.0, -2.0, 0.0]", "negate": 0,
        "occupied_thresh": 0.65, "free_thresh": 0.196, **changes,
    }  # fmt: skip
    path = folder / "map.yaml"
    path.write_text("\n".join(f"{k}: {v}" for k, v in lines.items() if v is not None))
    return path


# --- places -------------------------------------------------------------------------------


def test_the_origin_is_in_the_middle_and_y_points_up():
    world = World(np.array([[True, False, False, False], [False] * 4]), 0.5)
    assert (world.width, world.height, world.extent) == (2.0, 1.0, (-1.0, 1.0, -0.5, 0.5))
    assert world.is_wall([[-0.75, 0.25], [-0.25, 0.25], [-0.75, -0.25]]).tolist() == [1, 0, 0]
    outside = [[-1.01, -0.25], [1.01, 0], [0.2, 0.51], [0.2, -0.51], [1e300, 0], [0, -math.inf]]
    assert world.is_wall(outside).all()
    assert world.is_wall([0.2, 0.2]).shape == ()
    assert world.is_wall(np.zeros((3, 5, 2))).shape == (3, 5)


@given(st.integers(0, 2**32 - 1), st.floats(0.01, 2))
def test_clearance_is_never_too_large_and_a_pixels_diagonal_too_small_at_most(seed, scale):
    generator = np.random.default_rng(seed)
    walls = generator.random((25, 35)) < generator.choice([0.003, 0.1])
    world = World(walls, scale)
    points = generator.uniform(-1, 1, (20, 2)) * (18 * scale, 13 * scale)
    rows, columns = np.nonzero(np.pad(walls, 3, constant_values=True))
    low = np.stack([columns - 3 - 17.5, 12.5 + 3 - rows - 1], axis=1) * scale
    beyond = np.maximum(low - points[:, None], points[:, None] - low - scale)
    exact = np.linalg.norm(np.maximum(beyond, 0), axis=2).min(axis=1)
    found = world.clearance(points)
    assert (found <= exact + 1e-9).all()
    assert (found >= exact - math.sqrt(2) * scale - 1e-9).all()
    assert (found[world.is_wall(points)] == 0).all()


def test_free_poses_keep_their_distance_and_go_everywhere():
    walls = np.zeros((40, 60), bool)
    walls[:, 20] = True
    world = World(walls, 0.1)
    poses = world.free_poses(4000, np.random.default_rng(0), clearance_m=0.5)
    assert poses.shape == (4000, 3)
    beside = np.minimum(abs(poses[:, 0] + 1), abs(poses[:, 0] + 0.9))
    border = np.minimum(3 - abs(poses[:, 0]), 2 - abs(poses[:, 1]))
    assert (np.minimum(beside, border) >= 0.5 - 1e-9).all()
    left = (poses[:, 0] < -1).mean()  # of 1.0 m and 2.9 m, 3.0 m high
    assert left == pytest.approx(1.0 / 3.9, abs=0.03)
    assert (abs(poses[:, 2]) <= math.pi).all()
    assert abs(np.exp(1j * poses[:, 2]).mean()) < 0.05
    again = world.free_poses(4000, np.random.default_rng(0), clearance_m=0.5)
    np.testing.assert_array_equal(poses, again)
    with pytest.raises(ValueError, match=r"no ground of world is 5 m away .* at most 1\.9 m"):
        world.free_poses(1, np.random.default_rng(0), clearance_m=5.0)


def test_free_poses_are_uniform_within_a_pixel():
    walls = np.ones((3, 5), bool)
    walls[1, 1] = False  # from 6.25 to 6.75 and from 2.75 to 3.25
    world = World(walls, 0.5, middle=(7.0, 3.0))
    poses = world.free_poses(2000, np.random.default_rng(0))
    x, y = 2 * (poses[:, :2] - (6.25, 2.75)).T
    assert min(kstest(x, "uniform").pvalue, kstest(y, "uniform").pvalue) > 0.01
    assert abs(np.corrcoef(x, y)[0, 1]) < 0.1


@pytest.mark.parametrize(
    ("walls", "scale", "said"),
    [
        (np.ones((2, 3), bool), 1.0, "no free ground: all its 3 x 2 pixels are walls"),
        (np.zeros((0, 3), bool), 1.0, "no free ground"),
        (np.zeros((2, 3)), 1.0, "float64 of shape .* expected bool"),
        (np.zeros(3, bool), 1.0, r"shape \(3,\), expected bool"),
        (np.zeros((2, 3), bool), 0.0, "metres_per_pixel is 0.0, expected a positive"),
        (np.zeros((2, 3), bool), math.nan, "metres_per_pixel is nan, expected a positive"),
        (np.zeros((2, 3), bool), "1", "metres_per_pixel is '1', expected a positive"),
    ],
)
def test_worlds_that_cannot_be(walls, scale, said):
    with pytest.raises(ValueError, match=said):
        World(walls, scale)


# --- images -------------------------------------------------------------------------------


def test_dark_and_light_walls(tmp_path):
    path = saved(tmp_path, GRAYS)
    dark = from_image(path, 0.1)
    assert dark.walls.tolist() == [[1, 1, 0], [0, 0, 0]]
    assert (dark.name, dark.metres_per_pixel) == ("plan", 0.1)
    assert from_image(str(path), 0.1, walls="light").walls.tolist() == (~dark.walls).tolist()
    assert from_image(path, 0.1, threshold=0.3).walls.tolist() == [[1, 0, 0], [0, 0, 0]]


def test_the_border_becomes_wall():
    world = World(np.zeros((5, 6), bool), 0.1, "plan")
    assert np.argwhere(~world.trimmed(border=2).walls).tolist() == [[2, 2], [2, 3]]
    for border in (3, 4, 100):
        said = f"plan has no free ground with border={border} .*as perhaps with a smaller border"
        with pytest.raises(ValueError, match=said):
            world.trimmed(border, "wall" if border == 4 else "free")


def test_the_page_around_a_building_may_count_as_wall():
    """A ring of walls in a page: what it encloses stays free, also where the page is narrow."""
    walls = np.zeros((9, 12), bool)
    walls[1:8, 0:8] = True
    walls[2:7, 1:7] = False
    world = World(walls, 0.1, "page")
    assert (~world.trimmed().walls).sum() == 30 + 9 * 12 - 56
    free = np.argwhere(~world.trimmed(outside="wall").walls)
    assert (free.min(axis=0).tolist(), len(free)) == ([2, 1], 30)
    dark_edge = World(np.pad(walls, 2, constant_values=True), 0.1)
    assert (~dark_edge.trimmed(outside="wall").walls).sum() == 30 + 9 * 12 - 56, "all is enclosed"
    assert (~dark_edge.trimmed(border=2, outside="wall").walls).sum() == 30
    walls[4, 7] = False  # a door: all ground is one
    with pytest.raises(ValueError, match=r"page has no free ground.*perhaps with outside='free'"):
        World(walls, 0.1, "page").trimmed(outside="wall")


def test_only_the_ground_one_can_get_to_stays_free():
    walls = np.zeros((4, 9), bool)
    walls[:, [3, 6]] = True
    world = World(walls, 1.0)
    left, right = [-3.5, 0.5], [4.0, -1.5]
    assert (~world.reachable([left]).walls).any(axis=0).nonzero()[0].tolist() == [0, 1, 2]
    both = (~world.reachable([left, right]).walls).any(axis=0).nonzero()[0]
    assert both.tolist() == [0, 1, 2, 7, 8]
    corners = World(np.eye(2, dtype=bool), 1.0)  # nobody slips through; from a wall nobody starts
    assert corners.reachable([[0.5, 0.5], [-0.5, 0.5]]).walls.tolist() == [[1, 0], [1, 1]]


def test_who_drives_around_a_building_is_outdoors():
    """A room of one pixel in the left half, and ten pixels of open ground: one at its corner."""
    walls = np.zeros((3, 6), bool)
    walls[:, :3] = True
    walls[1, 1] = walls[0, 0] = False
    world = World(walls, 1.0)
    room, corner, right, outside = [-1.5, 0], [-2.5, 1], [2.5, 0], [9, 0]
    assert world.outdoors([right])
    assert world.outdoors([room, corner])
    assert not world.outdoors([room, outside])
    walls[2, 0] = False  # more than ten times as much
    assert not world.outdoors([right])
    assert not World(np.zeros((3, 6), bool), 1.0).outdoors([right])


@pytest.mark.parametrize(("thick", "metres"), [(1, 0.5), (3, 1.5), (4, 1.5), (5, 2.5)])
def test_how_thick_walls_are(thick, metres):
    walls = np.zeros((60, 60), bool)
    walls[20 : 20 + thick, :50] = walls[5:55, 30 : 30 + thick] = True
    assert World(walls, 0.5).wall_m == metres
    walls[40:] = walls[1, 52:58] = True
    assert World(walls, 0.5).wall_m == metres, "a thick wall and a thin one make no difference"
    outer = np.pad(np.zeros((30, 30), bool), thick, constant_values=True)
    assert World(outer, 0.5).wall_m == metres
    assert World(np.zeros((4, 6), bool), 0.5).wall_m == 3.0


def test_images_of_all_kinds_are_the_same_world(tmp_path):
    clear = np.stack([GRAYS * 0, GRAYS * 0, GRAYS * 0, 255 - GRAYS], axis=-1)  # black on nothing
    images = {
        "rgb.png": np.stack([GRAYS] * 3, axis=-1),
        "deep.png": GRAYS.astype(np.uint16) * 257,
        "clear.png": clear,
        "float.tiff": GRAYS.astype(np.float32) / 255,
        "gray.pgm": GRAYS,
    }
    for name, pixels in images.items():
        world = from_image(saved(tmp_path, pixels, name), 0.1)
        assert world.walls.tolist() == [[1, 1, 0], [0, 0, 0]], name
    Image.fromarray(GRAYS > 127).save(tmp_path / "bits.png")
    assert from_image(tmp_path / "bits.png", 0.1).walls.tolist() == [[1, 1, 0], [0, 0, 0]]


def test_files_that_are_no_images(tmp_path):
    with pytest.raises(ValueError, match=r"there is no file .*none\.png; expected an image"):
        from_image(tmp_path / "none.png", 0.1)
    (tmp_path / "text.png").write_text("rooms")
    whole = saved(tmp_path, np.random.default_rng(0).integers(255, size=(99, 99), dtype=np.uint8))
    (tmp_path / "half.png").write_bytes(whole.read_bytes()[:4000])
    for name in ("text.png", "half.png", "."):
        with pytest.raises(ValueError, match=r"cannot be read as an image .*; expected a format"):
            from_image(tmp_path / name, 0.1)


def test_an_image_without_free_ground_says_what_to_try(tmp_path):
    path = saved(tmp_path, np.zeros((4, 4), np.uint8))
    with pytest.raises(ValueError, match=r"plan\.png has no free ground.*perhaps with walls='ligh"):
        from_image(path, 0.1)
    assert not from_image(path, 0.1, walls="light").walls.any()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"metres_per_pixel": -1}, "metres_per_pixel is -1, expected a positive finite number"),
        ({"walls": "black"}, "walls is 'black', expected 'light' or 'dark'"),
        ({"threshold": 128}, "threshold is 128, expected a number between 0 and 1"),
    ],
)
def test_options_of_images(tmp_path, options, said):
    with pytest.raises(ValueError, match=said):
        from_image(saved(tmp_path, GRAYS), **{"metres_per_pixel": 0.1, **options})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"border": -1}, "border is -1, expected a whole number"),
        ({"border": True}, "border is True, expected a whole number"),
        ({"outside": "page"}, "outside is 'page', expected 'free' or 'wall'"),
    ],
)
def test_options_of_trimming(options, said):
    with pytest.raises(ValueError, match=said):
        World(np.zeros((5, 6), bool), 0.1).trimmed(**options)


# --- maps of ROS --------------------------------------------------------------------------


def test_a_map_of_ros(tmp_path):
    world = from_ros(ros(tmp_path))
    # 205 is what map_saver writes for unknown cells: (255 - 205) / 255 = 0.1961
    assert world.walls.tolist() == [[1, 1, 0], [1, 1, 0]]
    assert (world.metres_per_pixel, world.name) == (0.05, "map")
    assert world.extent == pytest.approx((-1.0, -0.85, -2.0, -1.9))
    assert world.is_wall([[-0.999, -1.901], [-0.851, -1.901], [-0.849, -1.901]]).tolist() == [
        1,
        0,
        1,
    ]
    assert from_ros(ros(tmp_path, negate=1)).walls.tolist() == [[0, 1, 1], [1, 1, 1]]
    with pytest.warns(UserWarning, match=r"% of .*map.yaml has the value 205, .*free_thresh=0.7"):
        known = from_ros(str(ros(tmp_path, free_thresh=0.7)))
    assert not known.walls[:, 1].all()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"resolution": None, "negate": None}, "does not say resolution, negate; expected"),
        ({"resolution": 0}, r"map\.yaml: resolution is 0, expected a positive finite"),
        ({"resolution": "fine"}, "resolution is 'fine', expected a positive"),
        ({"free_thresh": 2}, "free_thresh is 2, expected a number from 0 to 1"),
        ({"occupied_thresh": "x"}, "occupied_thresh is 'x', expected a number from 0 to 1"),
        ({"negate": 3}, "negate is 3, expected 0 or 1"),
        ({"image": 3}, "image is 3, expected the name of a file"),
        ({"image": "other.pgm"}, r"there is no file .*other\.pgm"),
        ({"mode": "raw"}, "mode is 'raw', expected 'trinary' or 'scale'"),
        ({"free_thresh": 0}, r"map\.yaml has no free ground: no cell's occupancy is below"),
        ({"origin": "[1, 2"}, "cannot be read as yaml"),
        ({"origin": None}, "does not say origin; expected"),
        (
            {"origin": "[0, 0]"},
            r"origin is \[0, 0\], expected x, y and yaw of the lower left corner",
        ),
        ({"origin": "[0, .nan, 0]"}, r"origin is \[0, nan, 0\], expected x, y and yaw"),
        ({"origin": "[0, 0, 0.5]"}, "origin has the yaw 0.5, expected 0; save the map without"),
    ],
)
def test_maps_of_ros_that_cannot_be(tmp_path, changes, said):
    with pytest.raises(ValueError, match=said):
        from_ros(ros(tmp_path, **changes))


def test_other_files_are_no_maps_of_ros(tmp_path):
    (tmp_path / "list.yaml").write_text("- 1\n- 2\n")
    with pytest.raises(
        ValueError, match="does not say image, resolution, origin, negate, occupied_thresh"
    ):
        from_ros(tmp_path / "list.yaml")
    for name in ("none.yaml", saved(tmp_path, GRAYS).name):
        with pytest.raises(ValueError, match="cannot be read as yaml"):
            from_ros(tmp_path / name)


def test_where_the_origin_is_changes_nothing_but_the_places():
    """Scans, clearances, random poses and planned loops of a map that lies elsewhere."""
    here = floor_plan(12.0, 9.0, seed=3)
    offset = np.array([40.0, -25.0])
    there = replace(here, middle=tuple(offset))
    moved = np.append(offset, 0.0)
    poses = here.free_poses(20, np.random.default_rng(0), 0.4)
    np.testing.assert_allclose(there.free_poses(20, np.random.default_rng(0), 0.4), poses + moved)
    lidar = Lidar(beams=16, range_m=5.0)
    np.testing.assert_allclose(
        lidar.scan(there, poses + moved).ranges, lidar.scan(here, poses).ranges, atol=1e-9
    )
    np.testing.assert_array_equal(
        there.clearance(poses[:, :2] + offset), here.clearance(poses[:, :2])
    )
    np.testing.assert_array_equal(ground_of_world(there, 0.1).wall, ground_of_world(here, 0.1).wall)
    ends = poses[:4, :2]
    np.testing.assert_allclose(through(there, ends + offset), through(here, ends) + offset)


# --- floor plans --------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    st.floats(7, 50), st.floats(7, 50), st.integers(0, 10**6),
    st.sampled_from([0.05, 0.1, 0.13, 0.25]) | st.floats(0.05, 0.25),
)  # fmt: skip
def test_every_room_can_be_reached_through_doors(width, height, seed, metres_per_pixel):
    world = floor_plan(width, height, seed, metres_per_pixel)
    assert world.width == pytest.approx(width, abs=metres_per_pixel)
    assert world.height == pytest.approx(height, abs=metres_per_pixel)
    edges = (world.walls[0], world.walls[-1], world.walls[:, 0], world.walls[:, -1])
    assert all(edge.all() for edge in edges)
    assert ndimage.label(~world.walls)[1] == 1
    # so can what passes through a door of 0.9 m, as far as pixels tell
    parts, _ = ndimage.label(world.gaps >= 0.44 - 1.25 * metres_per_pixel)
    sizes = np.bincount(parts.ravel())[1:]
    assert sizes.max() > 0.97 * sizes.sum()


@pytest.mark.parametrize("shape", [(24, 18), (12, 9), (10, 22), (45, 30)])
def test_a_floor_plan_is_a_building_of_rooms(shape):
    world = floor_plan(*shape, seed=3)
    assert 0.02 < world.walls.mean() < 0.25
    closed = ndimage.binary_closing(world.walls, np.ones((3, 25)))
    closed |= ndimage.binary_closing(world.walls, np.ones((25, 3)))  # all doors shut
    parts, _ = ndimage.label(~closed)
    rooms = (np.bincount(parts.ravel())[1:] * world.metres_per_pixel**2 > 2).sum()
    assert shape[0] * shape[1] / 60 < rooms < shape[0] * shape[1] / 10
    longer = np.argmax(shape)
    middle = world.walls.any(axis=1 - longer)  # something stands across the way everywhere
    assert middle.all()


def test_a_seed_is_a_plan():
    first, again, other = (floor_plan(seed=s) for s in (1, 1, 2))
    np.testing.assert_array_equal(first.walls, again.walls)
    assert (first.walls != other.walls).any()
    assert first.name != other.name
    assert first.walls.shape == (360, 480)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"width_m": 3}, "width_m is 3, expected at least 7 m"),
        ({"height_m": 0}, "height_m is 0, expected a positive finite number"),
        ({"height_m": math.inf}, "height_m is inf, expected a positive finite number"),
        ({"metres_per_pixel": 0.5}, "metres_per_pixel is 0.5, expected at most 0.25"),
        ({"metres_per_pixel": 0}, "metres_per_pixel is 0, expected a positive finite number"),
        ({"width_m": 24_000}, "would have 480000 x 360 pixels, expected at most 20000"),
        ({"seed": -1}, "seed is -1, expected a whole number of at least 0"),
    ],
)
def test_floor_plans_that_cannot_be(options, said):
    with pytest.raises(ValueError, match=said):
        floor_plan(**options)
