"""Between a module's parameters and a row of theta."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn


class Layout:
    """Which columns of a row hold which parameter.

    Only trainable parameters have columns; frozen ones stay in the module. Tied parameters, two
    names of one tensor, have one place.
    """

    def __init__(self, module: nn.Module) -> None:
        self.shapes: dict[str, torch.Size] = {
            n: p.shape for n, p in module.named_parameters() if p.requires_grad
        }
        self.sizes = sizes = [math.prod(s) for s in self.shapes.values()]
        ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
        self.columns: dict[str, slice] = {
            n: slice(e - s, e) for n, s, e in zip(self.shapes, sizes, ends, strict=True)
        }
        self.width = ends[-1] if ends else 0

    def row(self, module: nn.Module) -> Tensor:
        """(P,) the module's trainable parameters, copied."""
        found = dict(module.named_parameters())
        return torch.cat([found[n].detach().reshape(-1) for n in self.shapes])

    def views(self, theta: Tensor) -> dict[str, Tensor]:
        """Each parameter as a view of a row (P,) or of rows (A, P)."""
        lead = theta.shape[:-1]
        return {n: theta[..., c].view(*lead, *self.shapes[n]) for n, c in self.columns.items()}

    def parameters(self, module: nn.Module) -> list[nn.Parameter]:
        found = dict(module.named_parameters())
        return [found[n] for n in self.shapes]

    def point(self, module: nn.Module, row: Tensor) -> None:
        """Make the module's parameters views of a row: no copy, the fastest way to load one."""
        self.aim(self.parameters(module), row)

    def aim(self, parameters: Sequence[nn.Parameter], row: Tensor) -> None:
        """`point` for parameters that were looked up before: a module is slow to walk."""
        parts = row.split(self.sizes)
        for parameter, part, shape in zip(parameters, parts, self.shapes.values(), strict=True):
            parameter.data = part.view(shape)

    def rates(self, rates: Mapping[str, float]) -> Tensor | None:
        """(P,) the rate of the longest prefix that names each parameter; None if there is none."""
        if not rates:
            return None
        columns = torch.ones(self.width, dtype=torch.float64)
        for name, place in self.columns.items():
            prefixes = [p for p in rates if name == p or name.startswith(p + ".")]
            if prefixes:
                columns[place] = rates[max(prefixes, key=len)]
        return columns


class Buffers:
    """Every agent's own copy of a module's buffers (the running means of batch norm).

    Args:
        module: that computes with them.
        first: the agents' models, whose buffers are the first ones.
        device: where they are kept.
    """

    def __init__(self, module: nn.Module, first: Sequence[nn.Module], device: torch.device) -> None:
        begun = {id(m): dict(m.named_buffers()) for m in first}
        self.stacks: dict[str, Tensor] = {
            n: torch.stack([begun[id(m)][n].detach().to(device, b.dtype) for m in first])
            for n, b in module.named_buffers()
        }
        self._owners = {n: _owner(module, n) for n in self.stacks}

    def sharing(self, module: nn.Module) -> Buffers:
        """The same buffers, for a copy of the module."""
        other = copy.copy(self)
        other._owners = {n: _owner(module, n) for n in self.stacks}
        return other

    def point(self, agent: int) -> None:
        """Make the module's buffers views of an agent's own."""
        for name, (owner, key) in self._owners.items():
            owner._buffers[key] = self.stacks[name][agent]

    def collect(self, agent: int) -> None:
        """Take back the buffers that the module replaced rather than changed in place."""
        for name, (owner, key) in self._owners.items():
            value, kept = owner._buffers[key], self.stacks[name][agent]
            if value is not None and value.data_ptr() != kept.data_ptr():
                kept.copy_(value)

    def rows(self) -> Tensor | None:
        """(A, Q) the floating point buffers; integer ones always stay local."""
        stacks = [b for b in self.stacks.values() if b.is_floating_point()]
        floats = [b.reshape(len(b), -1) for b in stacks]
        return torch.cat(floats, dim=1) if floats else None

    def set_rows(self, rows: Tensor) -> None:
        start = 0
        for stack in self.stacks.values():
            if stack.is_floating_point():
                width = stack[0].numel()
                stack.copy_(rows[:, start : start + width].view_as(stack))
                start += width

    def state(self) -> dict[str, Tensor]:
        return {f"buffer.{n}": s.clone() for n, s in self.stacks.items()}

    def load(self, state: dict[str, Tensor]) -> None:
        for name, stack in self.stacks.items():
            stack.copy_(state[f"buffer.{name}"])


def differing_buffers(models: Sequence[nn.Module]) -> bool:
    """Whether the agents' models begin with other buffers."""
    first = dict(models[0].named_buffers())
    return any(not torch.equal(b, first[n]) for m in models[1:] for n, b in m.named_buffers())


def _owner(module: nn.Module, name: str) -> tuple[nn.Module, str]:
    path, _, key = name.rpartition(".")
    return module.get_submodule(path), key
