"""Small networks of the experiments."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import linear


class MaxPool2(nn.Module):
    """The largest of each 2x2 window: nn.MaxPool2d(2), to the bit.

    On a CPU, torch's own pooling takes most of an evaluation's time; without gradients to keep
    track of, two maxima over slices are ten times faster.
    """

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            return torch.nn.functional.max_pool2d(x, 2)
        height, width = 2 * (x.shape[-2] // 2), 2 * (x.shape[-1] // 2)
        rows = torch.maximum(x[..., :height:2, :width], x[..., 1:height:2, :width])
        return torch.maximum(rows[..., ::2], rows[..., 1::2])


def mlp(inputs: int, hidden: tuple[int, ...], outputs: int) -> nn.Sequential:
    """Dense ReLU network on flattened inputs, ending in log-probabilities."""
    widths = (inputs, *hidden)
    layers: list[nn.Module] = [nn.Flatten()]
    for before, after in itertools.pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], outputs), nn.LogSoftmax(dim=1))


def image_mlp(channels: int = 1, size: int = 28, classes: int = 10) -> nn.Sequential:
    """`mlp` on images: a hidden layer of 64, and from 20 pixels on a second one."""
    return mlp(channels * size * size, (64,) if size < 20 else (64, 64), classes)


def dinno_cnn(channels: int = 1, size: int = 28, classes: int = 10) -> nn.Sequential:
    """DiNNO's network for MNIST, 28,440 parameters there.

    Conv 1->3, 5x5; ReLU; max-pool 2; 432-64; ReLU; 64-10; log-softmax.
    """
    flat = 3 * ((size - 4) // 2) ** 2
    return nn.Sequential(
        nn.Conv2d(channels, 3, 5), nn.ReLU(), MaxPool2(), nn.Flatten(),
        nn.Linear(flat, 64), nn.ReLU(), nn.Linear(64, classes), nn.LogSoftmax(dim=1),
    )  # fmt: skip


def vgg_small(channels: int = 3, size: int = 32, classes: int = 10) -> nn.Sequential:
    """The network of CDSGD's experiments on CIFAR.

    Two 3x3 convolutions with 32 filters, max-pool, two with 64, max-pool, a dense layer of 512.
    """
    return nn.Sequential(
        nn.Conv2d(channels, 32, 3, padding=1), nn.ReLU(),
        nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), MaxPool2(),
        nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(),
        nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(), MaxPool2(), nn.Flatten(),
        nn.Linear(64 * (size // 4) ** 2, 512), nn.ReLU(),
        nn.Linear(512, classes), nn.LogSoftmax(dim=1),
    )  # fmt: skip


def mcmahan_cnn(channels: int = 1, size: int = 28, classes: int = 10) -> nn.Sequential:
    """The network of FedAvg's experiments (McMahan et al. 2017), 1,663,370 parameters on MNIST.

    Two 5x5 convolutions with 32 and 64 filters, each with ReLU and max-pool 2, and a dense
    layer of 512.
    """
    return nn.Sequential(
        nn.Conv2d(channels, 32, 5, padding=2), nn.ReLU(), MaxPool2(),
        nn.Conv2d(32, 64, 5, padding=2), nn.ReLU(), MaxPool2(), nn.Flatten(),
        nn.Linear(64 * (size // 4) ** 2, 512), nn.ReLU(),
        nn.Linear(512, classes), nn.LogSoftmax(dim=1),
    )  # fmt: skip


class Sine(nn.Module):
    """sin(scale (W x + b)), W uniform in +-sqrt(6 / outputs), b as of `torch.nn.Linear`."""

    def __init__(self, inputs: int, outputs: int, scale: float) -> None:
        super().__init__()
        self.linear, self.scale = nn.Linear(inputs, outputs), scale
        bound = (6 / outputs) ** 0.5
        nn.init.uniform_(self.linear.weight, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        layer = self.linear  # the scale goes in with the places, which are fewer than the waves
        return torch.sin(linear(self.scale * x, layer.weight, self.scale * layer.bias))


def map_network(
    features: int = 256,
    hidden: tuple[int, ...] = (64, 64, 64),
    scale: float = 0.05,
    rectified: bool = False,
) -> nn.Sequential:
    """DiNNO's map: places (B, 2) -> the probabilities (B,) of a wall there; 25,601 parameters.

    Args:
        features: width of the sine layer.
        hidden: widths of the ReLU layers after it.
        scale: of the sine layer: its waves are at least 2 pi / (scale sqrt(12 / features)) long.
        rectified: a ReLU after the sine layer too: not in the paper, but in its authors' code.
    """
    widths = (features, *hidden)
    layers: list[nn.Module] = [Sine(2, features, scale), *([nn.ReLU()] if rectified else [])]
    for before, after in itertools.pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], 1), nn.Sigmoid(), nn.Flatten(0))


MODELS: dict[str, Callable[[int, int, int], nn.Module]] = {
    "mlp": image_mlp, "dinno_cnn": dinno_cnn, "vgg_small": vgg_small, "mcmahan_cnn": mcmahan_cnn,
}  # fmt: skip
"""name -> (channels, size, classes) -> a network for images of size x size pixels."""
