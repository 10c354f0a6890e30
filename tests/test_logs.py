"""Logs of real lidars: what is read, what is skipped, and who gets which scans."""

from __future__ import annotations

import gzip
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial import KDTree

from peerlearn.data.files import MissingData, local
from peerlearn.mapping.logs import Log, divide, held_out, read_log
from peerlearn.mapping.scans import Scans


def flaser(readings, pose=(1, 2, 0.5), time=3.25):
    words = ["FLASER", len(readings), *readings, *pose, 7, 8, 9, time, "host", 99]
    return " ".join(map(str, words))


def robotlaser(readings, pose=(1, 2, 0.5), start=-1.5, step=0.25, range_m=50.0, remissions=()):
    beams = [len(readings), *readings, len(remissions), *remissions]
    words = ["ROBOTLASER1", 0, start, 3.0, step, range_m, 0.01, 0, *beams]
    return " ".join(map(str, [*words, *pose, 7, 8, 9, 0, 0, 0, 0, 0, 3.25, "host", 99]))


def written(tmp_path, *lines, name="drive.log"):
    path = tmp_path / name
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


# --- what is read -------------------------------------------------------------------------


def test_a_flaser_message_is_pose_time_and_readings(tmp_path):
    lines = ["# a comment", "ODOM 0 0 0 0 0 0 1 h 1", "", flaser([1, 2.5, 81.83, 90, 0, -1])]
    log = read_log(written(tmp_path, *lines))
    np.testing.assert_array_equal(log.scans.poses, [[1, 2, 0.5]])
    np.testing.assert_array_equal(log.scans.ranges, [[1, 2.5, np.nan, np.nan, np.nan, np.nan]])
    assert (log.times.tolist(), log.skipped, log.note, len(log)) == ([3.25], [], "", 1)
    assert log.scans.range_m == 81.83


@pytest.mark.parametrize(
    ("beams", "step", "last"), [(180, 1, 89), (181, 1, 90), (360, 0.5, 89.5), (361, 0.5, 90)]
)
def test_flaser_beams_begin_on_the_right(tmp_path, beams, step, last):
    angles = np.rad2deg(read_log(written(tmp_path, flaser([1] * beams))).scans.angles)
    np.testing.assert_allclose(angles, np.linspace(-90, last, beams))
    np.testing.assert_allclose(np.diff(angles), step)


def test_a_robotlaser_message_says_its_own_angles_and_range(tmp_path):
    first = robotlaser([1, 2, 50, 0.5], remissions=[5, 6])
    log = read_log(written(tmp_path, first, robotlaser([4, 3, 2, 1], pose=(9, 8, 7))))
    np.testing.assert_allclose(log.scans.angles, [-1.5, -1.25, -1, -0.75])
    np.testing.assert_array_equal(log.scans.ranges, [[1, 2, np.nan, 0.5], [4, 3, 2, 1]])
    np.testing.assert_array_equal(log.scans.poses, [[1, 2, 0.5], [9, 8, 7]])
    assert log.scans.range_m == 50
    assert log.times.tolist() == [3.25, 3.25]


def test_old_flaser_messages_end_with_the_host_or_the_time(tmp_path):
    lines = [flaser([1, 2]).rsplit(maxsplit=missing)[0] for missing in range(3)]
    assert read_log(written(tmp_path, *lines)).times.tolist() == [3.25] * 3


def test_a_lidar_sees_as_far_as_the_farthest_of_its_scans_and_no_farther(tmp_path):
    path = written(tmp_path, *(robotlaser([1, 2], range_m=r) for r in (20.0, 50.0, 30.0)))
    assert [read_log(path, r).scans.range_m for r in (None, 40, 90)] == [50, 40, 50]


def test_readings_from_a_given_range_on_are_nothing_in_range(tmp_path):
    """But not the lidar's own limit, which it also gives where a beam was lost."""
    scans = read_log(written(tmp_path, flaser([1, 5, 6, 0, 81.83])), range_m=5).scans
    np.testing.assert_array_equal(scans.ranges, [[1, np.inf, np.inf, np.nan, np.nan]])
    assert scans.range_m == 5


def test_compressed_is_read_as_plain_whatever_its_name(tmp_path):
    plain = written(tmp_path, *[flaser([k + 1, 2, 3], (k, 0, 0)) for k in range(5)])
    packed = tmp_path / "packed.log"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    np.testing.assert_array_equal(read_log(packed).scans.ranges, read_log(plain).scans.ranges)
    table = tmp_path / "drive.csv.gz"
    table.write_bytes(gzip.compress(b"x,y,heading,time,0\n1,2,3,4,5\n"))
    assert read_log(table).scans.ranges == [[5]]


def test_marks_and_characters_of_other_encodings_are_passed_over(tmp_path):
    path = tmp_path / "latin.log"
    path.write_bytes(b"# caf\xe9\n" + flaser([1, 2]).encode())
    assert len(read_log(path)) == 1
    assert len(read_log(written(tmp_path, "\ufeff" + flaser([1, 2])))) == 1
    table = ["\ufeffx,y,heading,time,0", "1,2,3,4,5"]
    assert len(read_log(written(tmp_path, *table, name="drive.csv"))) == 1


def test_angles_that_differ_by_rounding_are_of_one_lidar(tmp_path):
    lines = [robotlaser([1, 2]), robotlaser([3, 4], start=-1.50005)]
    scans = read_log(written(tmp_path, *lines)).scans
    assert len(scans) == 2
    assert scans.same_beams(replace(scans, angles=scans.angles + 5e-5))
    assert not scans.same_beams(replace(scans, angles=scans.angles + 1e-3))
    assert not scans.same_beams(replace(scans, angles=np.append(scans.angles, 0)))


def test_a_square_room_comes_out_square(tmp_path):
    """Ranges by hand from two headings; the hits of both lie on the same four walls."""
    angles = np.deg2rad(np.arange(-90, 90))
    lines = []
    for heading in (0.3, 2.8):
        c, s = np.cos(heading + angles), np.sin(heading + angles)
        x = np.where(c > 0, 3 - 1, -3 - 1) / c  # walls at x = +-3, y = +-2, seen from (1, -0.5)
        y = np.where(s > 0, 2 + 0.5, -2 + 0.5) / s
        lines.append(flaser(np.minimum(x, y).tolist(), (1, -0.5, heading)))
    hits = read_log(written(tmp_path, *lines)).scans.hits
    assert len(hits) == 360
    from_wall = np.minimum(abs(abs(hits[:, 0]) - 3), abs(abs(hits[:, 1]) - 2))
    np.testing.assert_allclose(from_wall, 0, atol=1e-9)


def test_csv_scans(tmp_path):
    lines = ["x, y, heading, time, -90, 0, 45", "1,2,0.5,3,4,inf,5", "", "6,7,0,8,nan,,0.5"]
    lines += ["6,7,0,9, ,0,2"]
    log = read_log(written(tmp_path, *lines, name="drive.csv"))
    np.testing.assert_allclose(np.rad2deg(log.scans.angles), [-90, 0, 45])
    read = [[4, np.inf, 5], [np.nan, np.nan, 0.5], [np.nan, np.nan, 2]]
    np.testing.assert_array_equal(log.scans.ranges, read)
    np.testing.assert_array_equal(log.scans.poses, [[1, 2, 0.5], [6, 7, 0], [6, 7, 0]])
    assert (log.times.tolist(), log.skipped, log.scans.range_m) == ([3, 8, 9], [], 5)


# --- what is wrong ------------------------------------------------------------------------


def test_broken_lines_are_skipped_and_named(tmp_path):
    whole = flaser([1, 2, 3])
    broken = [
        whole.rsplit(maxsplit=4)[0],
        whole.replace("FLASER 3", "FLASER 9"),
        whole.replace("FLASER 3", "FLASER x"),
        whole.replace(" 2 ", " two ", 1),
        whole.replace("0.5", "nan"),
        whole + " 1",
        "FLASER",
        flaser([1]),
        flaser([1, 2, 3], time="nan"),
        robotlaser([]),
        robotlaser([1, 2, 3]).replace("50.0", "0"),
        robotlaser([1, 2, 3]).replace("50.0", "nan"),
        robotlaser([1, 2, 3]).replace(" 0 1 2 0.5", " -1 2 0.5"),
        robotlaser([1, 2, 3])[:-3],
        robotlaser([1, 2, 3]) + " 1",
    ]
    log = read_log(written(tmp_path, whole, *broken, whole))
    assert len(log) == 2
    assert log.skipped == list(range(2, 17))
    assert log.note == "15 broken lines were skipped: 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, ..."
    ten = "10 broken lines were skipped: 2, 3, 4, 5, 6, 7, 8, 9, 10, 11"
    assert read_log(written(tmp_path, whole, *broken[:10])).note == ten
    for number, said in (
        (1, "1 broken line was skipped: 2"),
        (2, "2 broken lines were skipped: 2, 3"),
    ):
        assert read_log(written(tmp_path, whole, *["FLASER 1"] * number)).note == said


def test_broken_csv_lines_are_skipped_and_named(tmp_path):
    lines = ["x,y,heading,time,0,90", "1,2,3,4,5,6", "1,2,3,4,5", "1,2,3,4,5,six", ",2,3,4,5,6"]
    lines += ["1,2,3,4,5,6,7"]
    log = read_log(written(tmp_path, *lines, name="drive.csv"))
    assert (len(log), log.skipped) == (1, [3, 4, 5, 6])


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["PARAM a", "ODOM 1", "ODOM 2"], r"has no scan; .* found ODOM \(2\), PARAM \(1\)"),
        (["", "# a comment"], "has no scan; .* found nothing"),
        (["A B", *"CDEFGHIJKL"], r"found A \(1\), .*, K \(1\)$"),
        (["x" * 99], r"found x{20} \(1\)$"),
        (["\x00\x1b[2J 1"], r"has no scan; .* found \ufffd\ufffd\[2J \(1\)"),
        (["FLASER 1", "", "FLASER 2"], "no whole scan: .* lines 1, 3"),
        ([flaser([1, 2]), "ODOM 1", flaser([1, 2, 3])], "line 3 has 3 beams .* have 2 beams"),
        (
            [robotlaser([1, 2]), robotlaser([1, 2], step=0.5)],
            "line 2 has 2 beams from -85.94 to -57.3 degrees, .* to -71.62 degrees",
        ),
        ([robotlaser([1, 2], start=-1.5 + k * 7e-5) for k in range(3)], "line 3 has 2 beams"),
        ([robotlaser([1, 2]), robotlaser([1, 2], start=-1.499)], "line 2 has 2 beams from -85.89"),
    ],
)
def test_a_log_that_gives_no_scans_of_one_lidar_is_refused(tmp_path, lines, said):
    with pytest.raises(ValueError, match=said):
        read_log(written(tmp_path, *lines))


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([], "begins with '', expected the names of the columns"),
        (["0,0,0,1,2,3"], "begins with '0,0,0,1,2,3', expected the names"),
        (["x,y,heading,time"], "expected the names"),
        (["x,y,heading,time,left"], "expected the names"),
        (["x,y,heading,time,nan"], "expected the names"),
        (["x,y,heading,time,0"], "has no scan"),
        (["x,y,heading,time,0", "0,0,0,1,inf"], "no finite reading; .* by range_m"),
    ],
)
def test_a_csv_file_without_its_header_or_scans_is_refused(tmp_path, lines, said):
    with pytest.raises(ValueError, match=said):
        read_log(written(tmp_path, *lines, name="drive.csv"))


def test_files_that_cannot_be_read_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"cannot read .*none\.log .*expected a log"):
        read_log(tmp_path / "none.log")
    whole = gzip.compress(flaser([1, 2, 3]).encode() * 50)
    for name, content in {"cut": whole[:-20], "broken": whole[:10] + b"\xff" * 20}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=rf"cannot read .*{name} "):
            read_log(tmp_path / name)
    for range_m in (0, -1, math.inf, math.nan):
        with pytest.raises(ValueError, match=r"range_m is .* expected a positive number"):
            read_log(written(tmp_path, flaser([1, 2])), range_m)


# --- a real one ---------------------------------------------------------------------------


def test_the_intel_lab_has_its_walls_where_they_were_seen_before():
    """Two halves of one drive; the mirror image and a turn of two degrees fit worse."""
    try:
        path = local("lidar/intel-corrected.log.gz", "the Intel lab's log")
    except MissingData as missing:
        pytest.skip(f"the Intel lab's log is not here: {missing}")
    log = read_log(path, range_m=10.0)
    assert (log.scans.ranges.shape, log.skipped) == ((910, 180), [])

    def apart(angles):
        """The median distance of a hit of the second half from the nearest one of the first."""
        turned = replace(log.scans, angles=angles)
        before = KDTree(turned[np.arange(0, 400)].hits)
        return np.median(before.query(turned[np.arange(450, 910, 10)].hits)[0])

    angles = log.scans.angles
    assert apart(angles) < 0.035
    assert apart(-angles) > 3 * apart(angles)
    assert apart(angles - np.deg2rad(2)) > 1.5 * apart(angles)


# --- who gets which scans -----------------------------------------------------------------


@given(st.integers(1, 40), st.integers(1, 12), st.sampled_from(["time", "area"]), st.integers(0, 9))
def test_every_scan_goes_to_one_agent_and_nobody_without(n, agents, how, seed):
    poses = np.random.default_rng(seed).random((n, 3))
    if agents > n:
        with pytest.raises(ValueError, match=f"agents is {agents}, expected a whole number"):
            divide(poses, agents, how, seed)
        return
    parts = divide(poses, agents, how, seed)
    assert len(parts) == agents
    assert all(len(part) and (np.diff(part) > 0).all() for part in parts)
    assert sorted(np.concatenate(parts).tolist()) == list(range(n))


def test_by_time_parts_are_stretches_of_the_drive_of_equal_length():
    assert [p.tolist() for p in divide(np.zeros((7, 3)), 3)] == [[0, 1, 2], [3, 4], [5, 6]]


def test_by_area_parts_are_places_whenever_visited():
    rooms = np.array([2, 0, 1, 0, 2, 1, 1, 2, 0, 0])
    poses = 10.0 * rooms[:, None] + np.random.default_rng(0).random((10, 2))
    scans = Scans(poses, np.zeros(1), np.ones((10, 1)), 5.0)
    parts = divide(Log(scans, np.arange(10.0)), 3, "area")
    assert [set(rooms[part]) for part in parts] == [{2}, {0}, {1}]  # in the order of the visits


def test_by_area_the_seed_decides_where_no_parts_are_apart():
    poses = np.random.default_rng(0).random((60, 2))
    found = {str([p.tolist() for p in divide(poses, 5, "area", seed)]) for seed in range(4)}
    assert len(found) > 1


@pytest.mark.parametrize("name", ["drive.csv", "drive.CSV"])
def test_a_table_without_a_line_is_said(name, tmp_path):
    with pytest.raises(ValueError, match="has no scan; expected a line of numbers for each"):
        read_log(written(tmp_path, "x,y,heading,time,0,90", name=name))


def test_beams_without_an_angle_make_a_broken_line(tmp_path):
    whole = "ROBOTLASER1 0 {} 3.14 1.57 20 0.1 0 2 3.0 4.0 0 0 0 0 0 0 0 0 0 0.3 0.3 1e6 5 host 5"
    log = read_log(written(tmp_path, whole.format(0.0), whole.format("nan")))
    assert (len(log), log.skipped) == (1, [2])


def test_impossible_divisions_are_refused():
    with pytest.raises(ValueError, match=r"2: each needs a scan, .* 2 different positions"):
        divide(np.array([[0, 0, 1], [0, 0, 2], [1, 1, 1.0]]), 3, "area")
    with pytest.raises(
        ValueError, match="unknown way to divide a log 'times'; did you mean 'time'"
    ):
        divide(np.zeros((3, 3)), 2, "times")
    for agents in (0, 2.5):
        with pytest.raises(
            ValueError, match=f"agents is {agents}, expected a whole number from 1 to"
        ):
            divide(np.zeros((3, 3)), agents)


def test_every_tenth_scan_is_held_out():
    train, held = held_out(25)
    assert held.tolist() == [9, 19]
    assert sorted([*train, *held]) == list(range(25))
    assert [numbers.tolist() for numbers in held_out(3, 3)] == [[0, 1], [2]]
    for n, every in ((9, 10), (20, 1), (20, 2.5)):
        with pytest.raises(
            ValueError, match=f"every is {every}, expected a whole number from 2 to"
        ):
            held_out(n, every)
