"""What a task says of itself: alike for the same task, different where anything differs."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial

import pytest
import torch
from helpers import Items, classification, network, samples
from torch.nn.functional import cross_entropy
from torch.utils.data import Subset, TensorDataset

import peerlearn as pl
from peerlearn import graphs
from peerlearn.errors import ConfigurationError
from peerlearn.tasks import TASKS
from peerlearn.tasks.fingerprint import digest_of_data, digest_of_tensors, name_of
from peerlearn.tasks.models import MODELS, mlp


def halved(inputs, targets):
    return inputs / 2, targets


def smooth(amount):
    return partial(cross_entropy, label_smoothing=amount)


def module(seed):
    torch.manual_seed(seed)
    return network()


class Scaled:
    def __init__(self, factor):
        self.factor = factor

    def __call__(self, inputs, targets):
        return self.factor * inputs, targets


BASE = {
    "loss": smooth(0.1), "data": [samples(6, seed=a) for a in range(4)], "model": module(0),
    "test": samples(5), "measures": {"loss2": cross_entropy}, "transform": Scaled(1.0),
}  # fmt: skip
CHANGES = {
    "loss": {"loss": cross_entropy},
    "argument of the loss": {"loss": smooth(0.2)},
    "rates": {"rates": {"0": 0.5}},
    "training_sample": {"training_sample": 3},
    "measures": {"measures": {}},
    "transform": {"transform": halved},
    "argument of the transform": {"transform": Scaled(2.0)},
    "gradients": {"gradients": "auto"},
    "test": {"test": samples(5, seed=1)},
    "no test": {"test": None},
    "weights of the model": {"model": module(1)},
    "kind of model": {"model": network},
    "data": {"data": [samples(6, seed=a) for a in (0, 1, 2, 4)]},
    "order of the data": {"data": [samples(6, seed=a) for a in (1, 0, 2, 3)]},
    "evaluate": {"evaluate": lambda module: {}},
}


def described(**changed):
    return json.dumps(classification(**{**BASE, **changed}).describe())


@pytest.mark.parametrize("changed", CHANGES.values(), ids=CHANGES)
def test_every_difference_is_seen(changed):
    assert described() == described()
    assert described(**changed) != described()


@pytest.mark.parametrize("name", ["loss", "rates", "data", "test", "weights of the model"])
def test_a_checkpoint_of_another_task_is_refused(name, tmp_path):
    options = {"rounds": 2, "device": "cpu", "out": tmp_path}
    pl.train(classification(**BASE), pl.DSGD(), graphs.cycle(4), **options)
    pl.train(classification(**BASE), pl.DSGD(), graphs.cycle(4), resume=True, **options)
    other = classification(**{**BASE, **CHANGES[name]})
    with pytest.raises(ConfigurationError, match=r"another configuration: .*task\."):
        pl.train(other, pl.DSGD(), graphs.cycle(4), resume=True, **options)


def test_subsets_differ_by_their_numbers():
    whole = TensorDataset(*samples(9))
    first, second = ([Subset(whole, range(b, b + 3))] for b in (0, 3))
    assert digest_of_data(first) == digest_of_data([Subset(whole, [0, 1, 2])])
    assert digest_of_data(first) != digest_of_data(second)
    assert digest_of_data([Items(*samples(3))]) != digest_of_data([Items(*samples(4))])


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.bool, torch.int64])
def test_tensors_of_any_kind_have_a_digest_of_twelve_digits(dtype):
    tensors = [torch.tensor([[1, 0], [0, 1]]).to(dtype), torch.tensor(1).to(dtype), None]
    found = digest_of_tensors(tensors)
    assert len(found) == 12
    assert int(found, 16) > 0
    assert found == digest_of_tensors([t if t is None else t.clone() for t in tensors])
    assert found != digest_of_tensors([tensors[0].T.logical_not().to(dtype), tensors[1]])


def test_names_have_no_place_in_memory():
    values = [
        halved,
        smooth(0.1),
        lambda x: x,
        Scaled(2.0),
        torch.nn.MSELoss(),
        Scaled(2.0).__call__,
    ]
    assert not [name_of(v) for v in values if "0x" in str(name_of(v))]
    assert name_of(smooth(0.1)) == "cross_entropy(label_smoothing=0.1)"
    assert name_of(halved) == "halved"
    assert name_of(None) is None


@pytest.mark.parametrize("name", ["digits", "quadratic"])
def test_another_process_says_the_same(name):
    code = f"import json, peerlearn as pl; print(json.dumps(pl.tasks.{name}(agents=3).describe()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == json.dumps(TASKS[name](agents=3).describe())


def test_quadratics_differ_by_their_seed():
    one, other = (pl.tasks.quadratic(agents=3, seed=s).describe() for s in (0, 1))
    assert one == pl.tasks.quadratic(agents=3).describe()
    assert one != other


def test_a_network_is_known_by_being_listed(monkeypatch):
    monkeypatch.setitem(MODELS, "mine", lambda c, size, classes: mlp(c * size**2, (5,), classes))
    task = pl.tasks.digits(agents=2, model="mine")
    assert task.describe()["model"] == "mine"
    assert [p.shape[0] for p in task.models(0)[0].parameters()] == [5, 5, 10, 10]
    with pytest.raises(ValueError, match="unknown model 'mime'; did you mean 'mine'"):
        pl.tasks.digits(agents=2, model="mime")
