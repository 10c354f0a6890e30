"""The same runs on CUDA: equal to the CPU's to rounding, and resumed to the bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from helpers import (
    CLASSES,
    METHODS,
    classification,
    graph_for,
    needs_quadratic,
    network,
    same_history,
    samples,
    with_batch_norm,
    with_everything,
)

import peerlearn as pl
from peerlearn.algorithms.augmentation import STRATEGIES
from peerlearn.checkpoint import FILE_NAME as CHECKPOINT
from peerlearn.checkpoint import load
from peerlearn.data import drift, streams

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA"),
]

CUDA = torch.device("cuda")


def train(task: Any, algorithm: Any, graph: Any = None, **options: Any) -> pl.Run:
    graph = graph_for(algorithm, task.agents) if graph is None else graph
    settings = {"rounds": 6, "evaluate_every": 2, "device": "cuda", "dtype": "float64", **options}
    return pl.train(task, algorithm, graph, **settings)


def same_to_rounding(first: pl.Run, second: pl.Run, tolerance: float = 1e-9) -> None:
    torch.testing.assert_close(first.theta.cpu(), second.theta.cpu(), rtol=0, atol=tolerance)
    for name, values in first.history.items():
        other = second.history[name]
        assert abs(values - other).max() <= tolerance * max(1.0, abs(other).max()), name
    for name, counted in first.record.team.items():
        assert counted.tolist() == second.record.team[name].tolist(), name


def problem(method: Any, **options: Any) -> Any:
    return pl.tasks.quadratic(4, 3) if needs_quadratic(method) else classification(**options)


class Crash(Exception):
    pass


def crash_after_four(done: int) -> None:
    if done == 4:
        raise Crash


@pytest.mark.parametrize("gradients", ["loop", "vmap"])
@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_every_method_equals_the_cpu(method, gradients):
    task = problem(method, sizes=(6, 6, 6, 6), gradients=gradients)
    found = train(task, method())
    assert found.theta.is_cuda
    same_to_rounding(found, train(task, method(), device="cpu"))


@pytest.mark.parametrize("buffers", ["local", "mixed"])
def test_batch_norm_equals_the_cpu(buffers):
    task = classification((3, 8, 5, 6), with_batch_norm, buffers=buffers)
    found, expected = (train(task, pl.DSGT(), device=d) for d in ("cuda", "cpu"))
    same_to_rounding(found, expected)
    for agent in range(4):
        pairs = zip(found.model(agent).buffers(), expected.model(agent).buffers(), strict=True)
        for one, other in pairs:
            torch.testing.assert_close(one.cpu(), other, rtol=0, atol=1e-9)


@pytest.mark.parametrize("gradients", ["loop", "vmap"])
def test_unequal_agents_weights_and_rates_equal_the_cpu(gradients):
    task = classification(
        (3, 8, 5, 6), gradients=gradients, batch_size=[3, 2, None, 4], weighting="size",
        rates={"0": 0.5}, test=[samples(5, seed=s) for s in range(4)],
    )  # fmt: skip
    algorithm = pl.DiNNO(clip=0.5, weight_decay=0.01)
    same_to_rounding(train(task, algorithm), train(task, algorithm, device="cpu"))


@pytest.mark.parametrize("weighting", ["equal", "size"])
@pytest.mark.parametrize("batch_size", [None, 2])
def test_pooled_data_equal_the_cpu(batch_size, weighting):
    task = classification((3, 8, 5, 6), batch_size=batch_size, weighting=weighting)
    same_to_rounding(train(task, pl.Centralized()), train(task, pl.Centralized(), device="cpu"))


GRAPHS = {
    "sparse": pl.graphs.cycle(12),
    "dense": pl.graphs.complete(12),
    "failing": pl.graphs.link_failures(pl.graphs.cycle(12), p=0.3, seed=1),
}


@pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS)
@pytest.mark.parametrize("method", [pl.DSGT, pl.DiNNO, pl.DMSGD], ids=lambda m: m.__name__)
def test_mixing_equals_the_cpu(method, graph):
    task = pl.tasks.quadratic(12, 3)
    algorithm = method(lr=0.01)
    same_to_rounding(train(task, algorithm, graph), train(task, algorithm, graph, device="cpu"))


# --- averaging over the coordinator, and streams -------------------------------------------


def communication(run: pl.Run) -> list[int]:
    """C(T, m) at each evaluation."""
    return run.record.team["communication"].tolist()


def apart(**options: Any) -> pl.Task:
    """Agents of unequal size that start with networks of their own."""
    return classification((3, 8, 5, 6), initial_spread=0.5, **options)


AVERAGING = {
    "periodic": pl.PeriodicAveraging(period=2),
    "steps, idle": pl.FedAvg(fraction=0.5, local_steps=2),
    "epochs, idle": pl.FedAvg(fraction=0.5, local_epochs=1, optimizer="adam", lr=0.01),
    "epochs, train": pl.FedAvg(fraction=0.5, local_epochs=2, unselected="train"),
    "serial": pl.Serial(optimizer="adam", lr=0.01),
}


@pytest.mark.parametrize("buffers", ["local", "mixed"])
@pytest.mark.parametrize("algorithm", AVERAGING.values(), ids=AVERAGING)
def test_averaging_equals_the_cpu(algorithm, buffers):
    task = apart(model=with_batch_norm, buffers=buffers)
    same_to_rounding(train(task, algorithm), train(task, algorithm, device="cpu"))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_dynamic_averaging_equals_the_cpu(strategy):
    """Every decision is the same, in rounds that balance in part and in full."""
    task = pl.tasks.quadratic(6, 3, seed=1)
    algorithm = pl.DynamicAveraging(delta=0.5, period=1, lr=0.1, augment=strategy)
    options = {"rounds": 20, "evaluate_every": 1}
    found, expected = (train(task, algorithm, device=d, **options) for d in ("cuda", "cpu"))
    same_to_rounding(found, expected)
    in_full = 2 * 6 * found.theta[0].nbytes  # every network up, and the average back
    sent = np.diff(communication(expected))
    assert sent.min() < in_full <= sent.max()


def streamed(kind: str, **options: Any) -> pl.Task:
    """Three classes, named anew in round 3; agents see different numbers of samples at a time."""
    when, agents = drift.at([3]), 4
    change = drift.labels(CLASSES)

    def drawn(draw: Any, count: int, concept: int) -> Any:
        inputs = draw.normal(size=(count, 4)) + concept
        return inputs, draw.integers(CLASSES, size=count)

    made = {
        "finite": lambda: streams.finite([samples(60, a) for a in range(agents)], drift=when,
                                         change=change),
        "dealt": lambda: streams.dealt(samples(25), agents, test=samples(9, 99), drift=when,
                                       change=change),
        "generated": lambda: streams.generated(drawn, agents, drift=when, test_size=9, ahead=8),
    }  # fmt: skip
    settings = {"batch_size": [3, 1, 2, 3], "measures": {"accuracy": pl.tasks.accuracy}, **options}
    return classification(data=made[kind](), test=None, **settings)


@pytest.mark.parametrize("gradients", ["loop", "vmap"])
@pytest.mark.parametrize("kind", streams.STREAMS)
def test_streams_equal_the_cpu(kind, gradients):
    task = streamed(kind, gradients=gradients)
    found, expected = (train(task, pl.DSGT(), device=d) for d in ("cuda", "cpu"))
    same_to_rounding(found, expected)
    for name in ("predictions", "cumulative_error"):
        assert found.history[name].tolist() == expected.history[name].tolist()


LEARNS_FROM_STREAMS = {n: m for n, m in METHODS.items() if not needs_quadratic(m)}


@pytest.mark.parametrize("method", LEARNS_FROM_STREAMS.values(), ids=LEARNS_FROM_STREAMS)
def test_every_method_learns_from_a_stream_as_on_the_cpu(method):
    task = streamed("dealt")
    same_to_rounding(train(task, method()), train(task, method(), device="cpu"))


@pytest.mark.parametrize("kind", streams.STREAMS)
def test_a_stream_resumes_to_the_bit(kind, tmp_path):
    task, algorithm = streamed(kind), pl.DynamicAveraging(delta=1e-3, period=1)
    whole = train(task, algorithm)
    with pytest.raises(Crash):
        train(task, algorithm, out=tmp_path, checkpoint_every=3, on_round=crash_after_four)
    resumed = train(task, algorithm, out=tmp_path, checkpoint_every=3, resume=True)
    assert torch.equal(resumed.theta, whole.theta)
    assert communication(resumed) == communication(whole)
    same_history(resumed, whole)


# --- devices and dtypes --------------------------------------------------------------------


def test_float32_is_near_the_cpu():
    task = classification()
    found, expected = (train(task, pl.DSGD(), device=d, dtype="float32") for d in ("cuda", "cpu"))
    assert found.theta.dtype == torch.float32
    same_to_rounding(found, expected, tolerance=1e-4)


def test_auto_takes_cuda_and_models_live_there():
    run = train(classification(), pl.DSGD(), device="auto")
    assert run.theta.is_cuda
    assert run.record.start["device"] == "cuda"
    model = run.model(2)
    assert {p.device.type for p in model.parameters()} == {"cuda"}
    inputs, targets = samples(10, 99)
    loss = torch.nn.functional.cross_entropy(model(inputs.to(CUDA)), targets.to(CUDA)).item()
    assert run.final["loss"][2] == pytest.approx(loss, abs=1e-9)


@pytest.mark.parametrize("gradients", ["loop", "vmap"])
@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_every_method_resumes_to_the_bit(method, gradients, tmp_path):
    model = {"loop": with_everything, "vmap": network}[gradients]
    task = problem(method, model=model, gradients=gradients, buffers="mixed")
    whole = train(task, method())
    with pytest.raises(Crash):
        train(task, method(), out=tmp_path, checkpoint_every=3, on_round=crash_after_four)
    resumed = train(task, method(), out=tmp_path, checkpoint_every=3, resume=True)
    assert torch.equal(resumed.theta, whole.theta)
    same_history(resumed, whole)


@pytest.mark.parametrize(("first", "second"), [("cpu", "cuda"), ("cuda", "cpu")])
def test_a_checkpoint_can_be_taken_to_the_other_device(first, second, tmp_path):
    task = classification(model=with_batch_norm, buffers="mixed")
    with pytest.raises(Crash):
        train(task, pl.DiNNO(persistent=True), device=first, out=tmp_path,
              on_round=crash_after_four)  # fmt: skip
    kept = load(tmp_path / CHECKPOINT)
    assert {v.device.type for v in (*kept.state.values(), *kept.learner.values())} == {"cpu"}
    resumed = train(task, pl.DiNNO(persistent=True), device=second, out=tmp_path, resume=True)
    assert resumed.theta.device.type == second
    same_to_rounding(resumed, train(task, pl.DiNNO(persistent=True), device=second))


def test_the_global_generators_are_neither_used_nor_moved():
    found = []
    for outside in (1, 2):
        torch.manual_seed(outside)
        before = torch.get_rng_state(), torch.cuda.get_rng_state(CUDA)
        found.append(train(classification(model=with_everything), pl.DSGD()).theta)
        assert torch.equal(torch.get_rng_state(), before[0])
        assert torch.equal(torch.cuda.get_rng_state(CUDA), before[1])
    assert torch.equal(*found)
