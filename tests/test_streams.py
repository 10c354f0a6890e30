"""Streams: each sample once, predicted before it is learned; the same numbers in any stack."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pytest
import torch
from helpers import (
    FEATURES,
    Items,
    classification,
    hosted,
    line_fit,
    network,
    samples,
    scattered,
    with_everything,
)
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss

import peerlearn as pl
from peerlearn.data import drift, graphical_models
from peerlearn.data.streams import STREAMS, dealt, finite, generated, interleaved
from peerlearn.errors import ConfigurationError
from peerlearn.tasks import accuracy

AGENTS = 4
RATES = (3, 1, 2, 3)


def numbered(count):
    """A pool whose inputs say which sample they are."""
    return torch.arange(count)[:, None].double(), torch.arange(count) % 3


def noise(draw, count, concept):
    return draw.random((count, FEATURES)) + 10 * concept, draw.integers(3, size=count)


def made(kind, agents=AGENTS, **options):
    if kind == "finite":
        return finite([samples(60, seed=a) for a in range(agents)], test=samples(9), **options)
    if kind == "dealt":
        return dealt(samples(25), agents, test=samples(9), **options)
    return generated(noise, agents, test_size=9, ahead=8, **options)


def streamed(stream=None, **options):
    stream = made("dealt") if stream is None else stream
    options = {"batch_size": RATES, "measures": {"accuracy": accuracy}, "test": None, **options}
    return classification(data=stream, **options)


def take(stream, agents, first, size, seed=0, round=0):
    return stream.take(seed, np.array(agents), np.array(first), size, round)


# --- what a stream gives ------------------------------------------------------------------


@given(st.integers(1, 30), st.integers(1, 7), st.integers(1, 4), st.integers(0, 2**40))
def test_in_every_epoch_of_a_dealt_pool_each_sample_comes_once(count, agents, epochs, seed):
    stream = dealt(numbered(count), agents)
    size = -(-epochs * count // agents)
    inputs, targets = take(stream, range(agents), [0] * agents, size, seed)
    order = inputs[..., 0].T.flatten()[: epochs * count].reshape(epochs, count)
    assert all(epoch.sort().values.tolist() == list(range(count)) for epoch in order)
    torch.testing.assert_close(targets.double(), inputs[..., 0] % 3)


def test_without_shuffling_the_pool_comes_in_its_order():
    inputs, _ = take(dealt(numbered(5), 2, shuffle=False), [0, 1], [0, 0], 4)
    assert inputs[..., 0].tolist() == [[0, 2, 4, 1], [1, 3, 0, 2]]


def test_a_finite_stream_gives_each_agent_its_own_and_ends():
    stream = finite([numbered(3), Items(numbered(5)[0] + 10, torch.zeros(5, dtype=torch.int64))])
    assert [stream.length(a) for a in (0, 1)] == [3, 5]
    inputs, _ = take(stream, [1, 0], [2, 0], 3)
    assert inputs[..., 0].tolist() == [[12, 13, 14], [0, 1, 2]]
    with pytest.raises(ValueError, match="the stream of agent 0 has ended after 3 samples"):
        take(stream, [1, 0], [0, 1], 3)


@pytest.mark.parametrize("kind", STREAMS)
@given(st.data())
def test_samples_depend_on_seed_agent_and_number_alone(kind, data):
    stream, other = made(kind), made(kind)
    seed = data.draw(st.integers(0, 5))
    whole = take(other, range(AGENTS), [0] * AGENTS, 40, seed)
    for _ in range(4):
        agents = data.draw(st.lists(st.integers(0, AGENTS - 1), min_size=1, max_size=5))
        first = [data.draw(st.integers(0, 30)) for _ in agents]
        size = data.draw(st.integers(1, 10))
        found = take(stream, agents, first, size, seed)
        for part, expected in zip(found, whole, strict=True):
            for row, (a, f) in zip(part, zip(agents, first, strict=True), strict=True):
                assert torch.equal(row, expected[a, f : f + size])


@pytest.mark.parametrize("kind", ["dealt", "generated"])
def test_another_seed_gives_other_samples(kind):
    first, second = (take(made(kind), [0], [0], 20, seed)[0] for seed in (0, 1))
    assert not torch.equal(first, second)


def test_no_generated_sample_comes_again_nor_to_another_agent():
    stream = made("generated")
    inputs, _ = take(stream, range(AGENTS), [0] * AGENTS, 3 * stream.ahead)
    assert len(inputs.flatten(0, 1).unique(dim=0)) == AGENTS * 3 * stream.ahead


def test_a_generated_sample_is_as_the_concept_has_it():
    stream = made("generated", drift=drift.at([5]))
    early, late = (take(stream, [0], [0], 3, round=r)[0] for r in (4, 5))
    assert float(early.max()) < 1
    assert float(late.min()) >= 10
    assert [float(stream.test(0, r)[0].max()) > 9 for r in (-1, 0, 4, 5)] == [False] * 3 + [True]


@pytest.mark.parametrize("seed", [0, 3])
def test_a_streams_concepts_are_those_of_its_drift_under_the_runs_seed(seed):
    when = drift.random(0.3)
    stream = made("generated", drift=when)
    seen = [int(take(stream, [0], [0], 1, seed, r)[0].min() // 10) for r in range(20)]
    assert seen == [when.concept(seed, r) for r in range(20)]
    assert stream.drifts(seed, 20) == [r for r in range(1, 20) if seen[r] > seen[r - 1]] != []


def test_a_generated_test_set_is_nobodys_samples_and_the_seeds_own():
    stream = generated(noise, AGENTS, test_size=8, ahead=8)
    tested, _ = stream.test(0, 0)
    assert not torch.isin(tested, take(stream, range(AGENTS), [0] * AGENTS, 8)[0]).any()
    assert not torch.equal(tested, stream.test(1, 0)[0])


@pytest.mark.parametrize("seed", range(4))
def test_samples_and_the_test_set_have_the_names_of_the_concept(seed):
    pool, tested, change = numbered(9), numbered(6), drift.labels(3)
    stream = dealt(pool, 1, shuffle=False, test=tested, drift=drift.at([2]), change=change)
    for round in (1, 2):
        names = change.permutation(seed, 1) if round == 2 else torch.arange(3)
        assert torch.equal(take(stream, [0], [0], 9, seed, round)[1][0], names[pool[1]])
        assert torch.equal(stream.test(seed, round)[1], names[tested[1]])


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.integers(0, 20), st.integers(1, 9))
def test_interleaving_puts_the_minibatches_one_after_another(rates, first, size):
    stream = dealt(samples(25), len(rates))
    expected = []
    for turn in range(30):
        for agent, rate in enumerate(rates):
            expected.append(take(stream, [agent], [turn * rate], rate)[0][0])
    expected = torch.cat(expected)[first : first + size]
    assert torch.equal(take(interleaved(stream, rates), [0], [first], size)[0][0], expected)


def test_interleaving_ends_with_the_last_turn_for_which_all_have_samples():
    whole = interleaved(finite([samples(6), samples(9)]), (2, 4))
    assert whole.length(0) == 2 * (2 + 4)
    inputs, _ = take(whole, [0], [0], 12)
    parts = [samples(n)[0][a:b] for n, a, b in ((6, 0, 2), (9, 0, 4), (6, 2, 4), (9, 4, 8))]
    assert torch.equal(inputs[0], torch.cat(parts))
    assert interleaved(made("dealt"), RATES).length(0) is None


def test_interleaving_changes_neither_the_tests_nor_what_a_sample_weighs():
    stream = made("generated", drift=drift.at([3]), sample_bytes=7)
    whole = interleaved(stream, RATES)
    assert whole.raw_bytes(0, 5, 9) == 35
    for round in (2, 3):
        assert all(map(torch.equal, whole.test(1, round), stream.test(1, round)))


@pytest.mark.parametrize("counts", [False, True])
def test_interleaving_counts_what_is_suffered_where_its_stream_does(counts):
    stream = type("Stream", (dealt,), {"prequential": counts})(samples(9), 2)
    assert interleaved(stream, (1, 2)).prequential is counts


def test_a_stream_of_graphical_models_costs_far_less_than_a_millisecond_a_round():
    stream, agents = pl.tasks.graphical().data, np.arange(100)
    calls = []
    draw, stream.draw = stream.draw, lambda *a: (calls.append(1), draw(*a))[1]
    for number in range(stream.ahead):
        stream.take(0, agents, np.full(100, number), 1, number // 1000)
    assert len(calls) == 100


# --- learning from it ---------------------------------------------------------------------


def test_the_loss_is_suffered_before_it_is_learned_from():
    """One weight, squared loss, by hand: x = 1, 2 and then 3; targets 1."""
    data = torch.tensor([[1.0], [2.0], [3.0], [0.0]]), torch.ones(4, 1)
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    task = pl.Task(model=model, loss=mse_loss, data=finite([data]), batch_size=2)
    run = pl.train(task, pl.Isolated(optimizer="sgd", lr=0.1), rounds=2, evaluate_every=1)
    # first batch at w = 0: losses 1, 1; mean gradient -2 (1 + 2) / 2 = -3, so w = 0.3
    # second at w = 0.3: (0.9 - 1)^2 + 1
    np.testing.assert_allclose(run.history["cumulative_loss"][:, 0], [0, 2, 3.01], rtol=1e-6)
    assert "cumulative_error" not in run.final
    assert "train_loss" not in run.final


@pytest.mark.parametrize("way", ["loop", "vmap"])
@pytest.mark.parametrize("kind", STREAMS)
def test_errors_and_losses_are_those_of_the_predictions(kind, way):
    stream = made(kind)
    learner = hosted(streamed(stream, gradients=way))
    loss, errors = np.zeros(AGENTS), np.zeros(AGENTS)
    for step in range(4):
        theta = scattered(learner, seed=step)
        learner.gradient(theta)
        for agent, rate in enumerate(RATES):
            inputs, targets = (p[0] for p in take(stream, [agent], [step * rate], rate))
            outputs = learner.module(theta[agent], agent)(inputs)
            loss[agent] += rate * cross_entropy(outputs, targets).item()
            errors[agent] += (outputs.argmax(dim=1) != targets).sum().item()
    found = learner.suffered()
    np.testing.assert_allclose(found["cumulative_loss"], loss, rtol=1e-12)
    np.testing.assert_array_equal(found["cumulative_error"], errors)
    assert errors.sum() > 0


@pytest.mark.parametrize("batch_size", [2, RATES])
@pytest.mark.parametrize("kind", STREAMS)
def test_loop_and_vmap_agree(kind, batch_size):
    loop, vmap = (
        hosted(streamed(made(kind), gradients=g, batch_size=batch_size)) for g in ("loop", "vmap")
    )
    for step in range(3):
        theta = scattered(loop, seed=step)
        torch.testing.assert_close(loop.gradient(theta), vmap.gradient(theta), rtol=0, atol=1e-13)
        out = [theta.clone(), theta.clone()]
        for learner, rows in zip((loop, vmap), out, strict=True):
            learner.add_gradient(rows, theta, -0.1)
        torch.testing.assert_close(*out, rtol=0, atol=1e-13)
        torch.testing.assert_close(loop.losses, vmap.losses, rtol=0, atol=1e-13)
    for name, values in loop.suffered().items():
        torch.testing.assert_close(values, vmap.suffered()[name], rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", STREAMS)
@pytest.mark.parametrize("stack", [[3], [1, 3], [3, 1, 0]])
def test_an_agent_gets_the_same_bits_in_any_stack(kind, stack):
    together, apart = hosted(streamed(made(kind))), hosted(streamed(made(kind)), stack)
    for step in range(4):
        expected = together.gradient(scattered(together, step))[stack]
        assert torch.equal(apart.gradient(scattered(apart, step)), expected)
    for name, values in together.suffered().items():
        assert torch.equal(apart.suffered()[name], values[stack])


@pytest.mark.parametrize("way", ["loop", "vmap"])
def test_a_subset_draws_only_its_own_samples(way):
    learner, other = (hosted(streamed(gradients=way)) for _ in range(2))
    theta = scattered(learner)
    learner.gradient(theta[[2, 0]], agents=[2, 0])
    other.gradient(theta)
    assert learner.gradient_evaluations().tolist() == [1, 0, 1, 0]
    for name, values in learner.suffered().items():
        assert torch.equal(values[[0, 2]], other.suffered()[name][[0, 2]])
        assert not values[[1, 3]].any()


@pytest.mark.parametrize("kind", STREAMS)
@pytest.mark.parametrize("in_turn", [None, False, True])
def test_a_resumed_learner_goes_on_in_the_middle(kind, in_turn):
    def learner():
        task = streamed(made(kind, drift=drift.at([2])))
        return hosted(task if in_turn is None else task.pooled(in_turn))

    first, second = learner(), learner()
    theta = scattered(first)
    for round in range(4):
        first.begin_round(theta, round)
        first.gradient(theta)
    second.load({n: t.clone() for n, t in first.state().items()})
    assert first.evaluate(theta).keys() == second.evaluate(theta).keys()
    for name, values in first.evaluate(theta).items():
        assert torch.equal(values, second.evaluate(theta)[name])
    for _ in range(5):
        assert torch.equal(first.gradient(theta), second.gradient(theta))
    for name, values in first.suffered().items():
        assert torch.equal(values, second.suffered()[name])


@pytest.mark.parametrize(
    "make", [streamed, partial(classification, model=with_everything)], ids=["stream", "datasets"]
)
def test_what_a_learner_gave_out_or_was_given_stays_as_it_was(make):
    learner, other = hosted(make()), hosted(make())
    theta = scattered(learner)
    learner.gradient(theta)
    held = {**learner.state(), **learner.suffered()}
    kept = {name: value.clone() for name, value in held.items()}
    other.load(held)
    for each in (learner, other):
        each.gradient(theta)
    for name, value in held.items():
        assert torch.equal(value, kept[name]), name


def test_a_run_resumed_at_a_checkpoint_ends_alike(tmp_path):
    task = streamed(made("dealt", drift=drift.at([3]), change=drift.labels(3)))
    options = {"rounds": 6, "evaluate_every": 2, "device": "cpu"}
    whole = pl.train(task, pl.Isolated(), **options)
    pl.train(task, pl.Isolated(), **options, out=tmp_path, callback=lambda e: e["round"] == 4)
    rest = pl.train(task, pl.Isolated(), **options, out=tmp_path, resume=True)
    assert torch.equal(whole.theta, rest.theta)
    np.testing.assert_array_equal(whole.final["cumulative_loss"], rest.final["cumulative_loss"])


def test_networks_are_judged_by_the_concept_of_their_round():
    stream = made("generated", drift=drift.at([2, 4]))
    learner = hosted(streamed(stream), seed=5)
    theta = scattered(learner)
    for round in (-1, 0, 1, 2, 3, 4):
        learner.begin_round(theta, round)
        inputs, targets = stream.test(5, round)
        measured = learner.evaluate(theta)["loss"]
        for agent in range(AGENTS):
            outputs = learner.module(theta[agent], agent)(torch.as_tensor(inputs))
            expected = cross_entropy(outputs, torch.as_tensor(targets)).item()
            assert measured[agent].item() == pytest.approx(expected)


@pytest.mark.parametrize("kind", ["dealt", "generated"])
def test_another_seed_brings_other_samples(kind):
    one, again, other = (hosted(streamed(made(kind)), seed=s) for s in (0, 0, 1))
    theta = scattered(one)
    gradient = one.gradient(theta)
    assert torch.equal(gradient, again.gradient(theta))
    assert not torch.isclose(gradient, other.gradient(theta)).all(dim=1).all()


def test_what_a_stream_brings_is_transformed():
    learner = hosted(streamed(transform=lambda inputs, targets: (0 * inputs, targets)))
    gradient = learner.gradient(scattered(learner))
    assert not gradient[:, : 5 * FEATURES].any(), "weights of the inputs"
    assert gradient[:, 5 * FEATURES :].any(dim=1).all()


def test_a_module_that_draws_learns_from_a_stream():
    task = streamed(model=lambda: nn.Sequential(network(), nn.Dropout(0.5)), gradients="auto")
    learner = hosted(task)
    assert "it draws random numbers" in learner.note
    learner.gradient(learner.initial())
    assert (learner.suffered()["cumulative_loss"] > 0).all()


@pytest.mark.parametrize("way", ["loop", "vmap"])
def test_nobody_may_be_asked(way):
    for task in (streamed(gradients=way), classification(gradients=way)):
        learner = hosted(task)
        gradient = learner.gradient(learner.initial()[:0], agents=[])
        assert gradient.shape == (0, learner.layout.width)
        assert not learner.gradient_evaluations().any()
        assert not any(values.any() for values in learner.suffered().values())


@pytest.mark.parametrize("method", [pl.DSGD, pl.DSGT, pl.DiNNO])
def test_any_method_learns_from_a_stream(method):
    task = pl.tasks.digits_stream(agents=4)
    run = pl.train(task, method(), pl.graphs.cycle(4), rounds=10, evaluate_every=5, device="cpu")
    suffered = run.history["cumulative_error"].sum(axis=1)
    seen = 5 * run.history["gradient_evaluations"].sum(axis=1)
    assert (suffered <= seen).all()
    assert (np.diff(suffered) > 0).all()
    assert 0.5 < suffered[1] / seen[1] < 1


# --- weights, sizes -----------------------------------------------------------------------


def test_weighting_by_size_weighs_by_the_rates():
    equal, by_size = (hosted(streamed(weighting=w)) for w in ("equal", "size"))
    theta = scattered(equal)
    factor = torch.tensor(RATES, dtype=torch.float64)[:, None] * AGENTS / sum(RATES)
    torch.testing.assert_close(by_size.gradient(theta), factor * equal.gradient(theta))
    assert by_size.sizes.tolist() == list(RATES)
    assert torch.equal(equal.suffered()["cumulative_loss"], by_size.suffered()["cumulative_loss"])


def test_a_stream_has_no_epochs():
    with pytest.raises(ValueError, match="a stream has no epochs"):
        _ = hosted(streamed()).epoch_steps


def test_an_epoch_of_datasets_is_so_many_steps():
    task = classification((3, 8, 5, 6), batch_size=[2, 4, 9, None])
    learner = hosted(task, agents=[1, 0, 3, 2])
    assert learner.epoch_steps.tolist() == [2, 2, 1, 1]
    assert learner.sizes.tolist() == [8, 3, 6, 5]
    assert learner.suffered() == {}
    assert hosted(task.pooled(in_turn=True)).epoch_steps.tolist() == [6]


# --- all data in one place ----------------------------------------------------------------


def test_the_centre_sees_what_all_agents_see_at_once():
    team, centre = hosted(streamed(batch_size=2)), hosted(streamed(batch_size=2).pooled())
    for step in range(5):
        theta = scattered(team, seed=step)[:1]
        expected = team.gradient(theta.expand(AGENTS, -1)).mean(dim=0)
        torch.testing.assert_close(centre.gradient(theta)[0], expected, rtol=0, atol=1e-13)
    for name, values in centre.suffered().items():
        torch.testing.assert_close(values[0], team.suffered()[name].sum(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("weighting", ["equal", "size"])
@pytest.mark.parametrize("way", ["loop", "vmap"])
def test_the_centre_keeps_objective_and_sums_of_agents_with_different_rates(weighting, way):
    task = streamed(weighting=weighting, gradients=way)
    team, centre = hosted(task), hosted(task.pooled())
    theta = scattered(team)[:1]
    expected = team.gradient(theta.expand(AGENTS, -1)).mean(dim=0)
    torch.testing.assert_close(centre.gradient(theta)[0], expected, rtol=0, atol=1e-13)
    for name, values in centre.suffered().items():
        torch.testing.assert_close(values[0], team.suffered()[name].sum(), rtol=0, atol=1e-12)


IN_TURN = {
    "stream": streamed,
    "datasets": lambda **o: classification((3, 8, 5, 6), **{"batch_size": (2, 3, 1, None), **o}),
    "items": lambda **o: classification(data=[Items(*samples(n, n)) for n in (3, 8, 5, 6)], **o),
    "full batches": lambda **o: line_fit((3, 8, 5, 6), **o),
}


@pytest.mark.parametrize("weighting", ["equal", "size"])
@pytest.mark.parametrize("make", IN_TURN.values(), ids=IN_TURN)
def test_in_turn_every_minibatch_is_the_next_agents_own(make, weighting):
    task = make(weighting=weighting)
    team, serial = hosted(task), hosted(task.pooled(in_turn=True))
    assert (team.turns, serial.turns, len(serial.agents)) == (1, AGENTS, 1)
    for step in range(5):
        theta = scattered(team, seed=step)[:1]
        expected = team.gradient(theta.expand(AGENTS, -1))
        found = torch.cat([serial.gradient(theta) for _ in range(AGENTS)])
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-13)
    for name, values in serial.suffered().items():
        torch.testing.assert_close(values[0], team.suffered()[name].sum(), rtol=0, atol=1e-12)


def test_raw_bytes_are_those_of_the_samples_drawn():
    task = streamed(sample_bytes=7)
    assert task.stream_bytes(10, False, 9) == [10 * b * 7 for b in RATES]
    assert task.stream_bytes(10, True, 9) == [3 * 3 * 7, 3 * 1 * 7, 2 * 2 * 7, 2 * 3 * 7]
    assert streamed().stream_bytes(1, False, 0) == [b * (8 * FEATURES + 8) for b in RATES]
    assert classification().stream_bytes(10, False, 9) is None


@pytest.mark.parametrize(
    ("method", "each"),
    [(pl.Centralized(local_steps=2), 6), (pl.Serial(), 3)],
    ids=["centralized", "serial"],
)
def test_a_run_on_pooled_streams_counts_the_samples_of_all_its_gradients(method, each):
    task = streamed(made("generated"), sample_bytes=7)
    run = pl.train(task, method, rounds=3, device="cpu")
    assert run.final["bytes_sent"].tolist() == [each * b * 7 for b in RATES]


# --- first networks -----------------------------------------------------------------------


def test_first_networks_are_spread_around_the_common_one():
    common, spread, far = (
        hosted(classification(initial_spread=e)).initial() for e in (0.0, 0.5, 1.0)
    )
    assert (common == common[0]).all()
    torch.testing.assert_close(spread, common + 0.5 * (far - common))
    assert len({tuple(row.tolist()) for row in far}) == 4
    alone = hosted(classification(initial_spread=0.5), agents=[2]).initial()
    assert torch.equal(alone[0], spread[2])
    assert torch.equal(hosted(classification(initial_spread=0.5).pooled()).initial(), common[:1])
    assert not torch.equal(hosted(classification(initial_spread=1.0), seed=1).initial(), far)


# --- bad input ----------------------------------------------------------------------------


PROBLEMS = {
    "no rates": ({"batch_size": None}, "batch_size is None, but a stream has no end"),
    "rates": ({"batch_size": [1, 2, 3]}, "batch_size has 3 entries for 4 agents"),
    "rates in an array": ({"batch_size": np.array(RATES)}, "batch_size is array([3, 1, 2, 3])"),
    "rate": ({"batch_size": [1, 2, 0, 1]}, "batch_size is [1, 2, 0, 1], expected a whole"),
    "tests": ({"test": [samples(3)] * 3}, "got 3 test sets for 4 agents"),
    "spread": ({"initial_spread": -1.0}, "initial_spread is -1.0, expected a finite number"),
    "spread of one": (
        {"initial_spread": 0.5, "model": network()}, "model is no function that makes a network",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("options", "words"), PROBLEMS.values(), ids=PROBLEMS)
def test_tasks_that_cannot_be(options, words):
    (found,) = streamed(**options).problems()
    assert words in found


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: dealt(samples(0), 3), "the pool of the stream is empty"),
        (lambda: dealt(samples(3), 0), "agents is 0, expected a whole number of at least 1"),
        (lambda: finite([]), "the stream has no datasets"),
        (lambda: finite([samples(2), samples(0)]), "the dataset of agent 1 is empty"),
        (lambda: finite([samples(2), numbered(2)]), "samples differ in shape or type"),
        (lambda: dealt((torch.ones(3, 1), torch.ones(2)), 1), "3 inputs and 2 targets"),
        (lambda: generated(lambda g, n, c: (np.ones(3), np.ones(n)), 2), "draw gave 3 inputs"),
        (lambda: generated("noise", 2), "draw is 'noise', expected a function"),
        (lambda: generated(lambda g, n, c: np.ones(n), 2), "draw gave a ndarray, expected"),
        (lambda: generated(noise, 2, test_size=-1), "test_size is -1, expected a whole number"),
        (lambda: generated(noise, 2, ahead=0), "ahead is 0, expected a whole number"),
        (lambda: dealt(samples(3), 1, sample_bytes=0), "sample_bytes is 0, expected a whole"),
        (lambda: dealt(samples(3), 1, drift=[3]), r"drift is \[3\], expected one such as drift.at"),
        (lambda: dealt(samples(3), 1, change="labels"), "change is 'labels', expected one such"),
        (lambda: finite(samples(3)), "dataset of agent 0 holds no pairs"),
        (lambda: dealt(list(samples(3)), 1), r"the pool .* no pairs .* a tuple of the tensors"),
        (lambda: dealt([torch.ones(2, 2)] * 2, 1), "the pool of the stream holds no pairs"),
        (lambda: dealt(samples(3), 1, test=list(samples(2))), "the test set holds no pairs"),
        (lambda: graphical_models(hidden=0), "hidden is 0, expected a whole number"),
    ],
)
def test_streams_that_cannot_be(build, words):
    with pytest.raises(ValueError, match=words):
        build()


def test_a_stream_that_ends_early_is_said_before_training():
    task = streamed(made("finite"))
    assert task.stream_problems(gradients=20, rounds=20) == []
    first, last = task.stream_problems(gradients=21, rounds=20)
    assert "the stream of agent 0 ends after 60 samples, but 21 minibatches of 3" in first
    assert "agent 3" in last
    with pytest.raises(ConfigurationError, match="the stream of agent 0 ends after 60 samples"):
        pl.train(task, pl.Isolated(local_steps=3), rounds=7)
    assert pl.train(task, pl.Isolated(local_steps=2), rounds=10, device="cpu").rounds == 10


def test_measures_that_nothing_is_left_for_are_said_before_training():
    measures = {"accuracy": accuracy, "surprise": cross_entropy}
    said = "no test set, and keeps no samples to measure 'surprise' on; give it a test set, or"
    with pytest.raises(ConfigurationError, match=said):
        pl.train(streamed(dealt(samples(25), AGENTS), measures=measures), pl.Isolated(), rounds=1)
    run = pl.train(streamed(measures=measures), pl.Isolated(), rounds=1, device="cpu")
    assert "surprise" in run.final


def test_an_endless_stream_never_ends():
    assert streamed().stream_problems(10**9, 10**9) == []
    assert classification().stream_problems(10**9, 10**9) == []


# --- descriptions -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", STREAMS)
def test_a_stream_is_described_in_json_and_told_apart(kind):
    same, again = (json.dumps(streamed(made(kind)).describe()) for _ in range(2))
    drifting = json.dumps(streamed(made(kind, drift=drift.at([3]))).describe())
    assert same == again != drifting
    assert f'"kind": "{kind}"' in same


def cut(*sizes):
    """The same samples, so many for each agent."""
    return finite(list(zip(*(t.split(sizes) for t in samples(9)), strict=True)))


APART = {
    "order": (made("dealt"), made("dealt", shuffle=False)),
    "change": (made("dealt", change=drift.labels(3)), made("dealt", change=drift.labels(4))),
    "inputs": (dealt(samples(9), 2), dealt((samples(9)[0] + 1, samples(9)[1]), 2)),
    "targets": (dealt(samples(9), 2), dealt((samples(9)[0], samples(9)[1].flip(0)), 2)),
    "tests": (dealt(samples(9), 2, test=samples(5)), dealt(samples(9), 2, test=samples(5, 1))),
    "whose": (cut(4, 5), cut(5, 4)),
}


@pytest.mark.parametrize(("one", "other"), APART.values(), ids=APART)
def test_streams_that_give_other_samples_are_told_apart(one, other):
    first, second = (streamed(s, batch_size=1).describe() for s in (one, other))
    assert first != second
