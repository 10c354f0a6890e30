"""How a building is surveyed: its plan or a log, ways through it, a lidar, and what is learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from types import NoneType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..data.drives import Drive
from ..data.files import local
from ..errors import short
from ..mapping import (
    Lidar,
    World,
    check_free,
    check_way,
    floor_plan,
    from_image,
    from_ros,
    load_waypoints,
    planned,
    smooth,
    through,
)  # fmt: skip
from ..values import is_list, is_number, require_count, require_positive
from ..words import counted
from .logged import of_log
from .scanned import Scanned, natural, of_plan

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
COUNTS = {"beams": 1, "samples": 1, "validation": 1, "scans": 2}  # setting -> the least
LENGTHS = ("metres_per_pixel", "width_m", "height_m", "scans_per_round", "clearance_m")
OPTIONAL = ("range_m", "cell_m")  # lengths, too, where they are given

Waypoints = str | Path | Sequence[NDArray[np.float64]]


@dataclass(frozen=True, kw_only=True)
class Survey:
    """How agents drive through a building, scan it, and learn from their scans.

    What is for a plan says nothing of a log, and the other way round: it is refused there.

    Args:
        metres_per_pixel: of an image, or of the plan that is drawn; others have their own.
        walls, threshold: which pixels of an image are walls, as of `peerlearn.mapping.from_image`:
            the "dark" or the "light" ones.
        border, outside: what of the plan is not of the building, as of
            `peerlearn.mapping.World.trimmed`: so many pixels at each edge; where the page around
            the building is free ground too, outside="wall" keeps agents off it.
        width_m, height_m: of the plan "rooms".
        waypoints: (k, 2) arrays in metres from the middle of the plan, x to the right and y up,
            or in the frame of a ROS map, one per agent; or the folder of their files (.npy, .csv),
            also below PEERLEARN_DATA, taken in the order of their names. By default the agents'
            loops are planned.
        waypoints_scale: what the waypoints' x and y are multiplied by to be such metres.
        ways: from one waypoint to the next agents drive along the "spline" through them, or by
            ways around the walls that are "planned".
        clearance_m: how far planned waypoints are from walls.
        divided: one log's drive among the agents, by "time" or by "area".
        every: of logs, one scan of so many is held out for validation.
        scans: how many an agent makes on its loop.
        beams, range_m, field_of_view_deg: of the lidar, 5 metres and all around by default, as of
            `peerlearn.mapping.Lidar`. Of a log, readings from range_m on make the ground up to
            there free; without it a beam that hit nothing tells nothing.
        samples: points that are learned from, along each beam.
        window: how many of its latest scans an agent learns from; None for all so far.
        scans_per_round: how many it makes in a round.
        validation: from so many random poses scans are simulated that the maps are validated on.
        cell_m: side of the cells on which walls are compared, by their centres: best no more than
            walls are thick. By default so, but the plan has from 160 to 1,000 cells along its
            longer side; what a log covers has 160.

    Raises:
        ValueError: numbers that cannot be.
    """

    metres_per_pixel: float = 0.05
    walls: Literal["dark", "light"] = "dark"
    threshold: float = 0.5
    border: int = 0
    outside: Literal["free", "wall"] = "free"
    width_m: float = 24.0
    height_m: float = 18.0
    waypoints: Waypoints | None = None
    waypoints_scale: Sequence[float] = (1.0, 1.0)
    ways: Literal["spline", "planned"] = "spline"
    clearance_m: float = 0.3
    divided: Literal["time", "area"] = "time"
    every: int = 10
    scans: int = 600
    beams: int = 20
    range_m: float | None = None
    field_of_view_deg: float = 360.0
    samples: int = 25
    window: int | None = None
    scans_per_round: float = 2.0
    validation: int = 100
    cell_m: float | None = None

    def __post_init__(self) -> None:
        for name, least in COUNTS.items():
            require_count(name, getattr(self, name), least)
        for name in (*LENGTHS, *(n for n in OPTIONAL if getattr(self, n) is not None)):
            require_positive(name, getattr(self, name))
        if self.ways not in ("spline", "planned"):
            raise ValueError(f"ways is {self.ways!r}, expected 'spline' or 'planned'")
        object.__setattr__(self, "waypoints_scale", _pair(self.waypoints_scale))

    def of(
        self, plan: str | Path | World, log: str | Path | None, agents: int, seed: int
    ) -> tuple[Scanned, dict[str, Any]]:
        """What the agents scan, and what the record says of where they do.

        Args:
            plan, log, agents, seed: see `peerlearn.tasks.mapping`.

        Raises:
            ValueError: a file that cannot be read, waypoints in walls, or settings that say nothing
                of the plan or log that is given.
        """
        self._require_one_source(plan, log)
        path = None if log is None else file(log)
        kind = kind_of(plan, path)
        settings = self._taken(kind)
        if path is not None:
            found = of_log(path, agents, self.divided, self.every, self.range_m, self.cell_m, seed)
            told = {"log": path.name, "broken_lines": found.skipped}
            return found, {**told, **settings, "range_m": self.range_m}
        world = world_of(plan, kind, settings, seed).trimmed(self.border, self.outside)
        range_m = 5.0 if self.range_m is None else self.range_m
        lidar = Lidar(self.beams, range_m, self.field_of_view_deg)
        loops = self._loops(world, agents, seed)
        found = of_plan(world, lidar, loops, self.validation, self.cell_m, seed)
        told = {"plan": world.name, **settings, "waypoints": self._source_of_waypoints}
        return found, {**told, "range_m": lidar.range_m}

    def drive(self, found: Scanned, closed: bool) -> Drive:
        """The stream of the agents' scans; a ``closed`` one leads back to where it began."""
        return Drive(
            [s.poses for s in found.scans], lambda agent: found.scans[agent].points(self.samples),
            self.window, self.scans_per_round, closed=closed, source=found.source,
        )  # fmt: skip

    def _require_one_source(self, plan: Any, log: Any) -> None:
        """A plan, or a log, which has its own ground and ways."""
        kinds = (
            ("plan", plan, World, f"{BUILT_IN!r}, the path of an image or a ROS map, or a World"),
            ("log", log, NoneType, "the path of a log of scans, or None"),
        )
        for name, value, other, expected in kinds:
            if not isinstance(value, str | Path | other):
                raise ValueError(f"{name} is {short(value)}, expected {expected}")
        given = {"plan": plan != BUILT_IN, "waypoints": self.waypoints is not None}
        for name in (n for n in given if given[n] and log is not None):
            raise ValueError(
                f"got a log and {name}; a log has its own ground and ways: leave one out"
            )

    def _taken(self, kind: str) -> dict[str, Any]:
        """Those of the settings in `TAKEN_BY` that say something of this kind of ground.

        Raises:
            ValueError: one that is not as by default would be lost; a line for each.
        """
        default = {f.name: f.default for f in fields(self)}
        settings = {name: getattr(self, name) for name in TAKEN_BY}
        chosen = [name for name, value in settings.items() if value != default[name]]
        lost = [_lost(name, settings[name], kind) for name in chosen if kind not in TAKEN_BY[name]]
        if kind in PLANS and self.waypoints is None:
            lost += [
                f"{name} is {settings[name]!r}, which is for given waypoints; give them or leave "
                "it out"
                for name in chosen if name in FOR_WAYPOINTS
            ]  # fmt: skip
        if lost:
            raise ValueError("\n".join(lost))
        return {name: value for name, value in settings.items() if kind in TAKEN_BY[name]}

    @property
    def _source_of_waypoints(self) -> str:
        """In a word."""
        if self.waypoints is None:
            return "planned"
        return Path(self.waypoints).name if isinstance(self.waypoints, str | Path) else "given"

    def _loops(self, world: World, agents: int, seed: int) -> list[NDArray[np.float64]]:
        """(scans, 3) poses of each agent on its way through a plan."""
        if self.waypoints is None:
            ways = planned(world, agents, seed, clearance_m=self.clearance_m)
            return [smooth(points, self.scans) for points in ways]
        given = _given(self.waypoints)
        if len(given) != agents:
            raise ValueError(
                f"there are waypoints for {counted(len(given), 'agent')}, expected {agents}; give "
                "each agent its own, or say how many agents there are"
            )
        loops = (self._loop(world, agent, points) for agent, points in enumerate(given))
        return [smooth(points, self.scans) for points in loops]

    def _loop(self, world: World, agent: int, given: NDArray[np.float64]) -> NDArray[np.float64]:
        """The waypoints of a way that stays on free ground."""
        points = given * np.array(self.waypoints_scale)
        check_free(world, points, f"agent {agent}'s waypoint")
        if self.ways == "spline":
            check_way(world, points, f"agent {agent}'s way")
            return points
        try:
            return through(world, points, self.clearance_m)
        except ValueError as error:
            raise ValueError(f"agent {agent}: {error}") from error


def kind_of(plan: str | Path | World, log: Path | None) -> str:
    """Of what the ground is made."""
    if log is not None:
        return LOGS if log.is_dir() else LOG
    if isinstance(plan, World):
        return WORLD
    if plan == BUILT_IN:
        return ROOMS
    return ROS_MAP if Path(plan).suffix in (".yaml", ".yml") else IMAGE


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


def _lost(name: str, value: Any, kind: str) -> str:
    families = {PLANS: "a plan", ANY_LOG: "a log"}
    takers = families.get(TAKEN_BY[name], " and ".join(TAKEN_BY[name]))
    return f"{name} is {value!r}, which is for {takers}, not for {kind}; leave it out"


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
            f"waypoints is {short(waypoints)}, expected a folder, or for each agent an "
            "array (k, 2) of x and y in metres"
        )
    return given


def _pair(scale: Any) -> tuple[float, float]:
    """What x and y are multiplied by."""
    numbers = list(scale) if is_list(scale) else [scale]
    if len(numbers) != 2 or not all(is_number(n) and n for n in numbers):
        raise ValueError(
            f"waypoints_scale is {scale!r}, expected two finite numbers other than 0, for x and y, "
            "as [10.0, -10.0]"
        )
    return float(numbers[0]), float(numbers[1])
