"""Mistakes are told before any training, all at once: what was got, what was expected."""

from __future__ import annotations

import errno
import functools
import os
import re
from dataclasses import make_dataclass

import networkx as nx
import numpy as np
import pytest
import torch
from helpers import classification, network, samples, with_batch_norm
from scipy import sparse
from torch import nn
from torch.nn.functional import cross_entropy

import peerlearn as pl
from peerlearn import graphs
from peerlearn.config_tables import describe_table
from peerlearn.data import streams
from peerlearn.errors import ConfigurationError
from peerlearn.lock import FILE_NAME as LOCK
from peerlearn.lock import holding
from peerlearn.testing import check_algorithm


class Untouched:
    """A loss that must not be asked for: nothing is trained before the mistakes are told."""

    def __call__(self, outputs, targets):
        pytest.fail("a gradient was computed")


def problems(task=None, algorithm=None, graph=None, **options):
    """The sentences that `train` refuses with."""
    task = task or pl.Task(model=network, loss=Untouched(), data=[samples(3)] * 4)
    with pytest.raises(ConfigurationError) as caught:
        pl.train(task, algorithm or pl.DSGD(), graphs.cycle(4) if graph is None else graph,
                 **{"rounds": 2, "device": "cpu", **options})  # fmt: skip
    assert isinstance(caught.value, ValueError)
    assert str(caught.value) == "\n".join(caught.value.problems)
    return caught.value.problems


def told(found, *words):
    """One sentence holds all the words."""
    assert any(all(w in sentence for w in words) for sentence in found), found


def in_two_parts():
    graph = graphs.cycle(4)
    graph.remove_edges_from([(0, 1), (2, 3)])
    return graph


# --- graphs and weights -------------------------------------------------------------------


def test_a_disconnected_graph():
    told(problems(graph=in_two_parts()), "falls into 2 parts", "agents 0, 3", "add edges")


@pytest.mark.parametrize(
    ("own", "value"),
    [
        ([[2, -0.5, 0, -0.5], [-0.5, 2, -0.5, 0], [0, -0.5, 2, -0.5], [-0.5, 0, -0.5, 2]], "3"),
        ([[0, 0.5, 0, 0.5], [0.5, 0, 0.5, 0], [0, 0.5, 0, 0.5], [0.5, 0, 0.5, 0]], "1"),
    ],
)
def test_weights_with_which_nobody_comes_nearer(own, value):
    """Their rows and columns sum to one; one of them blows differences up, one turns them over."""
    told(
        problems(weights=np.array(own, float)),
        "do not come nearer",
        f"eigenvalue of modulus {value},",
    )


def test_a_test_set_with_fewer_targets():
    inputs, targets = samples(6)
    told(
        problems(classification(test=(inputs[:3], targets))), "test set has 3 inputs and 6 targets"
    )


def with_computed():
    """A network that keeps what it has computed, as torch's old weight norm does."""
    made = network()
    made.weight = next(made.parameters()) * 2
    return made


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (with_computed, "the model cannot be copied (Only Tensors created explicitly by the user"),
        (lambda: nn.LazyLinear(3), "parameters without a shape yet; call it once on a batch"),
        (lambda: network().to("meta"), "on the device 'meta', without values"),
    ],
)
def test_networks_without_values(model, words):
    told(problems(classification(model=model)), words)


def test_a_dataset_of_three_tensors():
    inputs, targets = samples(6)
    three = torch.utils.data.TensorDataset(inputs, targets, targets)
    told(
        problems(classification(data=[three] * 4)), "dataset of agent 0 has 3 tensors, expected two"
    )


def test_a_matrix_is_no_graph():
    told(problems(graph=np.ones((4, 4))), "graph is of type ndarray", "from_numpy_array")


@pytest.mark.parametrize("name", ["callback", "on_round"])
def test_what_is_called_must_be_a_function(name):
    told(problems(**{name: 3}), f"{name} is 3, expected a function")


def test_networks_of_other_layers():
    models = [network(), network(), network(), nn.Sequential(*network())]
    models[3][1] = nn.ReLU()
    told(problems(classification(model=models)), "model of agent 3 differs from agent 0's in '1'")


def test_a_rate_that_falls_below_zero():
    falling = pl.schedules.decaying(1.5, mu=1.0)
    told(problems(algorithm=pl.DSGD(lr=falling)), "lr is -0.75 in round 1", "not negative")


def test_a_rate_that_outgrows_all_numbers_by_the_last_round():
    growing = pl.schedules.geometric(1e-3, 10.0)
    found = problems(algorithm=pl.DiNNO(rho=growing), rounds=43)
    told(found, "rho is 1e+39 in round 42, expected at most 3.4e+38", "grow more slowly")


def test_a_schedule_that_does_not_say_how_many_agents_it_has():
    class Nameless(graphs.GraphSchedule):
        window = 1

        def at(self, round, positions=None):
            return graphs.cycle(4)

    told(problems(graph=Nameless()), "schedule Nameless does not say how many agents", "agents")


def test_a_schedule_whose_union_is_disconnected():
    schedule = graphs.function(lambda k: in_two_parts(), agents=4, window=5)
    told(problems(graph=schedule), "rounds 0 to 4", "falls into 2 parts", "window")


def test_a_graph_that_is_missing():
    with pytest.raises(ConfigurationError, match="DSGD talks to neighbors; give a graph"):
        pl.train(classification(), pl.DSGD(), rounds=1)


def test_weights_that_break_what_the_method_needs():
    lopsided = np.eye(4)
    lopsided[0, :2] = 0.5
    found = problems(graph=graphs.complete(4), weights=lopsided)
    told(found, "DSGD: ", "column")


def test_weights_that_break_assumption_2():
    swapped = np.roll(np.eye(4), 1, axis=1)
    symmetric = (swapped + swapped.T) / 2
    told(problems(algorithm=pl.CDSGD(), weights=symmetric), "CDSGD: ")
    one_way = 0.5 * np.eye(4) + 0.5 * swapped
    told(problems(algorithm=pl.CDSGD(), weights=one_way), "CDSGD: ", "symmetric")


@pytest.mark.parametrize("method", [pl.DSGD, pl.CDSGD], ids=lambda m: m.__name__)
def test_weights_between_agents_that_are_not_neighbors(method):
    """Else everybody would hear everybody, and no message would be counted."""

    def everybody(graph):
        return np.full((4, 4), 0.25)

    for graph in (graphs.path(4), graphs.random_matchings(graphs.path(4))):
        told(problems(algorithm=method(), graph=graph, weights=everybody), "that are no neighbors")


def test_eigenvalues_of_assumption_2_on_a_schedule():
    def swapped(graph):
        return nx.to_numpy_array(graph, nodelist=range(4))

    told(
        problems(
            algorithm=pl.CDSGD(), weights=swapped,
            graph=graphs.function(lambda k: nx.Graph([[(0, 1), (2, 3)], [(1, 2), (3, 0)]][k % 2]),
                                  agents=4, window=2),
        ),
        "CDSGD: Assumption 2 (d)",
    )  # fmt: skip


@pytest.mark.parametrize("weights", ["uniform", "lazy_uniform"])
def test_uniform_weights_on_a_schedule_that_thins_out_a_complete_graph(weights):
    schedule = graphs.link_failures(graphs.complete(4), p=0.001)
    told(problems(graph=schedule, weights=weights), "DSGD: uniform", "complete graph in every")


def test_a_matrix_of_weights_for_a_graph_that_changes():
    """It would fit until the first link fails, perhaps hours later."""
    schedule = graphs.link_failures(graphs.cycle(4), p=0.001)
    matrix = graphs.metropolis(graphs.cycle(4))
    told(problems(graph=schedule, weights=matrix), "DSGD: got a matrix", "expected a rule")


def test_uniform_weights_on_a_graph_that_is_not_complete():
    told(problems(weights="uniform"), "uniform", "complete")


def test_weights_of_another_size():
    told(problems(weights=np.eye(3)), "3", "4")


@pytest.mark.parametrize("weights", ["uniform", np.eye(3)], ids=["uniform", "of three"])
@pytest.mark.parametrize("method", [pl.DiNNO, pl.ConsensusADMM])
def test_weights_of_a_method_that_needs_none_must_exist_for_the_record(method, weights, tmp_path):
    task = pl.tasks.quadratic(4, 2)
    found = problems(task, method(), weights=weights, out=tmp_path / "run")
    told(found, "complete" if isinstance(weights, str) else "for 3 agents, the graph has 4")
    assert not (tmp_path / "run").exists()


def test_weights_that_are_no_table():
    told(problems(weights=[[1, 0], [1]]), "no table of numbers", "n rows of n numbers each")


@pytest.mark.parametrize("algorithm", [pl.DSGD(), pl.DSGT()], ids=lambda a: a.name)
def test_weights_in_blocks_on_a_connected_graph(algorithm):
    blocks = np.kron(np.eye(2), np.full((2, 2), 0.5))
    told(problems(algorithm=algorithm, weights=blocks), "2 parts of the team", "agents 0, 1;")


def test_proximity_where_nobody_knows_positions(tmp_path):
    schedule = graphs.proximity(4, radius=1.0)
    for algorithm in (pl.DSGD(), pl.Isolated()):
        found = problems(classification(), algorithm, schedule, out=tmp_path / "run")
        told(found, "proximity has no positions", "give proximity a function of the round")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("algorithm", [pl.DSGD(), pl.DiNNO()], ids=lambda a: a.name)
def test_unknown_weights_name_the_nearest(algorithm):
    found = problems(algorithm=algorithm, weights="metropolys")
    told(found, "'metropolys'", "did you mean 'metropolis'?")


# --- data and models ----------------------------------------------------------------------


def test_fewer_datasets_than_agents():
    told(problems(graph=graphs.cycle(6)), "fewer datasets (4)", "agents in the graph (6)")


def test_more_datasets_than_agents():
    told(problems(graph=graphs.cycle(3)), "more datasets (4)", "(3)")


def task(**changed):
    settings = {"model": network, "loss": Untouched(), "data": [samples(3)] * 4}
    return pl.Task(**{**settings, **changed})


def frozen(value):
    model = network()
    model[0].weight.requires_grad_(False).fill_(value)
    return model


def half_frozen():
    model = network()
    model[0].requires_grad_(False)
    return model


def tied():
    model = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4))
    model[2].weight, model[2].bias = model[0].weight, model[0].bias
    return model


def noisy(inputs, targets, generator):
    return inputs + torch.rand(inputs.shape, generator=generator), targets


def enclosing(generator):
    return lambda inputs, targets: (inputs + generator.random(), targets)


class Noise:
    def __init__(self):
        self.generator = np.random.default_rng(0)

    def add(self, inputs, targets):
        return inputs + self.generator.random(), targets


GENERATOR = torch.Generator()


def adding(inputs, targets):
    return noisy(inputs, targets, GENERATOR)


TASKS = {
    "empty dataset": (
        {"data": [samples(3), samples(0), samples(3), samples(0)]},
        ["dataset of agent 1 is empty", "at least one sample"],
    ),
    "no datasets": ({"data": []}, ["no datasets; give one per agent"]),
    "inputs without targets": (
        {"data": [samples(3)] * 3 + [(samples(4)[0], samples(3)[1])]},
        ["agent 3 has 4 inputs and 3 targets"],
    ),
    "batch size": ({"batch_size": 0}, ["batch_size is 0", "at least 1"]),
    "half a sample": ({"batch_size": 2.5}, ["batch_size is 2.5", "a whole number"]),
    "training sample": ({"training_sample": -4}, ["training_sample is -4", "at least 1"]),
    "buffers": ({"buffers": "mix"}, ["buffers is 'mix'", "did you mean 'mixed'?"]),
    "weighting": ({"weighting": "sizes"}, ["weighting is 'sizes'", "did you mean 'size'?"]),
    "gradients": ({"gradients": "vmapp"}, ["gradients is 'vmapp'", "did you mean 'vmap'?"]),
    "one dataset": ({"data": samples(4)}, ["data is one dataset", "a list with one dataset per"]),
    "class of a stream": (
        {"data": streams.finite}, ["data is <class", "finite'>", "streams.dealt((inputs"],
    ),
    "class of a stream, many batch sizes": (
        {"data": streams.dealt, "batch_size": [1, 2]}, ["data is <class", "one dataset per agent"],
    ),
    "three tensors": (
        {"data": [(*samples(3), torch.ones(3))] * 4},
        ["agent 0 is a tuple of Tensor, Tensor, Tensor", "(inputs, targets)"],
    ),
    "arrays": ({"data": [(np.ones(3), np.ones(3))] * 4}, ["tuple of ndarray, ndarray", "tensors"]),
    "no rows": ({"data": [(torch.ones(()), torch.ones(3))] * 4}, ["agent 0 has a tensor without"]),
    "only inputs": ({"data": [torch.ones(3, 4)] * 4}, ["agent 3 is a Tensor", "torch dataset"]),
    "test set": ({"test": torch.ones(3)}, ["a test set is a Tensor", "(inputs, targets)"]),
    "loss": ({"loss": "mse"}, ["loss is 'mse', expected a function"]),
    "a class of losses": (
        {"loss": nn.CrossEntropyLoss}, ["loss is the class CrossEntropyLoss; make one of it"],
    ),
    "measure": ({"measures": {"hits": 3}}, ["the measure 'hits' is 3, expected a function"]),
    "no model": ({"model": 3}, ["model is 3", "a function that makes one"]),
    "no module": ({"model": lambda: 3}, ["model gave a int, expected a torch.nn.Module"]),
    "failing model": ({"model": nn.Linear}, ["the model could not be made", "TypeError"]),
    "text for a rate": ({"rates": {"0": "fast"}}, ["rate of '0' is 'fast', expected a number"]),
    "batch sizes": ({"batch_size": [2, 3]}, ["batch_size has 2 entries for 4 agents"]),
    "test sets": ({"test": [samples(3)] * 3}, ["3 test sets for 4 agents"]),
    "empty test set": ({"test": samples(0)}, ["a test set is empty"]),
    "models": ({"model": [network(), network()]}, ["2 models for 4 agents"]),
    "shapes": (
        {"model": [network(), network(), nn.Linear(4, 3), network()]},
        ["model of agent 2 differs from agent 0's", "all agents need the same parameters"],
    ),
    "trained and frozen": (
        {"model": [network(), network(), network(), frozen(1.0)]},
        ["model of agent 3 differs from agent 0's in '0.weight'"],
    ),
    "frozen values": (
        {"model": [frozen(1.0), frozen(1.0), frozen(2.0), frozen(1.0)]},
        ["frozen '0.weight' of agent 2's model", "must be the same"],
    ),
    "nothing to train": (
        {"model": lambda: network().requires_grad_(False)}, ["no trainable parameter"],
    ),
    "rates": ({"rates": {"1": 0.5}}, ["rates names '1'", "0.weight, 0.bias"]),
    "rates of the frozen": (
        {"model": half_frozen, "rates": {"0": 0.5}}, ["rates names '0', which is frozen"],
    ),
    "rates of the tied": (
        {"model": tied, "rates": {"2": 0.5}},
        ["rates names '2', which is tied to 0.bias, 0.weight"],
    ),
    "a generator of its own": (
        {"transform": functools.partial(noisy, generator=torch.Generator())},
        ["the transform has a random generator of its own"],
    ),
    "a generator of its object": (
        {"transform": Noise().add}, ["the transform has a random generator of its own"],
    ),
    "a generator of the module": (
        {"transform": adding}, ["the transform has a random generator of its own"],
    ),
    "a generator enclosed": (
        {"transform": enclosing(np.random.default_rng(0))},
        ["the transform has a random generator of its own"],
    ),
    "negative rates": ({"rates": {"0": -0.5}}, ["rate of '0' is -0.5", "zero or more"]),
}  # fmt: skip


@pytest.mark.parametrize(("changed", "words"), TASKS.values(), ids=TASKS)
def test_tasks(changed, words):
    told(problems(task(**changed)), *words)


def test_every_empty_dataset_is_named():
    found = problems(task(**TASKS["empty dataset"][0]))
    told(found, "agent 1 is empty")
    told(found, "agent 3 is empty")


def no_column():
    return {}["speed"]


LOADED = {
    "fewer targets": (lambda: (samples(6)[0], samples(5)[1]), "agent 1 has 6 inputs and 5 targets"),
    "more targets": (lambda: (samples(6)[0], samples(7)[1]), "agent 1 has 6 inputs and 7 targets"),
    "fewer samples": (lambda: samples(5), "agent 1 has 5 samples, but 6 were declared"),
    "nothing": (lambda: None, "what was loaded for agent 1 is a NoneType; expected a tuple of"),
    "no column": (no_column, "loading the data of agent 1 failed: KeyError: 'speed'; check the"),
}


@pytest.mark.parametrize("method", [pl.DSGD(), pl.Centralized(), pl.Serial()], ids=repr)
@pytest.mark.parametrize("name", LOADED)
def test_data_are_looked_at_once_they_are_loaded(name, method):
    load, words = LOADED[name]
    data = [samples(6), pl.data.Deferred(6, load), samples(6), samples(6)]
    told(problems(pl.Task(model=network, loss=Untouched(), data=data), method), words)


def test_samples_of_another_shape_cannot_be_pooled():
    wide = (torch.zeros(3, 9), torch.zeros(3, dtype=torch.long))
    task = pl.Task(model=network, loss=Untouched(), data=[samples(3), wide, *[samples(3)] * 2])
    told(problems(task, pl.Serial()), "of agent 1 have the shapes [(9,), ()], those of agent 0 [(")


def test_a_label_that_is_no_text():
    told(problems(label=3), "label is 3, expected a text, or None")


def test_an_unknown_optimizer_is_told_those_that_are_elementwise():
    with pytest.raises(ValueError, match="did you mean 'adam'") as caught:
        pl.DiNNO(optimizer="adm")
    assert "rmsprop" in str(caught.value)
    assert "lbfgs" not in str(caught.value)


def test_losses_that_cannot_be_minimized_exactly():
    with pytest.raises(ConfigurationError, match=r"ConsensusADMM needs a task .*; use DiNNO"):
        pl.train(classification(), pl.ConsensusADMM(), graphs.cycle(4), rounds=1)


MINIBATCHES = {
    "several losses": (
        {"loss": lambda o, t: cross_entropy(o, t, reduction="none")},
        ["the loss of a batch has shape (2,)", "take the mean"],
    ),
    "no tensor": ({"loss": lambda o, t: 3.0}, ["the loss of a batch has 3.0"]),
    "no pair": ({"transform": lambda x, y: y}, ["gave a Tensor, expected a pair (inp"]),
    "wide inputs": ({"model": lambda: nn.Linear(7, 3)}, ["mat1 and mat2 shapes cannot be mult"]),
    "batch norm of one": (
        {"model": with_batch_norm, "batch_size": 1}, ["more than 1 value per channel"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("changed", "words"), MINIBATCHES.values(), ids=MINIBATCHES)
def test_what_does_not_fit_together_is_told_with_what_to_do(changed, words):
    with pytest.raises(ValueError, match="the first minibatch of agent 0 failed: ") as caught:
        pl.train(classification(**changed), pl.Isolated(), rounds=1, device="cpu")
    told([str(caught.value)], *words, "check model, loss and data")


def test_quadratics_of_wrong_numbers():
    with pytest.raises(ConfigurationError) as caught:
        pl.tasks.quadratic(agents=0, dimension=2.5, smoothness=0.0, convexity=-1, seed=-1)
    assert [s.split(",")[0] for s in caught.value.problems] == [
        "agents is 0", "dimension is 2.5", "seed is -1", "smoothness is 0.0", "convexity is -1",
    ]  # fmt: skip
    with pytest.raises(ValueError, match=r"convexity is 2.0, expected at most the smoothness, 1.0"):
        pl.tasks.quadratic(smoothness=1.0, convexity=2.0)


def test_vmap_where_it_cannot_be():
    dropping = classification(
        model=lambda: nn.Sequential(nn.Dropout(), network()), gradients="vmap"
    )
    with pytest.raises(ValueError, match="gradients='vmap' was asked for, but it draws random"):
        pl.train(dropping, pl.Isolated(), rounds=1)


@pytest.mark.parametrize("gradients", ["auto", "loop"])
@pytest.mark.parametrize(
    ("method", "sample", "words"),
    [
        (pl.DSGD(), 6, "a batch of the training data of agent 2"),
        (pl.DSGD(), 1, "a minibatch of agent 2"),
        (pl.DiNNO(), 1, "a minibatch of agent 2"),
        (pl.Centralized(), 1, "(the first|a) minibatch"),
    ],
)
def test_a_label_beyond_the_classes_is_told_for_whomever_it_is(method, sample, words, gradients):
    inputs, targets = samples(6)
    beyond = torch.cat([targets[:-1], torch.tensor([9])])
    data = [samples(6), samples(6), (inputs, beyond), samples(6)]
    task = classification(data=data, batch_size=2, training_sample=sample, gradients=gradients)
    said = f"{words} failed: Target 9 is out of bounds.*; check model, loss and data"
    with pytest.raises(ValueError, match=said):
        pl.train(task, method, graphs.cycle(4), rounds=6, device="cpu")


def test_data_that_do_not_fit_are_told_for_whomever_they_are(tmp_path):
    """Before a record is begun, so that the folder is free for the next try."""
    narrow, wide = samples(5), (torch.randn(5, 9), torch.zeros(5, dtype=torch.int64))
    out = tmp_path / "run"
    for data, test, words in (
        ([narrow, narrow, narrow, wide], narrow, "the first minibatch of agent 3 failed: mat1"),
        ([narrow] * 4, wide, "the first test batch failed: mat1"),
    ):
        task = classification(data=data, test=test)
        for _ in range(2):
            with pytest.raises(ValueError, match=f"{words}.*; check model, loss and data"):
                pl.train(task, pl.Isolated(), rounds=1, out=out, device="cpu")
            assert not out.exists() or not [*out.iterdir()]


def test_models_with_other_buffers():
    models = [nn.Linear(5, 3) for _ in range(4)]
    models[2].register_buffer("scale", torch.ones(()))
    task = pl.Task(model=models, loss=Untouched(), data=[samples(3)] * 4)
    told(problems(task), "agent 2 differs", "'scale'", "the same parameters and buffers")


# --- names, numbers, folders --------------------------------------------------------------


OPTIONS = {
    "rounds": ({"rounds": 0}, ["rounds is 0", "at least 1"]),
    "half rounds": ({"rounds": 2.5}, ["rounds is 2.5", "whole number"]),
    "text": ({"rounds": "ten"}, ["rounds is 'ten'", "whole number"]),
    "evaluate_every": ({"evaluate_every": 0}, ["evaluate_every is 0"]),
    "checkpoint_every": ({"checkpoint_every": -1}, ["checkpoint_every is -1"]),
    "seed": ({"seed": -1}, ["seed is -1", "from 0 to 4294967295"]),
    "seed beyond 32 bits": ({"seed": 2**32}, ["seed is 4294967296", "from 0 to 4294967295"]),
    "engines": ({"engine": ["stacked"]}, ["unknown engine ['stacked']"]),
    "no folder": ({"out": 3}, ["out is 3, expected the path of a folder"]),
    "engine": ({"engine": "stackt"}, ["unknown engine 'stackt'", "did you mean 'stacked'?"]),
    "dtype": ({"dtype": "float46"}, ["unknown dtype 'float46'", "did you mean 'float64'?"]),
    "torch dtype": ({"dtype": torch.int64}, ["unknown dtype 'int64'", "float32"]),
    "device": ({"device": "gpu"}, ["unknown device 'gpu'", "auto, cpu or cuda"]),
    "device of another kind": ({"device": "meta"}, ["'meta' is not supported", "cpu or cuda"]),
    "device that is none": ({"device": 2.5}, ["unknown device 2.5", "auto, cpu or cuda"]),
    "resume nowhere": ({"resume": True}, ["resume needs the folder"]),
}


@pytest.mark.parametrize(("options", "words"), OPTIONS.values(), ids=OPTIONS)
def test_options(options, words):
    told(problems(**options), *words)


@pytest.mark.skipif(torch.cuda.is_available(), reason="here CUDA is there")
def test_cuda_where_there_is_none():
    told(problems(device="cuda"), "'cuda' was asked for", "use auto or cpu")


def test_a_folder_that_holds_another_run(tmp_path):
    pl.train(classification(), pl.Isolated(), rounds=1, out=tmp_path, device="cpu")
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    told(problems(out=tmp_path), str(tmp_path), "holds another run", "choose another folder")
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


@pytest.mark.parametrize("resume", [False, True])
def test_a_folder_that_another_process_writes(resume, tmp_path):
    task = classification()
    with holding(tmp_path):
        found = problems(task, out=tmp_path, resume=resume)
    assert found == [
        f"{tmp_path} is being written by another process; wait until it has ended, or choose "
        "another folder"
    ]
    for _ in range(2):  # a run lets go of its folder
        pl.train(task, pl.Isolated(), rounds=1, out=tmp_path, resume=True, device="cpu")


def refusing(code):
    """A system call that fails with an error number."""

    def call(*arguments):
        raise OSError(code, os.strerror(code))

    return call


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL])
def test_a_file_system_that_knows_no_locks_is_written_unheld(code, tmp_path, monkeypatch):
    monkeypatch.setattr("peerlearn.lock.fcntl.flock", refusing(code))
    with holding(tmp_path / "run"):
        (tmp_path / "run" / "record.jsonl").touch()


def test_a_system_that_knows_no_locks_writes_unheld(tmp_path, monkeypatch):
    monkeypatch.setattr("peerlearn.lock.fcntl", None)
    with holding(tmp_path), holding(tmp_path):
        (tmp_path / "record.jsonl").touch()


@pytest.mark.parametrize("code", [errno.EWOULDBLOCK, errno.EACCES])
def test_however_a_system_says_that_a_folder_is_held(code, tmp_path, monkeypatch):
    monkeypatch.setattr("peerlearn.lock.fcntl.flock", refusing(code))
    with (
        pytest.raises(ConfigurationError, match="is being written by another process"),
        holding(tmp_path),
    ):
        pytest.fail("it is not held")


def test_a_folder_is_let_go_however_its_writing_ends(tmp_path):
    with pytest.raises(ZeroDivisionError), holding(tmp_path / "a" / "run"):
        raise ZeroDivisionError
    with holding(tmp_path / "a" / "run"):
        mode = (tmp_path / "a" / "run" / LOCK).stat().st_mode
    assert mode & 0o600 == 0o600, "whoever made it can hold it again"


def test_what_else_keeps_a_folder_from_being_held_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("peerlearn.lock.fcntl.flock", refusing(errno.EIO))
    with pytest.raises(OSError, match=os.strerror(errno.EIO)), holding(tmp_path):
        pytest.fail("it is not held")


def test_a_folder_where_nothing_can_be_written(tmp_path):
    (tmp_path / "file").touch()
    found = problems(classification(), out=tmp_path / "file" / "run")
    told(found, "cannot write into", "choose another folder")


def test_a_file_in_the_place_of_the_folder(tmp_path):
    (tmp_path / "run").write_text("mine")
    told(problems(out=tmp_path / "run"), "is a file, expected a folder")
    assert (tmp_path / "run").read_text() == "mine"


def test_nothing_is_written_where_something_is_wrong(tmp_path):
    problems(graph=in_two_parts(), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_algorithm_or_task_of_another_kind():
    told(problems(algorithm=pl.DSGD), "algorithm is", "expected one such as peerlearn.DSGD()")
    told(problems(task=[samples(3)]), "task is", "expected one such as peerlearn.tasks.digits()")


# --- methods ------------------------------------------------------------------------------


METHODS = {
    "negative rate": (lambda: pl.DSGD(lr=-0.1), ["DSGD: lr is -0.1", "not negative"]),
    "infinite rate": (lambda: pl.DSGT(lr=float("inf")), ["lr is inf", "finite"]),
    "negative penalty": (lambda: pl.DiNNO(rho=-1.0), ["rho is -1.0"]),
    "negative in a schedule": (
        lambda: pl.DSGD(lr=pl.schedules.linear(0.1, -0.1)), ["end of the linear schedule is -0.1"],
    ),
    "clip": (lambda: pl.DSGD(clip=-1.0), ["clip is -1.0"]),
    "weight decay": (lambda: pl.DSGD(weight_decay=-1.0), ["weight_decay is -1.0"]),
    "steps": (lambda: pl.DiNNO(local_steps=0), ["local_steps is 0", "at least 1"]),
    "momentum": (lambda: pl.CDMSGD(momentum=1.0), ["momentum is 1.0", "less than 1"]),
    "omega": (lambda: pl.DMSGD(omega=1.5), ["omega is 1.5", "from 0 to 1"]),
    "no penalty": (lambda: pl.DiNNO(rho=None), ["rho is None, expected a number or a schedule"]),
    "text for a number": (lambda: pl.DiNNO(rho="abc"), ["rho is 'abc', expected a number"]),
    "truth for a number": (lambda: pl.DSGD(lr=True), ["lr is True, expected a number or a sch"]),
    "function for a rate": (lambda: pl.DSGD(lr=lambda k: 0.1), ["lr is <function", "a schedule"]),
    "half a step": (lambda: pl.DiNNO(local_steps=2.5), ["local_steps is 2.5", "a whole number"]),
    "schedule for a number": (
        lambda: pl.CDMSGD(momentum=pl.schedules.constant(0.1)),
        ["momentum is constant(value=0.1), expected a number"],
    ),
    "no omega": (lambda: pl.DMSGD(omega=None), ["omega is None, expected a number"]),
    "number for a truth": (lambda: pl.DiNNO(persistent=1), ["persistent is 1", "true or false"]),
    "number for a choice": (lambda: pl.DSGD(gradient_at=3), ["gradient_at is 3", "own, mixed"]),
    "clip to nothing": (lambda: pl.DSGD(clip=0), ["clip is 0", "positive number, or None"]),
    "nothing to clip": (lambda: pl.ConsensusADMM(clip=1.0), ["clip is 1.0", "leave clip out"]),
    "number for an optimizer": (lambda: pl.DiNNO(optimizer=3), ["optimizer is 3", "class or"]),
    "instance of an optimizer": (
        lambda: pl.DiNNO(optimizer=torch.optim.Adam([torch.zeros(2)])),
        ["an instance of Adam", "give the class itself, torch.optim.Adam"],
    ),
    "choice": (lambda: pl.DSGD(gradient_at="mixt"), ["'mixt'", "did you mean 'mixed'?"]),
    "not elementwise": (
        lambda: pl.DiNNO(optimizer=torch.optim.LBFGS), ["LBFGS", "cannot be the local", "Adam"],
    ),
    "mixing rows": (lambda: pl.Isolated(optimizer="adafactor"), ["Adafactor", "elementwise"]),
    "unknown optimizer": (
        lambda: pl.DiNNO(optimizer="adamm"), ["unknown optimizer 'adamm'", "did you mean 'adam'?"],
    ),
    "unknown option": (
        lambda: pl.Isolated(optimizer="sgd", options={"momentun": 0.9}),
        ["SGD takes no option 'momentun'", "did you mean 'momentum'?"],
    ),
    "unknown method": (
        lambda: pl.algorithms.find("dinn"), ["unknown algorithm 'dinn'", "did you mean 'DiNNO'?"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("build", "words"), METHODS.values(), ids=METHODS)
def test_methods(build, words):
    with pytest.raises(ValueError, match=r".") as caught:
        build()
    told([str(caught.value)], *words)


@pytest.mark.parametrize("name", pl.tasks.OPTIONS)
def test_an_option_that_a_task_hands_on_to_nobody(name):
    said = f"unknown option of task {name} 'agnts'; did you mean 'agents'"
    with pytest.raises(ValueError, match=said) as caught:
        pl.tasks.TASKS[name](agnts=3)
    known = str(caught.value).partition("known: ")[2].split(", ")
    assert {*known} >= {key for key, *_ in describe_table("tasks", name)}, "as in a file"


@pytest.mark.parametrize(
    ("make", "option", "meant"),
    [
        (pl.tasks.mnist, "partition_option", "partition_options"),  # of `images`
        (pl.tasks.digits_stream, "drift_round", "drift_rounds"),
        (pl.tasks.mapping, "beems", "beams"),  # of `Survey`
        (pl.tasks.pursuit, "discont", "discount"),  # of `PPOTask`
        (pl.tasks.graphical, "measure", "measures"),  # of `Task`
        (pl.tasks.digits, "loss", None),  # which is the task's own
    ],
)
def test_the_nearest_option_of_a_task_is_named(make, option, meant):
    with pytest.raises(ValueError, match=f"unknown option of task .* '{option}'; ") as caught:
        make(**{option: 3})
    told = str(caught.value).partition("; ")[2]
    assert told.startswith(f"did you mean '{meant}'? known: " if meant else "known: ")


def test_an_own_method_is_checked_however_its_fields_are_annotated():
    options = {"frozen": True, "kw_only": True, "bases": (pl.DSGD,)}
    kinds = {"as text": "int", "as classes": int}
    for kind in kinds.values():
        own = make_dataclass("Own", [("steps", kind, 1)], **options)
        assert own(steps=2).steps == 2
        for steps in (0, 2.5, None):
            with pytest.raises(ValueError, match=f"Own: steps is {steps}"):
                own(steps=steps)


def test_two_wrong_hyper_parameters_are_told_together():
    with pytest.raises(ValueError, match=r"beta is 1\.0.*omega is 2\.0"):
        pl.DMSGD(beta=1.0, omega=2.0)


# --- all at once --------------------------------------------------------------------------


def test_all_mistakes_are_told_together(tmp_path):
    (tmp_path / "run").write_text("")
    found = problems(
        task(data=[samples(3), samples(0), samples(3), samples(3)], batch_size=0),
        graph=in_two_parts(), rounds=0, seed=-3, evaluate_every=0, dtype="half", engine="cloud",
        device="tpu0", out=tmp_path / "run",
    )  # fmt: skip
    assert len(found) == 10
    for words in (
        "agent 1 is empty", "batch_size is 0", "rounds is 0", "evaluate_every is 0", "seed is -3",
        "unknown engine 'cloud'", "unknown dtype 'half'", "unknown device 'tpu0'", "2 parts",
        "is a file",
    ):  # fmt: skip
        told(found, words)


def test_what_is_right_is_not_refused():
    good = pl.Task(model=network, loss=cross_entropy, data=[samples(3)] * 4)
    run = pl.train(good, pl.DSGD(), graphs.cycle(4), rounds=1, device="cpu")
    assert run.rounds == 1


def test_complex_numbers_are_refused():
    class Complex(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(4, 3, dtype=torch.complex64))

    told(problems(pl.Task(model=Complex, loss=cross_entropy, data=[samples(3)] * 4)), "complex")


def test_weights_that_would_tear_mixed_buffers_apart():
    task = classification(model=with_batch_norm, buffers="mixed")
    told(problems(task, pl.DiNNO(), weights=np.diag([5.0] * 4)), "DiNNO", "sum")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: pl.CDMSGD(momentum=np.float32(1.5)), "momentum is 1.5"),
        (lambda: pl.DMSGD(beta=np.int64(1)), "beta is 1"),
        (lambda: pl.DMSGD(omega=np.float32(7)), "omega is 7"),
        (lambda: pl.FedAvg(fraction=np.float32(2)), "fraction is 2"),
        (lambda: pl.DynamicAveraging(delta=np.float32(0)), "delta is 0"),
        (lambda: pl.DSGD(lr=10**400), "expected a finite number"),
        (lambda: pl.schedules.linear("a", 1), "start of the linear schedule is 'a'"),
        (lambda: pl.schedules.constant(None), "value of the constant schedule is None"),
        (lambda: graphs.proximity(4, 1.0, positions=np.zeros((4, 2))), "positions is a ndarray"),
        (lambda: graphs.function(5, 4), "function is 5"),
        (lambda: graphs.function(graphs.cycle, 0), "function: agents is 0, expected a whole num"),
        (lambda: graphs.function(graphs.cycle, 4, 0), "function: window is 0, expected a whole n"),
        (lambda: graphs.proximity(0, 1.0), "proximity: agents is 0, expected a whole number"),
    ],
)
def test_numbers_of_any_kind_have_the_same_bounds(make, said):
    with pytest.raises(ValueError, match=said):
        make()


def test_shares_whose_sum_is_no_number():
    parts = pl.data.partitions.by_size(torch.zeros(10), 2, sizes=[1e308, 1e308])
    assert [len(p) for p in parts] == [5, 5]


@pytest.mark.parametrize(
    ("measures", "said"),
    [
        ([1], "measures is [1], expected a dict of name -> function"),
        ({"odd": lambda o, t: "much"}, "the measure 'odd' of 3 samples is 'much', expected one"),
        ({"odd": lambda o, t: torch.ones(2)}, "the measure 'odd' of 3 samples is shape (2,), exp"),
    ],
)
def test_measures_that_measure_nothing(measures, said):
    task = pl.Task(model=network, loss=cross_entropy, data=[samples(3)] * 4, measures=measures)
    with pytest.raises(ValueError, match=re.escape(said)):
        pl.train(task, pl.Isolated(), rounds=1, device="cpu")


def test_a_measure_may_give_a_number_of_pythons():
    task = classification(measures={"three": lambda o, t: 3})
    run = pl.train(task, pl.Isolated(), rounds=1, device="cpu")
    assert run.final["train_three"].tolist() == [3.0] * 4


def test_swapped_arguments_are_one_short_sentence():
    task = classification()
    with pytest.raises(ConfigurationError) as caught:
        pl.train(pl.DSGD(), task, graphs.cycle(4), rounds=1)
    assert all(len(problem) < 150 for problem in caught.value.problems)
    with pytest.raises(ConfigurationError, match="algorithm is") as caught:
        pl.train(task, np.ones((9, 9)), graphs.cycle(4), rounds=1)
    assert len(str(caught.value).splitlines()) == 1, "however many lines an array takes"


@pytest.mark.parametrize("method", [pl.DSGD, "DSGD"])
def test_what_is_no_method_cannot_be_checked(method):
    with pytest.raises(ValueError, match="expected an instance of a method"):
        check_algorithm(method)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: pl.data.partitions.iid([0, 1, 2, 1], "2"), "agents is '2', expected a whole"),
        (lambda: pl.data.partitions.iid([0, 1, 2, 1], 2, seed="a"), "seed is 'a', expected a"),
        (lambda: pl.data.partitions.by_class([0.0, float("nan"), 1.0], 2), "a target is NaN"),
        (lambda: pl.tasks.digits(agents=4.0), "agents is 4.0, expected a whole number"),
        (lambda: graphs.from_edge_list("edges.txt", n=3.5), "n is 3.5, expected a whole number"),
    ],
)
def test_numbers_that_are_none(make, said):
    with pytest.raises(ValueError, match=said):
        make()


def test_labels_may_be_a_list_or_of_numpy():
    for labels in ([0, 1, 2, 1], np.array([0, 1, 2, 1])):
        parts = pl.data.partitions.by_class(labels, 2, seed=1)
        expected = pl.data.partitions.by_class(torch.tensor([0, 1, 2, 1]), 2, seed=1)
        assert all(torch.equal(a, b) for a, b in zip(parts, expected, strict=True))


def test_a_batch_that_one_agent_alone_has_too_small(tmp_path):
    task = classification(
        data=[samples(6), samples(6), samples(1)], batch_size=[6, 6, 1], model=with_batch_norm
    )
    said = "the first minibatch of agent 2 failed: Expected more than 1 value"
    with pytest.raises(ValueError, match=said):
        pl.train(task, pl.DSGD(), graphs.cycle(3), rounds=2, device="cpu", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


class Paired(torch.utils.data.Dataset):
    """Inputs in a dict, as several towers of a network want them."""

    def __init__(self, count, extra=()):
        self.samples, self.extra = samples(count), dict(extra)

    def __len__(self):
        return len(self.samples[0])

    def __getitem__(self, place):
        inputs, targets = (part[place] for part in self.samples)
        return {"left": inputs, "right": (inputs, 1.0), **self.extra}, targets


class Left(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 3)

    def forward(self, inputs):
        return self.head(inputs["left"])


def test_the_bytes_of_samples_are_counted_however_they_are_nested():
    made = pl.Task(model=Left, loss=cross_entropy, data=[Paired(3)] * 4)
    run = pl.train(made, pl.Centralized(), rounds=1, device="cpu")
    assert run.final["bytes_sent"].tolist() == [3 * (4 * 8 + 4 * 8 + 4 + 8)] * 4


def test_samples_whose_size_is_not_known_are_told_before_training():
    made = pl.Task(model=Left, loss=cross_entropy, data=[Paired(3, {"name": "x"})] * 4)
    told(problems(made, pl.Centralized()), "a sample holds a str", "give the task", "sample_bytes")


def test_uniform_weights_meet_every_graph_of_the_first_rounds():
    schedule = graphs.function(lambda k: graphs.complete(4) if k < 3 else graphs.cycle(4), 4)
    told(problems(graph=schedule, weights="uniform", rounds=5), "uniform")
    pl.train(classification(), pl.DSGD(), schedule, weights="uniform", rounds=3, device="cpu")


def test_weights_of_a_later_graph_that_break_a_need_are_told():
    def slanted(graph):
        matrix = nx.to_numpy_array(graph) * 0.2
        matrix += np.diag(1 - matrix.sum(axis=1))
        return sparse.csr_array(matrix + (0.1 if len(graph.edges) > 4 else 0.0) * np.eye(4)[::-1])

    schedule = graphs.function(lambda k: graphs.complete(4) if k == 4 else graphs.cycle(4), 4)
    told(problems(graph=schedule, weights=slanted, rounds=9), "do not all sum to one")
