"""A whole round over the bare gradients of the same agents, measured in turn."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import torch
from cases import NETWORKS, SAMPLES, Case, methods, session

from peerlearn.learners.gradients import LoopGradient, VmapGradient
from peerlearn.learners.modules import Layout
from peerlearn.tasks import Task

FEWEST, MOST = 3, 60  # repetitions of a case


@dataclass
class Timing:
    """Medians over the repetitions of one case.

    Attributes:
        way: the faster way to the bare gradients.
        gradient_ms: one bare gradient of all agents.
        rounds_ms: method -> one round.
        ratios: method -> a round per gradient step over a bare gradient.
    """

    case: Case
    way: str
    gradient_ms: float
    rounds_ms: dict[str, float]
    ratios: dict[str, float]

    def met(self, method: str) -> bool:
        return self.ratios[method] <= self.case.bound(method)


def measure(case: Case, budget_s: float) -> Timing:
    """Blocks of as many gradients, bare and within rounds, in turn: A B C A B C ...

    A block takes one epoch of an agent's data, so that the drawing of permutations is in it. Each
    repetition gives its own ratios, against the bare gradients measured just before.
    """
    task = NETWORKS[case.network].task(case.agents, case.batch)
    way, bare = fastest_bare(task, case.batch)
    gradients = SAMPLES // case.batch
    blocks = {"bare": repeated(bare, gradients)}
    for name, (algorithm, steps) in methods().items():
        blocks[name] = repeated(session(task, algorithm)._round, gradients // steps)
    times = interleaved(blocks, budget_s)
    steps = {name: s for name, (_, s) in methods().items()}
    ratios = {
        name: median(t / b for t, b in zip(times[name], times["bare"], strict=True))
        for name in steps
    }
    rounds = {name: 1e3 * median(times[name]) * s / gradients for name, s in steps.items()}
    return Timing(case, way, 1e3 * median(times["bare"]) / gradients, rounds, ratios)


def fastest_bare(task: Task, batch: int) -> tuple[str, Callable[[], object]]:
    """The gradients of all agents on batches that lie ready, by the faster of loop and vmap."""
    torch.manual_seed(0)
    module = task.models(0)[0]
    layout = Layout(module)
    theta = layout.row(module).expand(task.agents, -1).clone()
    inputs, targets = (torch.stack([d[i][:batch] for d in task.data]) for i in (0, 1))
    ways = [kind(module, task.loss, layout) for kind in (LoopGradient, VmapGradient)]
    calls = {w.name: lambda w=w: w(theta, inputs, targets) for w in ways}
    times = interleaved(calls, budget_s=1.0)
    name = min(calls, key=lambda n: min(times[n]))
    return name, calls[name]


def repeated(call: Callable[[], object], count: int) -> Callable[[], object]:
    def block() -> None:
        for _ in range(count):
            call()

    return block


def interleaved(blocks: dict[str, Callable[[], object]], budget_s: float) -> dict[str, list[float]]:
    """name -> seconds of each repetition, after one to warm up, in which memory grows."""
    times: dict[str, list[float]] = {name: [] for name in blocks}
    for block in blocks.values():
        block()
    gc.collect()
    begun = time.perf_counter()
    done = 0
    while done < FEWEST or (done < MOST and time.perf_counter() - begun < budget_s):
        for name, block in blocks.items():
            times[name].append(seconds(block))
        done += 1
    return times


def seconds(call: Callable[[], object]) -> float:
    """How long one call takes."""
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun
