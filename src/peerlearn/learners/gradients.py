"""Two ways to the gradients of many agents, and the choice between them.

Neither always wins: over convolutions vmap becomes a grouped convolution, slow on a CPU; over
many small dense networks it is several times faster than a loop. So both are timed on the first
minibatch, and the run's record says which was taken and why.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap

from .modules import Layout

Loss = Callable[[Any, Any], Tensor]
Batches = Sequence[tuple[Any, Any]]


class LoopGradient:
    """One agent after the other, through one private module whose parameters are views of rows."""

    name = "loop"

    def __init__(self, module: nn.Module, loss: Loss, layout: Layout) -> None:
        self._module, self._loss, self._layout = module, loss, layout
        self._parameters = layout.parameters(module)

    def one(
        self, row: Tensor, inputs: Any, targets: Any, out: Tensor, scale: float | None = None
    ) -> Tensor:
        """Write the gradient at ``row`` (P,) into ``out`` (P,), or add ``scale`` times it.

        Returns the loss.
        """
        self._layout.aim(self._parameters, row)
        loss = self._loss(self._module(inputs), targets)
        parts = torch.autograd.grad(loss, self._parameters, allow_unused=True)
        pairs = zip(parts, self._parameters, strict=True)
        flat = [(torch.zeros_like(p) if g is None else g).reshape(-1) for g, p in pairs]
        if scale is None:
            torch.cat(flat, out=out)
        else:
            out.add_(torch.cat(flat), alpha=scale)
        return loss.detach()

    def __call__(self, theta: Tensor, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
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

    def __init__(self, module: nn.Module, loss: Loss, layout: Layout) -> None:
        self._layout = layout

        def one(parameters: dict[str, Tensor], inputs: Tensor, targets: Tensor) -> Tensor:
            return loss(functional_call(module, parameters, (inputs,)), targets)

        self._all = vmap(grad_and_value(one))

    def __call__(self, theta: Tensor, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """The gradients (A, P) and the losses (A,)."""
        gradients, losses = self._all(self._layout.views(theta), inputs, targets)
        flat = [gradients[n].reshape(len(theta), -1) for n in self._layout.shapes]
        return torch.cat(flat, dim=1), losses.detach()

    def add(
        self, out: Tensor, scale: float, theta: Tensor, inputs: Tensor, targets: Tensor
    ) -> tuple[Tensor, Tensor]:
        """``out`` (A, P) with ``scale`` times the gradients added to it, and the losses (A,)."""
        gradients, losses = self._all(self._layout.views(theta), inputs, targets)
        for name, part in self._layout.views(out).items():
            part.add_(gradients[name], alpha=scale)
        return out, losses.detach()


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
        reason = str(error).strip().splitlines()[0][:120] if str(error).strip() else repr(error)
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
            torch.cuda.synchronize()
        tries.append(time.perf_counter() - begun)
    return min(tries)
