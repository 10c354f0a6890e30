"""Which chases the runs of a folder have kept: roll-outs of pursuit that began alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import snapshots
from ..environments.pursuit import BORDER, EVADER, OBSTACLE, PURSUER
from ..record import Record
from .groups import grouped
from .pictures import file_name, kept_rounds

BODIES = {"obstacles": OBSTACLE, "pursuers": PURSUER, "evaders": EVADER}
MARGIN = 1.04  # around what a frame holds
OUTSIDE = 0.6  # of the field's side is shown beyond each of its edges, where somebody goes there

Places = dict[str, NDArray[np.float32]]
Corners = NDArray[np.floating]  # (2, 2): the lower left, the upper right


class Rollout(NamedTuple):
    """The last roll-out of a run.

    Attributes:
        record: of the run.
        round: after which it was played.
        places: name -> (T + 1, things, 2) of "pursuers", "evaders" and "obstacles".
    """

    record: Record
    round: int
    places: Places

    @property
    def steps(self) -> int:
        return len(self.places["pursuers"]) - 1

    @property
    def start(self) -> tuple[int, bytes]:
        """What roll-outs have in common that can be compared."""
        return self.steps, b"".join(self.places[name][0].tobytes() for name in BODIES)

    @property
    def first_touch(self) -> int | None:
        """The first step after which a pursuer touches an evader."""
        apart = self.places["pursuers"][1:, :, None] - self.places["evaders"][1:, None]
        touching = np.linalg.norm(apart, axis=-1) < PURSUER.radius + EVADER.radius
        steps = np.flatnonzero(touching.any(axis=(1, 2)))
        return int(steps[0]) + 1 if steps.size else None


class Chase(NamedTuple):
    """What methods have played from the same start.

    Attributes:
        rollouts: one of each method, by label.
        number: from 1, the chase's own.
    """

    rollouts: dict[str, Rollout]
    number: int

    def name(self, picture: str) -> str:
        """Of a picture's file."""
        return file_name(picture, self.number)

    @property
    def steps(self) -> int:
        return next(iter(self.rollouts.values())).steps

    @property
    def reached(self) -> Corners:
        """The corners around everything at all times."""
        boxes = np.stack([_box(r.places, slice(None)) for r in self.rollouts.values()])
        return np.stack([boxes[:, 0].min(axis=0), boxes[:, 1].max(axis=0)])

    @property
    def frame(self) -> Corners:
        """The square that holds all of it, unless somebody goes far out of the field."""
        first = next(iter(self.rollouts.values()))
        low, high = _box(first.places, slice(1))
        low, high = np.minimum(low, -BORDER), np.maximum(high, BORDER)
        spare = OUTSIDE * (high - low).max()
        shown = np.clip(self.reached, low - spare, high + spare)
        middle, half = shown.mean(axis=0), MARGIN * np.ptp(shown, axis=0).max() / 2
        return np.stack([middle - half, middle + half])

    @property
    def leaves_frame(self) -> bool:
        """Whether somebody goes farther out than is shown."""
        low, high = self.reached - self.frame
        return bool((low < 0).any() or (high > 0).any())


def chases(records: Sequence[Record]) -> list[Chase]:
    """One roll-out of each method, where possible from the start that most of them share."""
    starts: dict[Any, dict[str, Rollout]] = {}
    for label, group in grouped(records).items():
        for rollout in _kept(sorted(group, key=lambda record: record.seed)):
            starts.setdefault(rollout.start, {}).setdefault(label, rollout)
    found: list[Chase] = []
    drawn: set[str] = set()
    for rollouts in sorted(starts.values(), key=len, reverse=True):
        new = {label: r for label, r in rollouts.items() if label not in drawn}
        if new:
            found.append(Chase(new, len(found) + 1))
            drawn |= set(new)
    return found


def _kept(records: Sequence[Record]) -> Iterator[Rollout]:
    """The last roll-out of each run."""
    for record in records:
        kept = kept_rounds(record)
        if record.folder and kept:
            tensors = snapshots.load(record.folder, kept[-1])
            if tensors.keys() >= BODIES.keys():
                places = {name: tensors[name][0].numpy() for name in BODIES}
                yield Rollout(record, kept[-1], places)


def _box(places: Places, steps: slice) -> Corners:
    """The corners around all bodies in some steps; a body that is nowhere is in no box."""
    low, high = (
        [(places[name][steps] + side * body.radius).reshape(-1, 2) for name, body in BODIES.items()]
        for side in (-1, 1)
    )
    return np.stack([np.fmin.reduce(np.concatenate(low)), np.fmax.reduce(np.concatenate(high))])
