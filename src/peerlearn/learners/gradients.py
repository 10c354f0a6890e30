"""Two ways to the gradients of many agents, and the choice between them.

Neither always wins: over convolutions vmap becomes a grouped convolution, slow on a CPU; over
many small dense networks it is several times faster than a loop. So both are timed on the first
minibatch, and the run's record says which was taken and why.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap

from ..errors import first_line
from .modules import Layout

Loss = Callable[[Any, Any], Tensor]


class Objective(NamedTuple):
    """A loss, and what else is looked at where it is computed.

    Attributes:
        loss: (outputs, targets) -> the mean loss of a batch.
        observed: (outputs, targets) -> further numbers, of which the mean is taken.
    """

    loss: Loss
    observed: Sequence[Loss] = ()

    def __call__(self, outputs: Any, targets: Any) -> tuple[Tensor, Tensor]:
        """The loss, and its value () or, with others after it, (1 + observed,)."""
        loss = self.loss(outputs, targets)
        with torch.no_grad():
            value = loss.detach()
            if not self.observed:
                return loss, value
            others = [f(outputs, targets).to(value.dtype).mean() for f in self.observed]
            return loss, torch.stack([value, *others])


class LoopGradient:
    """One agent after the other, through one private module whose parameters are views of rows."""

    name = "loop"

    def __init__(
        self, module: nn.Module, loss: Loss, layout: Layout, observed: Sequence[Loss] = ()
    ) -> None:
        self._module, self._layout = module, layout
        self._objective = Objective(loss, observed)
        self._parameters = layout.parameters(module)

    def one(
        self, row: Tensor, inputs: Any, targets: Any, out: Tensor, scale: float | None = None
    ) -> Tensor:
        """Write the gradient at ``row`` (P,) into ``out`` (P,), or add ``scale`` times it.

        Returns the loss, and what is observed besides it.
        """
        self._layout.aim(self._parameters, row)
        loss, values = self._objective(self._module(inputs), targets)
        parts = torch.autograd.grad(loss, self._parameters, allow_unused=True)
        pairs = zip(parts, self._parameters, strict=True)
        flat = [(torch.zeros_like(p) if g is None else g).reshape(-1) for g, p in pairs]
        if scale is None:
            torch.cat(flat, out=out)
        else:
            out.add_(torch.cat(flat), alpha=scale)
        return values

    def __call__(self, theta: Tensor, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """The gradients (A, P) and the losses (A,); with others observed, (A, 1 + observed)."""
        out = torch.empty_like(theta)
        return out, self._each(theta, inputs, targets, out, None)

    def add(
        self, out: Tensor, scale: float, theta: Tensor, inputs: Tensor, targets: Tensor
    ) -> tuple[Tensor, Tensor]:
        return out, self._each(theta, inputs, targets, out, scale)

    def _each(
        self, theta: Tensor, inputs: Tensor, targets: Tensor, out: Tensor, scale: float | None
    ) -> Tensor:
        rows = zip(theta, inputs, targets, out, strict=True)
        return torch.stack([self.one(*row, scale) for row in rows])


class VmapGradient:
    """All agents at once: torch.func.vmap over the gradient of one."""

    name = "vmap"

    def __init__(
        self, module: nn.Module, loss: Loss, layout: Layout, observed: Sequence[Loss] = ()
    ) -> None:
        self._layout = layout
        objective = Objective(loss, observed)

        def one(
            parameters: dict[str, Tensor], inputs: Tensor, targets: Tensor
        ) -> tuple[Tensor, Tensor]:
            return objective(functional_call(module, parameters, (inputs,)), targets)

        self._all = vmap(grad_and_value(one, has_aux=True))

    def __call__(self, theta: Tensor, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """The gradients (A, P) and the losses (A,); with others observed, (A, 1 + observed)."""
        gradients, (_, values) = self._all(self._layout.views(theta), inputs, targets)
        flat = [gradients[n].reshape(len(theta), -1) for n in self._layout.shapes]
        return torch.cat(flat, dim=1), values

    def add(
        self, out: Tensor, scale: float, theta: Tensor, inputs: Tensor, targets: Tensor
    ) -> tuple[Tensor, Tensor]:
        """``out`` (A, P) with ``scale`` times the gradients added to it, and the losses (A,)."""
        gradients, (_, values) = self._all(self._layout.views(theta), inputs, targets)
        for name, part in self._layout.views(out).items():
            part.add_(gradients[name], alpha=scale)
        return out, values


Way = LoopGradient | VmapGradient


def choose(
    preference: str, loop: LoopGradient, vmapped: VmapGradient, example: tuple[Tensor, ...]
) -> tuple[Way, str]:
    """The way to take, and one sentence that says why.

    Args:
        preference: "loop", "vmap", or "auto" for the faster one that works.
        example: theta, inputs and targets of one minibatch of every agent.
    """
    if preference == "loop":
        return loop, "loop: asked for"
    try:
        vmapped(*example)
    except Exception as error:
        reason = first_line(error)[:120]
        if preference == "vmap":
            raise ValueError(
                f"gradients='vmap' was asked for, but vmap refuses this model: {reason}; "
                "use 'auto' or 'loop'"
            ) from error
        return loop, f"loop: vmap refuses this model ({reason})"
    if preference == "vmap":
        return vmapped, "vmap: asked for"
    times = {way.name: _seconds(way, example) for way in (loop, vmapped)}
    loop_ms, vmap_ms = 1e3 * times["loop"], 1e3 * times["vmap"]
    if vmap_ms < loop_ms:
        return vmapped, f"vmap: {vmap_ms:.1f} ms a gradient, the loop {loop_ms:.1f} ms"
    return loop, f"loop: {loop_ms:.1f} ms a gradient, vmap {vmap_ms:.1f} ms"


def _seconds(way: Way, example: tuple[Tensor, ...], budget_s: float = 0.5) -> float:
    """The shortest of up to ten tries within the budget, after one to warm up."""
    way(*example)
    tries: list[float] = []
    while len(tries) < 10 and sum(tries) < budget_s:
        begun = time.perf_counter()
        way(*example)
        if example[0].is_cuda:
            torch.cuda.synchronize(example[0].device)
        tries.append(time.perf_counter() - begun)
    return min(tries)
