"""A first gradient, to find out what a model and a loss do before anything is trained."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from ..randomness import preserved
from .explained import explained
from .gradients import LoopGradient, Loss
from .modules import Layout

if TYPE_CHECKING:
    from ..tasks.supervised import Task


def probe(
    module: nn.Module,
    loss: Loss,
    layout: Layout,
    first: Mapping[str, tuple[Tensor, Callable[[], tuple[Any, Any]]]],
    device: torch.device,
) -> tuple[bool, bool]:
    """Whether a gradient draws from a global generator, and whether it moves buffers.

    Args:
        module, loss, layout: of which it is the gradient.
        first: ``the first minibatch of agent 3`` -> its network (P,), and what gives the minibatch.
        device: where all are.

    Raises:
        ValueError: a gradient cannot be computed.
    """
    module = copy.deepcopy(module)
    buffers = {n: b.clone() for n, b in module.named_buffers()}
    loop = LoopGradient(module, _checked(loss), layout)
    draws = False
    for what, (row, batch) in first.items():
        with preserved(device), explained(what):
            inputs, targets = batch()
            before = _generator_state(device)
            loop.one(row, inputs, targets, torch.empty_like(row))
            draws |= before != _generator_state(device)
    after = dict(module.named_buffers())
    if set(after) != set(buffers):
        name = sorted(set(after) ^ set(buffers))[0]
        raise ValueError(
            f"the model's buffer {name!r} appears or vanishes when the model is called, so agents "
            "cannot have their own; register it with a value, and keep it"
        )
    return draws, any(not torch.equal(b, buffers[n]) for n, b in after.items())


def training_loss(task: Task) -> Loss:
    """The loss of a minibatch; of all pooled data, the mean of the parts' own mean losses."""
    if task.parts is None or task.parts.batch_sizes is not None:
        return task.loss
    sizes = list(task.parts.sizes)

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        pairs = zip(outputs.split(sizes), targets.split(sizes), strict=True)
        return torch.stack([task.loss(o, t) for o, t in pairs]).mean()

    return loss


def _checked(loss: Loss) -> Loss:
    """A loss that says so where it is not one number."""

    def checked(outputs: Any, targets: Any) -> Tensor:
        value = loss(outputs, targets)
        if not isinstance(value, Tensor) or value.dim():
            got = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else repr(value)
            raise ValueError(
                f"the loss of a batch has {got}, expected a tensor of one number; take the mean"
            )
        return value

    return checked


def _generator_state(device: torch.device) -> list[Any]:
    """Where the global generators of torch, NumPy and Python are, to be compared."""
    states = [torch.get_rng_state()]
    states += [torch.cuda.get_rng_state(device)] if device.type == "cuda" else []
    numpy: Any = np.random.get_state(legacy=False)
    words, place = numpy["state"]["key"].tolist(), numpy["state"]["pos"]
    return [*(s.tolist() for s in states), words, place, random.getstate()]
