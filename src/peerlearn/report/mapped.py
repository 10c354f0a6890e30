"""Which buildings the runs of a folder have mapped, and the maps that they have kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from .. import snapshots
from ..record import Record
from .groups import grouped
from .measures import talks
from .pictures import file_name, kept_rounds

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class MappedRun:
    """A run that has kept maps.

    Attributes:
        scene: what lies behind them; see `peerlearn.tasks.mapping`.
        rounds: after which there is one, ascending.
    """

    record: Record
    scene: Arrays
    rounds: list[int]

    def at(self, round: int) -> Arrays:
        """What was kept after a round."""
        assert self.record.folder is not None
        return _arrays(snapshots.load(self.record.folder, round))

    @property
    def last(self) -> Arrays:
        return self.at(self.rounds[-1])

    @property
    def networks(self) -> int:
        return len(self.last["map"])

    def iou(self, round: int) -> NDArray[np.float64]:
        """(A,) of the walls of each network's map; empty where it was not measured."""
        values = self.record.history.get("wall_iou")
        return np.zeros(0) if values is None else values[self.record.rounds == round][0]


class Building(NamedTuple):
    """What was mapped, and who mapped it.

    Attributes:
        scene: what lies behind the maps.
        runs: one of each method, by label.
        number: from 1, the building's own.
    """

    scene: Arrays
    runs: dict[str, MappedRun]
    number: int

    def name(self, picture: str, number: int = 1) -> str:
        """Of a picture's file, the number-th of its kind."""
        return file_name(picture, self.number, number)

    @property
    def watched(self) -> tuple[str, MappedRun]:
        """Whose map is watched while it grows: the first method's that talks, if one does."""
        return min(self.runs.items(), key=lambda item: not talks(item[1].record))


def buildings(records: Sequence[Record]) -> list[Building]:
    """Of each method the first seed that has kept maps, by what was mapped."""
    found: dict[bytes, Building] = {}
    for label, group in grouped(records).items():
        runs = map(_mapped, sorted(group, key=lambda record: record.seed))
        run = next(filter(None, runs), None)
        if run is not None:
            key = run.scene["extent"].tobytes() + run.scene["wall"].tobytes()
            building = found.setdefault(key, Building(run.scene, {}, len(found) + 1))
            building.runs[label] = run
    return list(found.values())


def _mapped(record: Record) -> MappedRun | None:
    """None where it has kept no maps."""
    kept = kept_rounds(record)
    if record.folder is None or not kept:
        return None
    run = MappedRun(record, _arrays(snapshots.scene(record.folder)), kept)
    return run if "wall" in run.scene and "map" in run.last else None


def _arrays(tensors: Mapping[str, Tensor]) -> Arrays:
    return {name: tensor.numpy() for name, tensor in tensors.items()}
