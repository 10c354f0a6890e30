"""Evaluation changes nothing, whatever models and functions do with what they are given."""

from __future__ import annotations

import copy
import itertools

import numpy as np
import pytest
import torch
from helpers import classification, network, samples, with_batch_norm
from torch import nn
from torch.nn.functional import binary_cross_entropy

import peerlearn as pl


def trained(task, rounds=4, **options):
    settings = {"evaluate_every": 1, "device": "cpu", "dtype": torch.float64, **options}
    return pl.train(task, pl.DSGD(lr=0.1), pl.graphs.cycle(task.agents), rounds=rounds, **settings)


class Shifting(nn.Module):
    """Writes into what it is given."""

    def __init__(self, in_place):
        super().__init__()
        self.layer, self.in_place = network(), in_place

    def forward(self, x):
        x = x.sub_(0.5) if self.in_place else x - 0.5
        return self.layer(x)


def test_a_model_that_changes_its_input_leaves_the_test_set_as_it_is():
    own, writes = (
        trained(classification(model=lambda w=w: Shifting(w))).history for w in (False, True)
    )
    for name in own:
        np.testing.assert_array_equal(writes[name], own[name], err_msg=name)


def spoiling(module):
    """Trains, and forgets what it was given."""
    module.train()
    for parameter in module.parameters():
        parameter.data.zero_()
    return {"mark": 1.0}


@pytest.mark.parametrize("model", [network, with_batch_norm])
def test_a_function_may_do_what_it_likes_with_the_network_it_gets(model):
    sizes = (6, 6, 6)
    free, spoiled = (trained(classification(sizes, model, evaluate=f)) for f in (None, spoiling))
    assert torch.equal(free.theta, spoiled.theta)
    for name in free.history:
        np.testing.assert_array_equal(free.history[name], spoiled.history[name], err_msg=name)
    assert not spoiled.model(0).training
    assert (spoiled.final["mark"] == 1).all()


@pytest.mark.parametrize(
    ("evaluate", "said"),
    [
        (lambda module: None, "evaluate gave None, expected a dict"),
        (lambda module: [1.0], r"evaluate gave \[1.0\], expected a dict"),
        (lambda module: {"f1": "good"}, "evaluate gave 'good' as 'f1', expected a number"),
        (lambda module: {1: 2.0}, "evaluate gave 2.0 as 1, expected a number under a name"),
        (lambda module: {"loss": 2.0}, "evaluate gives 'loss', which is measured already"),
        (lambda module: {"bytes_sent": 2.0}, "evaluate gives 'bytes_sent', which is measured"),
    ],
)
def test_what_a_function_gives_is_looked_at_before_training(evaluate, said):
    with pytest.raises(pl.ConfigurationError, match=said):
        trained(classification(evaluate=evaluate))


@pytest.mark.parametrize("late", [{"other": 1.0}, {}, {"mark": 1.0, "other": 2.0}])
def test_a_function_gives_the_same_names_each_time(late):
    calls = itertools.count()

    def evaluate(module):
        return {"mark": 1.0} if next(calls) < 5 else late

    with pytest.raises(ValueError, match=r"for agent \d, but \['mark'\] before training; give the"):
        trained(classification(evaluate=evaluate))


@pytest.mark.parametrize("name", ["loss", "consensus_error", "bytes_sent", "team_loss", "train_f1"])
def test_a_measure_needs_a_name_of_its_own(name):
    task = classification(measures={name: lambda outputs, targets: outputs.mean()})
    with pytest.raises(pl.ConfigurationError, match=f"measure '{name}' has the name of what is"):
        trained(task)


def test_a_loss_that_refuses_what_is_no_number_is_told_as_a_divergence(tmp_path):
    """Torch's cross entropy of probabilities raises where others become NaN."""
    inputs, targets = samples(6)
    data = [(inputs, (targets > 0).double()[:, None])] * 3
    task = pl.Task(
        model=lambda: nn.Sequential(nn.Linear(4, 1), nn.Sigmoid()), loss=binary_cross_entropy,
        data=data, batch_size=2, gradients="loop",
    )  # fmt: skip
    wild = pl.DSGD(lr=1e300, weight_decay=1e300)
    with pytest.raises(pl.Diverged, match=r"DSGD diverged in round \d: the parameters of agents 0"):
        pl.train(task, wild, pl.graphs.cycle(3), rounds=9, device="cpu", out=tmp_path,
                 dtype=torch.float64, evaluate_every=9)  # fmt: skip
    assert pl.record.read(tmp_path).diverged is not None


def test_layers_that_do_not_train_stay_so():
    """A pretrained batch norm whose statistics are to be kept."""
    first = with_batch_norm()
    first[1].eval()
    before = copy.deepcopy(first[1].state_dict())
    kept = trained(classification(model=first, buffers="local")).model(0)[1].state_dict()
    for name in ("running_mean", "running_var"):
        assert torch.equal(kept[name], before[name].double())
    moved = trained(classification(model=with_batch_norm().eval())).model(0)[1].state_dict()
    assert moved["running_mean"].abs().sum() > 0, (
        "a network that is given for evaluation is trained"
    )
