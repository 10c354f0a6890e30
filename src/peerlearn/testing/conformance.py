"""What every algorithm must do, as checks that anyone can run on an own one.

Each check is a function of one `Case`: a method, a task, a graph and a dtype. A check that fails
raises AssertionError with a sentence that says which promise of the contract was broken.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence

import torch
from safetensors.torch import load, save
from torch import Tensor

from .. import graphs
from ..algorithm import Algorithm, Needs, flatten, shared, unflatten
from ..errors import short
from ..randomness import seeded
from ..tasks import BaseTask
from .alone import advance, run_alone
from .cases import CPU, ROUNDS, SEED, Case, Setting, cases, copies, flat_task


def check_algorithm(
    method: Algorithm,
    *,
    tasks: Sequence[BaseTask] | None = None,
    rounds: int = ROUNDS,
    seed: int = SEED,
) -> None:
    """Check that an algorithm keeps the contract of `peerlearn.Algorithm`.

    It is run for a few rounds on small problems, over a fixed cycle and over a graph whose links
    fail, in float64, and over the latter in float32; each of `CHECKS` then compares what it did
    with what it must do and with what it declares.

    Args:
        method: the algorithm, with its hyper-parameters; their rates should suit small problems
            (step sizes well below 0.1).
        tasks: problems of your own to check it on; by default quadratics, and a small network
            where the method can train one. Where a task computes gradients in several ways it
            must use the loop, whose bits do not depend on the stack.
        rounds: rounds of each run, at least 2.
        seed: of all runs.

    Raises:
        AssertionError: a promise is broken; the message says which, and on what task.
        ValueError: fewer than two rounds, or no method.

    Example:
        >>> import peerlearn as pl
        >>> from peerlearn.testing import check_algorithm
        >>> class Forgetful(pl.DSGD):
        ...     def round(self, s, learner, links):
        ...         return super().round(s, learner, links)._replace(theta=s.theta.mean(dim=0))
        >>> check_algorithm(Forgetful())  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        AssertionError: Forgetful turns theta into (3,) float64, expected (4, 3) float64 ...
    """
    if not isinstance(method, Algorithm):
        wanted = f", as {method.__name__}()" if isinstance(method, type) else ""
        raise ValueError(f"method is {short(method)}, expected an instance of a method{wanted}")
    if rounds < 2:
        raise ValueError(f"rounds is {rounds}, expected at least 2: one to save, one to go on")
    for case in cases(method, tasks, rounds, seed):
        for check in CHECKS:
            check(case)


# --- the checks -----------------------------------------------------------------------------


def check_rows(case: Case) -> None:
    """States are of the declared kind: finite rows, one per agent, theta as it was given.

    What is marked as shared has no rows.
    """
    setting = case.setting()
    theta = setting.inner.initial()
    state = setting.begin()
    for round in range(case.rounds + 1):
        kind = case.method.State
        case.require(isinstance(state, kind), f"returns a {type(state).__name__}, not its State")
        same = state.theta.shape == theta.shape and state.theta.dtype == theta.dtype
        case.require(same, f"turns theta into {_shape(state.theta)}, expected {_shape(theta)}")
        for name, value in flatten(state).items():
            rows = value.dim() >= 2 and len(value) == case.task.agents
            case.require(
                rows or name in shared(kind),
                f"has {name} {_shape(value)}, expected one row per agent; mark what all agents "
                "hold alike as Shared",
            )
            case.require(bool(value.isfinite().all()), f"has {name} that is not finite")
        if round < case.rounds:
            state = setting.advance(state, round)


def check_inputs_unchanged(case: Case) -> None:
    """Start leaves theta as it was; round leaves the state, unless it is declared to consume it."""
    setting = case.setting()
    setting.learner.begin_round(setting.inner.initial(), -1)
    theta = setting.inner.initial()
    before = theta.clone()
    state = setting.method.start(theta, setting.learner, setting.links(-1))
    case.require(torch.equal(theta, before), "changes the theta that start was given")
    for round in range(case.rounds):
        kept = copies(state)
        after = setting.advance(state, round)
        changed = [n for n, v in flatten(state).items() if not torch.equal(v, kept[n])]
        case.require(
            not changed or case.method.consumes_state,
            f"changes {', '.join(changed)} of the state that round was given; "
            "return a new state, or declare consumes_state = True",
        )
        state = after


def check_memory(case: Case) -> None:
    """No two tensors of a state share memory, nor does the first state with the first theta."""
    setting = case.setting()
    setting.learner.begin_round(setting.inner.initial(), -1)
    theta = setting.inner.initial()
    state = setting.method.start(theta, setting.learner, setting.links(-1))
    _require_apart(case, {"the theta that start was given": theta, **flatten(state)})
    for round in range(case.rounds):
        state = setting.advance(state, round)
        _require_apart(case, flatten(state))


def check_deterministic(case: Case) -> None:
    """The same seed gives the same bits, whatever the global generators hold."""
    with seeded(CPU, 1):
        first = case.setting().run()
    with seeded(CPU, 2):
        second = case.setting().run()
    case.require(
        _equal(first[-1], second[-1]),
        "gives other numbers when run again under the same seed; draw from generators that depend "
        "on the seed alone, never from the global ones",
    )


def check_resumable(case: Case) -> None:
    """A run taken up from its saved state and learner goes on to the same bits."""
    whole = case.setting().run()
    middle = case.rounds // 2
    first, second = case.setting(), case.setting()
    state = first.begin()
    for round in range(middle):
        state = first.advance(state, round)
    saved = save({n: t.contiguous() for n, t in flatten(state).items()})
    second.learner.load(load(save(first.learner.state())))
    state = unflatten(case.method.State, load(saved))
    for round in range(middle, case.rounds):
        state = second.advance(state, round)
    case.require(
        _equal(whole[-1], flatten(state)),
        "gives other numbers when resumed from its state; keep all that it remembers in the State",
    )


def check_rows_independent(case: Case) -> None:
    """A stack of all agents gives what agents give who live alone and send each other messages."""
    if case.dtype != torch.float64:
        return
    together = case.setting().run()
    alone = run_alone(
        copy.deepcopy(case.method), case.task, case.graph, rounds=case.rounds, seed=case.seed
    )
    for state, other in zip(together, alone, strict=True):
        names = [n for n, v in flatten(other).items() if not _close(state[n], v)]
        case.require(
            not names,
            f"gives other {', '.join(names)} when every agent lives alone; use rows of others only "
            "as links.exchange returns them, and reduce along the last axis, never over agents",
        )


def check_average(case: Case) -> None:
    """Where it is declared, zero gradients leave the average network where it is."""
    if not case.method.preserves_average:
        return
    method = dataclasses.replace(case.method, weight_decay=0.0)  # whose gradients would not be zero
    states = Setting(dataclasses.replace(case, method=method), flat_task(case.task.agents)).run()
    drift = (states[-1]["theta"].mean(dim=0) - states[0]["theta"].mean(dim=0)).abs().max()
    tolerance = 100 * torch.finfo(case.dtype).eps
    case.require(
        float(drift) < tolerance,
        f"declares preserves_average, but moves the mean of theta by {float(drift):.1e} though all "
        "gradients are zero",
    )


def check_vanishing(case: Case) -> None:
    """What is declared to sum to zero over the agents does."""
    setting = case.setting()
    state = setting.begin()
    for round in range(case.rounds):
        rows = setting.method.vanishing(state)
        if rows is not None:
            size = 1 + max(float(v.abs().max()) for v in flatten(state).values())
            total = float(rows.sum(dim=0).abs().max())
            case.require(
                total < 1000 * torch.finfo(case.dtype).eps * size,
                f"has vanishing rows whose sum over the agents is {total:.1e} before round {round}",
            )
        state = setting.advance(state, round)


def check_silence(case: Case) -> None:
    """Who declares that it does not communicate sends nothing to neighbors, and needs no graph."""
    if case.method.communicates:
        return
    setting = case.setting()
    cycle = graphs.cycle(case.task.agents) if case.task.agents > 2 else None
    state = setting.begin()
    for round in range(case.rounds):
        links = setting.engine.links(round, cycle)
        state = advance(setting.method, state, setting.learner, links)
    traffic = setting.engine.traffic
    sent = int(traffic.messages_sent.sum() - traffic.coordinator_messages_received.sum())
    case.require(sent == 0, f"declares communicates = False, but has sent {sent} messages")


def check_coordinator(case: Case) -> None:
    """Who does not declare that it needs a coordinator leaves it alone."""
    if Needs.COORDINATOR in case.method.needs:
        return
    setting = case.setting()
    setting.run()
    traffic = setting.engine.traffic
    sent, received = traffic.coordinator_messages_sent, traffic.coordinator_messages_received
    count = int(sent.sum() + received.sum())
    case.require(
        count == 0,
        f"does not declare Needs.COORDINATOR, but {count} messages went to the coordinator or came "
        "from it",
    )


def check_gradients(case: Case) -> None:
    """No agent draws more minibatch gradients than are declared."""
    setting = case.setting()
    setting.run()
    drawn = int(setting.learner.gradient_evaluations().max())
    counts = case.method.counts_epochs  # who does not may learn from a stream, which has none
    epoch = int(setting.learner.epoch_steps.max()) if counts else 1
    declared = case.method.gradients(case.rounds, epoch)
    case.require(
        drawn <= declared * setting.learner.turns,
        f"has drawn {drawn} gradients in {case.rounds} rounds, but declares at most {declared}",
    )


CHECKS = (
    check_silence, check_rows, check_inputs_unchanged, check_memory, check_deterministic,
    check_resumable, check_rows_independent, check_average, check_vanishing,
    check_coordinator, check_gradients,
)  # fmt: skip
"""All checks, in the order in which they are made."""


# --- comparing --------------------------------------------------------------------------------


def _equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(v, other[n]) for n, v in one.items())


def _close(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.allclose(one, other, rtol=1e-9, atol=1e-9)


def _require_apart(case: Case, tensors: dict[str, Tensor]) -> None:
    owners: dict[int, str] = {}
    for name, value in tensors.items():
        place = value.untyped_storage().data_ptr()
        owner = owners.setdefault(place, name)
        case.require(
            owner == name or value.numel() == 0,
            f"returns a state in which {name} shares memory with {owner}; clone one of them",
        )


def _shape(value: Tensor) -> str:
    return f"{tuple(value.shape)} {str(value.dtype).removeprefix('torch.')}"
