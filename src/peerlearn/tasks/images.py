"""Image classification among agents that each hold a part of the images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import nll_loss

from .. import data as sources
from ..errors import unknown
from .models import MODELS, dinno_cnn, mlp, vgg_small
from .supervised import Task


def accuracy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Whether each sample's largest output is its class: (B, classes), (B,) -> (B,)."""
    return (outputs.argmax(dim=1) == targets).to(outputs.dtype)


def images(
    source: str,
    agents: int = 10,
    partition: str = "iid",
    partition_options: Mapping[str, Any] | None = None,
    model: str | Callable[[], nn.Module] | nn.Module | None = None,
    seed: int = 0,
    **options: Any,
) -> Task:
    """A classification task from one of the built-in image sources.

    Args:
        source: "digits", "mnist", "fashion_mnist", "cifar10" or "cifar100".
        agents: how many agents share the training images.
        partition, partition_options, seed: who owns which images; see `peerlearn.data.partition`.
        model: a module, a function that makes one, or "mlp", "dinno_cnn" or "vgg_small"; by
            default a network that suits the source.
        options: further arguments of `peerlearn.Task`.
    """
    found = sources.load(source)
    settings = dict(partition_options or {})
    parts = sources.partition(partition, found.train_targets, agents, seed, **settings)
    mean, deviation = (torch.tensor(v).view(-1, 1, 1) for v in sources.NORMALIZATION[source])
    inputs = (found.train_inputs - mean) / deviation
    shape = tuple(inputs.shape[1:])
    described = model if isinstance(model, str) else "custom" if model else _default(source)
    return Task(
        model=_model(model or _default(source), shape, found.classes)
        if model is None or isinstance(model, str)
        else model,
        loss=nll_loss,
        data=[(inputs[p], found.train_targets[p]) for p in parts],
        test=((found.test_inputs - mean) / deviation, found.test_targets),
        name=source,
        sample_bytes=int(torch.tensor(shape).prod()) + 1,
        details={
            "partition": partition,
            "partition_options": settings,
            "partition_seed": seed,
            "model": described,
        },
        **{"measures": {"accuracy": accuracy}, **options},
    )


def _default(source: str) -> str:
    return {"digits": "mlp", "cifar10": "vgg_small", "cifar100": "vgg_small"}.get(
        source, "dinno_cnn"
    )


def _model(name: str, shape: tuple[int, ...], classes: int) -> Callable[[], nn.Module]:
    channels, size, _ = shape
    if name == "mlp":
        return partial(mlp, channels * size * size, (64,) if size < 20 else (64, 64), classes)
    convolutional = {"dinno_cnn": dinno_cnn, "vgg_small": vgg_small}
    if name not in convolutional:
        raise unknown("model", name, MODELS)
    return partial(convolutional[name], channels, size, classes)


def digits(agents: int = 10, partition: str = "by_class", **options: Any) -> Task:
    """The 1,797 handwritten digits of 8x8 pixels that scikit-learn ships; options as `images`."""
    return images("digits", agents, partition, **{"batch_size": 16, **options})


def mnist(agents: int = 10, partition: str = "by_class", **options: Any) -> Task:
    """MNIST's 70,000 handwritten digits of 28x28 pixels; options as `images`."""
    return images("mnist", agents, partition, **options)


def fashion_mnist(agents: int = 10, partition: str = "iid", **options: Any) -> Task:
    """Fashion-MNIST's 70,000 articles of clothing, 28x28 pixels; options as `images`."""
    return images("fashion_mnist", agents, partition, **options)


def cifar10(agents: int = 5, partition: str = "iid", **options: Any) -> Task:
    """CIFAR-10's 60,000 colour images in 10 classes, 32x32 pixels; options as `images`."""
    return images("cifar10", agents, partition, **{"batch_size": 128, **options})


def cifar100(agents: int = 5, partition: str = "iid", **options: Any) -> Task:
    """CIFAR-100's 60,000 colour images in 100 classes, 32x32 pixels; options as `images`."""
    return images("cifar100", agents, partition, **{"batch_size": 128, **options})
