"""Partitions: which agent owns which samples.

Every partition is a function of the samples' labels, the number of agents and a seed. It returns
one sorted tensor of sample indices per agent. Together they are all samples, each exactly once,
and nobody is left without any. The same arguments give the same partition; the global random
generators are neither read nor moved. Fewer samples than agents, and options that cannot be, are a
ValueError.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..values import is_whole, require_count, require_known, require_options, require_positive

Indices = NDArray[np.int64]

ALL_ALIKE = 1e12  # a Dirichlet concentration beyond which no draw differs from its mean


def iid(targets: Tensor, agents: int, seed: int = 0) -> list[Tensor]:
    """Equal parts of the shuffled data: every agent sees the same distribution.

    Args:
        targets: (n,) the samples' labels.
        agents: how many agents share them.
        seed: of the shuffle.
    """
    labels, generator = _checked(targets, agents, seed)
    return _tensors(np.array_split(generator.permutation(len(labels)), agents))


def by_class(targets: Tensor, agents: int, seed: int = 0) -> list[Tensor]:
    """Whole classes, dealt round-robin: agent a owns classes a, a + agents, a + 2 agents, ...

    With more agents than classes everybody owns a part of one class: the first agents one class
    each, in order, and every further agent shares the class whose parts are largest so far. No
    class is ever dropped. The arguments are those of `iid`; the seed decides who gets which
    samples of a shared class.
    """
    labels, generator = _checked(targets, agents, seed)
    classes = _classes(labels, generator)
    if agents <= len(classes):
        return _tensors(np.concatenate(classes[a::agents]) for a in range(agents))
    owned = _shared_classes([len(c) for c in classes], agents)
    holders = np.bincount(owned)
    parts = [iter(np.array_split(c, h)) for c, h in zip(classes, holders, strict=True)]
    return _tensors(next(parts[c]) for c in owned)


def label_sorted(targets: Tensor, agents: int, seed: int = 0) -> list[Tensor]:
    """The samples sorted by label and cut into equal chunks: DiNNO's scaling study.

    The arguments are those of `iid`; nothing is random, so the seed changes nothing.
    """
    labels, _ = _checked(targets, agents, seed)
    return _tensors(np.array_split(np.argsort(labels, kind="stable"), agents))


def chunks(targets: Tensor, agents: int, seed: int = 0, every_label: bool = False) -> list[Tensor]:
    """DMSGD's non-iid split (section 5): chunks of one label each, labels unique to an agent.

    With at most as many agents as labels, each agent gets several chunks, whole labels that no
    other agent has. With more, the paper says that "each agent gets only a chunk of data
    corresponding to each target label". By default an agent then gets one chunk of one label,
    which is the "extreme imbalance across different agents" that the paper wants, and both cases
    are `by_class`. Read to the letter, an agent gets one chunk of every label, which is as good as
    iid: ``every_label`` chooses that reading.

    Args:
        targets, agents, seed: as in `iid`.
        every_label: with more agents than labels, give each agent a chunk of every label.
    """
    labels, generator = _checked(targets, agents, seed)
    classes = _classes(labels, generator)
    if not isinstance(every_label, bool):
        raise ValueError(f"every_label is {every_label!r}, expected true or false")
    if not every_label or agents <= len(classes):
        return by_class(targets, agents, seed)
    stack = np.concatenate(classes)  # (n,)
    return _tensors(stack[a::agents] for a in range(agents))  # dealt like cards, label by label


def shards(targets: Tensor, agents: int, seed: int = 0, shards_per_agent: int = 2) -> list[Tensor]:
    """Sorted by label, cut into equal shards, and some shards dealt to each agent at random.

    Most agents then know about ``shards_per_agent`` labels (McMahan et al. 2017, section 3, where
    100 agents get 2 of 200 shards of MNIST).

    Args:
        targets, agents, seed: as in `iid`.
        shards_per_agent: how many shards an agent gets.
    """
    labels, generator = _checked(targets, agents, seed)
    if not is_whole(shards_per_agent, most=len(labels) // agents):
        raise ValueError(
            f"shards_per_agent is {shards_per_agent}, expected a whole number from 1 to "
            f"{len(labels) // agents}, so that {len(labels)} samples fill all shards of "
            f"{agents} agents"
        )
    order = np.argsort(labels, kind="stable")
    pieces = np.array_split(order, agents * shards_per_agent)
    dealt = generator.permutation(len(pieces)).reshape(agents, shards_per_agent)
    return _tensors(np.concatenate([pieces[i] for i in hand]) for hand in dealt)


def dirichlet(targets: Tensor, agents: int, seed: int = 0, alpha: float = 0.5) -> list[Tensor]:
    """Equally many samples each, in class proportions drawn from a Dirichlet distribution.

    Agent i draws q_i ~ Dir(alpha C p), where p are the C classes' shares of all data, and then the
    labels of its samples from q_i without replacement. A class that is used up drops out of q_i
    for the agents that come later (Hsu et al. 2019, "Measuring the effects of non-identical data
    distribution"; with equal classes the parameter is alpha for each, as in their experiments).

    Args:
        targets, agents, seed: as in `iid`.
        alpha: concentration; large is iid, towards zero every agent has one class.
    """
    labels, generator = _checked(targets, agents, seed)
    require_positive("alpha", alpha)
    classes = _classes(labels, generator)
    left = np.array([len(c) for c in classes])
    shares = len(left) * left / left.sum()
    proportions = generator.dirichlet(min(alpha, ALL_ALIKE) * shares, size=agents)
    parts = []
    for size, q in zip(_equal_sizes(len(labels), agents), proportions, strict=True):
        taken = _draw(size, q, left, generator)
        used = zip(classes, left, taken, strict=True)
        parts.append(np.concatenate([c[end - count : end] for c, end, count in used]))
        left = left - taken
    return _tensors(parts)


def by_size(
    targets: Tensor,
    agents: int,
    seed: int = 0,
    sizes: Sequence[float] | None = None,
    ratio: float = 10.0,
) -> list[Tensor]:
    """Shuffled data in unequal amounts: the same distribution, more or less of it.

    Args:
        targets, agents, seed: as in `iid`.
        sizes: one positive number per agent, its share in proportion to the others'; each agent
            gets at least one sample.
        ratio: where no sizes are given, how many times as much the last agent has as the first;
            those between grow by equal factors.
    """
    labels, generator = _checked(targets, agents, seed)
    require_positive("ratio", ratio)
    shares = np.geomspace(1, ratio, agents) if sizes is None else _checked_sizes(sizes, agents)
    shares = shares / shares.max()  # whose sum is finite
    ends = np.rint(np.cumsum(shares) / shares.sum() * len(labels)).astype(int)
    counts = np.diff(ends, prepend=0)
    while counts.min() < 1:
        counts[counts.argmax()] -= 1
        counts[counts.argmin()] += 1
    return _tensors(np.split(generator.permutation(len(labels)), np.cumsum(counts)[:-1]))


PARTITIONS: dict[str, Callable[..., list[Tensor]]] = {
    p.__name__: p for p in (iid, by_class, label_sorted, chunks, shards, dirichlet, by_size)
}


def partition(
    name: str, targets: Tensor, agents: int, seed: int = 0, **options: Any
) -> list[Tensor]:
    """The partition called ``name``, one of `PARTITIONS`.

    Args:
        name: which.
        targets: (n,) the samples' labels.
        agents: how many agents share them.
        seed: of everything random in it.
        options: that partition's own arguments.

    Returns:
        One sorted tensor of sample indices (int64) per agent.

    Raises:
        ValueError: there is no such partition or option, an option is out of range, or there are
            fewer samples than agents.

    Example:
        >>> partition("by_class", torch.tensor([0, 1, 2, 0, 1, 2]), agents=2)
        [tensor([0, 2, 3, 5]), tensor([1, 4])]
    """
    require_known("partition", name, PARTITIONS)
    require_options(f"partition {name}", PARTITIONS[name], options, given=3)
    return PARTITIONS[name](targets, agents, seed, **options)


def _checked(targets: Tensor, agents: int, seed: int) -> tuple[NDArray[Any], np.random.Generator]:
    targets = torch.as_tensor(targets)
    if targets.ndim != 1:
        raise ValueError(f"targets have the shape {tuple(targets.shape)}, expected (n,)")
    if targets.isnan().any():
        raise ValueError("a target is NaN, which belongs to no class; mend or drop its sample")
    require_count("agents", agents)
    require_count("seed", seed, 0)
    if len(targets) < agents:
        raise ValueError(
            f"{len(targets)} samples for {agents} agents, expected at least one for each; "
            "use fewer agents or more data"
        )
    return targets.detach().cpu().numpy(), np.random.default_rng(seed)


def _classes(labels: NDArray[Any], generator: np.random.Generator) -> list[Indices]:
    """The samples of each label that occurs, shuffled, in the order of the labels."""
    return [generator.permutation(np.flatnonzero(labels == c)) for c in np.unique(labels)]


def _shared_classes(sizes: list[int], agents: int) -> list[int]:
    """The class of each agent, for more agents than classes."""
    owned = list(range(len(sizes)))
    holders = np.ones(len(sizes))
    while len(owned) < agents:
        largest = int(np.argmax(sizes / holders))
        holders[largest] += 1
        owned.append(largest)
    return owned


def _equal_sizes(samples: int, agents: int) -> list[int]:
    return [samples // agents + (a < samples % agents) for a in range(agents)]


def _draw(
    size: int, proportions: NDArray[Any], left: Indices, generator: np.random.Generator
) -> Indices:
    """How many of ``size`` samples come from each class, of which ``left`` are left."""
    taken = np.zeros_like(left)
    while (missing := size - taken.sum()) > 0:
        weights = np.where(taken < left, proportions, 0.0)
        if weights.sum() == 0:  # all that this agent prefers is used up
            weights = left - taken
        taken = np.minimum(taken + generator.multinomial(missing, weights / weights.sum()), left)
    return taken


def _checked_sizes(sizes: Sequence[float], agents: int) -> NDArray[np.float64]:
    if not isinstance(sizes, Sequence | np.ndarray) or isinstance(sizes, str):
        raise ValueError(f"sizes is {sizes!r}, expected a list of numbers, one for each agent")
    if len(sizes) != agents:
        raise ValueError(
            f"sizes has {len(sizes)} numbers, expected one for each of {agents} agents"
        )
    for size in sizes:
        require_positive("each of sizes", size)
    return np.array(sizes, float)


def _tensors(parts: Iterable[NDArray[Any]]) -> list[Tensor]:
    return [torch.from_numpy(np.sort(part).astype(np.int64)) for part in parts]
