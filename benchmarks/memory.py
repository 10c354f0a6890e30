"""How much memory a round takes above the method's state, in copies of theta."""

from __future__ import annotations

from functools import partial

import torch
from cases import methods, session
from torch.nn.functional import nll_loss
from torch.profiler import ProfilerActivity, profile

from peerlearn.tasks import Task
from peerlearn.tasks.models import mlp

BOUNDS = {"DSGD": 5.0, "DiNNO": 8.0}
AGENTS, INPUTS, HIDDEN = 20, 400, 500  # 206,000 parameters; one sample has 1,400 activations


def measure() -> dict[tuple[str, str], float]:
    """(method, way to the gradients) -> the peak during a round, in copies of theta."""
    return {
        (name, way): _peak_copies(algorithm, way)
        for name, (algorithm, _) in methods().items()
        for way in ("loop", "vmap")
    }


def _peak_copies(algorithm, way: str) -> float:
    """The largest sum of what torch allocated and freed since the round began."""
    inputs, targets = torch.randn(AGENTS, 4, INPUTS), torch.randint(10, (AGENTS, 4))
    task = Task(
        model=partial(mlp, INPUTS, (HIDDEN,), 10), loss=nll_loss, batch_size=1, gradients=way,
        data=list(zip(inputs, targets, strict=True)),
    )  # fmt: skip
    run = session(task, algorithm)
    run._round()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run._round()
    events = profiler.profiler.kineto_results.events()
    changes = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]")
    held = peak = 0
    for _, size in changes:
        held += size
        peak = max(peak, held)
    return peak / run.state.theta.nbytes
