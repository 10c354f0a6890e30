"""Agents that drive through a building and map it together (DiNNO, Section V-B)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ..mapping import Ground, World
from ..values import MOST_AGENTS, is_list, require_count, require_positive
from .models import map_network
from .options import require_handed_on
from .supervised import Task
from .survey import BUILT_IN, Survey


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
    log: str | Path | None = None,
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
        log: a log of lidar scans, CARMEN's or a table, by path; or a folder with a log of each
            agent, in the order of their names and with poses in one frame. Then there is no plan,
            and nothing to be said of one and of ways through it.
        features, hidden, scale, rectified: of the network, as of
            `peerlearn.tasks.models.map_network`.
        batch_size: how many points an agent learns from at a time: for all, or one per agent.
        seed: of the plan, the loops, the poses of validation and the division of a log.
        options: further arguments of `peerlearn.tasks.Survey`, of the plan or log, the ways, the
            lidar and what is learned of its scans, and of `peerlearn.Task`.

    Raises:
        ValueError: a file that cannot be read, waypoints in walls, arguments that cannot be, or
            that say nothing of the plan or log that is given.

    Source: Yu, Vincent and Schwager, "DiNNO: Distributed Neural Network Optimization for
    Multi-Robot Collaborative Learning", RA-L 2022, Section V-B.
    """
    require_handed_on("mapping", options, mapping, Survey, Task)
    require_count("agents", agents, most=MOST_AGENTS)
    require_count("seed", seed, least=0)
    several = _each("batch_size", batch_size) if is_list(batch_size) else None
    sizes = several or {"batch_size": batch_size}
    for name, size in sizes.items():
        require_count(name, size)
    make, network = _network(features, hidden, scale, rectified)
    of_survey = {f.name for f in fields(Survey)} & {*options}
    survey = Survey(**{name: options.pop(name) for name in of_survey})
    found, where = survey.of(plan, log, agents, seed)
    checked = found.validation.points(survey.samples)
    test = (torch.from_numpy(checked.places).float(), torch.from_numpy(checked.walls).float())
    return MappingTask(
        model=make, loss=cross_entropy_of_walls, data=survey.drive(found, closed=log is None),
        test=test, batch_size=batch_size, name="mapping",
        details={
            **where, "samples": survey.samples, "window": survey.window,
            "scans_per_round": survey.scans_per_round, "cell_m": round(found.ground.cell_m, 9),
            "seed": seed, **network,
        },
        ground=found.ground, unseen=found.unseen, backdrop=found.backdrop(), **options,
    )  # fmt: skip


def _network(
    features: int, hidden: Sequence[int], scale: float, rectified: bool
) -> tuple[Callable[[], nn.Module], dict[str, Any]]:
    """What makes the network, and what the record says of it.

    Raises:
        ValueError: sizes that cannot be.
    """
    require_count("features", features)
    if not is_list(hidden):
        raise ValueError(f"hidden is {hidden!r}, expected a list of whole numbers, as [64, 64]")
    for name, width in _each("hidden", hidden).items():
        require_count(name, width)
    require_positive("scale", scale)
    if not isinstance(rectified, bool):
        raise ValueError(f"rectified is {rectified!r}, expected true or false")
    told = {
        "features": features, "hidden": [int(h) for h in hidden], "scale": float(scale),
        "rectified": rectified,
    }  # fmt: skip
    return partial(map_network, features, tuple(hidden), scale, rectified), told


def _each(name: str, values: Any) -> dict[str, Any]:
    """The entries of a list, named, to be checked."""
    return {f"entry {i} of {name}": value for i, value in enumerate(values)}
