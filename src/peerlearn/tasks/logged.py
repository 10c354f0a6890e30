"""What real robots have scanned: one drive divided among agents, or each agent's own log."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..mapping import Log, Scans, divide, ground_of_scans, held_out, joined, read_log
from ..values import require_count
from .scanned import CELLS, Scanned, natural

FEWEST = 4  # cells along the longest beam, or maps would show nothing of what it saw


def of_log(
    path: Path, agents: int, divided: Any, every: int, range_m: float | None,
    cell_m: float | None, seed: int,
) -> Scanned:  # fmt: skip
    """Of a log, or of each agent's own in a folder; one scan of so many validates maps.

    Args:
        path: of the file, or of the folder.
        agents: how many.
        divided: how one log's drive is divided among them.
        every: of how many scans one is held out.
        range_m: what is farther is only known to be free up to there.
        cell_m: the side of the ground's cells; None for 160 along its longer side.
        seed: of the division.
    """
    require_count("every", every, least=2)
    logs = _read(path, agents, range_m)
    scans = joined([log.scans for log in logs])
    owners = np.repeat(np.arange(len(logs)), [len(log) for log in logs])
    if range_m is None:  # whoever sees so far looks out of windows and past its own limits
        scans = replace(scans, ranges=np.where(np.isinf(scans.ranges), np.nan, scans.ranges))
    telling = np.flatnonzero(~np.isnan(scans.ranges).all(axis=1))
    scans, owners = scans[telling], owners[telling]
    hits = scans.hits
    side = float(np.ptp(hits, axis=0).max()) if len(hits) else 0.0
    if side == 0:
        raise ValueError(f"{path} has no beams that hit anything at two places; nothing to map")
    own, rest = held_out(len(scans), every)
    learned, validation = scans[own], scans[rest]
    if path.is_dir():
        parts = [np.flatnonzero(owners[own] == agent) for agent in range(agents)]
        _require_scans(path, parts)
    else:
        parts = divide(learned.poses, agents, divided, seed)
    extent = [*np.stack([hits.min(axis=0), hits.max(axis=0)]).T.ravel()]
    cell = side / CELLS if cell_m is None else cell_m
    if cell_m is None:
        _warn_of_distance(path, side, cell, scans.reach)
    return Scanned(
        ground=ground_of_scans(validation, cell, extent),
        scans=[learned[part] for part in parts],
        validation=validation,
        source=[scans.ranges, scans.poses],
        raw=ground_of_scans(scans, cell, extent),
        skipped=sum(len(log.skipped) for log in logs),
    )


def _read(path: Path, agents: int, range_m: float | None) -> list[Log]:
    """The log, or those of the folder in the order of their names; what is odd is told."""
    files = _files(path) if path.is_dir() else [path]
    if path.is_dir() and len(files) != agents:
        raise ValueError(
            f"agents is {agents}, but {path} holds {len(files)} logs; expected one for each agent"
        )
    logs = [read_log(file, range_m) for file in files]
    for file, log in zip(files, logs, strict=True):
        if log.skipped:
            warnings.warn(f"{file}: {log.note}", stacklevel=5)
        _warn_of_degrees(file, log.scans)
        if not log.scans.same_beams(logs[0].scans):
            raise ValueError(
                f"{file} is of another lidar than {files[0]}: its beams have other angles; "
                "expected the same lidar on all robots"
            )
    return logs


def _files(folder: Path) -> list[Path]:
    return sorted(
        (p for p in folder.iterdir() if p.is_file() and not p.name.startswith(".")), key=natural
    )


def _require_scans(folder: Path, parts: list[NDArray[np.int64]]) -> None:
    for file, part in zip(_files(folder), parts, strict=True):
        if not len(part):
            raise ValueError(
                f"{file} has no scan that an agent could learn from, held out ones apart; expected "
                "one at least"
            )


def _warn_of_degrees(path: Path, scans: Scans) -> None:
    headings = np.abs(scans.poses[:, 2])
    if np.median(headings) > 2 * math.pi:
        warnings.warn(
            f"{path}: most headings are beyond 2 pi, up to {headings.max():.4g}, and are taken for "
            "radians; convert them if they are degrees",
            stacklevel=6,
        )


def _warn_of_distance(path: Path, side: float, cell: float, reach: float) -> None:
    if cell > reach / FEWEST:
        warnings.warn(
            f"{path}: hits lie up to {side:.4g} m apart, so cells are {cell:.3g} m wide, where the "
            f"lidar sees no further than {reach:.3g} m; leave out scans whose pose is wrong, or "
            "say cell_m",
            stacklevel=5,
        )
