"""Short descriptions of functions, networks and data, the same in every process.

A checkpoint is resumed only with the task it was written with. What cannot be written down is
compared by the first twelve digits of a SHA-256.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Subset

from ..data.datasets import Data, Deferred, as_tensors, length

SAMPLE_BYTES = 2**20  # of a larger tensor, rows spread over it are hashed, about this much


def name_of(value: Any) -> str | None:
    """What a function or object is called, without its place in memory; None for None."""
    if value is None:
        return None
    if isinstance(value, partial):
        given = [_plain(a) for a in value.args]
        given += [f"{n}={_plain(a)}" for n, a in sorted(value.keywords.items())]
        return f"{name_of(value.func)}({', '.join(given)})"
    return getattr(value, "__qualname__", None) or _plain(value)


def digest_of(parts: Iterable[bytes]) -> str:
    """Twelve hexadecimal digits that depend on every part."""
    found = hashlib.sha256()
    for part in parts:
        found.update(part)
    return found.hexdigest()[:12]


def digest_of_tensors(tensors: Iterable[Tensor | None]) -> str:
    return digest_of(part for t in tensors if t is not None for part in _tensor(t))


def digest_of_data(data: Sequence[Data | Deferred | None]) -> str:
    """Of tensors shapes and values (of large ones rows spread over them); of others the length."""
    return digest_of(part for d in data if d is not None for part in _dataset(d))


def digest_of_model(model: Any, models: Sequence[nn.Module]) -> str:
    """The architecture; with the weights, unless the model is a function that makes one."""
    made = not isinstance(model, nn.Module | Sequence)
    return digest_of(part for m in models for part in _module(m, values=not made))


def _plain(value: Any) -> str:
    if isinstance(value, Tensor):
        return digest_of_tensors([value])
    if callable(value) and hasattr(value, "__qualname__"):
        return str(value.__qualname__)
    if type(value).__repr__ is object.__repr__:
        kept = {n: v for n, v in vars(value).items() if isinstance(v, bool | int | float | str)}
        return f"{type(value).__qualname__}({kept})"
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))


def _module(module: nn.Module, values: bool) -> Iterator[bytes]:
    yield _plain(module).encode()
    for name, parameter in module.named_parameters():
        yield f"{name} {tuple(parameter.shape)} {parameter.requires_grad}".encode()
    if values:
        for tensor in module.state_dict().values():
            yield from _tensor(tensor)


def _dataset(data: Data | Deferred) -> Iterator[bytes]:
    yield f"{type(data).__qualname__} {length(data)}".encode()
    if isinstance(data, Subset):
        yield repr([int(i) for i in data.indices]).encode()
        yield from _dataset(data.dataset)
    if isinstance(data, Deferred):
        return  # what they are is known only where they are loaded
    for tensor in as_tensors(data) or ():
        yield from _tensor(tensor)


def _tensor(tensor: Tensor) -> Iterator[bytes]:
    yield f"{tensor.dtype} {tuple(tensor.shape)}".encode()
    rows = tensor.detach().reshape(len(tensor) if tensor.dim() else 1, -1)
    step = max(1, rows.numel() * rows.element_size() // SAMPLE_BYTES)
    yield rows[::step].flatten().cpu().contiguous().view(torch.uint8).numpy().tobytes()
