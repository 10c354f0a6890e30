"""Every method against its paper's equations, written agent by agent in NumPy.

DiNNO and DSGT are from Yu et al. (2022), CDSGD is from Jiang et al. (2017), DMSGD from Balu et al.
(2021), federated averaging from McMahan et al. (2017), the other averages from Kamp et al. (2018).
"""

from dataclasses import dataclass

import numpy as np
import pytest
from quadratics import SHAPES, TASK, iterates

import peerlearn as pl
from peerlearn import graphs
from peerlearn.algorithms import ALGORITHMS
from peerlearn.schedules import diminishing, geometric, linear


@dataclass
class Problem:
    """The same problem in NumPy."""

    graph: object
    rounds: int = 12

    def __post_init__(self):
        self.H, self.b = TASK.hessians.numpy(), TASK.optima.numpy()
        self.x0 = TASK.first.numpy()
        self.W = graphs.metropolis(self.graph).toarray()
        self.neighbors = [sorted(self.graph[i]) for i in range(6)]

    def gradient(self, i, x):
        return self.H[i] @ (x - self.b[i])

    def mixed(self, i, x):
        return sum(self.W[i, j] * x[j] for j in range(6))


def dsgd(p: Problem, alpha=0.05, mixed=False, rate=lambda k, alpha: alpha):
    x = list(p.x0)
    for k in range(p.rounds):
        a = rate(k, alpha)
        at = [p.mixed(i, x) if mixed else x[i] for i in range(6)]
        x = [p.mixed(i, x) - a * p.gradient(i, at[i]) for i in range(6)]
    return x


def dsgt(p: Problem, alpha=0.05, rate=lambda k, alpha: alpha):
    x = list(p.x0)
    g = [p.gradient(i, x[i]) for i in range(6)]
    y = list(g)
    for k in range(p.rounds):
        moved = [x[j] - rate(k, alpha) * y[j] for j in range(6)]
        x = [p.mixed(i, moved) for i in range(6)]
        new = [p.gradient(i, x[i]) for i in range(6)]
        y = [p.mixed(i, y) + new[i] - g[i] for i in range(6)]
        g = new
    return x


def cdmsgd(p: Problem, kind, alpha=0.02, mu=0.7):
    x, b = list(p.x0), [np.zeros(3)] * 6
    for _ in range(p.rounds):
        g = [p.gradient(i, x[i]) for i in range(6)]
        b = [mu * b[i] + g[i] for i in range(6)]
        step = b if kind == "polyak" else [g[i] + mu * b[i] for i in range(6)]
        x = [p.mixed(i, x) - alpha * step[i] for i in range(6)]
    return x


def dmsgd(p: Problem, omega, alpha=0.05, beta=0.4, base="v"):
    """Algorithm 1; with x_0 = x_1, and so v_0 = v_1."""
    x = list(p.x0)
    x_before, v_before = x, [p.mixed(i, x) for i in range(6)]
    for _ in range(p.rounds):
        v = [p.mixed(i, x) for i in range(6)]
        delta = [
            omega * (x[i] - x_before[i]) + (1 - omega) * (v[i] - v_before[i]) for i in range(6)
        ]
        start = v if base == "v" else x
        new = [start[i] - alpha * p.gradient(i, x[i]) + beta * delta[i] for i in range(6)]
        x_before, v_before, x = x, v, new
    return x


def heavy_ball(p: Problem, alpha=0.05, beta=0.4):
    """x+ = Pi x - alpha g + beta (x - x_previous)."""
    x = before = p.x0
    for _ in range(p.rounds):
        g = np.stack([p.gradient(i, x[i]) for i in range(6)])
        x, before = p.W @ x - alpha * g + beta * (x - before), x
    return x


def momentum_on_consensus(p: Problem, alpha=0.05, beta=0.4):
    """x+ = v - alpha g(x) + beta (v - v_previous), v = Pi x."""
    x, before = p.x0, p.W @ p.x0
    for _ in range(p.rounds):
        v = p.W @ x
        g = np.stack([p.gradient(i, x[i]) for i in range(6)])
        x, before = v - alpha * g + beta * (v - before), v
    return x


def dinno(p: Problem, step, rhos=lambda k: 0.5, rate=lambda k: 0.03, inner=3, persistent=False):
    """(4a) and ``inner`` primal steps on (4b), each a ``step(psi, g, alpha, memory)``."""
    x, dual = list(p.x0), [np.zeros(3)] * 6
    memories = [{} for _ in range(6)]
    for k in range(p.rounds):
        rho = rhos(k)
        dual = [
            dual[i] + rho * sum(x[i] - x[j] for j in p.neighbors[i]) for i in range(6)
        ]  # fmt: skip
        new = []
        for i in range(6):
            psi, memory = x[i], memories[i] if persistent else {}
            for _ in range(inner):
                g = p.gradient(i, psi) + dual[i]
                g = g + 2 * rho * sum(psi - (x[i] + x[j]) / 2 for j in p.neighbors[i])
                psi = step(psi, g, rate(k), memory)
            new.append(psi)
        x = new
    return x


def sgd_step(psi, g, alpha, memory):
    return psi - alpha * g


def adam_step(psi, g, alpha, memory):
    t = memory["t"] = memory.get("t", 0) + 1
    m = memory["m"] = 0.9 * memory.get("m", 0) + 0.1 * g
    v = memory["v"] = 0.999 * memory.get("v", 0) + 0.001 * g**2
    return psi - alpha * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)


def admm(p: Problem, rhos=lambda k: 0.5):
    x, dual = list(p.x0), [np.zeros(3)] * 6
    for k in range(p.rounds):
        rho = rhos(k)
        dual = [dual[i] + rho * sum(x[i] - x[j] for j in p.neighbors[i]) for i in range(6)]

        def primal(i, x=x, dual=dual, rho=rho):
            matrix, right = p.H[i].copy(), p.H[i] @ p.b[i] - dual[i]
            for j in p.neighbors[i]:
                matrix += 2 * rho * np.eye(3)
                right = right + rho * (x[i] + x[j])
            return np.linalg.solve(matrix, right)

        x = [primal(i) for i in range(6)]
    return x


def alone(p: Problem, alpha=0.05, rate=lambda k, alpha: alpha):
    x = list(p.x0)
    for k in range(p.rounds):
        x = [x[i] - rate(k, alpha) * p.gradient(i, x[i]) for i in range(6)]
    return x


def periodic(p: Problem, period, alpha=0.05):
    x = list(p.x0)
    for t in range(1, p.rounds + 1):
        x = [x[i] - alpha * p.gradient(i, x[i]) for i in range(6)]
        if t % period == 0:
            x = [np.mean(x, axis=0)] * 6
    return x


def federated(p: Problem, steps, unselected, alpha=0.05):
    """With everybody selected; the idle start from a global network, the mean of the first."""
    x = [np.mean(p.x0, axis=0)] * 6 if unselected == "idle" else list(p.x0)
    for _ in range(p.rounds):
        for _ in range(steps):
            x = [x[i] - alpha * p.gradient(i, x[i]) for i in range(6)]
        x = [np.mean(x, axis=0)] * 6
    return x


def dynamic(p: Problem, delta, period, alpha=0.05):
    """Algorithm 1, augmented by the agent that is farthest from the reference."""
    f, r, v, m = list(p.x0), np.mean(p.x0, axis=0), 0, 6
    for t in range(1, p.rounds + 1):
        f = [f[i] - alpha * p.gradient(i, f[i]) for i in range(m)]
        away = [np.sum((f[i] - r) ** 2) for i in range(m)]
        B = [i for i in range(m) if away[i] > delta] if t % period == 0 else []
        v += len(B)
        if v >= m and B:
            B = list(range(m))
        while B and len(B) < m and np.sum((np.mean([f[i] for i in B], axis=0) - r) ** 2) > delta:
            B.append(max(set(range(m)) - set(B), key=lambda i: away[i]))
        mean = np.mean([f[i] for i in B], axis=0) if B else None
        f = [mean if i in B else f[i] for i in range(m)]
        if len(B) == m:
            r, v = mean, 0
    return f


def growing(k):
    return 0.5 * 1.1**k


def falling(k):
    """From 0.05 to 0.01 over twelve rounds, in equal steps."""
    return 0.05 - 0.04 * k / 11


FALLING = linear(0.05, 0.01)


REFERENCES = {
    "DSGD": (pl.DSGD(lr=0.05), dsgd),
    "DSGD, gradient at the mixed point": (
        pl.DSGD(lr=0.05, gradient_at="mixed"), lambda p: dsgd(p, mixed=True)
    ),
    "DSGT": (pl.DSGT(lr=0.05), dsgt),
    "CDSGD": (pl.CDSGD(lr=0.05), dsgd),
    "CDSGD, diminishing": (
        pl.CDSGD(lr=diminishing(0.05, scale=5, power=0.8)),
        lambda p: dsgd(p, rate=lambda k, a: a / (1 + k / 5) ** 0.8),
    ),
    "CDMSGD, Polyak": (
        pl.CDMSGD(lr=0.02, momentum=0.7, kind="polyak"), lambda p: cdmsgd(p, "polyak")
    ),
    "CDMSGD, Nesterov": (pl.CDMSGD(lr=0.02, momentum=0.7), lambda p: cdmsgd(p, "nesterov")),
    "DMSGD": (pl.DMSGD(lr=0.05, beta=0.4, omega=0.3), lambda p: dmsgd(p, 0.3)),
    "DMSGD, omega = 1": (pl.DMSGD(lr=0.05, beta=0.4, omega=1.0), heavy_ball),
    "DMSGD, omega = 0": (pl.DMSGD(lr=0.05, beta=0.4, omega=0.0), momentum_on_consensus),
    "DMSGD, beta = 0": (pl.DMSGD(lr=0.05, beta=0.0), dsgd),
    "DMSGD, consensus in the momentum": (
        pl.DMSGD(lr=0.05, beta=0.4, omega=0.3, consensus="momentum"),
        lambda p: dmsgd(p, 0.3, base="x"),
    ),
    "DiNNO, SGD": (
        pl.DiNNO(rho=0.5, lr=0.03, local_steps=3, optimizer="sgd"), lambda p: dinno(p, sgd_step)
    ),
    "DiNNO, Adam": (pl.DiNNO(rho=0.5, lr=0.03, local_steps=3), lambda p: dinno(p, adam_step)),
    "DiNNO, schedules": (
        pl.DiNNO(rho=geometric(0.5, 1.1), lr=FALLING, local_steps=2, optimizer="sgd"),
        lambda p: dinno(p, sgd_step, growing, falling, inner=2),
    ),
    "DiNNO, Adam with a memory": (
        pl.DiNNO(rho=0.5, lr=FALLING, local_steps=2, persistent=True),
        lambda p: dinno(p, adam_step, rate=falling, inner=2, persistent=True),
    ),
    "DSGT, schedule": (
        pl.DSGT(lr=FALLING), lambda p: dsgt(p, rate=lambda k, a: falling(k))
    ),
    "CDMSGD, schedule": (
        pl.CDMSGD(lr=FALLING, momentum=0.0), lambda p: dsgd(p, rate=lambda k, a: falling(k))
    ),
    "DMSGD, schedule": (
        pl.DMSGD(lr=FALLING, beta=0.0), lambda p: dsgd(p, rate=lambda k, a: falling(k))
    ),
    "ConsensusADMM": (pl.ConsensusADMM(rho=0.5), admm),
    "ConsensusADMM, schedule": (
        pl.ConsensusADMM(rho=geometric(0.5, 1.1)), lambda p: admm(p, growing)
    ),
    "Isolated, schedule": (
        pl.Isolated(lr=FALLING, optimizer="sgd"), lambda p: alone(p, rate=lambda k, a: falling(k))
    ),
    "Isolated": (pl.Isolated(lr=0.05, optimizer="sgd"), alone),
    "PeriodicAveraging": (pl.PeriodicAveraging(lr=0.05, period=3), lambda p: periodic(p, 3)),
    "FedAvg, idle": (
        pl.FedAvg(lr=0.05, fraction=1, local_steps=3), lambda p: federated(p, 3, "idle")
    ),
    "FedAvg, training": (
        pl.FedAvg(lr=0.05, fraction=1, local_steps=2, unselected="train"),
        lambda p: federated(p, 2, "train"),
    ),
    "DynamicAveraging": (
        pl.DynamicAveraging(lr=0.05, delta=1.5, period=1, augment="farthest"),
        lambda p: dynamic(p, 1.5, 1),
    ),
    "DynamicAveraging, every third round": (
        pl.DynamicAveraging(lr=0.05, delta=0.5, period=3, augment="farthest"),
        lambda p: dynamic(p, 0.5, 3),
    ),
}  # fmt: skip


def test_every_method_has_its_equations_here():
    checked = {method.name for method, _ in REFERENCES.values()}
    assert checked == {kind.__name__ for kind in ALGORITHMS if not kind.pools_data}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", REFERENCES)
def test_equations_agent_by_agent(name, shape):
    method, reference = REFERENCES[name]
    problem = Problem(SHAPES[shape])
    x = iterates(method, TASK, SHAPES[shape], problem.rounds)
    np.testing.assert_allclose(x[-1], np.stack(reference(problem)), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", REFERENCES)
def test_a_run_carries_out_the_rounds_of_the_equations(name):
    """Numbered from 0, as schedules and periods count them."""
    method, _ = REFERENCES[name]
    run = pl.train(TASK, method, SHAPES["star"], rounds=12, dtype="float64", device="cpu")
    np.testing.assert_array_equal(run.theta.numpy(), iterates(method, TASK, SHAPES["star"], 12)[-1])


@pytest.mark.parametrize("around", [{"clip": 0.5}, {"weight_decay": 0.1}], ids=str)
def test_what_is_around_a_gradient_is_around_it_in_a_run(around):
    method = pl.DSGD(lr=0.05, **around)
    run = pl.train(TASK, method, SHAPES["star"], rounds=12, dtype="float64", device="cpu")
    found = run.theta.numpy()
    np.testing.assert_array_equal(found, iterates(method, TASK, SHAPES["star"], 12)[-1])
    assert abs(found - iterates(pl.DSGD(lr=0.05), TASK, SHAPES["star"], 12)[-1]).max() > 1e-3


def test_dmsgd_without_momentum_is_cdsgd_bit_for_bit():
    one = iterates(pl.DMSGD(lr=0.05, beta=0.0), TASK, SHAPES["star"], 30)
    other = iterates(pl.CDSGD(lr=0.05), TASK, SHAPES["star"], 30)
    assert (one == other).all()


def test_serial_takes_the_agents_losses_in_turn():
    x, H, b = TASK.first[0].numpy(), TASK.hessians.numpy(), TASK.optima.numpy()
    for _ in range(4):
        for i in range(6):
            x = x - 0.05 * H[i] @ (x - b[i])
    run = pl.train(TASK, pl.Serial(lr=0.05), rounds=4, dtype="float64", device="cpu")
    np.testing.assert_allclose(run.theta[0].numpy(), x, rtol=0, atol=1e-12)
    assert run.final["gradient_evaluations"].tolist() == [24]


def test_centralized_is_gradient_descent_on_the_mean_loss():
    x, H, b = TASK.first[0].numpy(), TASK.hessians.numpy(), TASK.optima.numpy()
    for _ in range(20):
        x = x - 0.1 * np.mean([H[i] @ (x - b[i]) for i in range(6)], axis=0)
    method = pl.Centralized(lr=0.1, optimizer="sgd")
    run = pl.train(TASK, method, rounds=20, dtype="float64", device="cpu")
    np.testing.assert_allclose(run.theta[0].numpy(), x, rtol=0, atol=1e-12)
