"""Messages that are lost, late or out of order, and links that fail: what must hold still holds."""

import pytest
import torch

import peerlearn as pl
from peerlearn.algorithm import Algorithm
from peerlearn.algorithms import ALGORITHMS
from peerlearn.testing import InMemoryEngine, run_alone

AGENTS = 5
GRAPH = pl.graphs.wheel(AGENTS)
FAULTS = {
    "lost": {"drop": 0.3},
    "late": {"late": 0.3},
    "both": {"drop": 0.25, "late": 0.25},
    "nothing arrives": {"drop": 1.0},
}
METHODS = [kind() for kind in ALGORITHMS if kind.communicates]
METHODS += [
    pl.DiNNO(optimizer="sgd", lr=0.02, local_steps=1),
    pl.DSGD(lr=0.01, gradient_at="mixed"),
]

BALANCED = [m for m in METHODS if type(m).vanishing is not Algorithm.vanishing]


def task(dimension: int = 3) -> pl.tasks.QuadraticTask:
    """Quadratics whose agents start apart."""
    made = pl.tasks.quadratic(AGENTS, dimension, smoothness=4.0, convexity=1.0, seed=2)
    return pl.tasks.QuadraticTask(made.hessians, made.optima, first=made.optima.flip(0))


def faulty(faults: dict, rounds: int) -> InMemoryEngine:
    return InMemoryEngine(AGENTS, rounds=rounds, seed=7, **faults)


@pytest.mark.parametrize("faults", FAULTS.values(), ids=FAULTS)
def test_faults_happen(faults):
    engine = faulty(faults, 12)
    run_alone(pl.DSGD(lr=0.01), task(), GRAPH, rounds=12, engine=engine)
    sent, received = (engine.traffic.state()[f"messages_{w}"].sum() for w in ("sent", "received"))
    assert sent == 12 * 2 * GRAPH.number_of_edges()
    assert received < sent
    assert (engine.dropped > 0) == ("drop" in faults)
    assert (engine.stale > 0) == ("late" in faults)
    assert received + engine.dropped + engine.stale <= sent


@pytest.mark.parametrize("faults", FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("method", BALANCED, ids=lambda m: m.name)
def test_sums_that_must_vanish_vanish(method, faults):
    found = run_alone(method, task(), GRAPH, rounds=8, **faults)
    sums = [method.vanishing(state).sum(dim=0).abs().max() for state in found]
    assert max(sums) < 1e-12
    if faults.get("drop") != 1.0:
        assert method.vanishing(found[-1]).abs().max() > 1e-3  # there is something to sum


@pytest.mark.parametrize("faults", FAULTS.values(), ids=FAULTS)
def test_trackers_still_track(faults):
    made = task()
    for state in run_alone(pl.DSGT(lr=0.05), made, GRAPH, rounds=8, **faults):
        truth = made.learner(0, torch.device("cpu"), torch.float64).gradient(state.theta)
        torch.testing.assert_close(state.gradient, truth, rtol=0, atol=1e-12)
        tracked = state.tracker.mean(dim=0)
        torch.testing.assert_close(tracked, truth.mean(dim=0), rtol=0, atol=1e-12)


@pytest.mark.parametrize("faults", FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize(
    "method", [m for m in METHODS if m.preserves_average], ids=lambda m: m.name
)
def test_averages_are_preserved(method, faults):
    """With zero gradients; networks of the agents that are heard come closer all the same."""

    class Flat(pl.tasks.QuadraticTask):
        def learner(self, *arguments):
            learner = super().learner(*arguments)
            learner.hessians = torch.zeros_like(learner.hessians)
            return learner

    made = task()
    states = run_alone(
        method, Flat(made.hessians, made.optima, made.first), GRAPH, rounds=8, **faults
    )
    first, last = states[0].theta, states[-1].theta
    torch.testing.assert_close(last.mean(dim=0), first.mean(dim=0), rtol=0, atol=1e-14)
    spread = (last - last.mean(dim=0)).norm() / (first - first.mean(dim=0)).norm()
    assert spread == 1 if faults.get("drop") == 1.0 else spread < 0.5


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_faults_are_the_same_under_the_same_seed(method):
    one, other = (
        run_alone(method, task(), GRAPH, rounds=4, drop=0.3, late=0.2)[-1].theta for _ in range(2)
    )
    third = run_alone(method, task(), GRAPH, rounds=4, drop=0.3, late=0.2, seed=1)[-1].theta
    assert torch.equal(one, other)
    assert not torch.equal(one, third)


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_an_agent_that_hears_nobody_goes_on(method):
    states = run_alone(method, task(), GRAPH, rounds=5, drop=1.0)
    assert states[-1].theta.isfinite().all()


@pytest.mark.parametrize(
    "method",
    [
        pl.ConsensusADMM(rho=1.0),
        pl.DSGT(lr=0.1),
        pl.DiNNO(rho=0.5, optimizer="sgd", lr=1 / (4 + 2 * 0.5 * 4), local_steps=2),
    ],
    ids=lambda m: m.name,
)
def test_exact_methods_reach_the_optimum_though_messages_get_lost(method):
    made = task()
    optimum = made.learner(0, torch.device("cpu"), torch.float64).optimum()
    state = run_alone(method, made, GRAPH, rounds=120, drop=0.15, late=0.1)[-1]
    assert (state.theta - optimum).norm(dim=1).max() < 1e-5


@pytest.mark.parametrize(
    "schedule",
    [
        pl.graphs.link_failures(GRAPH, p=0.3, seed=3),
        pl.graphs.random_matchings(GRAPH, seed=3),
        pl.graphs.one_peer_exponential(AGENTS),
    ],
    ids=lambda s: type(s).__name__,
)
@pytest.mark.parametrize(
    "method", [pl.ConsensusADMM(rho=1.0), pl.DSGT(lr=0.1)], ids=lambda m: m.name
)
def test_exact_methods_reach_the_optimum_over_graphs_that_change(method, schedule):
    run = pl.train(
        task(), method, schedule, rounds=300, dtype="float64", device="cpu", evaluate_every=300
    )
    assert run.final["distance"].max() < 1e-10


def test_exact_admm_keeps_the_network_of_an_agent_that_hears_nobody():
    first, last = run_alone(pl.ConsensusADMM(), task(), GRAPH, rounds=1, drop=1.0)
    assert torch.equal(last.theta, first.theta)
