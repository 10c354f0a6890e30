"""Image classification among agents that each hold a part of the images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import nll_loss

from .. import data as sources
from ..values import require_known, require_mapping
from .models import MODELS
from .options import require_handed_on
from .supervised import Task

Model = nn.Module | Callable[[], nn.Module]
BatchSize = int | Sequence[int] | None


def accuracy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Whether each sample's largest output is its class: (B, classes), (B,) -> (B,)."""
    return (outputs.argmax(dim=1) == targets).to(outputs.dtype)


def images(
    source: str,
    agents: int = 10,
    partition: str = "iid",
    partition_options: Mapping[str, Any] | None = None,
    model: str | Model | None = None,
    seed: int = 0,
    **options: Any,
) -> Task:
    """A classification task from one of the built-in image sources.

    Args:
        source: the name of one, such as "mnist"; `peerlearn.data.SOURCES` lists them.
        agents: how many agents share the training images.
        partition, partition_options, seed: who owns which images; see `peerlearn.data.partition`.
        model: a module, a function that makes one, or a name, such as "mlp", of
            `peerlearn.tasks.models.MODELS`; by default the network that suits the source.
        options: further arguments of `peerlearn.Task`.

    Raises:
        ValueError: an unknown name, or what `peerlearn.data.load` and `partition` raise.
    """
    require_handed_on(source, options, images, Task)
    found = sources.load(source)
    settings = require_mapping("partition_options", partition_options)
    parts = sources.partition(partition, found.train_targets, agents, seed, **settings)
    suited = sources.SOURCES[source]
    inputs = suited.normalized(found.train_inputs)
    network, described = network_for(source, model, found)
    return Task(
        model=network,
        loss=nll_loss,
        data=[(inputs[p], found.train_targets[p]) for p in parts],
        test=(suited.normalized(found.test_inputs), found.test_targets),
        name=source,
        sample_bytes=raw_bytes(inputs),
        details={
            "partition": partition,
            "partition_options": settings,
            "partition_seed": seed,
            "model": described,
        },
        **{"measures": {"accuracy": accuracy}, **options},
    )


def raw_bytes(inputs: Tensor) -> int:
    """The size of a raw sample: one byte for each value, and one for the label."""
    return inputs[0].numel() + 1


def network_for(source: str, model: str | Model | None, found: sources.Images) -> tuple[Model, str]:
    """The network, by default one that suits the source, and what the record calls it."""
    if model is not None and not isinstance(model, str):
        return model, "custom"
    name = model or sources.SOURCES[source].model
    require_known("model", name, MODELS)
    channels, size = found.train_inputs.shape[1:3]
    return partial(MODELS[name], channels, size, found.classes), name


def digits(
    agents: int = 10, partition: str = "by_class", batch_size: BatchSize = 16, **options: Any
) -> Task:
    """The 1,797 handwritten digits of 8x8 pixels that scikit-learn ships; options as `images`."""
    return images("digits", agents, partition, batch_size=batch_size, **options)


def mnist(agents: int = 10, partition: str = "by_class", **options: Any) -> Task:
    """MNIST's 70,000 handwritten digits of 28x28 pixels; options as `images`."""
    return images("mnist", agents, partition, **options)


def fashion_mnist(agents: int = 10, partition: str = "iid", **options: Any) -> Task:
    """Fashion-MNIST's 70,000 articles of clothing, 28x28 pixels; options as `images`."""
    return images("fashion_mnist", agents, partition, **options)


def cifar10(
    agents: int = 5, partition: str = "iid", batch_size: BatchSize = 128, **options: Any
) -> Task:
    """CIFAR-10's 60,000 color images in 10 classes, 32x32 pixels; options as `images`."""
    return images("cifar10", agents, partition, batch_size=batch_size, **options)


def cifar100(
    agents: int = 5, partition: str = "iid", batch_size: BatchSize = 128, **options: Any
) -> Task:
    """CIFAR-100's 60,000 color images in 100 classes, 32x32 pixels; options as `images`."""
    return images("cifar100", agents, partition, batch_size=batch_size, **options)


IMAGES = (digits, mnist, fashion_mnist, cifar10, cifar100)
