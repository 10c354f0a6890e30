"""What a round costs between processes: measured here, written into docs/performance.md.

python benchmarks/processes.py             everything: some fifteen minutes
python benchmarks/processes.py --quick     few repetitions, and the page stays as it is

Decent-DP is installed into .bench-venv if it is not there.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import NamedTuple

import torch
from growth import AGENTS_PER_PROCESS, DEGREES, WIDTHS, Growth, draw, slopes
from peers import FOLDER
from process_group import Case, Group
from run import row, rule, say, write

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"
PYTHON = FOLDER / "bin/python"
PEER = ("decent-dp", "numpy")  # it needs NumPy and does not say so
CASE: Case = {"network": "MNIST CNN", "agents": 4, "degree": 2}
TEAM: Case = {"network": "MNIST CNN", "agents": 100, "degree": 2}
BLOCKS = {
    "gradient": "a bare gradient",
    "floor": "bare: gradient, then messages",
    "floor, overlapped": "bare: messages during the gradient",
    "own": "DSGD, messages during the gradient",
    "no overlap": "DSGD, gradient, then messages",
    "mixed": "DSGD with gradient_at='mixed'",
    "in turn": "DSGD, one neighbor a round",
    "ddp": "DistributedDataParallel, SGD",
}
PEER_WORDS = "Decent-DP {}, SGD, one neighbor a round"
BOUNDS = {"own": 1.0, "no overlap": 1.15, "mixed": 1.15}  # over the floor
PAYLOAD_ROUNDS = (100, 600)
PAYLOAD_BOUND = 0.02

Times = dict[str, list[float]]


class Effort(NamedTuple):
    """How often what is measured.

    Attributes:
        repetitions: blocks of each kind, in turn.
        rounds: in a block of short rounds.
        long: in a block of long rounds.
    """

    repetitions: int
    rounds: int
    long: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="shorter, and the page stays")
    quick = parser.parse_args().quick
    effort = Effort(5, 20, 2) if quick else Effort(40, 25, 4)
    if not PYTHON.exists() or not _has_peer():
        install()
    parts = {"processes-machine": [machine()]}
    with Group("process_worker.py", 4) as team:
        parts["processes"] = floor_table(team, effort)
        parts["processes-payload"] = [payload_sentence(team)]
        say(*parts["processes"], *parts["processes-payload"])
    with Group("process_worker.py", 2) as pair:
        parts["processes-stacked"] = stacked_table(pair, effort)
        say(*parts["processes-stacked"])
        grown = {"agents": over_agents(pair, effort), "parameters": over_width(pair, effort)}
    with Group("process_worker.py", 8) as team:
        grown["neighbors"] = over_degree(team, effort)
    parts["processes-growth"] = slopes(grown)
    say(*parts["processes-growth"])
    if not quick:
        draw(grown, IMAGES)
        write(parts)


def install() -> None:
    """Decent-DP's environment, with our version of torch."""
    if not PYTHON.exists():
        subprocess.run([sys.executable, "-m", "venv", str(FOLDER)], check=True)
        (FOLDER / ".gitignore").write_text("*\n")
    pip = [str(PYTHON), "-m", "pip", "install", "--quiet"]
    torch_version = f"torch=={torch.__version__.partition('+')[0]}"
    subprocess.run([*pip, torch_version, *PEER], check=True)


def _has_peer() -> bool:
    found = subprocess.run([str(PYTHON), "-c", "import decent_dp.ddp, numpy"], capture_output=True)
    return found.returncode == 0


# --- measuring ----------------------------------------------------------------------------


def in_turn(blocks: dict[str, Callable[[], float]], repetitions: int) -> Times:
    """name -> seconds of each repetition: A B C A B C ..., after one to warm up."""
    for block in blocks.values():
        block()
    times: Times = {name: [] for name in blocks}
    for _ in range(repetitions):
        for name, block in blocks.items():
            times[name].append(block())
    return times


def over(times: Times, name: str, floor: str) -> float:
    """The median ratio of blocks measured one soon after the other."""
    return median(a / b for a, b in zip(times[name], times[floor], strict=True))


def per_round(group: Group, block: str, case: Case, count: int) -> tuple[float, float]:
    """The CPU time of a process in a round in ms, and the kB that its sockets send."""
    before = group.bytes_acknowledged()
    answers = group.ask(block, case, count)
    sent = group.bytes_acknowledged() - before
    busy = sum(a["cpu_seconds"] for a in answers)
    rounds = count * len(answers)
    return 1e3 * busy / rounds, sent / rounds / 1e3


def floor_table(team: Group, effort: Effort) -> list[str]:
    """Rounds of four processes over their floor, and those of others."""
    with Group("decent_dp_worker.py", 4, python=PYTHON) as peer:
        groups = {**dict.fromkeys(BLOCKS, team), "peer": peer}
        words = {**BLOCKS, "peer": PEER_WORDS.format(peer.ready["version"])}
        blocks = {
            name: partial(group.seconds, name, CASE, effort.rounds)
            for name, group in groups.items()
        }
        times = in_turn(blocks, effort.repetitions)
        each = {n: per_round(g, n, CASE, 10 * effort.rounds) for n, g in groups.items()}
    head = row(["four processes", "a round, ms", "over the floor", "bound", "met", "CPU, ms",
                "kB sent", "ns per byte"])  # fmt: skip
    lines = [head, rule(head)]
    for name in groups:
        ms, ratio = 1e3 * median(times[name]) / effort.rounds, over(times, name, "floor")
        bound = BOUNDS.get(name)
        met = "" if bound is None else "yes" if ratio <= bound else "**no**"
        shown = "" if bound is None else f"{bound:.2f}"
        busy_ms, sent = each[name]
        per_byte = f"{1e3 * ms / sent:.0f}" if sent > 1 else ""
        costs = [f"{busy_ms:.2f}", f"{sent:.0f}", per_byte]
        lines.append(row([words[name], f"{ms:.2f}", f"{ratio:.2f}", shown, met, *costs]))
    return lines


def payload_sentence(team: Group) -> str:
    """What went through the sockets in two runs that differ in rounds only, and their records."""
    passed, recorded = [], []
    for rounds in PAYLOAD_ROUNDS:
        before = team.bytes_acknowledged()
        recorded.append(team.ask("train", {**CASE, "rounds": rounds}, 1)[0]["value"])
        passed.append(team.bytes_acknowledged() - before)
    more, said = passed[1] - passed[0], recorded[1] - recorded[0]
    excess = more / said - 1
    met = "met" if abs(excess) <= PAYLOAD_BOUND else "**not met**"
    few, many = PAYLOAD_ROUNDS
    return (
        f"Between a run of {many} rounds and one of {few} the record differs by {said:,} bytes, "
        f"the sockets by {more:,}: {100 * excess:+.2f} %; bound {100 * PAYLOAD_BOUND:.0f} %, {met}."
    )


def stacked_table(pair: Group, effort: Effort) -> list[str]:
    """100 agents in one process, and in two of 50."""
    one: Case = {**TEAM, "engine": "stacked"}
    count = effort.long
    with (
        Group("process_worker.py", 1, threads=1) as single,
        Group("process_worker.py", 1, threads=2) as double,
    ):
        blocks = {
            "stacked, 1 thread": partial(single.seconds, "own", one, count),
            "stacked, 2 threads": partial(double.seconds, "own", one, count),
            "2 processes of 1 thread": partial(pair.seconds, "own", TEAM, count),
        }
        times = in_turn(blocks, effort.repetitions)
    head = row(["100 agents", "a round, ms", "over stacked, 1 thread"])
    return [head, rule(head)] + [
        row([n, f"{1e3 * median(t) / count:.1f}", f"{over(times, n, 'stacked, 1 thread'):.2f}"])
        for n, t in times.items()
    ]


# --- growth -------------------------------------------------------------------------------


def over_agents(pair: Group, effort: Effort) -> Growth:
    """Two processes of 1, 2, 4, ... agents on a cycle."""
    cases = {
        n: {"network": "MNIST CNN", "agents": 2 * n, "degree": min(2, 2 * n - 1)}
        for n in AGENTS_PER_PROCESS
    }
    return grow(pair, cases, effort)


def over_width(pair: Group, effort: Effort) -> Growth:
    """Two processes of one agent, with wider and wider networks."""
    cases = {p: {"network": w, "agents": 2, "degree": 1} for p, w in WIDTHS.items()}
    return grow(pair, cases, effort)


def over_degree(team: Group, effort: Effort) -> Growth:
    """Eight processes of one agent, with more and more neighbors."""
    cases = {d: {"network": "MNIST CNN", "agents": 8, "degree": d} for d in DEGREES}
    return grow(team, cases, effort)


def grow(group: Group, cases: dict[int, Case], effort: Effort) -> Growth:
    """Milliseconds of a round and of its floor, all sizes in turn, in blocks of half a second."""
    counts, blocks = {}, {}
    for size, case in cases.items():
        group.seconds("floor", case, 1)
        counts[size] = max(1, min(effort.rounds, int(0.5 / group.seconds("floor", case, 1))))
        for name in ("floor", "own"):
            blocks[f"{name} {size}"] = partial(group.seconds, name, case, counts[size])
    times = in_turn(blocks, max(3, effort.repetitions // 2))

    def ms(name: str) -> dict[int, float]:
        return {n: 1e3 * median(times[f"{name} {n}"]) / count for n, count in counts.items()}

    return Growth(ms("own"), ms("floor"))


def machine() -> str:
    return (
        f"Measured on {os.cpu_count()} CPU cores, one thread in each process, Gloo over loopback, "
        f"{platform.system()} {platform.machine()}, Python {platform.python_version()}, "
        f"torch {torch.__version__}, float32."
    )


if __name__ == "__main__":
    sys.exit(main())
