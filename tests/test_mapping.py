"""Agents that map a building together."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import networkx as nx
import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import binary_cross_entropy

import peerlearn as pl
from peerlearn import record, snapshots
from peerlearn.data.drives import Drive
from peerlearn.mapping import World, floor_plan
from peerlearn.tasks import mapping
from peerlearn.tasks.mapping import cross_entropy_of_walls
from peerlearn.tasks.models import map_network

SMALL = {
    "agents": 3, "width_m": 10.0, "height_m": 8.0, "scans": 60, "window": 20, "validation": 4,
    "beams": 8, "samples": 6, "features": 16, "hidden": [8], "batch_size": 20, "gradients": "loop",
}  # fmt: skip
DRAWN = ("width_m", "height_m")  # are for a plan that the library draws
NEAR = pl.graphs.proximity(3, 6.0)


def room(side=100, wall=10):
    """A square room in a square, five centimetres a pixel."""
    walls = np.ones((side, side), bool)
    walls[wall:-wall, wall:-wall] = False
    return World(walls, 0.05)


def circles(radii=(0.8, 1.0, 1.2)):
    angles = np.linspace(0, 2 * math.pi, 9)[:-1]
    return [r * np.stack([np.cos(angles), np.sin(angles)], axis=1) for r in radii]


def in_room(**options):
    own = {n: v for n, v in SMALL.items() if n not in DRAWN}
    return mapping(**{**own, "plan": room(), "waypoints": circles(), **options})


def train(task=None, algorithm=None, rounds=6, graph=NEAR, **options):
    algorithm = algorithm or pl.DSGT(lr=0.1)
    return pl.train(
        task or mapping(**SMALL), algorithm, graph if algorithm.communicates else None,
        rounds=rounds, evaluate_every=3, device="cpu", **options,
    )  # fmt: skip


# --- the network ------------------------------------------------------------------------------


def test_the_published_network():
    network = map_network()
    assert sum(p.numel() for p in network.parameters()) == 25_601
    first = network[0].linear.weight
    assert 0.14 < first.abs().max() <= (6 / 256) ** 0.5
    places = torch.randn(5, 2) * 800
    by_hand = torch.sin(0.05 * (places @ first.T + network[0].linear.bias))
    torch.testing.assert_close(network[0](places), by_hand)
    assert network(places).shape == (5,)
    rectified = map_network(rectified=True)
    assert sum(p.numel() for p in rectified.parameters()) == 25_601
    torch.testing.assert_close(rectified[:2](places), rectified[0](places).clamp(min=0))
    assert ((network(places) > 0) & (network(places) < 1)).all()


# --- what is learned from, and judged ---------------------------------------------------------


def test_points_of_a_room_lie_in_it_and_walls_at_its_border():
    """The room reaches from -2 to 2 metres."""
    stream = in_room().stream
    places, walls = stream.take(0, np.arange(3), np.zeros(3, int), 500, 4)
    reach = places.abs().amax(dim=-1)
    assert (reach[walls > 0] - 2).abs().max() < 1e-5
    assert reach.max() < 2 + 1e-5
    assert (reach[walls == 0] < 2 - 1e-3).all()


def test_maps_of_a_room_are_judged_by_hand():
    """In cells of 10 cm the room is 40 x 40 cells; walls are judged up to two cells deep."""
    task = in_room(cell_m=0.1, beams=90)
    walls, known = task.ground.wall, task.ground.known
    assert walls.shape == (50, 50)
    assert int((~walls).sum()) == 1600
    assert int(known.sum()) == 44**2
    assert not (task.unseen & ~walls).any(), "from the middle of a room all of it is seen"

    class Square(torch.nn.Module):
        """A wall where a coordinate is beyond 1.9: one ring of free cells too many."""

        def __init__(self):
            super().__init__()
            self.border = torch.nn.Parameter(torch.tensor(1.9))

        def forward(self, places):
            return (places.abs().amax(dim=-1) > self.border).to(places.dtype)

    found = task.judge(Square(), 0)
    ring, wall = 40**2 - 38**2, 44**2 - 40**2
    assert found["wall_recall"] == 1
    assert found["wall_precision"] == pytest.approx(wall / (wall + ring))
    assert found["wall_iou"] == pytest.approx(wall / (wall + ring))


def test_unseen_is_what_other_rooms_hide():
    """Two rooms without a door: who drives in one never sees the other."""
    walls = np.ones((60, 120), bool)
    walls[10:50, 10:55] = walls[10:50, 65:110] = False
    left, right = (
        [[x + 0.3, 0.3], [x - 0.3, 0.3], [x - 0.3, -0.3], [x + 0.3, -0.3]] for x in (-1.4, 1.4)
    )
    task = in_room(
        plan=World(walls, 0.05), waypoints=[np.array(w) for w in (left, right, left)],
        validation=2, beams=60, cell_m=0.1,
    )  # fmt: skip
    columns = task.unseen & ~task.ground.wall
    assert not columns[0, :, :30].any()
    assert columns[0, 10:20, 35:50].all()
    assert not columns[1, :, 30:].any()
    assert columns[1, 10:20, 10:25].all()


# --- training ---------------------------------------------------------------------------------


def test_a_team_learns_a_room():
    """A map that is the same everywhere has 0.325; seeds 0 to 3 end between 0.18 and 0.20."""
    task = in_room(beams=20, samples=10, batch_size=100, features=32, scale=2.0, validation=50)
    run = train(task, pl.DSGT(lr=0.1), rounds=300)
    assert run.history["loss"][0].mean() > 0.5
    assert run.final["loss"].mean() < 0.25
    assert run.final["consensus_error"].max() < 0.1


@dataclass(frozen=True)
class Watched(pl.graphs.proximity):
    """Keeps the edges of every graph that is asked for."""

    edges: list = field(default_factory=list)

    def at(self, round, positions=None):
        graph = super().at(round, positions)
        self.edges.append(sorted(graph.edges))
        return graph


def test_every_method_sees_the_same_drive(monkeypatch):
    """However many minibatches a method takes, a round's are of the round's scans and graph."""
    take, seen = Drive.take, []

    def watched(drive, seed, agents, first, size, round):
        windows = [drive._window(a, drive.made(round)[a], drive._points(a)[2]) for a in agents]
        learned.append(str((round, windows)))
        return take(drive, seed, agents, first, size, round)

    monkeypatch.setattr(Drive, "take", watched)
    for algorithm in (pl.DSGD(), pl.DiNNO(local_steps=3)):
        task, edges, learned = mapping(**SMALL), [], []
        graph = Watched(3, 3.0, task.positions, window=100, edges=edges)
        train(task, algorithm, rounds=40, graph=graph)
        seen.append((list(map(str, edges[-40:])), list(dict.fromkeys(learned))[-40:]))
    assert seen[0] == seen[1]
    for what in seen[0]:
        assert len(set(what)) > 1, "what never changes tells little"


def test_a_map_that_diverges_is_told_as_of_any_task():
    """Torch's own loss refuses a map that is no number, in words that name neither."""
    wild = pl.DiNNO(rho=10.0, optimizer="sgd", lr=0.1)
    with pytest.raises(pl.Diverged, match=r"DiNNO diverged in round \d+"):
        train(in_room(), wild, rounds=60)


def test_the_loss_is_torchs_own_where_all_outputs_are_numbers():
    outputs, targets = torch.rand(50, requires_grad=True), torch.rand(50).round()
    ours, theirs = (f(outputs, targets) for f in (cross_entropy_of_walls, binary_cross_entropy))
    assert torch.equal(ours, theirs)
    gradients = [torch.autograd.grad(loss, outputs)[0] for loss in (ours, theirs)]
    assert torch.equal(*gradients)
    assert cross_entropy_of_walls(torch.tensor([0.5, math.nan]), targets[:2]).isnan()


def test_a_run_keeps_maps_and_what_is_behind_them(tmp_path):
    task = in_room()
    near = {5: nx.complete_graph(3)}  # in the last round
    graph = pl.graphs.function(lambda k: near.get(k, nx.path_graph(3)), agents=3)
    run = train(task, out=tmp_path, graph=graph)
    assert snapshots.rounds(tmp_path) == [0, 3, 6]
    scene, last = snapshots.scene(tmp_path), snapshots.load(tmp_path, 6)
    assert torch.equal(scene["wall"], torch.from_numpy(task.ground.wall))
    assert scene["ways"].shape == (3, 60, 2)
    assert last["map"].shape == (3, *task.ground.wall.shape)
    assert last["map"].dtype == torch.uint8
    places = torch.from_numpy(task.ground.places).float()
    with torch.no_grad():
        by_hand = run.model(1)(places.flatten(0, 1)).view(places.shape[:2])
    assert (last["map"][1] - 255 * by_hand).abs().max() < 0.51
    assert np.array_equal(last["positions"], task.positions(5))
    assert last["edges"].tolist() == [[0, 1], [0, 2], [1, 2]]
    assert np.array_equal(snapshots.load(tmp_path, 0)["positions"], task.positions(0))
    assert snapshots.load(tmp_path, 0)["edges"].tolist() == [[0, 1], [1, 2]]


@pytest.mark.parametrize(
    "algorithm", [pl.DSGT(lr=0.1), pl.Centralized(lr=0.1)], ids=lambda a: a.name
)
def test_a_run_that_is_resumed_ends_alike(algorithm, tmp_path):
    whole = train(algorithm=algorithm)

    def stop(evaluation):
        return evaluation["round"] == 3

    train(algorithm=algorithm, out=tmp_path, callback=stop)
    resumed = train(algorithm=algorithm, out=tmp_path, resume=True)
    assert torch.equal(whole.theta, resumed.theta)
    assert record.read(tmp_path).final["wall_iou"].tolist() == whole.final["wall_iou"].tolist()


def test_what_lies_behind_the_maps_is_drawn_anew_where_it_is_of_another_run_or_lost(tmp_path):
    task, scene = in_room(), snapshots.scene_path(tmp_path)
    snapshots.save(scene, {"wall": torch.ones(2, 2)})
    for resume in (False, True):
        train(task, out=tmp_path, resume=resume, callback=lambda e: e["round"] == 3)
        assert torch.equal(snapshots.scene(tmp_path)["wall"], torch.from_numpy(task.ground.wall))
        scene.unlink()
    assert snapshots.scene(tmp_path) == {}


def test_centralized_training_counts_each_point_once():
    task = mapping(**SMALL)
    run = train(task, pl.Centralized(lr=0.1), rounds=6)
    made = task.stream.made(5)
    assert run.final["bytes_sent"].tolist() == [9 * 6 * 8 * n for n in made]


def test_the_centre_is_judged_on_what_each_agent_did_not_see():
    task = mapping(**SMALL)
    centre = task.pooled()
    network = map_network(16, (8,), 1.0)
    each, all_of_it = [task.judge(network, a) for a in range(3)], centre.judge(network, 0)
    for name in ("wall_iou_unseen", "wall_precision_unseen", "wall_recall_unseen"):
        assert all_of_it[name] == pytest.approx(np.mean([measured[name] for measured in each]))


# --- what can be wrong ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"waypoints": circles()[:2]}, "waypoints for 2 agents, expected 3"),
        (
            {"waypoints": circles((0.8, 1.0, 2.2))},
            r"inside a wall.* agent 2's waypoint 0 at \(2.20, 0.00\)",
        ),
        ({"window": 61}, "window is 61 scans, but agent 0 makes only 60"),
        ({"agents": 0}, "agents is 0, expected a whole number"),
        ({"samples": 0}, "samples is 0"),
        ({"validation": 0}, "validation is 0"),
        ({"plan": "missing.png"}, "missing.png"),
        ({"log": "missing.log"}, "got a log and plan"),
        ({"waypoints": "nowhere"}, "nowhere is not on this machine: give its path"),
        ({"waypoints": "."}, r"\. is no folder with files of waypoints"),
        ({"scans": 1}, "scans is 1, expected a whole number of at least 2"),
        ({"features": 0}, "features is 0"),
        ({"hidden": [4, 0]}, "entry 1 of hidden is 0"),
        ({"scale": math.nan}, "scale is nan"),
        ({"cell_m": 0}, "cell_m is 0, expected a positive"),
        ({"agents": "7"}, "agents is '7', expected a whole number"),
        ({"batch_size": None}, "batch_size is None, expected a whole number"),
        ({"batch_size": [20, 2.5, 20]}, "entry 1 of batch_size is 2.5, expected a whole number"),
        ({"hidden": 64}, r"hidden is 64, expected a list of whole numbers, as \[64, 64\]"),
        ({"hidden": ["64"]}, "entry 0 of hidden is '64', expected a whole number"),
        ({"scans_per_round": None}, "scans_per_round is None, expected a positive"),
        ({"range_m": "5"}, "range_m is '5', expected a positive"),
        ({"width_m": True}, "width_m is True, expected a positive"),
        ({"seed": None}, "seed is None, expected a whole number of at least 0"),
        ({"rectified": "yes"}, "rectified is 'yes', expected true or false"),
        ({"plan": np.ones((2, 2))}, r"plan is array.*, expected 'rooms', the path of an image"),
        ({"log": 3}, "log is 3, expected the path of a log"),
        ({"waypoints": 3}, "waypoints is 3, expected a folder, or for each agent an array"),
        ({"waypoints": [3, 4, 5]}, r"waypoints is \[3, 4, 5\], expected a folder"),
        ({"waypoints": ["a", "b", "c"]}, "waypoints is .*, expected a folder"),
        ({"ways": "straight"}, "ways is 'straight', expected 'spline' or 'planned'"),
        ({"waypoints_scale": 2.0}, "waypoints_scale is 2.0, expected two finite numbers other"),
        ({"waypoints_scale": [1, 0]}, r"waypoints_scale is \[1, 0\], expected two finite"),
        ({"clearance_m": 0}, "clearance_m is 0, expected a positive"),
        ({"cell_m": 1e-4}, "expected at most 4,000,000; take larger cells"),
        ({"walls": "light"}, "walls is 'light', which is for an image, not for a World; leave"),
        ({"metres_per_pixel": 0.1}, "for the plan 'rooms' and an image, not for a World"),
        ({"every": 5}, "every is 5, which is for a log, not for a World"),
        ({"waypoints": None, "ways": "planned"}, "ways is 'planned', which is for given waypoints"),
    ],
)
def test_bad_input_is_said(options, complaint):
    with pytest.raises((ValueError, OSError), match=complaint):
        in_room(**options)


@pytest.mark.parametrize(
    ("plan", "foreign"),
    [
        ("rooms", {"walls": "light", "threshold": 0.4}),
        ("plan.png", {"width_m": 30.0, "height_m": 20.0}),
        ("map.yaml", {"metres_per_pixel": 0.1, "walls": "light", "threshold": 0.4}),
        (None, {"walls": "nonsense", "border": "x", "ways": "planned", "scans": 60}),
    ],
)
def test_what_would_be_lost_is_said_all_at_once(plan, foreign, tmp_path):
    """Before the plan or the log is read: nothing is in these files."""
    log = tmp_path / "drive.log"
    log.touch()
    source = {"log": log} if plan is None else {"plan": plan}
    with pytest.raises(ValueError, match="leave it out") as refused:
        mapping(**source, **foreign)
    told = str(refused.value).splitlines()
    assert [line.split(",")[0] for line in told] == [f"{n} is {v!r}" for n, v in foreign.items()]
    assert all(line.endswith("; leave it out") for line in told)


def table(path, scans):
    """A csv log of scans at (k / 10, 0) with four beams."""
    lines = ["x,y,heading,time,-90,0,90,180"]
    lines += [f"{k / 10},0,0,{k},{','.join(map(str, s))}" for k, s in enumerate(scans)]
    path.write_text("\n".join(lines) + "\n")
    return path


def of_log(path, **options):
    own = {"agents": 2, "window": None, "samples": 4, "every": 3, "features": 8, "hidden": [4]}
    return mapping(**{**own, "log": path, **options})


def test_a_log_is_divided_and_a_part_of_it_held_out(tmp_path):
    log = table(tmp_path / "log.csv", [[1.0, 2.0 + k / 10, 1.0, ""] for k in range(30)])
    task = of_log(log, range_m=2.95)
    assert task.stream.describe()["scans"] == [10, 10]
    assert not task.stream.closed
    assert len(task.test[0]) == 10 * 3 * 4
    assert task.test[1].sum() < 30, "what is beyond the range is no wall"
    run = train(task, rounds=30, graph=pl.graphs.proximity(2, 3.0))
    assert run.final["loss"].mean() < run.history["loss"][0].mean()


def test_all_scans_of_a_log_are_drawn_behind_its_maps(tmp_path):
    """Of six scans two are held out; each alone sees a wall ahead of it, 0.1 m beyond the last."""
    log = table(tmp_path / "log.csv", [[1.0, 2.03, 1.0, ""] for _ in range(6)])
    scene = of_log(log, range_m=5.0, cell_m=0.1).scene()
    ahead = {name: int(scene[name][8:12].any(dim=0).sum()) for name in ("wall", "raw_wall")}
    assert ahead == {"wall": 2, "raw_wall": 6}
    assert (scene["raw_known"] | ~scene["known"]).all()
    assert "raw_wall" not in in_room().scene()


def test_each_agent_learns_from_a_log_of_its_own(tmp_path):
    """Ten comes after two; every third scan of all is held out."""
    for number, reading in ((10, 3.0), (1, 1.0), (2, 2.0)):
        table(tmp_path / f"robot{number}.csv", [[reading, 4.0, 1.0, reading]] * (5 + number))
    task = of_log(tmp_path, agents=3)
    assert task.stream.describe()["scans"] == [4, 5, 10]
    for agent, reading in enumerate((1.0, 2.0, 3.0)):
        places, walls, _ = task.stream._points(agent)
        ahead = places[walls > 0][::4]
        assert (ahead.norm(dim=1) - reading).abs().max() < 1.0
    assert task.describe()["log"] == tmp_path.name
    assert "divided" not in task.describe()
    with pytest.raises(ValueError, match=r"agents is 2, but .* holds 3 logs; expected one for"):
        of_log(tmp_path, agents=2)
    with pytest.raises(ValueError, match="divided is 'area', which is for a log, not for a folder"):
        of_log(tmp_path, agents=3, divided="area")
    (tmp_path / "robot2.csv").write_text("x,y,heading,time,0,90\n0,0,0,0,1,2\n")
    with pytest.raises(ValueError, match=r"robot2\.csv is of another lidar than .*robot1\.csv"):
        of_log(tmp_path, agents=3)


def test_without_a_range_what_hits_nothing_tells_nothing(tmp_path):
    log = table(tmp_path / "log.csv", [[1.0, "inf", 1.0, 2.0 + k] for k in range(9)])
    assert len(of_log(log).test[0]) == 3 * 3 * 4
    assert len(of_log(log, range_m=20.0).test[0]) == 3 * 4 * 4


def test_scans_that_see_nothing_are_left_out(tmp_path):
    log = table(
        tmp_path / "log.csv", [[0, 0, 0, 0] if 3 < k < 9 else [1, 2, 3, 4] for k in range(14)]
    )
    assert of_log(log).stream.describe()["scans"] == [3, 3]


def test_broken_lines_of_a_log_are_told(tmp_path):
    log = table(tmp_path / "log.csv", [[1, 2, 3, 4 + k] for k in range(9)])
    log.write_text(log.read_text() + "1,2,oops\n")
    with pytest.warns(UserWarning, match="1 broken line was skipped: 11"):
        task = of_log(log)
    assert task.describe()["broken_lines"] == 1


def test_headings_in_degrees_and_poses_far_off_are_told(tmp_path):
    log = table(tmp_path / "log.csv", [[1, 2, 3, 4 + k / 9] for k in range(9)])
    heading, *lines = log.read_text().splitlines()
    poses = [line.split(",") for line in lines]

    def changed(column, values):
        told = [[*p[:column], str(v), *p[column + 1 :]] for p, v in zip(poses, values, strict=True)]
        log.write_text("\n".join([heading, *map(",".join, told)]))

    changed(2, [90, 180, 270] * 3)
    with pytest.warns(UserWarning, match="most headings are beyond 2 pi, up to 270, .* degrees"):
        of_log(log)
    changed(0, [0] * 8 + [1e5])
    with pytest.warns(UserWarning, match=r"apart, so cells are 625 m wide, .* or say cell_m"):
        of_log(log)
    of_log(log, cell_m=100.0)


def test_the_record_tells_how_it_was_driven():
    told = in_room(ways="planned", beams=6).describe()
    assert (told["ways"], told["beams"], told["waypoints"]) == ("planned", 6, "given")
    assert "walls" not in told, "a World knows its own"
    assert mapping(**SMALL).describe()["waypoints"] == "planned"


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"plan": room()}, "got a log and plan"),
        ({"waypoints": circles()}, "got a log and waypoints"),
        ({"every": 1}, "every is 1, expected a whole number of at least 2"),
        ({"agents": 40}, "40"),
        ({"range_m": 0.5}, "no beams that hit anything"),
    ],
)
def test_bad_input_with_a_log_is_said(options, complaint, tmp_path):
    log = table(tmp_path / "log.csv", [[1, 2, 3, 4 + k] for k in range(9)])
    with pytest.raises(ValueError, match=complaint):
        of_log(log, **options)


def test_a_log_that_is_not_there_is_said():
    with pytest.raises(ValueError, match=r"missing\.log"):
        of_log("missing.log")


def two_rooms(door=True):
    """Side by side, each 2 x 2 m; the door in the wall between them is in its middle."""
    walls = np.ones((60, 100), bool)
    walls[10:50, 5:45] = walls[10:50, 55:95] = False
    walls[22:38, 45:55] &= not door
    return World(walls, 0.05)


def test_ways_around_walls_are_planned_between_given_waypoints():
    """From room to room above the door: straight on is a wall."""
    options = {"plan": two_rooms(), "waypoints": [np.array([[-1.2, 0.6], [1.2, 0.6]])] * 3}
    with pytest.raises(ValueError, match=r"agent 0's way runs into walls of world at \(-0.2"):
        in_room(**options)
    for poses in in_room(ways="planned", **options).stream.poses:
        assert not two_rooms().is_wall(poses[:, :2]).any()
        assert abs(poses[:, 0]).max() == pytest.approx(1.2, abs=0.1)
    with pytest.raises(
        ValueError, match=r"agent 0: waypoint 0 .* expected at least clearance_m, 0.5"
    ):
        in_room(ways="planned", clearance_m=0.5, **options)


def test_published_waypoints_are_scaled_to_metres(tmp_path, monkeypatch):
    """Parts of half an image with y down, in a folder below PEERLEARN_DATA."""
    for agent, ways in enumerate(circles()):
        (tmp_path / "ways").mkdir(exist_ok=True)
        np.save(tmp_path / "ways" / f"{agent}.npy", ways / 2.5 * [1, -1])
    monkeypatch.setenv("PEERLEARN_DATA", str(tmp_path))
    task = in_room(waypoints="ways", waypoints_scale=[2.5, -2.5])
    for found, expected in zip(task.stream.poses, in_room().stream.poses, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-12)


def page(width=200):
    """A closed building of 4 x 3 m in the middle of a white page."""
    walls = np.zeros((160, width), bool)
    walls[50:110, width // 2 - 40 : width // 2 + 40] = True
    walls[53:107, width // 2 - 37 : width // 2 + 37] = False
    return walls


def test_agents_around_a_building_are_told_how_to_get_in(tmp_path):
    image = tmp_path / "page.png"
    Image.fromarray(~page()).save(image)
    options = {n: v for n, v in SMALL.items() if n not in DRAWN} | {"plan": str(image)}
    with pytest.warns(UserWarning, match='the edge of page, .* say outside="wall"'):
        mapping(**options)
    inside = mapping(**options, outside="wall")
    for poses in inside.stream.poses:
        assert (abs(poses[:, :2]) < [1.85, 1.35]).all()
    assert (abs(inside.test[0]) < torch.tensor([2.0, 1.5])).all(), "validated where they can be"
    known = mapping(**options | {"plan": World(page(), 0.05)}, outside="wall")
    for poses, expected in zip(known.stream.poses, inside.stream.poses, strict=True):
        np.testing.assert_array_equal(poses, expected)
    around = [np.array([[-0.8, -0.8], [0.8, -0.8], [0.8, 0.8], [-0.8, 0.8]])] * 3
    chosen = mapping(**options, waypoints=around)
    assert (abs(chosen.test[0]) < torch.tensor([2.0, 1.5])).all(), "nor is the page judged"
    assert chosen.ground.known.sum() < 0.5 * chosen.ground.known.size


@pytest.mark.parametrize(("size", "cells"), [((10, 8), 160), ((24, 18), 160), ((60, 45), 400)])
def test_by_default_no_wall_is_lost_between_cells(size, cells):
    task = mapping(**SMALL | {"width_m": size[0], "height_m": size[1]})
    assert task.ground.wall.shape[1] == cells
    world = floor_plan(*size, seed=0)
    rows, columns = np.nonzero(world.walls)
    height, width = world.walls.shape
    there = task.ground.wall[rows * len(task.ground.wall) // height, columns * cells // width]
    assert there.mean() > 0.8


def test_files_of_waypoints_are_taken_in_their_natural_order(tmp_path):
    for number, ways in zip((2, 10, 1), circles(), strict=True):
        np.save(tmp_path / f"{number}.npy", ways)
    first = in_room(waypoints=tmp_path).stream.poses
    radii = [float(np.hypot(*p[0, :2])) for p in first]
    assert radii == pytest.approx([1.2, 0.8, 1.0], abs=0.01)


def test_another_grid_is_another_configuration():
    assert in_room(cell_m=0.1).describe() != in_room(cell_m=0.2).describe()


def test_agents_that_never_meet_are_refused():
    with pytest.raises(pl.ConfigurationError, match="never come nearer to each other than"):
        train(in_room(), graph=pl.graphs.proximity(3, 0.01))
