"""What a round costs: measured here, written into docs/performance.md.

python benchmarks/run.py             all networks, up to 1,000 agents: some eight minutes
python benchmarks/run.py --quick     up to 100 agents, shorter: about a minute
python benchmarks/run.py --peers     also other projects, installed into .bench-venv if need be
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from pathlib import Path

import averaging
import memory
import peers
import torch
from cases import NETWORKS, Case, all_cases, methods, session
from speed import Timing, measure, seconds

from peerlearn import tasks
from peerlearn.data import MissingData
from peerlearn.engines.memory import keep_freed_memory
from peerlearn.errors import PeerlearnError

PAGE = Path(__file__).resolve().parent.parent / "docs" / "performance.md"
SECONDS_BOUND = 60  # for 2,000 rounds of DiNNO on MNIST
MNIST_ROUNDS = 2000


def main() -> None:
    options = parse()
    keep_freed_memory()  # as train does
    agents = (10, 100) if options.quick else (10, 100, 1000)
    timings = []
    for case in all_cases(agents):
        timings.append(measure(case, budget_s=2.0 if options.quick else 8.0))
        say(speed_row(timings[-1]))
    parts = {
        "machine": [machine()],
        "speed": speed_table(timings),
        "growth": growth_table(timings),
        "memory": memory_table(),
        "averaging": averaging_table(2.0 if options.quick else 30.0),
        "mnist": [mnist_sentence(200 if options.quick else MNIST_ROUNDS)],
    }
    if options.peers:
        if not peers.FOLDER.exists():
            peers.install(options.python)
        parts["peers"] = peer_table(peers.measure(5 if options.quick else 15))
    for name, lines in parts.items():
        say(f"\n[{name}]", *lines)
    if not options.quick:
        write(parts)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="smaller, and the page stays as it is")
    parser.add_argument("--peers", action="store_true", help="measure other projects as well")
    parser.add_argument("--python", help="the Python of .bench-venv; python3.13 where there is one")
    return parser.parse_args()


def say(*lines: str) -> None:
    print(*lines, sep="\n", flush=True)


def write(parts: dict[str, list[str]]) -> None:
    """Replace what stands between ``<!-- name -->`` and ``<!-- /name -->``."""
    text = PAGE.read_text(encoding="utf-8")
    for name, lines in parts.items():
        before, _, rest = text.partition(f"<!-- {name} -->\n")
        _, _, after = rest.partition(f"<!-- /{name} -->")
        body = "\n".join(lines)
        text = f"{before}<!-- {name} -->\n{body}\n<!-- /{name} -->{after}"
    PAGE.write_text(text, encoding="utf-8")


# --- the tables ---------------------------------------------------------------------------


def speed_table(timings: list[Timing]) -> list[str]:
    names = " | ".join(f"{name} | bound | met" for name in methods())
    head = f"| network | agents | batch | bare gradient, ms | {names} |"
    met = sum(t.met(m) for t in timings for m in t.ratios)
    total = sum(len(t.ratios) for t in timings)
    return [head, rule(head), *map(speed_row, timings), "", f"{met} of {total} bounds are met."]


def speed_row(t: Timing) -> str:
    cells = [t.case.network, f"{t.case.agents:,}", t.case.batch, f"{t.gradient_ms:.1f} ({t.way})"]
    for name, ratio in t.ratios.items():
        cells += [f"{ratio:.2f}", f"{t.case.bound(name):.2f}", "yes" if t.met(name) else "**no**"]
    return row(cells)


def growth_table(timings: list[Timing]) -> list[str]:
    """A round's time for each agent, against the number of agents; batch 64."""
    found = {t.case: t for t in timings}
    counts = sorted({c.agents for c in found})
    head = row(["network", "method", *(f"{n:,} agents" for n in counts)])
    lines = [head, rule(head)]
    for network in NETWORKS:
        for method in methods():
            chosen = [(n, found[Case(network, n, 64)].rounds_ms[method]) for n in counts]
            lines.append(row([network, method, *(f"{1e3 * ms / n:.0f}" for n, ms in chosen)]))
    return lines


def memory_table() -> list[str]:
    head = row(["method", "gradients", "copies of theta", "bound", "met"])
    lines = [head, rule(head)]
    for (method, way), copies in memory.measure().items():
        bound = memory.BOUNDS[method]
        met = "yes" if copies <= bound else "**no**"
        lines.append(row([method, way, f"{copies:.1f}", f"{bound:.0f}", met]))
    return lines


def averaging_table(budget_s: float) -> list[str]:
    alone_ms, found = averaging.measure(budget_s)
    head = row(["method", "a round, ms", "over no averaging", "bound", "met"])
    lines = [head, rule(head), row(["no averaging", f"{alone_ms:.1f}", "1.00", "", ""])]
    for a in found:
        met = "yes" if a.met else "**no**"
        lines.append(row([a.method, f"{a.round_ms:.1f}", f"{a.ratio:.2f}", averaging.BOUND, met]))
    return lines


def peer_table(rows: list[peers.Row]) -> list[str]:
    head = row(["project", "version", "ms per agent and gradient", "method"])
    shown = [(n, v, "-" if ms is None else f"{ms:.2f}", remark) for n, v, ms, remark in rows]
    return [head, rule(head), *map(row, shown)]


def mnist_sentence(rounds: int) -> str:
    """DiNNO on MNIST: 10 agents, a digit each, on a cycle, batch 64."""
    try:
        task = tasks.mnist(10)
    except (PeerlearnError, MissingData, OSError) as error:
        return f"MNIST was not measured: {error}"
    run = session(task, methods()["DiNNO"][0], rounds)
    took = seconds(lambda: [run._round() for _ in range(rounds)])
    whole = took * MNIST_ROUNDS / rounds
    met = "met" if whole <= SECONDS_BOUND else "**not met**"
    how = "" if rounds == MNIST_ROUNDS else f" (from {rounds} rounds)"
    return f"{MNIST_ROUNDS:,} rounds took {whole:.0f} s{how}; bound {SECONDS_BOUND} s, {met}."


def machine() -> str:
    return (
        f"Measured on {os.cpu_count()} CPU cores ({torch.get_num_threads()} threads), "
        f"{platform.system()} {platform.machine()}, Python {platform.python_version()}, "
        f"torch {torch.__version__}, float32."
    )


def row(cells) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def rule(head: str) -> str:
    return row(["---"] * (head.count("|") - 1))


if __name__ == "__main__":
    sys.exit(main())
