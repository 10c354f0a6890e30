"""Real lidars: CARMEN logs and csv files of scans, and who of the agents gets which scans.

A CARMEN log is text, a message per line; two of its messages are scans, the others are passed over:

    FLASER n r_1 .. r_n x y heading odom_x odom_y odom_heading time host logger_time
    ROBOTLASER1 type start_angle field_of_view step maximum_range accuracy remission_mode
        n r_1 .. r_n m remission_1 .. remission_m laser_x laser_y laser_heading
        robot_x robot_y robot_heading tv rv forward side turn_axis time host logger_time

(the second one in one line, too). A csv file, known by ``.csv`` in its name, has a scan per line
under a header that names the angles of the beams, in degrees, counter-clockwise from the heading:

    x,y,heading,time,-90,0,90
    0.0,0.0,1.5708,12.5,1.02,inf,3.5

Positions and readings are in metres, headings in radians, times in seconds; ``inf`` is nothing in
range, ``nan`` or an empty field a broken reading. CARMEN's logs do not tell the two apart.
"""

from __future__ import annotations

import gzip
import math
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..values import is_positive, is_whole, require_known
from ..words import first_few
from .scans import Floats, Scans, same_angles

Numbers = NDArray[np.int64]

CSV_COLUMNS = ["x", "y", "heading", "time"]
FLASER_RANGE_M = 81.83  # what CARMEN writes where its lidar saw nothing, or failed
SHOWN = 10
GZIP = b"\x1f\x8b"


@dataclass(frozen=True, eq=False)
class Log:
    """The scans of a log file, in its order.

    Args:
        scans: what the lidar saw from where.
        times: (n,) seconds.
        skipped: the numbers of the lines, from 1, that should have been scans but are broken.
    """

    scans: Scans
    times: Floats
    skipped: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.scans)

    @property
    def note(self) -> str:
        """What should be known about the reading of the file; empty if all went well."""
        count = len(self.skipped)
        noun = "broken line was" if count == 1 else "broken lines were"
        return f"{count} {noun} skipped: {first_few(self.skipped, SHOWN)}" if count else ""


class _Message(NamedTuple):
    pose: Floats  # x, y, heading
    time: float
    angles: Floats  # (beams,) radians
    ranges: Floats  # (beams,) metres, inf, nan
    range_m: float


def read_log(path: str | Path, range_m: float | None = None) -> Log:
    """The scans of a CARMEN log or a csv file, either as it is or compressed with gzip.

    Zero and negative readings are broken ones (nan), and so are those of a CARMEN log at or beyond
    the lidar's own range, which it also gives where a beam was lost on glass or at a slant: in the
    Intel lab's log nine of ten of them point through walls. A line that is no whole scan is skipped
    and told in the log's ``note``.

    Args:
        path: the file; read line by line.
        range_m: readings from there on count as nothing in range (inf). It is no more than
            ROBOTLASER1 says, or 81.83 for FLASER, which are taken without it; of csv the largest
            reading.

    Raises:
        ValueError: the file cannot be read, has no scan, or its scans have different beams.
    """
    if range_m is not None and not is_positive(range_m):
        raise ValueError(f"range_m is {range_m!r}, expected a positive number of metres")
    messages: list[_Message] = []
    skipped: list[int] = []
    others: Counter[str] = Counter()
    try:
        for line, found in _messages(path, others):
            if found is None:
                skipped.append(line)
                continue
            _require_same_beams(path, line, found.angles, (messages or [found])[0].angles)
            messages.append(found)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"cannot read {path} ({error}); expected a log of lidar scans") from error
    if not messages:
        raise ValueError(_empty(path, skipped, others))
    ranges = np.stack([m.ranges for m in messages])
    sees = max(m.range_m for m in messages)  # inf where the file does not tell
    limit = min(sees, range_m or (sees if sees < math.inf else _largest(path, ranges)))
    if range_m:
        ranges[ranges >= limit] = np.inf
    poses, times = np.stack([m.pose for m in messages]), np.array([m.time for m in messages])
    return Log(Scans(poses, messages[0].angles, ranges, limit), times, skipped)


def divide(log: Log | Floats, agents: int, how: str = "time", seed: int = 0) -> list[Numbers]:
    """Which scans each agent has: ascending numbers, every scan exactly once, nobody without.

    Args:
        log: the log, or (n, 2) or (n, 3) the poses of its scans.
        agents: how many.
        how: "time": equal parts of the drive, one after another; "area": each a part of the
            ground (k-means of the positions), numbered in the order in which they are reached.
        seed: of k-means.

    Raises:
        ValueError: there are fewer scans, or positions of them, than agents.
    """
    positions = (log.scans.poses if isinstance(log, Log) else np.asarray(log))[:, :2]
    require_known("way to divide a log", how, ("time", "area"))
    given = positions if how == "time" else np.unique(positions, axis=0)
    if not is_whole(agents, 1, len(given)):
        what = "scans" if how == "time" else "different positions"
        raise ValueError(
            f"agents is {agents!r}, expected a whole number from 1 to {len(given)}: each needs a "
            f"scan, and there are {len(given)} {what} to learn from"
        )
    if how == "time":
        return [np.asarray(part) for part in np.array_split(np.arange(len(positions)), agents)]
    from sklearn.cluster import KMeans  # here, because it takes a second

    labels = KMeans(agents, n_init=10, random_state=seed).fit_predict(positions)
    return sorted((np.flatnonzero(labels == k) for k in range(agents)), key=lambda part: part[0])


def held_out(n: int, every: int = 10) -> tuple[Numbers, Numbers]:
    """The numbers of n scans to train with, and of every ``every``-th one, to test with.

    Raises:
        ValueError: none would be left for one of the two.
    """
    if not is_whole(every, 2, n):
        raise ValueError(
            f"every is {every!r}, expected a whole number from 2 to {n}, the number of scans, so "
            "that some are left to train with and some to test with"
        )
    numbers = np.arange(n)
    tested = numbers % every == every - 1
    return numbers[~tested], numbers[tested]


def _messages(path: str | Path, others: Counter[str]) -> Iterator[tuple[int, _Message | None]]:
    """The number of each line that should be a scan, and the scan; None where it is broken."""
    with _opened(path) as lines:
        numbered = enumerate(lines, start=1)
        if _is_csv(path):
            angles = _csv_angles(path, next(numbered, (1, ""))[1])
            for number, line in numbered:
                if line.strip():
                    yield number, _whole(_csv, line.split(","), angles)
            return
        for number, line in numbered:
            words = line.split()
            if words and words[0] in _READERS:
                yield number, _whole(_READERS[words[0]], words)
            elif words and not words[0].startswith("#"):
                others[words[0][:20]] += 1


def _is_csv(path: str | Path) -> bool:
    return ".csv" in Path(str(path).lower()).suffixes


def _opened(path: str | Path) -> Any:
    """The file as text; its first bytes tell whether it is compressed."""
    with open(path, "rb") as file:
        compressed = file.read(len(GZIP)) == GZIP
    opener: Callable[..., Any] = gzip.open if compressed else open
    return opener(path, "rt", encoding="utf-8-sig", errors="replace")


def _whole(read: Callable[..., _Message], *given: Any) -> _Message | None:
    """The message, or None where the line is cut, has a word for a number or no finite pose."""
    try:
        message = read(*given)
    except (ValueError, IndexError):
        return None
    told = [*message.pose, message.time, *message.angles]
    return message if np.isfinite(told).all() else None


def _flaser(words: list[str]) -> _Message:
    count = int(words[1])
    after = words[2 + count :]
    if count < 2 or len(after) > 9:  # fewer words: old logs end with the time or the host
        raise ValueError
    step = math.pi / (count // 2 * 2)  # 180 and 181 beams: 1 degree, from the right
    angles = -math.pi / 2 + step * np.arange(count, dtype=np.float64)
    readings = _floats(words[2 : 2 + count])
    return _Message(
        _floats(after[:3]), float(after[6]), angles, _seen(readings, FLASER_RANGE_M), FLASER_RANGE_M
    )


def _robotlaser(words: list[str]) -> _Message:
    start, _, step, range_m = _floats(words[2:6])
    count = int(words[8])
    remissions = int(words[9 + count])
    after = words[10 + count + remissions :]
    if not (count > 0 and range_m > 0 and remissions >= 0 and len(after) == 14):
        raise ValueError
    readings = _floats(words[9 : 9 + count])
    angles = start + step * np.arange(count, dtype=np.float64)
    return _Message(_floats(after[:3]), float(after[11]), angles, _seen(readings, range_m), range_m)


_READERS: dict[str, Callable[[list[str]], _Message]] = {
    "FLASER": _flaser, "ROBOTLASER1": _robotlaser,
}  # fmt: skip


def _csv(words: list[str], angles: Floats) -> _Message:
    numbers = _floats([word.strip() or "nan" for word in words])
    if len(numbers) != 4 + len(angles):
        raise ValueError
    ranges = np.where(numbers[4:] > 0, numbers[4:], np.nan)
    return _Message(numbers[:3], numbers[3], angles, ranges, math.inf)


def _csv_angles(path: str | Path, header: str) -> Floats:
    """(beams,) radians."""
    names = [name.strip() for name in header.split(",")]
    try:
        angles = _floats(names[4:])
    except ValueError:
        angles = np.empty(0)
    if names[:4] != CSV_COLUMNS or not len(angles) or not np.isfinite(angles).all():
        raise ValueError(
            f"{path} begins with {header.strip()[:60]!r}, expected the names of the columns: "
            "x,y,heading,time and then the angle of each beam in degrees"
        )
    return np.deg2rad(angles)


def _floats(words: list[str]) -> Floats:
    return np.array(words, dtype=np.float64)


def _largest(path: str | Path, ranges: Floats) -> float:
    """The largest finite reading."""
    largest = float(ranges[np.isfinite(ranges)].max(initial=0))
    if largest <= 0:
        raise ValueError(f"{path} has no finite reading; say how far the lidar sees by range_m")
    return largest


def _seen(readings: Floats, range_m: float) -> Floats:
    """Readings of zero or less are broken, and those that are the lidar's limit may be."""
    return np.where((readings > 0) & (readings < range_m), readings, np.nan)


def _require_same_beams(path: str | Path, line: int, angles: Floats, before: Floats) -> None:
    if same_angles(angles, before):
        return
    got, expected = (
        f"{len(a)} beams from {np.rad2deg(a[0]):.4g} to {np.rad2deg(a[-1]):.4g} degrees"
        for a in (angles, before)
    )
    raise ValueError(
        f"{path} line {line} has {got}, but the scans before it have {expected}; expected the "
        "scans of one lidar: leave those of the other out of the file"
    )


def _empty(path: str | Path, skipped: list[int], others: Counter[str]) -> str:
    if skipped:
        lines = first_few(skipped, SHOWN)
        return f"{path} has no whole scan: all that should be are broken, lines {lines}"
    if _is_csv(path):
        return f"{path} has no scan; expected a line of numbers for each, under its heading"
    shown = [(_printable(name), count) for name, count in others.most_common(SHOWN)]
    found = ", ".join(f"{name} ({count})" for name, count in shown) or "nothing"
    return f"{path} has no scan; expected messages FLASER or ROBOTLASER1, found {found}"


def _printable(word: str) -> str:
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in word)
