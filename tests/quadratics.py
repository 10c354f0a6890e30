"""Quadratics with known answers, and runs whose every step can be looked at; float64."""

import numpy as np
import torch

import peerlearn as pl
from peerlearn import graphs
from peerlearn.engines import StackedEngine
from peerlearn.learners import Regularized
from peerlearn.testing.alone import advance, begin, copied

L, MU = 6.0, 1.0  # every agent's largest and smallest curvature
CPU = torch.device("cpu")
SHAPES = {
    "cycle": graphs.cycle(6),
    "star": graphs.star(6),
    "bipartite": graphs.bipartite(3, 3),
    "complete": graphs.complete(6),
}


def quadratics(apart: bool = True) -> pl.tasks.QuadraticTask:
    """Six agents' quadratics; the agents start apart, or all at zero."""
    made = pl.tasks.quadratic(6, dimension=3, smoothness=L, convexity=MU, seed=4)
    first = torch.from_numpy(np.random.default_rng(5).normal(size=(6, 3))) if apart else None
    return pl.tasks.QuadraticTask(made.hessians, made.optima, first)


TASK = quadratics()
OPTIMUM = TASK.learner(0, CPU, torch.float64).optimum().numpy()


def states(method, task, graph, rounds: int, weights="metropolis") -> list:
    """The states of a run, the first and one after each round."""
    learner = Regularized(task.learner(0, CPU, torch.float64), method.clip, method.weight_decay)
    rule, schedule = graphs.as_rule(weights), graphs.as_schedule(graph)
    engine = StackedEngine(task.agents, rule, rounds, CPU, torch.float64)
    found = [begin(method, learner, engine.links(-1, schedule.at(0)))]
    for k in range(rounds):
        before = copied(found[-1], method.State)  # which a round may consume
        found.append(advance(method, before, learner, engine.links(k, schedule.at(k))))
    return found


def iterates(*arguments, **options) -> np.ndarray:
    """(rounds + 1, A, P) the networks of a run."""
    return np.array([s.theta.numpy() for s in states(*arguments, **options)])


def errors(x: np.ndarray, optimum: np.ndarray = OPTIMUM) -> np.ndarray:
    """(rounds + 1,) the distance of the worst agent from the optimum."""
    return np.linalg.norm(x - optimum, axis=2).max(axis=1)


def spread(x: np.ndarray) -> np.ndarray:
    """(rounds + 1,) the stacked distance of the agents from their mean."""
    return np.linalg.norm(x - x.mean(axis=1, keepdims=True), axis=(1, 2))
