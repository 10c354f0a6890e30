"""Partitions: laws that hold for all of them, and what each one promises."""

import inspect

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from peerlearn.data.partitions import PARTITIONS, partition

every_partition = pytest.mark.parametrize("name", PARTITIONS)
SPLITS = [(name, {}) for name in PARTITIONS] + [
    ("chunks", {"every_label": True}),
    ("shards", {"shards_per_agent": 1}),
    ("dirichlet", {"alpha": 1e-3}),
    ("dirichlet", {"alpha": 1e3}),
    ("dirichlet", {"alpha": 1e308}),
    ("by_size", {"ratio": 1e4}),
]


def balanced(classes: int = 10, each: int = 100) -> Tensor:
    return torch.arange(classes).repeat(each)


def labels_of(targets: Tensor, parts: list[Tensor]) -> list[set[int]]:
    return [set(targets[part].tolist()) for part in parts]


@st.composite
def teams(draw: st.DrawFn) -> tuple[Tensor, int]:
    """Labels of at least two samples per agent: few or many classes, some of them tiny."""
    agents = draw(st.integers(1, 12))
    samples = draw(st.integers(2 * agents, 80))
    labels = draw(st.lists(st.integers(0, 9), min_size=samples, max_size=samples))
    return torch.tensor(labels), agents


@pytest.mark.parametrize(("name", "options"), SPLITS)
@given(team=teams(), seed=st.integers(0, 2**32))
def test_nothing_is_lost_nothing_is_twice_and_nobody_is_empty(name, options, team, seed):
    targets, agents = team
    parts = partition(name, targets, agents, seed, **options)
    assert len(parts) == agents
    assert all(part.dtype == torch.int64 and len(part) > 0 for part in parts)
    assert sorted(torch.cat(parts).tolist()) == list(range(len(targets)))


@every_partition
@given(team=teams(), seed=st.integers(0, 2**32))
def test_the_seed_alone_decides(name, team, seed):
    targets, agents = team
    before = partition(name, targets, agents, seed)
    torch.manual_seed(seed + 1)
    np.random.seed(1)
    states = torch.get_rng_state(), np.random.get_state()[1].tolist()
    after = partition(name, targets, agents, seed)
    assert all(map(torch.equal, before, after))
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.random.get_state()[1].tolist() == states[1]


@every_partition
def test_another_seed_gives_another_partition_where_something_is_random(name):
    first, second = (partition(name, balanced(), 15, seed) for seed in (0, 1))
    assert all(map(torch.equal, first, second)) == (name == "label_sorted")


@every_partition
def test_exactly_one_sample_for_each_agent_is_enough(name):
    options = {"shards_per_agent": 1} if name == "shards" else {}
    parts = partition(name, torch.tensor([3, 1, 1, 2, 1, 1]), 6, **options)
    assert [len(part) for part in parts] == [1] * 6


@every_partition
@pytest.mark.parametrize(
    ("targets", "agents", "message"),
    [
        (torch.zeros(3), 4, "3 samples for 4 agents, expected at least one for each"),
        (torch.zeros(0), 1, "0 samples for 1 agents"),
        (torch.zeros(3), 0, "agents is 0, expected a whole number of at least 1"),
        (torch.zeros(3, 2), 1, r"shape \(3, 2\), expected \(n,\)"),
    ],
)
def test_what_cannot_be_divided_is_refused(name, targets, agents, message):
    with pytest.raises(ValueError, match=message):
        partition(name, targets, agents)


@every_partition
def test_every_partition_has_the_same_first_arguments_and_documents_the_others(name):
    function = PARTITIONS[name]
    parameters = list(inspect.signature(function).parameters.values())
    assert [p.name for p in parameters[:3]] == ["targets", "agents", "seed"]
    for option in parameters[3:]:
        assert option.default is not inspect.Parameter.empty
        assert f"{option.name}:" in (function.__doc__ or "")


@pytest.mark.parametrize(
    ("name", "documented"),
    [
        ("shards", {"shards_per_agent": 2}),
        ("dirichlet", {"alpha": 0.5}),
        ("by_size", {"ratio": 10}),
    ],
)
def test_what_is_not_given_is_as_published(name, documented):
    one, other = (partition(name, balanced(), 7, **options) for options in ({}, documented))
    assert all(map(torch.equal, one, other))


@every_partition
def test_a_target_that_is_no_number_is_refused(name):
    with pytest.raises(ValueError, match="a target is NaN, which belongs to no class"):
        partition(name, torch.tensor([0.0, np.nan, 1.0]), 2)


def test_unknown_names_and_options_suggest_the_nearest():
    with pytest.raises(ValueError, match=r"'by_clas'; did you mean 'by_class'\? known: "):
        partition("by_clas", balanced(), 10)
    with pytest.raises(ValueError, match=r"partition dirichlet 'alhpa'; did you mean 'alpha'\?"):
        partition("dirichlet", balanced(), 10, alhpa=0.5)
    with pytest.raises(ValueError, match="partition iid 'alpha'; known: none"):
        partition("iid", balanced(), 10, alpha=0.5)


@pytest.mark.parametrize("name", ["iid", "label_sorted", "dirichlet"])
@pytest.mark.parametrize("agents", [1, 7, 10, 64])
def test_parts_are_equal_to_one_sample(name, agents):
    sizes = [len(part) for part in partition(name, balanced(), agents)]
    assert max(sizes) - min(sizes) <= 1


def test_iid_gives_everybody_all_classes():
    parts = partition("iid", balanced(), 5)
    for part in parts:
        counts = torch.bincount(balanced()[part], minlength=10)
        assert counts.min() >= 8  # 20 expected, standard deviation 3.8
        assert counts.max() <= 32


@pytest.mark.parametrize("agents", [1, 3, 7, 10])
def test_by_class_deals_whole_classes_round_robin(agents):
    owned = labels_of(balanced(), partition("by_class", balanced(), agents))
    assert owned == [set(range(a, 10, agents)) for a in range(agents)]


@pytest.mark.parametrize("agents", [11, 20, 37, 1000])
def test_by_class_shares_classes_when_agents_are_many(agents):
    parts = partition("by_class", balanced(), agents)
    owned = labels_of(balanced(), parts)
    assert all(len(labels) == 1 for labels in owned)
    assert owned[:10] == [{c} for c in range(10)]
    holders = torch.bincount(torch.tensor([labels.pop() for labels in owned]))
    assert holders.max() - holders.min() <= 1


@pytest.mark.parametrize(("sizes", "shares"), [((90, 10), [10] * 10), ((90, 46), [45, 23, 45, 23])])
def test_by_class_gives_larger_classes_more_agents(sizes, shares):
    targets = torch.arange(2).repeat_interleave(torch.tensor(sizes))
    parts = partition("by_class", targets, len(shares))
    assert [len(part) for part in parts] == shares


@pytest.mark.parametrize("labels", [[5, 5, 9, 9], [-1, -1, 40, 40]])
def test_labels_need_not_count_from_zero(labels):
    parts = partition("by_class", torch.tensor(labels), 2)
    assert [part.tolist() for part in parts] == [[0, 1], [2, 3]]


def test_label_sorted_cuts_the_sorted_samples():
    parts = partition("label_sorted", torch.tensor([2, 0, 1, 0, 2, 1]), 3)
    assert [part.tolist() for part in parts] == [[1, 3], [2, 5], [0, 4]]


@pytest.mark.parametrize(
    ("name", "runs"), [("label_sorted", 1), ("shards", 2)], ids=["label_sorted", "shards"]
)
def test_samples_of_one_label_stay_in_their_order(name, runs):
    """Also many of them, which a sort that is not stable would move."""
    for part in partition(name, balanced(2, 200), 4):  # labels 0, 1, 0, 1, ...
        assert len(part) == 100
        for label in (0, 1):
            assert (part[part % 2 == label].diff() != 2).sum() < runs


def test_truth_is_no_number_of_labels():
    with pytest.raises(ValueError, match="every_label is 1, expected true or false"):
        partition("chunks", balanced(), 20, every_label=1)


@pytest.mark.parametrize("agents", [5, 10])
@pytest.mark.parametrize("every_label", [False, True])
def test_chunks_are_sets_of_labels_that_no_other_agent_has(agents, every_label):
    parts = partition("chunks", balanced(), agents, every_label=every_label)
    owned = labels_of(balanced(), parts)
    assert all(len(labels) == 10 // agents for labels in owned)
    assert set.union(*owned) == set(range(10))


@pytest.mark.parametrize(("every_label", "labels"), [(False, 1), (True, 10)])
def test_chunks_for_more_agents_than_labels(every_label, labels):
    parts = partition("chunks", balanced(), 20, every_label=every_label)
    assert all(len(owned) == labels for owned in labels_of(balanced(), parts))
    assert [len(part) for part in parts] == [50] * 20


def test_shards_are_runs_of_the_sorted_samples():
    parts = partition("shards", balanced(), 20, shards_per_agent=3)
    owned = labels_of(balanced(), parts)
    assert max(map(len, owned)) <= 6  # a shard of 16 or 17 samples holds at most two labels
    assert {len(part) for part in parts} <= set(range(48, 52))
    two_each = labels_of(balanced(), partition("shards", balanced(), 50))
    assert {len(labels) for labels in two_each} == {1, 2}


@pytest.mark.parametrize("count", [0, 51, 1.5])
def test_shards_that_cannot_all_be_filled_are_refused(count):
    with pytest.raises(ValueError, match=f"shards_per_agent is {count}, .* from 1 to 50"):
        partition("shards", balanced(), 20, shards_per_agent=count)


def entropy_of(parts: list[Tensor], targets: Tensor) -> float:
    """Mean entropy of the agents' class proportions, in nats."""
    shares = torch.stack([torch.bincount(targets[p], minlength=10) / len(p) for p in parts])
    return float(torch.special.entr(shares).sum(dim=1).mean())


@pytest.mark.parametrize(("alpha", "low", "high"), [(1e4, 2.2, 2.3026), (1.0, 1.6, 2.2)])
def test_dirichlet_grows_towards_iid_with_alpha(alpha, low, high):
    targets = balanced(each=1000)
    assert low < entropy_of(partition("dirichlet", targets, 20, alpha=alpha), targets) < high


def test_dirichlet_gives_one_class_each_when_alpha_vanishes():
    parts = partition("dirichlet", balanced(each=1000), 20, alpha=1e-4)
    owned = [torch.bincount(balanced(each=1000)[part], minlength=10) for part in parts]
    alone = [bool(counts.max() >= 0.99 * counts.sum()) for counts in owned]
    assert sum(alone) >= 10  # those who come last take what is left


def test_dirichlet_draws_follow_the_shares_of_unequal_classes():
    targets = torch.tensor([0] * 900 + [1] * 100)
    parts = partition("dirichlet", targets, 5, alpha=1e5)
    assert all(abs(targets[part].float().mean() - 0.1) < 0.06 for part in parts)


@pytest.mark.parametrize("alpha", [0, -1.0, float("nan"), float("inf"), "big"])
def test_dirichlet_refuses_a_concentration_that_is_not_positive(alpha):
    with pytest.raises(ValueError, match=r"alpha is .*, expected a positive finite number"):
        partition("dirichlet", balanced(), 10, alpha=alpha)


def test_by_size_follows_the_ratio_or_the_sizes():
    sizes = [len(part) for part in partition("by_size", balanced(), 10, ratio=10)]
    assert sizes == sorted(sizes)
    assert sizes[-1] / sizes[0] == pytest.approx(10, rel=0.05)
    given_sizes = [len(part) for part in partition("by_size", balanced(), 3, sizes=[5, 1, 4])]
    assert given_sizes == [500, 100, 400]


def test_by_size_those_between_grow_by_equal_factors():
    parts = partition("by_size", torch.zeros(700, dtype=torch.int64), 3, ratio=4.0)
    assert [len(p) for p in parts] == [100, 200, 400]


def test_by_size_ends_are_those_of_the_shares_to_half_a_sample():
    shares = np.array([3, 1, 4, 1, 5])
    sizes = [len(p) for p in partition("by_size", torch.zeros(97), 5, sizes=shares.tolist())]
    assert abs(np.cumsum(sizes) - 97 * np.cumsum(shares) / shares.sum()).max() <= 0.5


def test_by_size_leaves_nobody_empty_however_unequal_the_sizes():
    sizes = [len(part) for part in partition("by_size", balanced(), 4, sizes=[1e-9, 1, 1e-9, 1])]
    assert sizes[0] == sizes[2] == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sizes": [1, 2]}, "sizes has 2 numbers, expected one for each of 3 agents"),
        ({"sizes": [1, 0, 2]}, "each of sizes is 0, expected a positive finite number"),
        ({"ratio": -1}, "ratio is -1, expected a positive finite number"),
    ],
)
def test_by_size_refuses_bad_sizes(options, message):
    with pytest.raises(ValueError, match=message):
        partition("by_size", balanced(), 3, **options)
