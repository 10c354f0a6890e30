"""Numbers from theory: known optima, linear rates, errors in proportion to the step, bounds.

Quadratics with full gradients in float64, and a logistic regression.
"""

from dataclasses import replace

import numpy as np
import pytest
import scipy.optimize
import torch
from quadratics import OPTIMUM, SHAPES, TASK, L, errors, iterates, quadratics, spread

import peerlearn as pl
from peerlearn import graphs
from peerlearn.algorithm import Needs
from peerlearn.algorithms import ALGORITHMS
from peerlearn.schedules import decaying, diminishing

# --- exact methods ----------------------------------------------------------------------------


def exact_methods(largest_degree: int) -> dict[str, pl.Algorithm]:
    """One of each method that declares that it is exact, DiNNO with the step 1/(L + 2 rho d)."""
    step = 1 / (L + 2 * 0.5 * largest_degree)
    return {
        "DiNNO": pl.DiNNO(rho=0.5, lr=step, optimizer="sgd", local_steps=2),
        "ConsensusADMM": pl.ConsensusADMM(rho=0.5),
        "DSGT": pl.DSGT(lr=0.05),
        "Centralized": pl.Centralized(lr=1 / L, optimizer="sgd"),
    }


EXACT = [kind.__name__ for kind in ALGORITHMS if kind.exact]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", EXACT)
def test_exact_methods_converge_linearly_to_the_optimum(name, shape):
    graph = SHAPES[shape]
    method = exact_methods(max(d for _, d in graph.degree))[name]
    task = TASK.pooled() if method.pools_data else TASK
    x = iterates(method, task, graphs.path(1) if method.pools_data else graph, 500)
    error = errors(x)
    assert error[-1] < 1e-10
    blocks = error[::60]
    falling = blocks[:-1] > 1e-9  # below it rounding shows
    assert (blocks[1:][falling] < 0.5 * blocks[:-1][falling]).all()


@pytest.mark.parametrize("name", EXACT)
def test_the_loss_that_is_told_is_that_of_all_agents(name):
    """Of one network, the same for methods that pool the data; and at the end the least."""
    task, method = quadratics(apart=False), exact_methods(2)[name]
    graph = None if method.pools_data else SHAPES["cycle"]
    run = pl.train(
        task, method, graph, rounds=400, dtype="float64", device="cpu", evaluate_every=400
    )
    best = OPTIMUM - task.optima.numpy()
    least = np.einsum("ip,ipq,iq->i", best, task.hessians.numpy(), best).mean() / 2
    own = task.optima.numpy()
    first = np.einsum("ip,ipq,iq->i", own, task.hessians.numpy(), own).mean() / 2
    np.testing.assert_allclose(run.history["loss"][0], first, atol=1e-12)
    np.testing.assert_allclose(run.final["loss"], least, atol=1e-12)


@pytest.mark.parametrize("name", EXACT)
def test_weight_decay_moves_the_optimum_where_it_should(name):
    graph, decay = SHAPES["cycle"], 0.7
    method = replace(exact_methods(3)[name], weight_decay=decay)
    H, b = TASK.hessians.numpy(), TASK.optima.numpy()
    optimum = np.linalg.solve(H.sum(0) + 6 * decay * np.eye(3), np.einsum("ipq,iq->p", H, b))
    task = TASK.pooled() if method.pools_data else TASK
    x = iterates(method, task, graphs.path(1) if method.pools_data else graph, 400)
    assert errors(x, optimum)[-1] < 1e-10


@pytest.mark.parametrize("rho", [2.0, 5.0])
def test_theorem_1s_step_diverges_for_moderate_rho(rho):
    """1 / L leaves out the penalty's curvature: with d neighbors it fails from rho d > L / 2 on."""
    graph, degree = SHAPES["cycle"], 2
    assert rho * degree > L / 2
    published = pl.DiNNO(rho=rho, lr=1 / L, optimizer="sgd", local_steps=2)
    with pytest.raises(pl.Diverged):
        pl.train(TASK, published, graph, rounds=5000, dtype="float64", device="cpu")
    safe = pl.DiNNO(rho=rho, lr=1 / (L + 2 * rho * degree), optimizer="sgd", local_steps=2)
    assert errors(iterates(safe, TASK, graph, 1000))[-1] < 1e-10


# --- methods that stop short of the optimum ---------------------------------------------------


def fixed_step_methods(alpha) -> dict[str, pl.Algorithm]:
    return {
        "DSGD": pl.DSGD(lr=alpha),
        "DSGD, gradient at the mixed point": pl.DSGD(lr=alpha, gradient_at="mixed"),
        "CDSGD": pl.CDSGD(lr=alpha),
        "CDMSGD, Polyak": pl.CDMSGD(lr=alpha, momentum=0.5, kind="polyak"),
        "CDMSGD, Nesterov": pl.CDMSGD(lr=alpha, momentum=0.5, kind="nesterov"),
        "DMSGD": pl.DMSGD(lr=alpha, beta=0.5, omega=0.5),
    }


STOPPING = list(fixed_step_methods(0.01))


def resting_point(method, graph, alpha: float) -> np.ndarray:
    """Where a fixed step comes to rest: (I - W) x + step H (x - b) = 0, a linear system.

    Momentum on gradients makes the step 1 / (1 - mu) times as long; momentum on displacements
    does not change it. With the gradient at the mixed point, H (W x - b) stands there.
    """
    W = np.kron(graphs.metropolis(graph).toarray(), np.eye(3))
    H = np.zeros((18, 18))
    for i in range(6):
        H[3 * i : 3 * i + 3, 3 * i : 3 * i + 3] = TASK.hessians[i].numpy()
    step = alpha / (1 - getattr(method, "momentum", 0))
    at = W if getattr(method, "gradient_at", "own") == "mixed" else np.eye(18)
    right = step * H @ TASK.optima.numpy().reshape(-1)
    return np.linalg.solve(np.eye(18) - W + step * H @ at, right).reshape(6, 3)


def test_every_method_that_is_not_exact_is_checked_here():
    inexact = {k.__name__ for k in ALGORITHMS if k.communicates and not k.exact}
    assert {m.name for m in fixed_step_methods(0.01).values()} == inexact


@pytest.mark.parametrize("shape", ["cycle", "bipartite"])
@pytest.mark.parametrize("name", STOPPING)
def test_a_fixed_step_stops_at_an_error_in_proportion(name, shape):
    graph, stopped = SHAPES[shape], {}
    for alpha in (0.008, 0.004):
        method = fixed_step_methods(alpha)[name]
        x = iterates(method, TASK, graph, round(10 / alpha))
        np.testing.assert_allclose(x[-1], resting_point(method, graph, alpha), rtol=0, atol=1e-5)
        stopped[alpha] = errors(x)[-1]
    assert stopped[0.004] > 0.01
    assert 1.8 < stopped[0.008] / stopped[0.004] < 2.01


@pytest.mark.parametrize("name", STOPPING)
def test_a_diminishing_step_goes_on_falling(name):
    method = fixed_step_methods(diminishing(0.05, scale=40.0))[name]
    error = errors(iterates(method, TASK, SHAPES["cycle"], 1600))
    blocks = error[[100, 200, 400, 800, 1600]]
    assert (blocks[1:] < 0.7 * blocks[:-1]).all()
    assert blocks[-1] < 0.55 * blocks[-2]  # in the end in proportion to the step, which is halved
    fixed = fixed_step_methods(0.05)[name]
    rest = np.linalg.norm(resting_point(fixed, SHAPES["cycle"], 0.05) - OPTIMUM, axis=1).max()
    assert error[-1] < 0.1 * rest


def test_dsgds_decaying_step_goes_on_falling():
    method = pl.DSGD(lr=decaying(0.05, mu=0.5))
    error = errors(iterates(method, TASK, SHAPES["cycle"], 1600))
    blocks = error[[100, 200, 400, 800, 1600]]
    assert (blocks[1:] < 0.9 * blocks[:-1]).all()


# --- bounds on the distance between agents ----------------------------------------------------


@pytest.mark.parametrize("alpha", [0.01, 0.1])
@pytest.mark.parametrize("shape", SHAPES)
def test_cdsgds_bound_16_holds(shape, alpha):
    """||x_k - s_k|| <= alpha max ||g|| / (1 - max(|lambda_2|, |lambda_N|)), stacked, equal starts.

    From x_{k+1} = W x_k - alpha g_k and equal starts: the distance is alpha ||sum_t (W^t - J) g||.
    """
    task, graph = quadratics(apart=False), SHAPES[shape]
    x = iterates(pl.CDSGD(lr=alpha), task, graph, 200)
    H, b = task.hessians.numpy(), task.optima.numpy()
    g = np.einsum("ipq,kiq->kip", H, x - b)
    W = graphs.metropolis(graph)
    slowest = max(abs(graphs.lambda_2(W)), abs(graphs.lambda_N(W)))
    bound = alpha * np.linalg.norm(g, axis=(1, 2)).max() / (1 - slowest)
    assert spread(x).max() <= bound
    assert spread(x).max() > bound / 10  # and it says something


def test_metropolis_weights_may_have_an_eigenvalue_below_zero():
    assert graphs.lambda_N(graphs.metropolis(graphs.cycle(10))) == pytest.approx(-1 / 3)


@pytest.mark.parametrize("omega", [0.0, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("beta", [0.3, 0.8])
@pytest.mark.parametrize("shape", SHAPES)
def test_dmsgds_proposition_1_holds(shape, beta, omega):
    """The distance from the mean is at most 8 alpha sqrt(N) M / (sqrt(eta) (1 - bL) (1 - sqrt bL)).

    b L is beta times Lambda = omega + (1 - omega) lambda_2; M bounds the gradient of the unified
    objective, g + (I - Pi) x / alpha; eta is the least eigenvalue of omega I + (1 - omega) Pi,
    which must be positive: so the weights are lazy.
    """
    alpha, graph, weights = 0.02, SHAPES[shape], "lazy_metropolis"
    task, W = quadratics(apart=False), graphs.as_rule(weights)(graph).toarray()
    x = iterates(pl.DMSGD(lr=alpha, beta=beta, omega=omega), task, graph, 200, weights=weights)
    H, b = task.hessians.numpy(), task.optima.numpy()
    unified = np.einsum("ipq,kiq->kip", H, x - b) + (x - W @ x) / alpha
    M = np.linalg.norm(unified, axis=(1, 2)).max()
    pull = omega + (1 - omega) * np.sort(np.linalg.eigvalsh(W))  # eigenvalues of omega I + ...
    eta, decay = min(pull[0], 1 - 1e-9), beta * pull[-2]
    assert eta > 0
    bound = 8 * alpha * np.sqrt(6) * M / (np.sqrt(eta) * (1 - decay) * (1 - np.sqrt(decay)))
    assert spread(x).max() <= bound
    assert spread(x).max() > 0


def test_dmsgds_consensus_weakens_as_omega_grows():
    """Remark 1, as measured while the agents pull hardest apart."""
    task = quadratics(apart=False)
    worst = [
        spread(iterates(pl.DMSGD(lr=0.02, beta=0.8, omega=w), task, SHAPES["cycle"], 100)).max()
        for w in (0.0, 0.5, 1.0)
    ]
    assert worst[0] < worst[1] < worst[2]


# --- consensus in the momentum alone ----------------------------------------------------------


@pytest.mark.parametrize("omega", [0.0, 0.5, 1.0])
def test_consensus_in_the_momentum_leads_to_each_agents_own_optimum(omega):
    method = pl.DMSGD(lr=0.1, beta=0.4, omega=omega, consensus="momentum")
    x = iterates(method, TASK, SHAPES["cycle"], 300)
    np.testing.assert_allclose(x[-1], TASK.optima.numpy(), rtol=0, atol=1e-10)
    assert spread(x)[-1] > 1  # and these are far from each other
    assert not method.reaches_consensus


def test_own_optima_are_fixed_points_of_consensus_in_the_momentum():
    resting = pl.tasks.QuadraticTask(TASK.hessians, TASK.optima, first=TASK.optima)
    method = pl.DMSGD(lr=0.1, beta=0.4, omega=0.5, consensus="momentum")
    np.testing.assert_allclose(
        iterates(method, resting, SHAPES["star"], 5)[-1], TASK.optima.numpy(), atol=1e-15
    )


def test_consensus_in_the_momentum_with_omega_1_does_not_use_what_it_hears():
    method = pl.DMSGD(lr=0.05, beta=0.4, omega=1.0, consensus="momentum")
    one, other = (iterates(method, TASK, SHAPES[s], 10) for s in ("cycle", "complete"))
    assert (one == other).all()


# --- logistic regression ----------------------------------------------------------------------

DECAY = 0.5


def logistic(weighting: str) -> tuple[pl.Task, np.ndarray]:
    """Agents with data of different sizes and mostly one label each, and SciPy's solution."""
    draw = np.random.default_rng(6)
    sizes = (8, 12, 10, 20)
    centers = draw.normal(size=(4, 3))
    inputs = [c + draw.normal(size=(n, 3)) for n, c in zip(sizes, centers, strict=True)]
    labels = [(draw.random(n) < (0.9 if a < 2 else 0.1)) * 1.0 for a, n in enumerate(sizes)]
    task = pl.Task(
        model=lambda: torch.nn.Linear(3, 1),
        loss=lambda out, y: torch.nn.functional.binary_cross_entropy_with_logits(out[:, 0], y),
        data=[
            (torch.from_numpy(x), torch.from_numpy(y)) for x, y in zip(inputs, labels, strict=True)
        ],
        batch_size=None, weighting=weighting, gradients="loop",
    )  # fmt: skip
    shares = np.array(sizes) / sum(sizes) if weighting == "size" else np.full(4, 0.25)

    def objective(theta):
        """Every agent's mean loss, weighted, and DECAY / 2 ||theta||^2."""
        value, gradient = DECAY / 2 * theta @ theta, DECAY * theta
        for share, x, y in zip(shares, inputs, labels, strict=True):
            wide = np.column_stack([x, np.ones(len(x))])
            score = wide @ theta
            value += share * np.mean(np.logaddexp(0, score) - y * score)
            gradient = gradient + share * wide.T @ (1 / (1 + np.exp(-score)) - y) / len(x)
        return value, gradient

    found = scipy.optimize.minimize(
        objective, np.zeros(4), jac=True, method="BFGS", options={"gtol": 1e-11}
    )
    assert np.linalg.norm(found.jac) < 1e-8
    return task, found.x


TRAINERS = {
    "DiNNO": pl.DiNNO(rho=0.2, optimizer="sgd", lr=0.3, local_steps=2, weight_decay=DECAY),
    "DSGT": pl.DSGT(lr=0.2, weight_decay=DECAY),
    "Centralized": pl.Centralized(optimizer="sgd", lr=0.5, weight_decay=DECAY),
}


@pytest.mark.parametrize("weighting", ["equal", "size"])
@pytest.mark.parametrize(
    "name", [k.__name__ for k in ALGORITHMS if k.exact and Needs.MINIMIZE not in k.needs]
)
def test_logistic_regression_is_scipys(name, weighting):
    task, solution = logistic(weighting)
    graph = None if TRAINERS[name].pools_data else graphs.path(4)
    run = pl.train(
        task, TRAINERS[name], graph, rounds=300, dtype="float64", device="cpu", evaluate_every=300
    )
    np.testing.assert_allclose(
        run.theta.numpy(), np.tile(solution, (len(run.theta), 1)), rtol=0, atol=1e-7
    )


def test_exact_admm_without_a_penalty_is_each_agents_own_optimum():
    task = pl.tasks.quadratic(4, 3, seed=2)
    falling = pl.ConsensusADMM(rho=pl.schedules.linear(0.5, 0.0))
    run = pl.train(task, falling, graphs.cycle(4), rounds=20, dtype="float64", device="cpu")
    assert run.theta.isfinite().all()
    alone = pl.train(
        task, pl.ConsensusADMM(rho=0.0), graphs.cycle(4), rounds=1, dtype="float64", device="cpu"
    )
    torch.testing.assert_close(alone.theta, task.optima.double(), rtol=0, atol=1e-9)
