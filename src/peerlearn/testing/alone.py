"""Running an algorithm with every agent alone, and stacking what comes out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import networkx as nx
import torch

from .. import graphs
from ..algorithm import Algorithm, flatten, shared, unflatten
from ..graphs import GraphSchedule
from ..learner import Learner
from ..learners import Regularized
from ..links import Links
from ..tasks import BaseTask
from .memory_engine import AloneLinks, InMemoryEngine


def begin(algorithm: Algorithm, learner: Learner, links: Links) -> Any:
    """The state before the first round."""
    theta = learner.initial()
    learner.begin_round(theta, -1)
    return algorithm.start(theta, learner, links)


def advance(algorithm: Algorithm, state: Any, learner: Learner, links: Links) -> Any:
    """The state after one more round; buffers that are mixed are mixed after it."""
    learner.begin_round(state.theta, links.round)
    state = algorithm.round(state, learner, links)
    if learner.buffers is not None and algorithm.communicates:
        (learner.buffers,) = links.exchange(learner.buffers).mix()
    return state


def run_alone(
    algorithm: Algorithm,
    task: BaseTask,
    graph: nx.Graph | GraphSchedule | None,
    *,
    rounds: int,
    seed: int = 0,
    weights: Any = "metropolis",
    drop: float = 0.0,
    late: float = 0.0,
    dtype: torch.dtype = torch.float64,
    engine: InMemoryEngine | None = None,
) -> list[Any]:
    """Run an algorithm with every agent alone.

    Args:
        algorithm: what to run; it need not know.
        task: its ``learner`` is asked for one agent at a time.
        graph: a graph, a schedule, or None for algorithms that talk to no neighbors.
        rounds: how many rounds.
        seed: of the learners, and of what happens to messages.
        weights, drop, late: as for `InMemoryEngine`.
        dtype: of the networks.
        engine: to be used instead of a new one, in order to look at it afterwards.

    Returns:
        The state of the team, stacked, at the start and after each round: ``rounds + 1`` states.

    Example:
        >>> import peerlearn as pl
        >>> from peerlearn.testing import run_alone
        >>> states = run_alone(
        ...     pl.DSGT(lr=0.02), pl.tasks.quadratic(4), pl.graphs.cycle(4), rounds=2, drop=0.3
        ... )
        >>> tuple(states[-1].theta.shape)
        (4, 5)
    """
    team = engine or InMemoryEngine(task.agents, weights, rounds, drop, late, seed)
    schedule = None if graph is None else graphs.as_schedule(graph)

    def links(agent: int, round: int, learner: Learner) -> AloneLinks:
        positions = learner.positions
        at = None if schedule is None else schedule.at(max(round, 0), positions)
        return team.links(agent, round, at)

    def work(agent: int) -> list[Any]:
        inner = task.learner(seed, torch.device("cpu"), dtype, [agent])
        learner = Regularized(inner, algorithm.clip, algorithm.weight_decay)
        states = [begin(algorithm, learner, links(agent, -1, inner))]
        for round in range(rounds):
            before = copied(states[-1], algorithm.State)
            states.append(advance(algorithm, before, learner, links(agent, round, inner)))
        return states

    return [stacked(rows, algorithm.State) for rows in zip(*team.run(work), strict=True)]


def copied(state: Any, kind: type) -> Any:
    """A state of the same values in memory of its own."""
    return unflatten(kind, {name: value.clone() for name, value in flatten(state).items()})


def stacked(states: Sequence[Any], kind: type) -> Any:
    """The states of agents that live alone as one state of the team.

    Raises:
        AssertionError: what is marked as shared differs between them.
    """
    parts, alike = [flatten(s) for s in states], shared(kind)
    for name in alike:
        same = all(torch.equal(p[name], parts[0][name]) for p in parts)
        assert same, (
            f"{name} of {kind.__name__} is marked as Shared, but agents hold different ones"
        )
    rows = {n: v if n in alike else torch.cat([p[n] for p in parts]) for n, v in parts[0].items()}
    return unflatten(kind, rows)
