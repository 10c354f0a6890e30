"""Agents that drive through a building and map it together (DiNNO, Section V-B)."""

from __future__ import annotations

import inspect
import math
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import NoneType
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ..data.drives import Drive
from ..mapping import Ground, Lidar, World
from ..values import MOST_AGENTS, is_number, require_count, require_positive
from . import scanned
from .logged import of_log
from .models import map_network
from .options import require_handed_on
from .scanned import BUILT_IN, Waypoints, Ways
from .supervised import Task


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
        unseen = [self.ground.scores(wall, self.unseen[a]) for a in agents]
        own = {f"wall_{name}": value for name, value in self.ground.scores(wall).items()}
        for name in unseen[0]:
            known = [scores[name] for scores in unseen if not math.isnan(scores[name])]
            own[f"wall_{name}_unseen"] = float(np.mean(known)) if known else math.nan
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


def cross_entropy_of_walls(outputs: Tensor, targets: Tensor) -> Tensor:
    """Binary cross entropy; NaN where an output is, which torch's own refuses to take.

    So a run that diverges ends as that of any other task does, and says so.
    """
    known = outputs.nan_to_num(0.5)
    unknown = (outputs - known).detach().sum()  # zero, or NaN
    return functional.binary_cross_entropy(known, targets) + unknown


def mapping(
    agents: int = 7,
    plan: str | Path | World = BUILT_IN,
    metres_per_pixel: float = 0.05,
    walls: Literal["dark", "light"] = "dark",
    threshold: float = 0.5,
    border: int = 0,
    outside: Literal["free", "wall"] = "free",
    width_m: float = 24.0,
    height_m: float = 18.0,
    waypoints: Waypoints | None = None,
    waypoints_scale: Sequence[float] = (1.0, 1.0),
    ways: Literal["spline", "planned"] = "spline",
    clearance_m: float = 0.3,
    log: str | Path | None = None,
    divided: Literal["time", "area"] = "time",
    every: int = 10,
    scans: int = 600,
    beams: int = 20,
    range_m: float | None = None,
    field_of_view_deg: float = 360.0,
    samples: int = 25,
    window: int | None = None,
    scans_per_round: float = 2.0,
    validation: int = 100,
    cell_m: float | None = None,
    features: int = 256,
    hidden: Sequence[int] = (64, 64, 64),
    scale: float = 3.0,
    rectified: bool = False,
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
        log: a log of lidar scans, CARMEN's or a table, by path; or a folder with a log of each
            agent, in the order of their names and with poses in one frame. Then there is no plan,
            and nothing to be said of one and of ways through it.
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
        features, hidden, scale, rectified: of the network, as of
            `peerlearn.tasks.models.map_network`.
        batch_size: how many points an agent learns from at a time: for all, or one per agent.
        seed: of the plan, the loops, the poses of validation and the division of a log.
        options: further arguments of `peerlearn.Task`.

    Raises:
        ValueError: a file that cannot be read, waypoints in walls, arguments that cannot be, or
            that say nothing of the plan or log that is given.

    Source: Yu, Vincent and Schwager, "DiNNO: Distributed Neural Network Optimization for
    Multi-Robot Collaborative Learning", RA-L 2022, Section V-B.
    """
    require_handed_on("mapping", options, mapping, Task)
    require_count("agents", agents, most=MOST_AGENTS)
    counts = {
        "beams": beams, "samples": samples, "validation": validation,
        "features": features, **_each("hidden", hidden),
        **(_each("batch_size", batch_size) if _is_list(batch_size) else {"batch_size": batch_size}),
    }  # fmt: skip
    for name, count in counts.items():
        require_count(name, count)
    require_count("scans", scans, least=2)
    require_count("seed", seed, least=0)
    lengths = {
        "metres_per_pixel": metres_per_pixel, "width_m": width_m, "height_m": height_m,
        "scans_per_round": scans_per_round, "scale": scale,
        "clearance_m": clearance_m,
        **{n: v for n, v in (("range_m", range_m), ("cell_m", cell_m)) if v is not None},
    }  # fmt: skip
    for name, length in lengths.items():
        require_positive(name, length)
    if not isinstance(rectified, bool):
        raise ValueError(f"rectified is {rectified!r}, expected true or false")
    _check_sources(plan, waypoints, log)
    if ways not in ("spline", "planned"):
        raise ValueError(f"ways is {ways!r}, expected 'spline' or 'planned'")
    factors = _pair(waypoints_scale)
    said = {
        "metres_per_pixel": metres_per_pixel, "walls": walls, "threshold": threshold,
        "width_m": width_m, "height_m": height_m, "border": border, "outside": outside,
        "waypoints_scale": factors, "ways": ways, "clearance_m": clearance_m, "scans": scans,
        "beams": beams, "field_of_view_deg": field_of_view_deg, "validation": validation,
        "divided": divided, "every": every,
    }  # fmt: skip
    path = None if log is None else scanned.file(log)
    kind = scanned.kind_of(plan, path)
    settings = scanned.taken(said, _chosen(said), kind, waypoints is not None)
    if path is not None:
        found = of_log(path, agents, divided, every, range_m, cell_m, seed)
        where: dict[str, Any] = {
            "log": path.name, "broken_lines": found.skipped, **settings, "range_m": range_m,
        }  # fmt: skip
    else:
        whole = scanned.world_of(plan, kind, settings, seed)
        world = whole.trimmed(border, outside)
        lidar = Lidar(beams, 5.0 if range_m is None else range_m, field_of_view_deg)
        loops = Ways(waypoints, factors, ways, clearance_m).loops(world, agents, scans, seed)
        found = scanned.of_plan(world, lidar, loops, validation, cell_m, seed)
        where = {
            "plan": world.name, **settings, "waypoints": _source(waypoints),
            "range_m": lidar.range_m,
        }  # fmt: skip
    drive_settings = {"samples": samples, "window": window, "scans_per_round": scans_per_round}
    drive = Drive(
        [s.poses for s in found.scans], lambda agent: found.scans[agent].points(samples),
        window, scans_per_round, closed=log is None, source=found.source,
    )  # fmt: skip
    checked = found.validation.points(samples)
    test = (torch.from_numpy(checked.places).float(), torch.from_numpy(checked.walls).float())
    network = {
        "features": features, "hidden": [int(h) for h in hidden], "scale": float(scale),
        "rectified": rectified,
    }  # fmt: skip
    return MappingTask(
        model=partial(map_network, features, tuple(hidden), scale, rectified),
        loss=cross_entropy_of_walls, data=drive, test=test, batch_size=batch_size, name="mapping",
        details={
            **where, **drive_settings, "cell_m": round(found.ground.cell_m, 9), "seed": seed,
            **network,
        },
        ground=found.ground, unseen=found.unseen, backdrop=found.backdrop(), **options,
    )  # fmt: skip


def _chosen(settings: Mapping[str, Any]) -> list[str]:
    """Those that are not as they are by default."""
    default = inspect.signature(mapping).parameters
    return [name for name, value in settings.items() if value != default[name].default]


def _source(waypoints: Waypoints | None) -> str:
    """Where they come from, in a word."""
    if waypoints is None:
        return "planned"
    return Path(waypoints).name if isinstance(waypoints, str | Path) else "given"


def _pair(scale: Any) -> tuple[float, float]:
    """What x and y are multiplied by."""
    numbers = list(scale) if _is_list(scale) else [scale]
    if len(numbers) != 2 or not all(is_number(n) and n for n in numbers):
        raise ValueError(
            f"waypoints_scale is {scale!r}, expected two finite numbers other than 0, for x and y, "
            "as [10.0, -10.0]"
        )
    return float(numbers[0]), float(numbers[1])


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _each(name: str, values: Any) -> dict[str, Any]:
    """The entries of a list, named, to be checked."""
    if not _is_list(values):
        raise ValueError(f"{name} is {values!r}, expected a list of whole numbers, as [64, 64]")
    return {f"entry {i} of {name}": value for i, value in enumerate(values)}


def _check_sources(plan: Any, waypoints: Any, log: Any) -> None:
    """A plan, or a log, which has its own ground and ways."""
    kinds = (
        ("plan", plan, World, f"{BUILT_IN!r}, the path of an image or a ROS map, or a World"),
        ("log", log, NoneType, "the path of a log of scans, or None"),
    )
    for name, value, other, expected in kinds:
        if not isinstance(value, str | Path | other):
            raise ValueError(f"{name} is {reprlib.repr(value)}, expected {expected}")
    for name, given in (("plan", plan != BUILT_IN), ("waypoints", waypoints is not None)):
        if log is not None and given:
            raise ValueError(
                f"got a log and {name}; a log has its own ground and ways: leave one out"
            )
