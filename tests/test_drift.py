"""Concept drift: when it comes, what it does, and that it is felt."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from helpers import METHODS, samples
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

import peerlearn as pl
from peerlearn.data import drift, graphical_models
from peerlearn.data.drift import CHANGES, Change
from peerlearn.data.streams import dealt, finite
from peerlearn.errors import ConfigurationError
from peerlearn.experiment import load
from peerlearn.tasks.models import MODELS

# --- when ---------------------------------------------------------------------------------


@given(st.sets(st.integers(1, 50)), st.integers(1, 60))
def test_given_rounds_begin_a_concept_each(when, rounds):
    schedule = drift.at(sorted(when))
    assert schedule.rounds(0, rounds) == sorted(r for r in when if r < rounds)
    assert len(schedule.problems(rounds)) == sum(r >= rounds for r in when)
    assert all(schedule.concept(0, r) == sum(w <= r for w in when) for r in range(-1, rounds))


@given(st.floats(0, 1), st.integers(0, 2**40), st.integers(0, 3000))
def test_random_rounds_do_not_depend_on_how_many_are_asked_for(probability, seed, rounds):
    schedule = drift.random(probability)
    found = schedule.rounds(seed, 4000)
    assert schedule.rounds(seed, rounds) == [r for r in found if r < rounds]
    assert schedule.concept(seed, rounds) == sum(r <= rounds for r in found)
    assert schedule.concept(seed, -1) == 0
    assert 0 not in found


def test_random_drifts_come_as_often_as_their_probability_says():
    counts = [len(drift.random(0.01).rounds(seed, 10_000)) for seed in range(20)]
    assert abs(np.mean(counts) - 100) < 4 * 10 / np.sqrt(20)
    assert drift.random(0.0).rounds(0, 10_000) == []
    assert drift.random(1.0).rounds(0, 3000) == list(range(1, 3000))
    assert drift.random(0.01).rounds(0, 999) != drift.random(0.01).rounds(1, 999)
    blocks = np.isin(np.arange(2 * drift.BLOCK), drift.random(0.5).rounds(0, 2 * drift.BLOCK))
    assert not np.array_equal(*np.split(blocks, 2))  # drawn anew for every block


@pytest.mark.parametrize("probability", [-0.1, 1.5, float("nan"), "often", True])
def test_probabilities_outside_0_and_1_are_refused(probability):
    with pytest.raises(ValueError, match="expected a probability from 0 to 1"):
        drift.random(probability)


@pytest.mark.parametrize("when", [[0], [3, 2], [2, 2], [1.5], [True]])
def test_rounds_that_cannot_be_are_refused(when):
    with pytest.raises(ValueError, match="a list of whole numbers of at least 1, ascending"):
        drift.at(when)


def test_a_drift_past_the_end_is_said_before_training():
    task = pl.tasks.digits_stream(agents=2, drift="labels", drift_rounds=[5, 20])
    with pytest.raises(ConfigurationError, match=r"drift in round 20 is past the end .* is 9"):
        pl.train(task, pl.Isolated(), rounds=10)


# --- what ---------------------------------------------------------------------------------


def pictures(count=12, size=6):
    draw = torch.Generator().manual_seed(0)
    return torch.rand(count, 2, size, size, generator=draw), torch.arange(count) % 4


@pytest.mark.parametrize("change", [Change(), drift.labels(4), drift.rotation(30.0)])
def test_the_first_concept_is_the_dataset_as_it_is(change):
    inputs, targets = pictures()
    found = change.apply(inputs, targets, 0, 0)
    assert torch.equal(found[0], inputs)
    assert torch.equal(found[1], targets)
    assert change.shown(targets, 3) is None


@given(st.integers(0, 9), st.integers(1, 9))
def test_labels_are_permuted_anew(seed, concept):
    change = drift.labels(4)
    inputs, targets = pictures()
    same, renamed = change.apply(inputs, targets, seed, concept)
    order = change.permutation(seed, concept)
    assert sorted(order.tolist()) == [0, 1, 2, 3]
    assert torch.equal(renamed, order[targets])
    assert torch.equal(same, inputs)


def test_every_concept_and_every_seed_has_names_of_its_own():
    keys = [(seed, concept) for seed in range(3) for concept in range(1, 4)]
    assert len({tuple(drift.labels(10).permutation(*key).tolist()) for key in keys}) == len(keys)


def test_labels_are_as_many_as_the_dataset_has():
    left_open, stated = (
        dealt(pictures(), 2, drift=drift.at([1]), change=change)
        for change in (drift.labels(), drift.labels(4))
    )
    assert left_open.describe() == stated.describe()
    places = np.arange(2), np.zeros(2, np.int64)
    assert torch.equal(left_open.take(0, *places, 6, 1)[1], stated.take(0, *places, 6, 1)[1])
    with pytest.raises(ValueError, match="classes is None, expected their number"):
        drift.labels().permutation(0, 1)


def test_a_change_of_ones_own_drifts_as_a_listed_one_does():
    class dimmed(Change):
        def apply(self, inputs, targets, seed, concept):
            return inputs / (1 + concept), targets

    task = pl.tasks.digits_stream(agents=2, drift=dimmed(), drift_rounds=[1])
    bright, dark = (
        task.data.take(0, np.arange(2), np.zeros(2, np.int64), 3, round)[0] for round in (0, 1)
    )
    assert torch.equal(dark, bright / 2)


def test_images_turn():
    inputs, targets = pictures()
    quarter = drift.rotation(90.0).apply(inputs, targets, 0, 1)[0]
    assert torch.equal(quarter, torch.rot90(inputs, 1, (-2, -1)))
    assert torch.equal(drift.rotation(90.0).apply(inputs, targets, 0, 4)[0], inputs)
    assert torch.equal(
        drift.rotation(-90.0).apply(inputs, targets, 0, 1)[0], torch.rot90(inputs, -1, (-2, -1))
    )
    ramp = torch.linspace(0, 1, 20).expand(1, 1, 20, 20).clone()  # smooth: interpolation is exact
    twice = drift.rotation(45.0).apply(drift.rotation(45.0).apply(ramp, targets, 0, 1)[0],
                                       targets, 0, 1)[0]  # fmt: skip
    centre = (slice(None), slice(None), slice(6, 14), slice(6, 14))
    torch.testing.assert_close(
        twice[centre], torch.rot90(ramp, 1, (-2, -1))[centre], rtol=0, atol=0.02
    )


@pytest.mark.parametrize(("degrees", "concept"), [(30.0, 1), (-20.0, 2), (65.0, 2), (10.0, 39)])
def test_a_slope_turns_into_the_slope_of_the_turned_direction(degrees, concept):
    """Linear images are interpolated exactly: x becomes x cos + y sin, counter-clockwise."""
    x = torch.arange(20.0).expand(20, 20) - 9.5
    y, angle = -x.T, math.radians(concept * degrees)
    turned, _ = drift.rotation(degrees).apply(x[None, None], torch.zeros(1), 0, concept)
    expected = x * math.cos(angle) + y * math.sin(angle)
    within = x.hypot(y) < 9
    torch.testing.assert_close(turned[0, 0][within], expected[within], rtol=0, atol=1e-4)


def test_beyond_the_edge_of_a_turned_image_its_border_goes_on():
    images = torch.full((2, 3, 8, 8), 0.7)
    turned, _ = drift.rotation(33.0).apply(images, torch.zeros(2), 0, 1)
    torch.testing.assert_close(turned, images)


@pytest.mark.parametrize("degrees", [90.0, 45.0])
def test_where_nobody_draws_nothing_is_turned(degrees):
    """As in a round for which none of the agents hosted here was selected."""
    stream = dealt(pictures(), 2, drift=drift.at([1]), change=drift.rotation(degrees))
    nobody = np.zeros(0, np.int64)
    inputs, targets = stream.take(0, nobody, nobody, 3, 1)
    assert (inputs.shape, targets.shape) == ((0, 3, 2, 6, 6), (0, 3))


def test_changes_that_are_not_told_more_are_as_documented():
    """Quarter turns, and two classes to which one is added at a time."""
    assert drift.change("rotation") == drift.rotation(90.0)
    assert drift.change("classes") == drift.classes(first=2, step=1)


def test_classes_appear():
    stream = dealt(
        pictures(12), 2, test=pictures(8), drift=drift.at([3, 6]), change=drift.classes(2, 1)
    )
    for round, known in ((0, 2), (3, 3), (6, 4)):
        numbers = np.zeros(2, np.int64)
        _, targets = stream.take(0, np.arange(2), numbers, 3 * known // 2, round)
        assert (
            sorted(targets.flatten().tolist()) == sorted(list(range(known)) * 3)[: targets.numel()]
        )
        assert set(stream.test(0, round)[1].tolist()) == set(range(known))


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: dealt(samples(9), 2, change=drift.labels(2)), "expected class numbers below 2"),
        (
            lambda: dealt(
                samples(9), 2, test=(torch.ones(5, 4), torch.arange(5)), change=drift.labels()
            ),
            "a target is 4, expected class numbers below 3",
        ),
        (lambda: dealt(samples(9), 2, change=drift.rotation()), "only square images"),
        (
            lambda: dealt((torch.ones(3, 1, 4, 5), torch.ones(3)), 2, change=drift.rotation()),
            "only square images",
        ),
        (
            lambda: dealt((torch.ones(3, 1), torch.tensor([-1, 0, 1])), 2, change=drift.labels()),
            "no class numbers",
        ),
        (
            lambda: dealt((torch.ones(3, 1), torch.arange(3) + 2), 2, change=drift.classes()),
            "no sample is of the first 2 classes",
        ),
        (
            lambda: dealt((torch.ones(3, 1), torch.ones(3, 1)), 2, change=drift.classes()),
            "no class",
        ),
        (lambda: drift.classes(0), "first is 0, expected a whole number of at least 1"),
        (lambda: drift.rotation(float("nan")), "degrees is nan, expected a finite number"),
        (lambda: drift.rotation("45"), "degrees is '45', expected a finite number"),
        (lambda: drift.labels(1), "classes is 1, expected a whole number of at least 2"),
        (lambda: finite([samples(9)], change=drift.classes()), "deal the data instead"),
    ],
)
def test_changes_that_cannot_be(build, words):
    with pytest.raises(ValueError, match=words):
        build()


# --- that it is felt ----------------------------------------------------------------------


def score(change, concept, **options):
    """The accuracy, under a concept, of a classifier that was fitted on concept 0."""
    task = pl.tasks.digits_stream(
        agents=1, pool="train", drift=change, drift_rounds=[10], drift_probability=0.0, **options
    )
    stream = task.data
    inputs, targets = stream.take(0, np.zeros(1, int), np.zeros(1, int), 1000, 0)
    fitted = LogisticRegression(max_iter=200).fit(inputs[0].flatten(1), targets[0])
    held_out = stream.test(0, 10 * concept)
    return fitted.score(held_out[0].flatten(1), held_out[1])


@pytest.mark.parametrize("change", CHANGES)
def test_a_classifier_of_the_first_concept_fails_on_the_second(change):
    options = {"drift_options": {"first": 5, "step": 5} if change == "classes" else None}
    assert score(change, 0, **options) > 0.9
    assert score(change, 1, **options) < 0.6


def test_graphical_models_are_told_apart_by_bayes_rule_until_they_change():
    model = graphical_models()
    draw = np.random.default_rng(0)
    own, other = [], []
    for concept in range(6):
        inputs, targets = model(draw, 2000, concept)
        assert inputs.shape == (2000, 100)
        assert set(np.unique(inputs)) == {-1, 1}
        assert abs(targets.mean() - 0.5) < 0.06
        own.append((model.classify(inputs, concept) == targets).mean())
        other.append((model.classify(inputs, concept + 1) == targets).mean())
    assert min(own) > 0.85
    assert abs(np.mean(other) - 0.5) < 0.15
    again = graphical_models()(np.random.default_rng(0), 2000, 0)[0]
    np.testing.assert_array_equal(again, model(np.random.default_rng(0), 2000, 0)[0])


def test_hidden_variables_follow_the_class_and_observed_ones_the_hidden():
    from peerlearn.data.graphical import probabilities

    model = graphical_models(hidden=3, observed=2, seed=4)
    of_hidden, of_observed = probabilities(model, 0)
    inputs, targets = model(np.random.default_rng(0), 200_000, 0)
    for c in (0, 1):
        on = of_hidden[c][:, None] * of_observed[1] + (1 - of_hidden[c][:, None]) * of_observed[0]
        seen = (inputs[targets == c] > 0).mean(axis=0).reshape(3, 2)
        np.testing.assert_allclose(seen, on, atol=0.01)


def test_a_drift_raises_the_errors_and_learning_lowers_them():
    task = pl.tasks.graphical(agents=5, batch_size=5, drift_rounds=[150])
    method = pl.Isolated(optimizer="sgd", lr=0.1)
    run = pl.train(task, method, rounds=300, evaluate_every=50, device="cpu")
    errors = np.diff(run.history["cumulative_error"].sum(axis=1)) / (50 * 25)
    assert errors[2] < errors[0]
    assert errors[3] > 1.5 * errors[2]
    assert errors[5] < errors[3]
    accuracy = run.history["accuracy"].mean(axis=1)
    assert accuracy[3] > 0.8  # after 150 rounds, the last of the first concept
    assert task.drifts(0, 300) == [150]


# --- ready tasks --------------------------------------------------------------------------


def test_the_pool_holds_all_images_or_those_for_training():
    both, train = (pl.tasks.digits_stream(pool=p) for p in ("all", "train"))
    assert [t.data.describe()["samples"] for t in (both, train)] == [1797, 1437]
    assert both.data.test(0, 0) is None
    assert len(train.data.test(0, 0)[1]) == 360
    assert both.stream_bytes(3, False, 2) == [3 * 5 * 65] * 10


BAD = {
    "no time": ({"drift": "labels"}, "drift is given without a time"),
    "two times": (
        {"drift": "labels", "drift_rounds": [3], "drift_probability": 0.1}, "are both given",
    ),
    "probability": (
        {"drift": "labels", "drift_probability": 1.5}, "drift_probability is wrong: .* is 1.5",
    ),
    "rounds": ({"drift": "labels", "drift_rounds": [0]}, "drift_rounds is wrong: "),
    "one round": ({"drift": "labels", "drift_rounds": 5}, "drift_rounds is wrong: .* are 5, exp"),
    "no kind": ({"drift_rounds": [3]}, "drift_rounds is given, but not what changes"),
    "no kind, at random": ({"drift_probability": 0.1}, "drift_probability is given, but not what"),
    "first": (
        {"drift": "classes", "drift_rounds": [3], "drift_options": {"first": 0}}, "first is 0, exp",
    ),
    "step": (
        {"drift": "classes", "drift_rounds": [3], "drift_options": {"step": 0}}, "step is 0, exp",
    ),
    "option": (
        {"drift": "rotation", "drift_rounds": [3], "drift_options": {"degree": 5}},
        "unknown option of drift rotation 'degree'; did you mean 'degrees'",
    ),
    "options of no kind": (
        {"drift": "labels", "drift_rounds": [3], "drift_options": 3}, "drift_options is 3, expect",
    ),
    "options of no drift": ({"drift_options": {"degrees": 5}}, "but no name of a drift"),
    "options of a change": (
        {"drift": drift.rotation(5), "drift_rounds": [3], "drift_options": {"degrees": 5}},
        "but no name of a drift",
    ),
    "name": ({"drift": "label", "drift_rounds": [3]}, "unknown drift 'label'; did you mean 'lab"),
    "no change": ({"drift": 5, "drift_rounds": [3]}, "drift is 5, expected a name or a C"),
    "pool": ({"pool": "tests"}, "pool is 'tests'"),
    "model": ({"model": "cnn"}, "unknown model 'cnn'"),
}  # fmt: skip


@pytest.mark.parametrize(("options", "words"), BAD.values(), ids=BAD)
def test_tasks_that_cannot_be(options, words):
    with pytest.raises(ValueError, match=words):
        pl.tasks.digits_stream(**options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"drift_rounds": [3], "drift_probability": 0.5}, "are both given"),
        ({"widths": [0]}, "each of widths is 0, expected a whole number"),
        ({"test_size": 0}, "test_size is 0, expected a whole number"),
    ],
)
def test_graphical_models_that_cannot_be(options, words):
    with pytest.raises(ValueError, match=words):
        pl.tasks.graphical(**options)


def test_graphical_models_drift_at_random_unless_told_when():
    assert pl.tasks.graphical().data.drift == drift.random(0.001)
    assert pl.tasks.graphical(drift_probability=0.0).drifts(0, 9999) == []
    assert pl.tasks.graphical(drift_rounds=[7]).drifts(0, 9999) == [7]


def test_the_networks_are_as_large_as_published():
    sizes = {
        n: sum(p.numel() for p in MODELS[n]().parameters()) for n in ("dinno_cnn", "mcmahan_cnn")
    }
    assert sizes == {"dinno_cnn": 28_440, "mcmahan_cnn": 1_663_370}
    outputs = MODELS["mcmahan_cnn"](1, 8, 10)(torch.ones(2, 1, 8, 8))
    assert outputs.shape == (2, 10)


EXPERIMENTS = {
    "digits_stream": 'drift = "rotation"\ndrift_options = {degrees = 45.0}\ndrift_rounds = [3]\n'
    'model = "dinno_cnn"',
    "graphical": 'drift_probability = 0.01\nhidden = 4\nweighting = "size"',
}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_experiment_files_name_them(name, tmp_path):
    path = tmp_path / "stream.toml"
    path.write_text(
        f'name = "stream"\nrounds = 8\n[task]\nname = "{name}"\nagents = 3\n'
        f'batch_size = [1, 2, 3]\n{EXPERIMENTS[name]}\n[[algorithms]]\nname = "Isolated"\n'
    )
    experiment = load(path)
    task = experiment.task(0)
    assert task.problems() == []
    assert task.name == name
    json.dumps(task.describe())
    path.write_text(path.read_text().replace("agents = 3", 'agents = 3\npartition = "iid"'))
    with pytest.raises(ValueError, match=r"task.partition: unknown key"):
        load(path)


MISTAKES = {
    "an option": (
        "drift_rounds = [3]\ndrift_options = {class = 3}",
        "task.drift_options.class: unknown key; did you mean 'classes'",
    ),
    "an option's value": (
        "drift_rounds = [3]\ndrift_options = {classes = 1}",
        "task.drift_options.classes: classes is 1, expected a whole number",
    ),
    "too few": (
        "drift_rounds = [3]\ndrift_options = {classes = 9}",
        "a target is 9, expected class numbers below 9",
    ),
    "past the end": ("drift_rounds = [3, 9]", "task.drift: the drift in round 9 is past the end"),
    "round 0": ("drift_rounds = [0]", "task.drift_rounds: drift_rounds is wrong"),
    "a text": ('drift_rounds = "3"', "task.drift_rounds: got '3'"),
    "rates": ("drift_rounds = [3]\nbatch_size = [1, 2]", "task.batch_size: batch_size has 2 entr"),
}


@pytest.mark.parametrize(("line", "words"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_in_an_experiment_file_is_said_once_and_at_its_key(line, words, tmp_path):
    path = tmp_path / "stream.toml"
    path.write_text(
        'name = "stream"\nrounds = 8\n[task]\nname = "digits_stream"\nagents = 3\n'
        f'drift = "labels"\n{line}\n[[algorithms]]\nname = "FedAvg"\n'
    )
    with pytest.raises(ValueError, match=words) as caught:
        load(path)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("size", ["0", "[1, 2]", "-1", "2.5"])
def test_a_wrong_batch_size_does_not_hide_a_drift_past_the_end(size, tmp_path):
    path = tmp_path / "stream.toml"
    path.write_text(
        'name = "stream"\nrounds = 8\n[task]\nname = "digits_stream"\nagents = 3\n'
        f'drift = "labels"\ndrift_rounds = [9]\nbatch_size = {size}\n'
        '[[algorithms]]\nname = "FedAvg"\n'
    )
    with pytest.raises(ValueError, match=r"task.batch_size: .*\ntask.drift: .* in round 9 is past"):
        load(path)


def test_the_drifts_of_a_run_are_in_its_record(tmp_path):
    task = pl.tasks.digits_stream(agents=2, drift="labels", drift_probability=0.3)
    run = pl.train(task, METHODS["Isolated"](), rounds=9, device="cpu", out=tmp_path, seed=2)
    assert run.record.start["drifts"] == drift.random(0.3).rounds(2, 9) != []
