"""Learners: rows of gradients from any module, loss and data, whatever stack an agent sits in."""

from __future__ import annotations

import copy
import random
from typing import NamedTuple

import numpy as np
import pytest
import torch
from helpers import (
    FEATURES,
    METHODS,
    Items,
    classification,
    graph_for,
    hosted,
    line_fit,
    needs_quadratic,
    network,
    samples,
    scattered,
    with_batch_norm,
    with_dropout,
    with_everything,
)
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss
from torch.utils.data import Dataset, Subset, TensorDataset

import peerlearn as pl
from peerlearn.learner import Learner
from peerlearn.learners import Regularized
from peerlearn.learners.modules import Layout
from peerlearn.learners.wrapped import Wrapped
from peerlearn.randomness import EVALUATION, MINIBATCH, MODEL, seed_from

SIZES = (3, 8, 5, 6)
AGENTS = range(len(SIZES))


def reference(model: nn.Module, inputs: Tensor, targets: Tensor, loss=cross_entropy) -> Tensor:
    """The gradient (P,) by plain PyTorch."""
    model = copy.deepcopy(model).double()
    loss(model(inputs), targets).backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def noisy(inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    return inputs + 0.1 * torch.randn_like(inputs), targets


# --- any data -----------------------------------------------------------------------------


KINDS = {
    "tensors": lambda x, y: (x, y),
    "tensor dataset": TensorDataset,
    "items": Items,
    "subset": lambda x, y: Subset(TensorDataset(x, y), range(len(x))),
}


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_of_all_data_is_that_of_plain_torch(kind):
    data = [KINDS[kind](*samples(n, seed=a)) for a, n in enumerate(SIZES)]
    torch.manual_seed(0)
    model = network()
    learner = hosted(classification(SIZES, data=data, model=model, batch_size=None))
    expected = [reference(model, *samples(n, seed=a)) for a, n in enumerate(SIZES)]
    gradient = learner.gradient(learner.initial())
    torch.testing.assert_close(gradient, torch.stack(expected), rtol=0, atol=1e-14)


def test_kinds_of_data_can_be_mixed_and_draw_the_same_minibatches():
    data = [make(*samples(6, seed=a)) for a, make in enumerate(KINDS.values())]
    mixed, plain = (hosted(classification(data=d)) for d in (data, [samples(6, s) for s in AGENTS]))
    for step in range(5):
        theta = scattered(plain, seed=step)
        torch.testing.assert_close(mixed.gradient(theta), plain.gradient(theta), rtol=0, atol=1e-14)


def test_inputs_of_different_shapes_are_looped_over():
    shapes = [(6, FEATURES), (4, 2, FEATURES)]
    data = [(torch.ones(s), torch.ones(*s[:-1], 1)) for s in shapes]
    task = pl.Task(model=lambda: nn.Linear(FEATURES, 1), loss=mse_loss, data=data, batch_size=2)
    learner = hosted(task)
    assert learner.gradient(learner.initial()).shape == (2, FEATURES + 1)
    assert learner.note == "loop: the data are no tensors of one shape"


def test_fresh_memory_every_time():
    learner = hosted(classification())
    theta = scattered(learner)
    first = learner.gradient(theta)
    kept = first.clone()
    learner.gradient(theta)
    learner.initial().fill_(7)
    assert torch.equal(first, kept)
    assert not (learner.initial() == 7).any()


# --- loop and vmap ------------------------------------------------------------------------


@pytest.mark.parametrize("weighting", ["equal", "size"])
@pytest.mark.parametrize("batch_size", [None, 2, (1, 4, 5, 4), (3, 3, 3, 3)])
def test_vmap_equals_loop_to_rounding(batch_size, weighting):
    options = {"batch_size": batch_size, "weighting": weighting}
    loop, vmap = (
        hosted(classification(SIZES, gradients=way, **options)) for way in ("loop", "vmap")
    )
    for step in range(6):
        theta = scattered(loop, seed=step)
        torch.testing.assert_close(loop.gradient(theta), vmap.gradient(theta), rtol=0, atol=1e-13)
        torch.testing.assert_close(loop.losses, vmap.losses, rtol=0, atol=1e-13)
    assert (loop.note, vmap.note) == ("loop: asked for", "vmap: asked for")


@pytest.mark.parametrize("gradients", ["loop", "vmap"])
@pytest.mark.parametrize("weighting", ["equal", "size"])
@pytest.mark.parametrize("batch_size", [3, (1, 4, 5, 4)])
@pytest.mark.parametrize("around", [{}, {"clip": 0.01}, {"weight_decay": 0.5},
                                    {"clip": 0.1, "weight_decay": 0.5}])  # fmt: skip
def test_adding_a_gradient_is_adding_the_gradient(gradients, weighting, batch_size, around):
    task = classification(SIZES, gradients=gradients, weighting=weighting, batch_size=batch_size)
    options = {"clip": None, "weight_decay": 0.0} | around
    adding, plain = (Regularized(hosted(task), **options) for _ in range(2))
    for step in range(3):
        theta, out = scattered(plain, seed=step), scattered(plain, seed=10 + step)
        out = theta if step == 2 else out  # the sum may overwrite the point itself
        expected = out - 0.3 * plain.gradient(theta)
        assert adding.add_gradient(out, theta, -0.3) is out
        torch.testing.assert_close(out, expected, rtol=0, atol=1e-13)
        torch.testing.assert_close(adding.losses, plain.losses, rtol=0, atol=1e-13)
    assert torch.equal(adding.gradient_evaluations(), plain.gradient_evaluations())


def test_the_choice_by_the_clock_says_why():
    learner = hosted(classification(gradients="auto"))
    other = {"loop": "vmap", "vmap": "loop"}[learner.note.split(":")[0]]
    assert learner.note.count(" ms") == 2
    assert other in learner.note.split(":")[1]


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTM(1, 3, batch_first=True)
        self.head = nn.Linear(3, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.cell(inputs[..., None])[0][:, -1])


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(FEATURES, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs = self.layer(inputs)
        return outputs if float(outputs.detach().sum()) > 0 else 2 * outputs


REFUSED = {
    Branching: "vmap refuses this model",
    with_dropout: "it draws random numbers",
    with_batch_norm: "buffers of its own",
}


@pytest.mark.parametrize("model", REFUSED)
def test_models_that_vmap_cannot_take_fall_back_to_the_loop(model):
    learner = hosted(classification(model=model, gradients="auto"))
    assert learner.note.startswith("loop: ")
    assert REFUSED[model] in learner.note
    assert learner.gradient(learner.initial()).isfinite().all()


@pytest.mark.parametrize("model", REFUSED)
def test_asking_for_vmap_where_it_cannot_be_is_refused(model):
    with pytest.raises(ValueError, match=r"gradients='vmap' was asked for.*use 'auto' or 'loop'"):
        hosted(classification(model=model, gradients="vmap"))


def test_a_recurrent_model_is_right_whether_or_not_vmap_takes_it():
    chosen, loop = (hosted(classification(model=Recurrent, gradients=g)) for g in ("auto", "loop"))
    theta = scattered(loop)
    torch.testing.assert_close(chosen.gradient(theta), loop.gradient(theta), rtol=0, atol=1e-13)


# --- whatever the stack -------------------------------------------------------------------


STACKS = [[3], [0], [1, 3], [3, 1, 0], [0, 1, 2, 3]]
MODELS = [network, with_dropout, with_batch_norm, with_everything]


@pytest.mark.parametrize("transform", [None, noisy], ids=["plain", "transformed"])
@pytest.mark.parametrize("model", MODELS)
def test_an_agent_gets_the_same_bits_in_any_stack(model, transform):
    task = classification(SIZES, model, transform=transform, batch_size=(3, 2, 5, 2))
    together = hosted(task)
    expected = [together.gradient(scattered(together, step)) for step in range(5)]
    for stack in STACKS:
        learner = hosted(task, stack)
        for step, rows in enumerate(expected):
            assert torch.equal(learner.gradient(scattered(learner, step)), rows[stack])
        measured, all_measured = (x.evaluate(scattered(x, seed=9)) for x in (learner, together))
        for name, values in measured.items():
            assert torch.equal(values, all_measured[name][stack]), name


@pytest.mark.parametrize("gradients", ["loop", "vmap"])
def test_a_subset_of_the_rows_draws_only_its_own_minibatches(gradients):
    task = classification(SIZES, gradients=gradients, batch_size=(3, 2, 5, 2))
    learner, alone = hosted(task), {a: hosted(task, [a]) for a in AGENTS}
    theta = scattered(learner)
    for chosen in ([0, 1, 2, 3], [2], [3, 0], [1, 3], [0, 1, 2, 3]):
        gradient = learner.gradient(theta[chosen], chosen)
        expected = torch.cat([alone[a].gradient(theta[[a]]) for a in chosen])
        torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-13)
        losses = torch.cat([alone[a].losses for a in chosen])
        torch.testing.assert_close(learner.losses[chosen], losses, rtol=0, atol=1e-13)
    assert learner.gradient_evaluations().tolist() == [3, 3, 3, 4]


@pytest.mark.parametrize("model", [with_dropout, with_everything])
def test_dropout_masks_change_from_gradient_to_gradient_and_agent_to_agent(model):
    data = [samples(4, seed=0)] * 2
    learner = hosted(classification((4, 4), model, data=data, batch_size=None))
    theta = learner.initial()
    first, second = learner.gradient(theta), learner.gradient(theta)
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first, second)


class Flickering(Dataset):
    """Items that draw from torch's global generator."""

    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.randn(FEATURES), index % 3


def test_the_global_generator_is_neither_used_nor_moved():
    task = classification(
        (5, 5), with_everything, transform=noisy, data=[Flickering()] * 2, test=Flickering()
    )
    seen = []
    for outside in (1, 2):
        torch.manual_seed(outside)
        before = torch.get_rng_state()
        learner = hosted(task)
        theta = learner.initial()
        gradients = [learner.gradient(theta) for _ in range(3)]
        seen.append([theta, *gradients, *learner.evaluate(theta).values()])
        assert torch.equal(torch.get_rng_state(), before)
    for one, other in zip(*seen, strict=True):
        assert torch.equal(one, other)


def test_seeds_differ():
    one, other = (hosted(classification(model=with_dropout), seed=s) for s in (0, 1))
    assert not torch.equal(one.initial(), other.initial())
    theta = one.initial()
    assert not torch.equal(one.gradient(theta), other.gradient(theta))


# --- transforms ---------------------------------------------------------------------------


def test_transforms_see_training_batches_only():
    shapes = []

    def spy(inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        shapes.append(tuple(inputs.shape))
        return 2 * inputs, targets

    learner, plain = (hosted(classification(transform=t)) for t in (spy, None))
    shapes.clear()
    theta = learner.initial()
    doubled = learner.gradient(theta)
    assert shapes == [(2, FEATURES)] * 4
    assert not torch.equal(doubled, plain.gradient(theta))
    judged = learner.evaluate(theta)
    assert len(shapes) == 4
    assert all(torch.equal(v, plain.evaluate(theta)[n]) for n, v in judged.items())


# --- parameters ---------------------------------------------------------------------------


class Partly(nn.Module):
    """A frozen body, and a head that is tied to a second use of itself."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(FEATURES, 3)
        self.body.requires_grad_(False)
        self.head = nn.Linear(3, 3)
        self.again = self.head

    def forward(self, inputs: Tensor) -> Tensor:
        return self.again(torch.tanh(self.head(self.body(inputs))))


@pytest.mark.parametrize("gradients", ["loop", "vmap"])
def test_frozen_parameters_have_no_columns_and_tied_ones_one_place(gradients):
    torch.manual_seed(0)
    model = Partly().double()
    kept = copy.deepcopy(model)
    learner = hosted(classification(model=model, gradients=gradients, batch_size=None))
    theta = learner.initial()
    assert theta.shape == (4, 12)
    gradient = learner.gradient(theta)
    expected = [reference(model, *samples(6, seed=a)) for a in AGENTS]
    torch.testing.assert_close(gradient, torch.stack(expected), rtol=0, atol=1e-14)
    trained = learner.module(theta[0] - gradient[0], 0)
    assert torch.equal(trained.body.weight, kept.body.weight)
    assert trained.again.weight is trained.head.weight
    assert not torch.equal(trained.head.weight, kept.head.weight)
    assert all(
        torch.equal(a, b) for a, b in zip(model.parameters(), kept.parameters(), strict=True)
    )


def test_pretrained_weights_are_everybodys_first_ones():
    model = network().double()
    learner = hosted(classification(model=model))
    row = torch.cat([p.detach().flatten() for p in model.parameters()])
    assert torch.equal(learner.initial(), row.expand(4, -1))


def test_each_agent_can_bring_its_own_first_weights():
    models = [network() for _ in AGENTS]
    learner = hosted(classification(model=models), agents=[2, 0])
    rows = [torch.cat([p.detach().flatten() for p in models[a].parameters()]) for a in (2, 0)]
    assert torch.equal(learner.initial(), torch.stack(rows).double())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype(dtype):
    learner = hosted(classification(), dtype=dtype)
    theta = learner.initial()
    assert {theta.dtype, learner.gradient(theta).dtype, learner.losses.dtype} == {dtype}
    assert next(learner.module(theta[0], 0).parameters()).dtype == dtype


def test_named_parameters_have_their_own_rates():
    learner = hosted(classification(rates={"0": 0.7, "0.bias": 0.0, "2.weight": 3.0}))
    theta = learner.initial()
    moved = theta - learner.descend(theta, torch.ones_like(theta), lr=0.1)
    rates = [0.7] * 20 + [0.0] * 5 + [3.0] * 15 + [1.0] * 3
    expected = 0.1 * torch.tensor(rates, dtype=torch.float64)
    torch.testing.assert_close(moved, expected.expand(4, -1), rtol=0, atol=1e-14)


def test_a_rate_is_of_the_module_of_that_name_and_no_other():
    layout = Layout(nn.ModuleDict({"head": nn.Linear(1, 1), "heads": nn.Linear(1, 1)}))
    assert layout.rates({"head": 0.5}).tolist() == [0.5, 0.5, 1.0, 1.0]


@pytest.mark.parametrize("name", sorted(n for n, m in METHODS.items() if not needs_quadratic(m)))
def test_no_method_moves_parameters_whose_rate_is_zero(name):
    task, method = classification(rates={"0": 0.0}), METHODS[name]()
    run = pl.train(task, method, graph_for(method), rounds=4, dtype="float64", device="cpu")
    moved = run.theta - hosted(task).initial()[0]
    torch.testing.assert_close(moved[:, :25], torch.zeros_like(moved[:, :25]), rtol=0, atol=1e-14)
    assert (moved[:, 25:].abs() > 1e-6).any()


# --- the objective ------------------------------------------------------------------------


def pooled_gradient(sizes, theta, **options):
    """The gradient of centralized training, averaged over whole epochs of every agent."""
    learner = hosted(line_fit(sizes, **options).pooled())
    rounds = int(np.lcm.reduce(sizes))
    return torch.stack([learner.gradient(theta) for _ in range(rounds)]).mean(dim=0)[0]


@pytest.mark.parametrize("batch_size", [None, 1, 2, (1, 4, 3)])
@pytest.mark.parametrize("weighting", ["equal", "size"])
def test_centralized_training_keeps_the_objective_of_the_team(weighting, batch_size):
    sizes = (2, 6, 4)
    team = hosted(line_fit(sizes, weighting=weighting))
    theta = scattered(team)[:1]
    expected = team.gradient(theta.expand(3, -1)).mean(dim=0)
    found = pooled_gradient(sizes, theta, weighting=weighting, batch_size=batch_size)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_all_pooled_data_are_exact_in_every_single_gradient():
    team = hosted(line_fit((2, 6, 4)))
    centre = hosted(line_fit((2, 6, 4)).pooled())
    theta = scattered(team)[:1]
    expected = team.gradient(theta.expand(3, -1)).mean(dim=0)
    torch.testing.assert_close(centre.gradient(theta)[0], expected, rtol=0, atol=1e-13)


def test_weighting_by_size_counts_every_sample_alike():
    sizes = (2, 6, 4)
    equal, by_size = (hosted(line_fit(sizes, weighting=w)) for w in ("equal", "size"))
    theta = scattered(equal)
    factor = torch.tensor(sizes, dtype=torch.float64)[:, None] / 4
    torch.testing.assert_close(
        by_size.gradient(theta), factor * equal.gradient(theta), rtol=0, atol=1e-13
    )
    subset = hosted(line_fit(sizes, weighting="size"), agents=[1])
    torch.testing.assert_close(
        subset.gradient(theta[[1]]), (factor * equal.gradient(theta))[[1]], rtol=0, atol=1e-13
    )


def test_pooled_minibatches_are_as_large_as_the_teams():
    seen = []

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        seen.append(len(targets))
        return cross_entropy(outputs, targets)

    task = pl.Task(
        model=network, loss=loss, gradients="loop", batch_size=[2, 1, 3],
        data=[samples(6, seed=a) for a in range(3)],
    )  # fmt: skip
    learner = hosted(task.pooled())
    seen.clear()
    learner.gradient(learner.initial())
    assert seen == [6]


def test_a_wrapped_learner_passes_on_all_of_the_contract():
    built_on_the_rest = {"step", "descend", "overlaps"}
    contract = {name for name in {*vars(Learner), *Learner.__annotations__} if name[0] != "_"}
    assert contract - set(vars(Wrapped)) == built_on_the_rest
    inner = hosted(classification())
    wrapped = Regularized(inner, clip=None, weight_decay=0.0)
    wrapped.way = "loop"
    assert inner.way == wrapped.way == "loop"
    assert wrapped.module(wrapped.initial()[0], 0) is not None


def test_clipping_and_weight_decay():
    plain = hosted(classification(batch_size=None))
    wrapped = Regularized(hosted(classification(batch_size=None)), clip=0.01, weight_decay=0.5)
    theta = scattered(plain)
    gradient = plain.gradient(theta)
    expected = 0.01 * gradient / gradient.norm(dim=1, keepdim=True) + 0.5 * theta
    torch.testing.assert_close(wrapped.gradient(theta), expected, rtol=0, atol=1e-14)
    loose = Regularized(hosted(classification(batch_size=None)), clip=1e6, weight_decay=0.0)
    assert torch.equal(loose.gradient(theta), gradient)


# --- buffers ------------------------------------------------------------------------------


def test_every_agent_has_the_buffers_that_its_own_batches_give():
    torch.manual_seed(3)
    model = with_batch_norm()
    learner = hosted(classification(SIZES, model=model, batch_size=None))
    theta = learner.initial()
    for _ in range(3):
        learner.gradient(theta)
    for agent, size in enumerate(SIZES):
        own = copy.deepcopy(model).double().train()
        inputs, targets = samples(size, seed=agent)
        for _ in range(3):
            own(inputs)
        found = dict(learner.module(theta[agent], agent).named_buffers())
        for name, value in own.named_buffers():
            torch.testing.assert_close(found[name], value, rtol=0, atol=1e-13)
        expected = cross_entropy(own.eval()(inputs), targets).item()
        assert learner.evaluate(theta)["train_loss"][agent].item() == pytest.approx(expected)


def test_buffers_begin_as_those_of_each_agents_own_model():
    """Whether they then move or not."""
    moving, resting = [], []
    for agent in range(4):
        moving.append(with_batch_norm())
        norm = next(m for m in moving[-1] if isinstance(m, nn.BatchNorm1d))
        norm.running_mean.fill_(agent)
        resting.append(nn.Linear(FEATURES, 3))
        resting[-1].register_buffer("place", torch.tensor(float(agent)))
    for models, name in ((moving, "running_mean"), (resting, "place")):
        learner = hosted(classification(model=models))
        theta = learner.initial()
        before = [dict(learner.module(theta[a], a).named_buffers()) for a in range(4)]
        found = [next(b for n, b in own.items() if n.endswith(name)) for own in before]
        assert [float(b.mean()) for b in found] == [0, 1, 2, 3]
        learner.gradient(theta)
    one = hosted(classification(model=moving), agents=[2])
    (kept,) = (s for n, s in one.state().items() if n.endswith("running_mean"))
    assert kept.unique().tolist() == [2]


def test_one_agent_whose_buffers_begin_otherwise_is_enough():
    models = [nn.Linear(FEATURES, 3) for _ in range(4)]
    for agent, model in enumerate(models):
        model.register_buffer("place", torch.tensor(1.0 if agent == 3 else 0.0))
    learner = hosted(classification(model=models))
    theta = learner.initial()
    assert [float(learner.module(theta[a], a).place) for a in range(4)] == [0, 0, 0, 1]


def test_mixed_buffers_are_rows_and_integer_ones_are_not_among_them():
    local, mixed = (
        hosted(classification(SIZES, with_batch_norm, buffers=b)) for b in ("local", "mixed")
    )
    assert local.buffers is None
    theta = mixed.initial()
    mixed.gradient(theta[:1], [0])
    rows = mixed.buffers
    assert rows.shape == (4, 10)
    assert not torch.equal(rows[0], rows[1])
    mixed.buffers = rows.mean(dim=0).expand(4, -1)
    state = mixed.state()
    assert torch.equal(mixed.buffers, rows.mean(dim=0).expand(4, -1))
    assert state["buffer.1.num_batches_tracked"].tolist() == [1, 0, 0, 0]


def test_mixed_buffers_go_back_to_where_they_came_from():
    layers = (nn.Linear(FEATURES, 3), nn.BatchNorm1d(3), nn.BatchNorm1d(3))
    learner = hosted(classification(model=lambda: nn.Sequential(*layers), buffers="mixed"))
    numbers = torch.arange(48.0, dtype=torch.float64).view(4, 12)
    learner.buffers = numbers
    assert torch.equal(learner.buffers, numbers)


def test_a_model_without_moving_buffers_has_none_to_mix():
    assert hosted(classification(buffers="mixed")).buffers is None


# --- evaluation ---------------------------------------------------------------------------


def right(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs.argmax(dim=1) == targets).double()


def test_measures_of_test_and_training_data():
    learner = hosted(classification(SIZES, measures={"right": right}))
    theta = scattered(learner)
    found = learner.evaluate(theta)
    assert set(found) == {"loss", "right", "train_loss", "train_right"}
    for agent, size in enumerate(SIZES):
        module = learner.module(theta[agent], agent)
        for prefix, (inputs, targets) in {
            "": samples(10, 99),
            "train_": samples(size, agent),
        }.items():
            outputs = module(inputs)
            loss = cross_entropy(outputs, targets).item()
            assert found[f"{prefix}loss"][agent].item() == pytest.approx(loss, abs=1e-12)
            share = right(outputs, targets).mean().item()
            assert found[f"{prefix}right"][agent].item() == pytest.approx(share, abs=1e-12)


def test_measures_do_not_depend_on_how_the_test_set_is_cut(monkeypatch):
    whole = hosted(classification(measures={"right": right}))
    monkeypatch.setattr("peerlearn.learners.evaluation.EVALUATION_BATCH", 3)
    cut = hosted(classification(measures={"right": right}))
    theta = scattered(whole)
    for name, values in whole.evaluate(theta).items():
        torch.testing.assert_close(cut.evaluate(theta)[name], values, rtol=0, atol=1e-12)


def test_every_agent_can_have_its_own_test_set():
    tests = [samples(7, seed=20 + a) for a in AGENTS]
    own = hosted(classification(test=tests))
    theta = scattered(own)
    for agent in AGENTS:
        shared = hosted(classification(test=tests[agent]))
        assert own.evaluate(theta)["loss"][agent] == shared.evaluate(theta)["loss"][agent]
    assert torch.equal(
        hosted(classification(test=tests), [2]).evaluate(theta[[2]])["loss"],
        own.evaluate(theta)["loss"][[2]],
    )


def test_without_a_test_set_there_are_training_measures_only():
    assert set(hosted(classification(test=None)).evaluate(scattered(hosted(classification())))) == {
        "train_loss"
    }


def test_a_function_of_the_module_adds_measures():
    def judge(module: nn.Module) -> dict[str, float]:
        assert not module.training
        return {"size": sum(float(p.abs().sum()) for p in module.parameters())}

    learner = hosted(classification(evaluate=judge))
    theta = scattered(learner)
    torch.testing.assert_close(learner.evaluate(theta)["size"], theta.abs().sum(dim=1))


def test_a_task_judges_agents_by_their_numbers_wherever_they_are(monkeypatch):
    monkeypatch.setattr(pl.Task, "judge", lambda task, module, agent: {"number": float(agent)})
    learner = hosted(classification(), agents=[3, 1])
    assert learner.evaluate(learner.initial())["number"].tolist() == [3, 1]


def test_training_samples_are_limited_and_spread():
    inputs, targets = samples(9)
    learner = hosted(classification((9,), data=[(inputs, targets)], training_sample=3))
    theta = learner.initial()
    chosen = [0, 4, 8]
    expected = cross_entropy(learner.module(theta[0], 0)(inputs[chosen]), targets[chosen]).item()
    assert learner.evaluate(theta)["train_loss"].item() == pytest.approx(expected)


@pytest.mark.parametrize("model", MODELS)
def test_evaluation_changes_nothing(model):
    judged, left = (hosted(classification(model=model)) for _ in range(2))
    theta = scattered(judged)
    for _ in range(3):
        judged.evaluate(theta)
        assert torch.equal(judged.gradient(theta), left.gradient(theta))
    for name, value in judged.state().items():
        assert torch.equal(value, left.state()[name]), name


# --- state --------------------------------------------------------------------------------


@pytest.mark.parametrize("gradients", ["loop", "vmap"])
@pytest.mark.parametrize("model", MODELS)
def test_a_learner_goes_on_from_its_state(model, gradients):
    if gradients == "vmap" and model is not network:
        gradients = "auto"
    task = classification(SIZES, model, gradients=gradients)
    learner, other = hosted(task), hosted(task)
    theta = scattered(learner)
    for _ in range(4):
        learner.gradient(theta)
    other.load({name: value.clone() for name, value in learner.state().items()})
    for _ in range(4):
        assert torch.equal(learner.gradient(theta), other.gradient(theta))
    assert other.gradient_evaluations().tolist() == [8] * 4
    assert other.note == f"{learner.note.split(':')[0]}: as before the run was resumed"


# --- random numbers -----------------------------------------------------------------------


def test_keys_of_different_lengths_and_purposes_have_streams_of_their_own():
    keys = [(1, 2), (1, 2, 0), (1, 2, 0, 0), (1, 3), (1, 3, 0), (0, 1, 2)]
    assert len({seed_from(*k) for k in keys}) == len(keys)
    assert len({MINIBATCH, MODEL, EVALUATION}) == 3


def jittered(inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    return inputs + random.random() + np.random.random() + torch.rand(()), targets


class Jittered(Items):
    def __getitem__(self, index):
        inputs, target = super().__getitem__(index)
        return jittered(inputs, target)


def test_all_global_generators_belong_to_the_agent_and_are_left_alone():
    data = [Jittered(*samples(6, seed=a)) for a in AGENTS]
    for changed in ({"data": data}, {"transform": jittered}):
        learner = hosted(classification(**changed))
        theta = scattered(learner)
        random.seed(1), np.random.seed(1), torch.manual_seed(1)
        first, measured = learner.gradient(theta), learner.evaluate(theta)
        drawn = random.random(), np.random.random(), float(torch.rand(()))
        again = hosted(classification(**changed))
        random.seed(1), np.random.seed(1), torch.manual_seed(1)
        assert (random.random(), np.random.random(), float(torch.rand(()))) == drawn
        assert torch.equal(first, again.gradient(theta))
        assert all(torch.equal(v, again.evaluate(theta)[n]) for n, v in measured.items())
        alone = hosted(classification(**changed), agents=[2])
        assert torch.equal(alone.gradient(theta[2:3])[0], first[2])
        for name, value in alone.evaluate(theta[2:3]).items():
            assert torch.equal(value[0], measured[name][2]), name


class Skipping(nn.Module):
    """Leaves its second layer out now and then, by a generator that is not torch's."""

    def __init__(self, draw) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(FEATURES, 3), nn.Linear(3, 3)
        self.draw = draw

    def forward(self, inputs: Tensor) -> Tensor:
        outputs = self.first(inputs)
        return outputs if self.draw() < 0.5 else self.second(outputs)


@pytest.mark.parametrize(
    "draw", [lambda: random.random(), lambda: np.random.random()], ids=["Python", "NumPy"]
)
def test_what_a_model_draws_elsewhere_belongs_to_the_agent_too(draw):
    learner, again = (
        hosted(classification(model=lambda: Skipping(draw), gradients="auto")) for _ in range(2)
    )
    assert learner.note == "loop: it draws random numbers, and each agent has its own"
    theta = scattered(learner)
    random.seed(1), np.random.seed(1)
    first = [learner.gradient(theta) for _ in range(5)]
    random.seed(2), np.random.seed(2)
    drawn = random.random(), np.random.random()
    random.seed(2), np.random.seed(2)
    assert all(torch.equal(again.gradient(theta), g) for g in first)
    assert (random.random(), np.random.random()) == drawn


# --- targets of other kinds ---------------------------------------------------------------


class Pair(NamedTuple):
    first: Tensor
    second: Tensor


class Targeted(Items):
    """Targets that are a named tuple or a dict of tensors."""

    def __init__(self, kind, count: int) -> None:
        super().__init__(*samples(count))
        self.kind = kind

    def __getitem__(self, index):
        inputs, target = super().__getitem__(index)
        return inputs, self.kind(first=inputs[0], second=torch.tensor(target))


@pytest.mark.parametrize("kind", [Pair, dict])
def test_means_over_targets_of_any_kind_count_samples(kind, monkeypatch):
    monkeypatch.setattr("peerlearn.learners.evaluation.EVALUATION_BATCH", 4)  # batches of 4 and 3

    def loss(outputs, targets):
        part = targets.first if kind is Pair else targets["first"]
        return mse_loss(outputs[:, 0], part)

    learner = hosted(classification(data=[Targeted(kind, 7)] * 2, loss=loss, test=None))
    theta = scattered(learner)
    measured = learner.evaluate(theta)["train_loss"]
    inputs = samples(7)[0]
    for agent in range(2):
        outputs = learner.module(theta[agent], agent)(inputs)[:, 0]
        torch.testing.assert_close(measured[agent], mse_loss(outputs, inputs[:, 0]).detach())


class Memory(nn.Module):
    """A network with two scalars that it replaces at every call: a trace, and how often."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 3)
        self.register_buffer("trace", torch.zeros(()))
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, inputs: Tensor) -> Tensor:
        self.trace = 0.5 * self.trace + inputs.mean().detach()
        self.calls = self.calls + 1
        return self.head(inputs)


def test_buffers_that_a_module_replaces_are_each_agents_own():
    learner = hosted(classification(model=Memory, batch_size=None))
    theta = learner.initial()
    for _ in range(2):
        learner.gradient(theta)
    expected = torch.stack([1.5 * samples(6, seed=a)[0].mean() for a in range(4)])
    state = learner.state()
    torch.testing.assert_close(state["buffer.trace"], expected)
    assert state["buffer.calls"].tolist() == [2] * 4


def test_buffers_without_axes_are_mixed():
    task = classification(model=Memory, batch_size=None, buffers="mixed")
    run = pl.train(
        task, pl.DSGD(lr=0.0), pl.graphs.complete(4), rounds=1, dtype="float64", device="cpu"
    )
    traces = torch.stack([run.model(a).trace for a in range(4)])
    mean = torch.stack([samples(6, seed=a)[0].mean() for a in range(4)]).mean()
    torch.testing.assert_close(traces, mean.expand(4))


class Late(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 3)
        self.register_buffer("seen", None)

    def forward(self, inputs: Tensor) -> Tensor:
        self.seen = inputs.mean().detach()
        return self.head(inputs)


def test_a_buffer_that_appears_is_refused():
    with pytest.raises(ValueError, match="buffer 'seen' appears or vanishes when the model is"):
        hosted(classification(model=Late))


def test_losses_and_measures_that_are_modules_follow_the_networks():
    weight = torch.tensor([1.0, 2.0, 0.5])
    task = classification(
        loss=nn.CrossEntropyLoss(weight), measures={"squared": nn.CrossEntropyLoss(weight)}
    )
    run = pl.train(task, pl.Isolated(), rounds=2, dtype="float64", device="cpu")
    np.testing.assert_array_equal(run.final["squared"], run.final["loss"])
    assert task.loss.weight is weight
