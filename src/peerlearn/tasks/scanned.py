"""What agents scan on their drives through a plan, and by what maps are judged."""

from __future__ import annotations

import re
import reprlib
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..data.files import local
from ..mapping import (
    Ground,
    Lidar,
    Scans,
    World,
    check_free,
    check_way,
    floor_plan,
    from_image,
    from_ros,
    ground_of_world,
    load_waypoints,
    planned,
    smooth,
    through,
)  # fmt: skip
from ..randomness import VALIDATION, generator

BUILT_IN = "rooms"
ROOMS, IMAGE, ROS_MAP, WORLD = f"the plan {BUILT_IN!r}", "an image", "a map of ROS", "a World"
LOG, LOGS = "a log", "a folder of logs"
PLANS, ANY_LOG = (ROOMS, IMAGE, ROS_MAP, WORLD), (LOG, LOGS)
TAKEN_BY = {
    "metres_per_pixel": (ROOMS, IMAGE), "walls": (IMAGE,), "threshold": (IMAGE,),
    "width_m": (ROOMS,), "height_m": (ROOMS,), "border": PLANS, "outside": PLANS,
    "waypoints_scale": PLANS, "ways": PLANS, "clearance_m": PLANS, "scans": PLANS,
    "beams": PLANS, "field_of_view_deg": PLANS, "validation": PLANS, "divided": (LOG,),
    "every": ANY_LOG,
}  # fmt: skip
"""setting -> where it says something; elsewhere it would be lost."""
FOR_WAYPOINTS = ("waypoints_scale", "ways")
CELLS, MOST_CELLS = 160, 1000  # of the longer side of the grid, unless its cells are given
SEEN = 1  # cells around those that a beam has crossed, which count as seen too

Waypoints = str | Path | Sequence[NDArray[np.float64]]


@dataclass(frozen=True)
class Scanned:
    """What is driven, and by what it is judged.

    Args:
        ground: what maps are judged by.
        scans: of each agent.
        validation: scans that nobody learns from.
        source: of what all this is made, by which a run that is resumed knows it again.
        raw: of a log, the ground as all its scans together draw it.
        skipped: of a log, how many of its lines are broken.
    """

    ground: Ground
    scans: Sequence[Scans]
    validation: Scans
    source: Sequence[NDArray[Any]]
    raw: Ground | None = None
    skipped: int = 0

    @property
    def unseen(self) -> NDArray[np.bool_]:
        """(agents, H, W) the cells that no beam of an agent's whole drive comes near."""
        crossed = [self.ground.crossed(s) for s in self.scans]
        return ~np.stack([scipy.ndimage.binary_dilation(c, iterations=SEEN) for c in crossed])

    def backdrop(self) -> dict[str, Tensor]:
        """The ground, the agents' ways, and a scan of each; of a log, what all its scans draw."""
        longest = max(map(len, self.scans))
        ways = np.full((len(self.scans), longest, 2), np.nan)
        for way, scans in zip(ways, self.scans, strict=True):
            way[: len(scans)] = scans.poses[:, :2]
        first = [s.poses[0, :2] + np.zeros((1, 2)) for s in self.scans]
        ends = [np.concatenate([f, s[:1].hits]) for f, s in zip(first, self.scans, strict=True)]
        beams = np.full((len(ends), max(map(len, ends)), 2), np.nan)
        for beam, end in zip(beams, ends, strict=True):
            beam[: len(end)] = end
        found = {
            "extent": torch.tensor(self.ground.extent, dtype=torch.float64),
            "wall": torch.from_numpy(self.ground.wall),
            "known": torch.from_numpy(self.ground.known),
            "ways": torch.from_numpy(ways),
            "scan": torch.from_numpy(beams),
        }
        if self.raw is not None:
            found["raw_wall"] = torch.from_numpy(self.raw.wall)
            found["raw_known"] = torch.from_numpy(self.raw.known)
        return found


def of_plan(
    world: World, lidar: Lidar, loops: Sequence[NDArray[np.float64]], validation: int,
    cell_m: float | None, seed: int,
) -> Scanned:  # fmt: skip
    """Simulated on the agents' loops (scans, 3), and from random poses for validation."""
    ways = np.concatenate([loop[:, :2] for loop in loops])
    if world.outdoors(ways):
        warnings.warn(
            f"agents drive on ground that reaches the edge of {world.name}, and never into what "
            'its walls enclose; if they should, say outside="wall"',
            stacklevel=3,
        )
    reachable = world.reachable(ways)
    poses = reachable.free_poses(validation, generator(seed, VALIDATION))
    side = max(world.width, world.height)
    cells = np.clip(side / world.wall_m, CELLS, MOST_CELLS)
    return Scanned(
        ground=ground_of_world(reachable, side / cells if cell_m is None else cell_m),
        scans=[lidar.scan(world, loop) for loop in loops],
        validation=lidar.scan(world, poses),
        source=[np.packbits(world.walls), np.array([world.metres_per_pixel, *world.middle])],
    )


def kind_of(plan: str | Path | World, log: Path | None) -> str:
    """Of what the ground is made."""
    if log is not None:
        return LOGS if log.is_dir() else LOG
    if isinstance(plan, World):
        return WORLD
    if plan == BUILT_IN:
        return ROOMS
    return ROS_MAP if Path(plan).suffix in (".yaml", ".yml") else IMAGE


def taken(
    settings: Mapping[str, Any], chosen: Collection[str], kind: str, waypoints: bool
) -> dict[str, Any]:
    """Those of the settings in `TAKEN_BY` that say something here.

    Args:
        settings: name -> value.
        chosen: the names of those that are not as they are by default.
        kind: of what the ground is made.
        waypoints: whether they are given.

    Raises:
        ValueError: one that was chosen would be lost; a line for each.
    """
    lost = [_lost(name, settings[name], kind) for name in chosen if kind not in TAKEN_BY[name]]
    if kind in PLANS and not waypoints:
        lost += [
            f"{name} is {settings[name]!r}, which is for given waypoints; give them or leave it out"
            for name in chosen if name in FOR_WAYPOINTS
        ]  # fmt: skip
    if lost:
        raise ValueError("\n".join(lost))
    return {name: value for name, value in settings.items() if kind in TAKEN_BY[name]}


def _lost(name: str, value: Any, kind: str) -> str:
    families = {PLANS: "a plan", ANY_LOG: "a log"}
    takers = families.get(TAKEN_BY[name], " and ".join(TAKEN_BY[name]))
    return f"{name} is {value!r}, which is for {takers}, not for {kind}; leave it out"


def world_of(plan: str | Path | World, kind: str, settings: Mapping[str, Any], seed: int) -> World:
    """The plan, whatever it is given by, with all that is around it.

    Args:
        plan: see `peerlearn.tasks.mapping`.
        kind: of plan.
        settings: those that it takes.
        seed: of a plan that is drawn.
    """
    own = {name: value for name, value in settings.items() if TAKEN_BY[name] != PLANS}
    if isinstance(plan, World):
        return plan
    if kind == ROOMS:
        return floor_plan(seed=seed, **own)
    return from_ros(file(plan)) if kind == ROS_MAP else from_image(file(plan), **own)


def file(name: str | Path) -> Path:
    """A file by its path, or else below PEERLEARN_DATA."""
    return Path(name) if Path(name).exists() else local(str(name), f"{name}")


@dataclass(frozen=True)
class Ways:
    """How agents drive through a plan.

    Args:
        waypoints: of each agent; None where they are planned, too.
        scale: what the waypoints' x and y are multiplied by.
        between: "spline", straight on along a smooth curve, or "planned", around walls.
        clearance_m: how far from walls planned waypoints are.
    """

    waypoints: Waypoints | None
    scale: tuple[float, float]
    between: str
    clearance_m: float

    def loops(self, world: World, agents: int, scans: int, seed: int) -> list[NDArray[np.float64]]:
        """(scans, 3) poses of each agent."""
        if self.waypoints is None:
            found = list(planned(world, agents, seed, clearance_m=self.clearance_m))
            return [smooth(points, scans) for points in found]
        given = _given(self.waypoints)
        if len(given) != agents:
            raise ValueError(
                f"there are waypoints for {len(given)} agents, expected {agents}; give each agent "
                "its own, or say how many agents there are"
            )
        loops = (self._loop(world, agent, points) for agent, points in enumerate(given))
        return [smooth(points, scans) for points in loops]

    def _loop(self, world: World, agent: int, given: NDArray[np.float64]) -> NDArray[np.float64]:
        """The waypoints of a way that stays on free ground."""
        points = given * np.array(self.scale)
        check_free(world, points, f"agent {agent}'s waypoint")
        if self.between == "spline":
            check_way(world, points, f"agent {agent}'s way")
            return points
        try:
            return through(world, points, self.clearance_m)
        except ValueError as error:
            raise ValueError(f"agent {agent}: {error}") from error


def _given(waypoints: Waypoints) -> list[NDArray[np.float64]]:
    if isinstance(waypoints, str | Path):
        found = (p for p in file(waypoints).glob("*") if p.suffix.lower() in (".npy", ".csv"))
        files = sorted(found, key=natural)
        if not files:
            raise ValueError(
                f"{waypoints} is no folder with files of waypoints (.npy, .csv); give it one for "
                "each agent"
            )
        return [load_waypoints(p) for p in files]
    try:
        given = [np.asarray(w, float) for w in waypoints]
    except (TypeError, ValueError):
        given = []
    if not given or any(w.ndim != 2 or w.shape[1] != 2 for w in given):
        raise ValueError(
            f"waypoints is {reprlib.repr(waypoints)}, expected a folder, or for each agent an "
            "array (k, 2) of x and y in metres"
        )
    return given


def natural(path: Path) -> list[tuple[int, str]]:
    """By which 2.npy comes before 10.npy."""
    parts = re.split(r"(\d+)", path.name)
    return [(int(p), "") if p.isdigit() else (-1, p) for p in parts]
