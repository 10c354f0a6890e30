"""Labeled images: the built-in digits, MNIST, Fashion-MNIST, CIFAR-10 and CIFAR-100."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..values import require_known
from . import binary_batches, idx
from .files import Bytes, Published


class Images(NamedTuple):
    """A training set and a test set of C x H x W images, pixels in [0, 1].

    A dataset is the same tensors every time it is loaded: copy them before changing them.
    """

    train_inputs: Tensor  # (n, C, H, W) float32
    train_targets: Tensor  # (n,) int64
    test_inputs: Tensor  # (m, C, H, W) float32
    test_targets: Tensor  # (m,) int64
    classes: int


@dataclass(frozen=True)
class Source:
    """A dataset of images, and what suits it.

    Args:
        load: reads it, or returns what it read before.
        mean, deviation: of each channel, over the pixels that are trained on.
        model: one of `peerlearn.tasks.models.MODELS`.
    """

    load: Callable[[], Images]
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    model: str = "dinno_cnn"

    def normalized(self, inputs: Tensor) -> Tensor:
        """Pixels less their mean, over their deviation."""
        mean, deviation = (torch.tensor(v).view(-1, 1, 1) for v in (self.mean, self.deviation))
        return (inputs - mean) / deviation


@cache
def digits(seed: int = 0) -> Images:
    """The 1,797 handwritten digits (1 x 8 x 8) that scikit-learn ships: no download.

    Args:
        seed: which stratified 80/20 split into training and test set.
    """
    from sklearn.datasets import load_digits  # here, because it takes a second
    from sklearn.model_selection import train_test_split

    data = load_digits()
    pixels = (data.images[:, None] / 16).astype(np.float32)  # (1797, 1, 8, 8), 17 gray levels
    targets = data.target.astype(np.int64)
    split = train_test_split(pixels, targets, test_size=0.2, stratify=targets, random_state=seed)
    train_inputs, test_inputs, train_targets, test_targets = map(torch.from_numpy, split)
    return Images(train_inputs, train_targets, test_inputs, test_targets, classes=10)


@cache
def mnist() -> Images:
    """MNIST: 60,000 and 10,000 handwritten digits, 1 x 28 x 28 (LeCun, Cortes and Burges)."""
    return _images(idx.MNIST)


@cache
def fashion_mnist() -> Images:
    """Fashion-MNIST: 60,000 and 10,000 articles of clothing, 1 x 28 x 28 (Xiao et al. 2017)."""
    return _images(idx.FASHION_MNIST)


@cache
def cifar10() -> Images:
    """CIFAR-10: 50,000 and 10,000 photographs, 3 x 32 x 32, 10 classes (Krizhevsky 2009)."""
    return _images(binary_batches.CIFAR10)


@cache
def cifar100() -> Images:
    """CIFAR-100: 50,000 and 10,000 photographs, 3 x 32 x 32, its 100 fine classes."""
    return _images(binary_batches.CIFAR100)


SOURCES: dict[str, Source] = {
    "digits": Source(digits, (0.3054,), (0.3761,), "mlp"),
    "mnist": Source(mnist, (0.1307,), (0.3081,)),
    "fashion_mnist": Source(fashion_mnist, (0.2860,), (0.3530,)),
    "cifar10": Source(
        cifar10, (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616), model="vgg_small"
    ),
    "cifar100": Source(
        cifar100, (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762), model="vgg_small"
    ),
}


def load(name: str) -> Images:
    """The dataset called ``name``, one of `SOURCES`; read once, then kept in memory.

    Raises:
        MissingData: it is not here and cannot be downloaded.
        ValueError: there is no such dataset, or its files are damaged.
    """
    require_known("dataset", name, SOURCES)
    return SOURCES[name].load()


def _images(files: Published) -> Images:
    train, train_labels, test, test_labels = files.read()
    return Images(
        *_tensors(files, train, train_labels), *_tensors(files, test, test_labels), files.classes
    )


def _tensors(files: Published, pixels: Bytes, labels: Bytes) -> tuple[Tensor, Tensor]:
    """Inputs (n, C, H, W) in [0, 1] and targets (n,) from bytes."""
    if len(pixels) != len(labels) or len(labels) == 0 or labels.max() >= files.classes:
        raise ValueError(
            f"{files.title} has {len(pixels)} images and {len(labels)} labels up to "
            f"{labels.max(initial=0)}, expected one label below {files.classes} for each image; "
            "fetch its files again"
        )
    inputs = np.divide(pixels, 255, dtype=np.float32)
    return torch.from_numpy(inputs), torch.from_numpy(labels.astype(np.int64))
