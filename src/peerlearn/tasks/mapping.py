"""Agents that drive through a building and map it together (DiNNO, Section V-B)."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy

from ..data.drift import require_count
from ..data.drives import Drive
from ..data.sources import local
from ..learners.randomness import generator
from ..mapping import (
    Ground,
    Lidar,
    Scans,
    World,
    check_free,
    divide,
    floor_plan,
    from_image,
    from_ros,
    ground_of_scans,
    ground_of_world,
    held_out,
    load_waypoints,
    planned,
    read_log,
    smooth,
)  # fmt: skip
from ..mapping.world import require_positive
from .models import map_network
from .supervised import Task

BUILT_IN = "rooms"
CELLS = 160  # of the longer side of the grid that maps are judged on, unless said otherwise
SEEN = 1  # cells around those that a beam has crossed, which count as seen too
VALIDATION = 17  # the purpose of the random poses from which maps are validated


@dataclass(frozen=True, kw_only=True)
class MappingTask(Task):
    """A `Task` whose networks are maps: (x, y) in metres -> the probability of a wall.

    Args:
        ground: what maps are judged by.
        unseen: (agents, H, W) the cells that no beam of an agent's whole drive comes near.
        backdrop: what pictures show behind the maps; see `mapping`.
        judged: whose unseen cells a network is judged on: the agent's own; of the one network of
            pooled data, all agents'.
    """

    ground: Ground
    unseen: NDArray[np.bool_]
    backdrop: Mapping[str, Tensor]
    judged: Sequence[int] | None = None

    def judge(self, module: nn.Module, agent: int) -> Mapping[str, float]:
        """Walls found on the grid, and of those that the agent itself never saw."""
        wall = self._map(module) >= 0.5
        agents = [agent] if self.judged is None else self.judged
        unseen = [self.ground.scores(wall, self.unseen[a])["iou"] for a in agents]
        own = {f"wall_{name}": value for name, value in self.ground.scores(wall).items()}
        known = [iou for iou in unseen if not math.isnan(iou)]
        own["wall_iou_unseen"] = float(np.mean(known)) if known else math.nan
        return {**super().judge(module, agent), **own}

    def snapshot(self, module: nn.Module) -> dict[str, Tensor]:
        """The map (H, W) in 256 shades."""
        return {"map": torch.from_numpy(np.rint(255 * self._map(module)).astype(np.uint8))}

    def scene(self) -> dict[str, Tensor]:
        return dict(self.backdrop)

    def pooled(self, in_turn: bool = False) -> Task:
        return replace(super().pooled(in_turn), judged=range(self.agents))  # type: ignore[call-arg]

    def _map(self, module: nn.Module) -> NDArray[np.float64]:
        """(H, W) the probability of a wall in each cell."""
        like = next(module.parameters())
        places = torch.from_numpy(self.ground.places).to(like.device, like.dtype)
        with torch.no_grad():
            return module(places.flatten(0, 1)).cpu().double().numpy().reshape(places.shape[:2])


def mapping(
    agents: int = 7,
    plan: str | Path | World = BUILT_IN,
    metres_per_pixel: float = 0.05,
    walls: Literal["dark", "light"] = "dark",
    width_m: float = 24.0,
    height_m: float = 18.0,
    waypoints: str | Path | Sequence[NDArray[np.float64]] | None = None,
    log: str | Path | None = None,
    divided: Literal["time", "area"] = "time",
    every: int = 10,
    scans: int = 600,
    beams: int = 20,
    range_m: float | None = None,
    samples: int = 25,
    window: int | None = None,
    scans_per_round: float = 2.0,
    validation: int = 100,
    cell_m: float | None = None,
    features: int = 256,
    hidden: Sequence[int] = (64, 64, 64),
    scale: float = 3.0,
    batch_size: int | Sequence[int] = 1000,
    seed: int = 0,
    **options: Any,
) -> Task:
    """Agents map a building: each drives, scans, and learns walls from its latest scans.

    Either the lidar is simulated in a floor plan, through which the agents drive on closed loops;
    or the scans are those of a real robot, whose drive is divided among the agents. The graph
    "proximity" is that of the agents' positions in each round.

    Args:
        agents: how many drive.
        plan: "rooms", drawn by the library; a `peerlearn.mapping.World`; an image of a floor plan,
            or a ROS map (.yaml), by path, also below PEERLEARN_DATA.
        metres_per_pixel: of the plan; of a ROS map its own resolution is taken.
        walls: whether the walls of the image are its dark or its light pixels.
        width_m, height_m: of the plan "rooms".
        waypoints: (k, 2) arrays in metres from the middle of the plan, x to the right and y up,
            one per agent; or the folder of their files (.npy, .csv), taken in the order of their
            names. By default the agents' loops are planned.
        log: a log of lidar scans, CARMEN's or a table, by path; then there is no plan, and what
            is said of one and of ways through it does not matter.
        divided: the log's drive among the agents, by "time" or by "area".
        every: of the log, one scan of so many is held out for validation.
        scans: how many an agent makes on its loop.
        beams, range_m: of the lidar, all around it, 5 metres by default. Of a log, readings from
            there on make the ground up to there free; without it a beam that hit nothing tells
            nothing.
        samples: points that are learned from, along each beam.
        window: how many of its latest scans an agent learns from; None for all so far.
        scans_per_round: how many it makes in a round.
        validation: from so many random poses scans are simulated that the maps are validated on.
        cell_m: side of the cells on which walls are compared, by their centres: best no more than
            walls are thick. By default the plan has 160 cells along its longer side.
        features, hidden, scale: of the network; see `peerlearn.tasks.models.map_network`.
        batch_size: how many points an agent learns from at a time: for all, or one per agent.
        seed: of the plan, the loops and the poses of validation.
        options: further arguments of `peerlearn.Task`.

    Source: Yu, Vincent and Schwager, "DiNNO: Distributed Neural Network Optimization for
    Multi-Robot Collaborative Learning", RA-L 2022, Section V-B.
    """
    widths = [("features", features), *(("each of hidden", h) for h in hidden)]
    for name, value in (("agents", agents), ("samples", samples), *widths):
        require_count(name, value)
    require_count("scans", scans, least=2)
    require_positive("scale", scale)
    drive_settings = {"samples": samples, "window": window, "scans_per_round": scans_per_round}
    if log is not None and (plan != BUILT_IN or waypoints is not None):
        given = "plan" if plan != BUILT_IN else "waypoints"
        raise ValueError(f"got a log and {given}; a log has its own ground and ways: leave one out")
    if log is not None:
        found = _from_log(_file(log), agents, divided, every, range_m, cell_m, seed)
        where: dict[str, Any] = {"log": Path(log).name, "divided": divided, "every": every}
    else:
        world = _world(plan, metres_per_pixel, walls, width_m, height_m, seed)
        lidar = Lidar(beams, 5.0 if range_m is None else range_m)
        loops = _loops(waypoints, world, agents, scans, seed)
        found = _simulated(world, lidar, loops, validation, cell_m, seed)
        where = {"plan": world.name, "beams": beams, "range_m": lidar.range_m}
    drive = Drive(
        [s.poses for s in found.scans], lambda agent: found.scans[agent].points(samples),
        window, scans_per_round, closed=log is None, source=found.source,
    )  # fmt: skip
    checked = found.validation.points(samples)
    test = (torch.from_numpy(checked.places).float(), torch.from_numpy(checked.walls).float())
    network = {"features": features, "hidden": [int(h) for h in hidden], "scale": float(scale)}
    return MappingTask(
        model=partial(map_network, features, tuple(hidden), scale),
        loss=binary_cross_entropy, data=drive, test=test, batch_size=batch_size, name="mapping",
        details={
            **where, **drive_settings, "cell_m": round(found.ground.cell_m, 9), "seed": seed,
            **network,
        },
        ground=found.ground, unseen=found.unseen, backdrop=found.backdrop(), **options,
    )  # fmt: skip


@dataclass(frozen=True)
class _Found:
    """What is driven, and by what it is judged."""

    ground: Ground
    scans: Sequence[Scans]
    validation: Scans
    source: Sequence[NDArray[Any]]

    @property
    def unseen(self) -> NDArray[np.bool_]:
        crossed = [self.ground.crossed(s) for s in self.scans]
        return ~np.stack([binary_dilation(c, iterations=SEEN) for c in crossed])

    def backdrop(self) -> dict[str, Tensor]:
        """The ground, the agents' ways, and a scan of each."""
        longest = max(map(len, self.scans))
        ways = np.full((len(self.scans), longest, 2), np.nan)
        for way, scans in zip(ways, self.scans, strict=True):
            way[: len(scans)] = scans.poses[:, :2]
        first = [s.poses[0, :2] + np.zeros((1, 2)) for s in self.scans]
        ends = [np.concatenate([f, s[:1].hits]) for f, s in zip(first, self.scans, strict=True)]
        beams = np.full((len(ends), max(map(len, ends)), 2), np.nan)
        for beam, end in zip(beams, ends, strict=True):
            beam[: len(end)] = end
        return {
            "extent": torch.tensor(self.ground.extent, dtype=torch.float64),
            "wall": torch.from_numpy(self.ground.wall),
            "known": torch.from_numpy(self.ground.known),
            "ways": torch.from_numpy(ways),
            "scan": torch.from_numpy(beams),
        }


def _world(
    plan: str | Path | World, metres_per_pixel: float, walls: Any, width_m: float, height_m: float,
    seed: int,
) -> World:  # fmt: skip
    if isinstance(plan, World):
        return plan
    if plan == BUILT_IN:
        return floor_plan(width_m, height_m, seed=seed, metres_per_pixel=metres_per_pixel)
    path = _file(plan)
    if path.suffix in (".yaml", ".yml"):
        return from_ros(path)
    return from_image(path, metres_per_pixel, walls=walls)


def _file(name: str | Path) -> Path:
    """A file by its path, or else below PEERLEARN_DATA."""
    return Path(name) if Path(name).exists() else local(str(name), f"{name}")


def _loops(
    waypoints: str | Path | Sequence[NDArray[np.float64]] | None,
    world: World,
    agents: int,
    scans: int,
    seed: int,
) -> list[NDArray[np.float64]]:
    """(scans, 3) poses of each agent."""
    if waypoints is None:
        given = list(planned(world, agents, seed))
    elif isinstance(waypoints, str | Path):
        found = (p for p in Path(waypoints).glob("*") if p.suffix in (".npy", ".csv"))
        files = sorted(found, key=_natural)
        if not files:
            raise ValueError(
                f"{waypoints} is no folder with files of waypoints (.npy, .csv); give it one for "
                "each agent"
            )
        given = [load_waypoints(p) for p in files]
    else:
        given = [np.asarray(w, float) for w in waypoints]
    if len(given) != agents:
        raise ValueError(
            f"there are waypoints for {len(given)} agents, expected {agents}; give each agent its "
            "own, or say how many agents there are"
        )
    for agent, points in enumerate(given):
        check_free(world, points, f"agent {agent}'s waypoint")
    loops = [smooth(points, scans) for points in given]
    for agent, poses in enumerate(loops):
        check_free(world, poses, f"agent {agent}'s pose")
    return loops


def _natural(path: Path) -> list[tuple[int, str]]:
    """By which 2.npy comes before 10.npy."""
    parts = re.split(r"(\d+)", path.name)
    return [(int(p), "") if p.isdigit() else (-1, p) for p in parts]


def _simulated(
    world: World, lidar: Lidar, loops: Sequence[NDArray[np.float64]], validation: int,
    cell_m: float | None, seed: int,
) -> _Found:  # fmt: skip
    require_count("validation", validation)
    poses = world.free_poses(validation, generator(seed, VALIDATION))
    return _Found(
        ground=ground_of_world(world, _cell(cell_m, max(world.width, world.height))),
        scans=[lidar.scan(world, loop) for loop in loops],
        validation=lidar.scan(world, poses),
        source=[np.packbits(world.walls), np.array([world.metres_per_pixel])],
    )


def _from_log(
    path: Path, agents: int, divided: Any, every: int, range_m: float | None,
    cell_m: float | None, seed: int,
) -> _Found:  # fmt: skip
    require_count("every", every, least=2)
    log = read_log(path, range_m)
    if log.skipped:
        warnings.warn(f"{path}: {log.note}", stacklevel=3)
    scans = log.scans
    if range_m is None:  # whoever sees so far looks out of windows and past its own limits
        scans = replace(scans, ranges=np.where(np.isinf(scans.ranges), np.nan, scans.ranges))
    scans = scans[np.flatnonzero(~np.isnan(scans.ranges).all(axis=1))]
    hits = scans.hits
    side = float(np.ptp(hits, axis=0).max()) if len(hits) else 0.0
    if side == 0:
        raise ValueError(f"{path} has no beams that hit anything at two places; nothing to map")
    own, rest = held_out(len(scans), every)
    learned, validation = scans[own], scans[rest]
    extent = [*np.stack([hits.min(axis=0), hits.max(axis=0)]).T.ravel()]
    parts = divide(learned.poses, agents, divided, seed)
    return _Found(
        ground=ground_of_scans(validation, _cell(cell_m, side), extent),
        scans=[learned[part] for part in parts],
        validation=validation,
        source=[scans.ranges, scans.poses],
    )


def _cell(cell_m: float | None, side_m: float) -> float:
    """The side of a cell, by default so that the longer side has `CELLS`."""
    return side_m / CELLS if cell_m is None else cell_m
