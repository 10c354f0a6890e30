"""The local optimizer: rows of one matrix step as separate torch optimizers do."""

import pytest
import torch
from torch import Tensor

from peerlearn.optimizer import LocalOptimizer, known_optimizers

ELEMENTWISE = {
    "adadelta", "adagrad", "adam", "adamax", "adamw", "asgd", "nadam", "radam", "rmsprop",
    "rprop", "sgd",
}  # fmt: skip
REFUSED = {"adafactor", "lbfgs", "muon", "sparseadam"}

VARIANTS = [
    ("sgd", {"momentum": 0.9, "nesterov": True}),
    ("sgd", {"weight_decay": 0.1, "momentum": 0.5, "dampening": 0.1}),
    ("adam", {"betas": (0.5, 0.9), "amsgrad": True}),
    ("adamw", {"weight_decay": 0.3}),
    ("rmsprop", {"centered": True, "momentum": 0.5}),
    ("adagrad", {"initial_accumulator_value": 0.1}),
    (torch.optim.Adam, {"fused": False}),
]
ALL = [(name, {}) for name in sorted(ELEMENTWISE)] + VARIANTS

A, P, STEPS, LR = 4, 3, 6, 0.01


def problem(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """First rows (A, P) and gradients (STEPS, A, P)."""
    draw = torch.Generator().manual_seed(0)
    theta = torch.randn(A, P, generator=draw, dtype=torch.float64)
    gradients = torch.randn(STEPS, A, P, generator=draw, dtype=torch.float64)
    return theta.to(dtype), gradients.to(dtype)


def separately(optimizer: LocalOptimizer, row: Tensor, gradients: list[Tensor]) -> Tensor:
    """What torch's own optimizer makes of one agent's row."""
    parameter = row.clone()
    own = optimizer.torch_class([parameter], lr=LR, **dict(optimizer.options))
    for gradient in gradients:
        parameter.grad = gradient.clone()
        own.step()
    return parameter


def test_every_optimizer_of_torch_is_accepted_or_refused():
    known = set(known_optimizers())
    accepted = set()
    for name in known:
        try:
            LocalOptimizer(name)
        except ValueError:
            continue
        accepted.add(name)
    assert accepted == ELEMENTWISE & known
    assert known - accepted == REFUSED & known


@pytest.mark.parametrize("name", sorted(REFUSED & set(known_optimizers())))
def test_a_refusal_names_the_optimizer_and_better_ones(name):
    with pytest.raises(ValueError, match="such as SGD, Adam or RMSprop") as caught:
        LocalOptimizer(name)
    assert known_optimizers()[name].__name__ in str(caught.value)


def test_an_optimizer_that_mixes_agents_is_refused():
    class Normalized(torch.optim.SGD):
        """Divides by the norm of the whole gradient, over all agents."""

        def step(self, closure=None):
            for group in self.param_groups:
                for p in group["params"]:
                    p.data -= group["lr"] * p.grad / p.grad.norm()

    with pytest.raises(ValueError, match="Normalized is not elementwise"):
        LocalOptimizer(Normalized)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("kind", "options"), ALL)
def test_rows_step_like_separate_optimizers(kind, options, dtype):
    optimizer = LocalOptimizer(kind, options)
    theta, gradients = problem(dtype)
    expected = [separately(optimizer, theta[i], list(gradients[:, i])) for i in range(A)]
    moments: dict[str, Tensor] = {}
    for gradient in gradients:
        theta, moments = optimizer.step(theta, gradient, moments, LR)
    tolerance = 1e-14 if dtype == torch.float64 else 2e-6
    torch.testing.assert_close(theta, torch.stack(expected), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("kind", "options"), ALL)
def test_rows_that_sit_out_neither_move_nor_count(kind, options):
    optimizer = LocalOptimizer(kind, options)
    theta, gradients = problem()
    turns = [[0, 1, 2, 3], [1], [0, 3], [], [3, 1], [2]]
    expected = [
        separately(
            optimizer,
            theta[i],
            [g[i] for g, rows in zip(gradients, turns, strict=True) if i in rows],
        )
        for i in range(A)
    ]
    moments: dict[str, Tensor] = {}
    for gradient, rows in zip(gradients, turns, strict=True):
        before = theta
        theta, moments = optimizer.step(theta, gradient, moments, LR, rows=rows)
        out = [i for i in range(A) if i not in rows]
        assert torch.equal(theta[out], before[out])
    torch.testing.assert_close(theta, torch.stack(expected), rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize(("kind", "options"), ALL)
def test_rows_that_begin_later_begin_afresh(kind, options):
    optimizer = LocalOptimizer(kind, options)
    theta, gradients = problem()
    turns = [[2], [2, 0], [0, 1, 2, 3]]
    expected = [
        separately(
            optimizer, theta[i],
            [g[i] for g, rows in zip(gradients[:3], turns, strict=True) if i in rows],
        )
        for i in range(A)
    ]  # fmt: skip
    moments: dict[str, Tensor] = {}
    for gradient, rows in zip(gradients[:3], turns, strict=True):
        theta, moments = optimizer.step(theta, gradient, moments, LR, rows=rows)
    torch.testing.assert_close(theta, torch.stack(expected), rtol=1e-14, atol=1e-14)


def test_a_mask_chooses_rows_like_their_positions():
    optimizer = LocalOptimizer("adam")
    theta, gradients = problem()
    one, _ = optimizer.step(theta, gradients[0], {}, LR, rows=[True, False, False, True])
    other, _ = optimizer.step(theta, gradients[0], {}, LR, rows=[0, 3])
    assert torch.equal(one, other)
    assert not torch.equal(one, theta)


@pytest.mark.parametrize(("kind", "options"), ALL)
@pytest.mark.parametrize("rows", [None, [1, 2]])
def test_a_step_leaves_its_inputs_unchanged(kind, options, rows):
    optimizer = LocalOptimizer(kind, options)
    theta, gradients = problem()
    _, moments = optimizer.step(theta, gradients[0], {}, LR)
    given = {"theta": theta, "gradient": gradients[1], **moments}
    kept = {name: value.clone() for name, value in given.items()}
    after, new = optimizer.step(theta, gradients[1], moments, LR, rows=rows)
    assert all(torch.equal(value, kept[name]) for name, value in given.items())
    places = [t.untyped_storage().data_ptr() for t in (after, *new.values(), *given.values())]
    assert len(set(places)) == len(places)
    assert theta.grad is None


@pytest.mark.parametrize("kind", sorted(ELEMENTWISE))
def test_moments_are_rows(kind):
    theta, gradients = problem()
    _, moments = LocalOptimizer(kind).step(theta, gradients[0], {}, LR)
    assert all(value.shape in ((A, P), (A, 1)) for value in moments.values())


def test_moments_are_rows_even_where_an_agent_has_one_parameter():
    theta, gradients = problem()
    optimizer = LocalOptimizer("adam")
    moments: dict[str, Tensor] = {}
    single = theta[:, :1]
    for gradient in gradients:
        single, moments = optimizer.step(single, gradient[:, :1], moments, LR)
    expected = [separately(optimizer, theta[i, :1], list(gradients[:, i, :1])) for i in range(A)]
    torch.testing.assert_close(single, torch.stack(expected), rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_rates_scale_each_columns_step(kind):
    theta, gradients = problem()
    rates = torch.tensor([1.0, 0.0, 0.25], dtype=theta.dtype)
    optimizer = LocalOptimizer(kind)
    plain, _ = optimizer.step(theta, gradients[0], {}, LR)
    scaled, _ = optimizer.step(theta, gradients[0], {}, LR, rates=rates)
    torch.testing.assert_close(scaled - theta, rates * (plain - theta))
    assert torch.equal(scaled[:, 1], theta[:, 1])


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("rmspropp", {}, "unknown optimizer 'rmspropp'; did you mean 'rmsprop'"),
        ("adam", {"beta": 0.9}, "Adam takes no option 'beta'; did you mean 'betas'"),
        ("sgd", {"lr": 0.1}, "SGD takes no option 'lr': it is the method's own argument"),
        ("sgd", {"momentum": -1.0}, r"SGD refuses the options .* \(Invalid momentum"),
        ("adam", {"betas": [0.9]}, "Adam refuses the options {'betas'"),
        ("adam", {"betas": [[0.9]]}, "the options of Adam are .*; expected numbers"),
        ("adam", 3, "options is 3, expected names and values"),
        (int, {}, "optimizer is <class 'int'>, expected a torch.optim class or its name"),
    ],
)
def test_mistakes_are_named(kind, options, message):
    with pytest.raises(ValueError, match=message):
        LocalOptimizer(kind, options)


@pytest.mark.parametrize("option", ["foreach", "differentiable"])
def test_what_rules_out_the_fused_step_gives_the_same_numbers(option):
    theta, gradients = problem()
    one, _ = LocalOptimizer("adam", {option: True}).step(theta, gradients[0], {}, LR)
    other, _ = LocalOptimizer("adam").step(theta, gradients[0], {}, LR)
    torch.testing.assert_close(one, other)


def test_options_may_be_lists_as_experiment_files_have_them():
    theta, gradients = problem()
    one, _ = LocalOptimizer("adam", {"betas": [0.5, 0.9]}).step(theta, gradients[0], {}, LR)
    other, _ = LocalOptimizer("adam", {"betas": (0.5, 0.9)}).step(theta, gradients[0], {}, LR)
    assert torch.equal(one, other)


def test_names_are_known_in_any_case():
    assert LocalOptimizer("AdamW").torch_class is torch.optim.AdamW


@pytest.mark.parametrize("kind", ["sgd", "adam", "rmsprop", "adagrad", "nadam", "rprop"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_fresh_moments_have_their_names_and_change_nothing(kind, dtype):
    optimizer = LocalOptimizer(kind)
    theta, gradient = torch.ones(3, 2, dtype=dtype), torch.full((3, 2), 0.5, dtype=dtype)
    begun = optimizer.fresh(theta)
    plain, moments = theta, {}
    for _ in range(3):
        theta, begun = optimizer.step(theta, gradient, begun, 0.01, rows=[0, 2])
        plain, moments = optimizer.step(plain, gradient, moments, 0.01)
        assert torch.equal(theta[[0, 2]], plain[[0, 2]])
    assert begun.keys() == optimizer.fresh(theta).keys() == {*moments, "begun"}
    assert all(v.dtype == begun[n].dtype for n, v in moments.items())
    assert torch.equal(theta[1], torch.ones(2, dtype=dtype))
