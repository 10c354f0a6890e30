"""The local optimizer: any elementwise torch.optim optimizer, applied to rows.

The matrix theta (A, P) is handed to torch.optim as if it were one parameter. An elementwise
optimizer (SGD, Adam, RMSprop, ...) then treats the rows independently; optimizers that look at
more than one element at a time (LBFGS, Adafactor, Muon, ...) are refused by name.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from .errors import nearest

Moments = dict[str, Tensor]
"""What an optimizer remembers, as rows: (A, P) moments and (A, 1) counters. Empty at first."""


def known_optimizers() -> dict[str, type[torch.optim.Optimizer]]:
    """torch's own optimizers by their lower-case names."""
    classes = inspect.getmembers(torch.optim, inspect.isclass)
    return {n.lower(): c for n, c in classes if issubclass(c, torch.optim.Optimizer)}


@dataclass(frozen=True)
class LocalOptimizer:
    """A functional wrapper around a torch.optim class.

    Args:
        kind: the class, or its name in any case ("adam").
        options: keyword arguments of the class other than ``lr``.

    Raises:
        ValueError: an unknown name, options the class does not take, or an optimizer that is not
            elementwise.
    """

    kind: str | type[torch.optim.Optimizer] = "adam"
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        problem = _problem(self.torch_class, tuple(sorted(self.options.items())))
        if problem:
            raise ValueError(problem)

    @property
    def torch_class(self) -> type[torch.optim.Optimizer]:
        if isinstance(self.kind, type):
            return self.kind
        known = known_optimizers()
        if self.kind.lower() not in known:
            raise ValueError(f"unknown optimizer {self.kind!r}; {nearest(self.kind, known)}")
        return known[self.kind.lower()]

    def step(
        self,
        theta: Tensor,
        gradient: Tensor,
        moments: Moments,
        lr: float,
        rows: Sequence[int] | None = None,
        rates: Tensor | None = None,
    ) -> tuple[Tensor, Moments]:
        """One optimizer step; the inputs stay as they are.

        Args:
            theta, gradient: (A, P).
            moments: what the previous step returned; empty before the first.
            lr: the learning rate.
            rows: only these rows step (a mask or positions); the others neither move nor count.
            rates: (P,) multipliers of the learning rate.

        Returns:
            The new theta and the new moments.
        """
        theta = theta.clone()
        moments = {name: value.clone() for name, value in moments.items()}
        return theta, self.step_(theta, gradient, moments, lr, rows, rates)

    def step_(
        self,
        theta: Tensor,
        gradient: Tensor,
        moments: Moments,
        lr: float,
        rows: Sequence[int] | None = None,
        rates: Tensor | None = None,
    ) -> Moments:
        """`step` in place: theta and the tensors of ``moments`` belong to the caller."""
        if rates is not None:
            before = theta.clone()
            moments = self.step_(theta, gradient, moments, lr, rows)
            torch.addcmul(before, rates, theta - before, out=theta)
            return moments
        chosen = torch.arange(len(theta), device=theta.device)
        chosen = chosen if rows is None else chosen[torch.as_tensor(rows, device=theta.device)]
        for group in _alike(moments, chosen):
            if len(group) == len(theta):
                return self._step_all(theta, gradient, moments, lr)
            part = theta[group]
            new = self._step_all(
                part, gradient[group], {n: m[group] for n, m in moments.items()}, lr
            )
            theta[group] = part
            for name, value in new.items():
                if name not in moments:
                    moments[name] = value.new_zeros((len(theta), value.shape[1]))
                moments[name][group] = value
        return moments

    def _step_all(self, theta: Tensor, gradient: Tensor, moments: Moments, lr: float) -> Moments:
        """Every row steps, and all rows have taken equally many steps before."""
        theta.grad = gradient
        optimizer = _build(self.torch_class, [theta], lr, dict(self.options))
        counters = {n for n, m in moments.items() if m.shape != theta.shape}
        if moments:
            optimizer.state[theta] = {
                n: m[0, 0].clone() if n in counters else m for n, m in moments.items()
            }
        optimizer.step()
        theta.grad = None
        return {
            name: value if value.shape == theta.shape else value.expand(len(theta), 1).clone()
            for name, value in optimizer.state[theta].items()
            if isinstance(value, Tensor)
        }


def _alike(moments: Moments, chosen: Tensor) -> list[Tensor]:
    """``chosen`` rows in groups that have the same counters."""
    counters = [m[chosen] for m in moments.values() if m.shape[1] == 1]
    if not counters or len(chosen) == 0:
        return [chosen] if len(chosen) else []
    table = torch.cat([c.double() for c in counters], dim=1)
    if bool((table == table[0]).all()):
        return [chosen]
    _, group = table.unique(dim=0, return_inverse=True)
    return [chosen[group == g] for g in range(int(group.max()) + 1)]


def _build(
    kind: type[torch.optim.Optimizer], parameters: list[Tensor], lr: float, options: dict[str, Any]
) -> torch.optim.Optimizer:
    """The torch optimizer; fused where torch has it, which is three to six times faster."""
    if kind in (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD, torch.optim.Adagrad):
        options = {"fused": True, **options}
    return kind(parameters, lr=lr, **options)  # type: ignore[call-arg]


@lru_cache(maxsize=64)
def _problem(kind: type[torch.optim.Optimizer], options: tuple[tuple[str, Any], ...]) -> str:
    """Why ``kind`` cannot serve as a local optimizer, or nothing.

    Found by trying: three steps on a small matrix must equal the same steps on each of its
    elements alone.
    """
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(2, 3, dtype=torch.float64, generator=generator)
    gradients = torch.randn(3, 2, 3, dtype=torch.float64, generator=generator)
    accepted = [p for p in inspect.signature(kind).parameters if p not in ("params", "lr")]
    for name, _ in options:
        if name not in accepted:
            return f"{kind.__name__} takes no option {name!r}; {nearest(name, accepted)}"
    try:
        whole = _trial(kind, start, gradients, options)
        single = [
            _trial(kind, start[i : i + 1, j : j + 1], gradients[:, i : i + 1, j : j + 1], options)
            for i in range(2)
            for j in range(3)
        ]
    except Exception as error:
        return (
            f"{kind.__name__} cannot be the local optimizer ({error}); use an elementwise one such "
            "as SGD, Adam or RMSprop"
        )
    if not torch.allclose(whole.flatten(), torch.cat(single).flatten(), rtol=0, atol=1e-12):
        return (
            f"{kind.__name__} is not elementwise: it would mix the networks of different agents; "
            "use an elementwise optimizer such as SGD, Adam or RMSprop"
        )
    return ""


def _trial(
    kind: type[torch.optim.Optimizer],
    start: Tensor,
    gradients: Tensor,
    options: tuple[tuple[str, Any], ...],
) -> Tensor:
    theta = start.clone()
    optimizer = _build(kind, [theta], 0.01, dict(options))
    for gradient in gradients:
        theta.grad = gradient.clone()
        optimizer.step()
    return theta
