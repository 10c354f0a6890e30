"""The local optimizer: any elementwise torch.optim optimizer, applied to rows.

The matrix theta (A, P) is handed to torch.optim as if it were one parameter. An elementwise
optimizer (SGD, Adam, RMSprop, ...) then treats the rows independently; optimizers that look at
more than one element at a time (LBFGS, Adafactor, Muon, ...) are refused.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from .errors import nearest, unknown

Moments = dict[str, Tensor]
"""What an optimizer remembers, as rows: (A, P) moments and (A, 1) counters. Empty at first."""

BEGUN = "begun"  # (A, 1) 1 where a row has stepped before; kept once some rows have sat out


Settings = tuple[tuple[str, Any], ...]


@lru_cache(maxsize=1)
def known_optimizers() -> dict[str, type[torch.optim.Optimizer]]:
    """torch's own optimizers by their lower-case names."""
    classes = inspect.getmembers(torch.optim, inspect.isclass)
    base = torch.optim.Optimizer
    return {n.lower(): c for n, c in classes if issubclass(c, base) and c is not base}


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
        if not isinstance(self.options, Mapping):
            raise ValueError(f"options is {self.options!r}, expected names and values")
        kind, options = self._key
        try:
            problem = _problem(kind, options)
        except TypeError as error:  # unhashable
            raise ValueError(
                f"the options of {kind.__name__} are {dict(options)}; expected numbers, true or "
                "false, and lists of numbers"
            ) from error
        if problem:
            raise ValueError(problem)

    @property
    def _key(self) -> tuple[Any, Settings]:
        """The class and its options, lists (as experiment files have them) made tuples."""
        frozen = {n: tuple(v) if isinstance(v, list) else v for n, v in self.options.items()}
        return self.torch_class, tuple(sorted(frozen.items(), key=lambda item: str(item[0])))

    @property
    def torch_class(self) -> type[torch.optim.Optimizer]:
        if isinstance(self.kind, type) and issubclass(self.kind, torch.optim.Optimizer):
            return self.kind
        if isinstance(self.kind, torch.optim.Optimizer):
            name = type(self.kind).__name__
            raise ValueError(
                f"optimizer is an instance of {name}; give the class itself, torch.optim.{name}, "
                "and its settings as options"
            )
        if not isinstance(self.kind, str):
            raise ValueError(
                f"optimizer is {self.kind!r}, expected a torch.optim class or its name"
            )
        known = known_optimizers()
        if self.kind.lower() not in known:
            fit = [n for n, k in known.items() if not _problem(k, ())]  # type: ignore[arg-type]
            raise unknown("optimizer", self.kind, fit)
        return known[self.kind.lower()]

    def fresh(self, theta: Tensor) -> Moments:
        """The moments of rows none of which has stepped, for methods that let some sit out.

        They have all the names they will ever have, so that they do not depend on who has stepped.
        """
        found: Moments = {BEGUN: theta.new_zeros(len(theta), 1)}
        kind, options = self._key
        for name, value in _remembered(kind, options).items():
            width = theta.shape[1] if value.dim() else 1
            dtype = theta.dtype if value.dim() else value.dtype
            found[name] = theta.new_zeros(len(theta), width, dtype=dtype)
        return found

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
        if rows is None and BEGUN not in moments:
            return self._step_all(theta, gradient, moments, lr)
        chosen = _positions(rows, theta)
        if len(chosen) < len(theta) and BEGUN not in moments:
            moments[BEGUN] = theta.new_full((len(theta), 1), float(bool(moments)))
        counters = _counters(*self._key)
        for group in _alike([moments[n] for n in moments if n in counters], chosen):
            if len(group) == len(theta):
                return self._step_alike(theta, gradient, moments, lr)
            part, held = theta[group], {n: m[group] for n, m in moments.items()}
            new = self._step_alike(part, gradient[group], held, lr)
            theta[group] = part
            for name, value in new.items():
                if name not in moments:
                    moments[name] = value.new_zeros((len(theta), value.shape[1]))
                moments[name][group] = value
        return moments

    def _step_alike(self, theta: Tensor, gradient: Tensor, moments: Moments, lr: float) -> Moments:
        """Every row steps, and all rows have taken equally many steps before."""
        held = {n: m for n, m in moments.items() if n != BEGUN}
        if BEGUN not in moments:
            return self._step_all(theta, gradient, held, lr)
        # a first step is the optimizer's to prepare: its moments need not begin at zero
        first = not bool(moments[BEGUN].any())
        new = self._step_all(theta, gradient, {} if first else held, lr)
        return {**new, BEGUN: torch.ones_like(moments[BEGUN])}

    def _step_all(self, theta: Tensor, gradient: Tensor, moments: Moments, lr: float) -> Moments:
        """torch.optim's own step, with one counter for all rows."""
        theta.grad = gradient.contiguous()  # fused kernels take that for granted
        kind, options = self._key
        optimizer = _build(kind, [theta], lr, dict(options))
        if moments:
            counters = _counters(*self._key)
            optimizer.state[theta] = {
                n: m[0, 0].clone() if n in counters else m for n, m in moments.items()
            }
        optimizer.step()
        theta.grad = None
        return {
            name: value if value.dim() else value.expand(len(theta), 1).clone()
            for name, value in optimizer.state[theta].items()
            if isinstance(value, Tensor)
        }


def _positions(rows: Sequence[int] | None, theta: Tensor) -> Tensor:
    """The chosen rows' positions, from positions or a mask; all where ``rows`` is None."""
    every = torch.arange(len(theta), device=theta.device)
    if rows is None:
        return every
    return every[torch.as_tensor(rows, device=theta.device)] if len(rows) else every[:0]


def _alike(counters: list[Tensor], chosen: Tensor) -> list[Tensor]:
    """``chosen`` rows in groups that have the same counters, each (A, 1)."""
    if not counters or len(chosen) == 0:
        return [chosen] if len(chosen) else []
    table = torch.cat([c[chosen].double() for c in counters], dim=1)
    if bool((table == table[0]).all()):
        return [chosen]
    _, group = table.unique(dim=0, return_inverse=True)
    return [chosen[group == g] for g in range(int(group.max()) + 1)]


def _build(
    kind: type[torch.optim.Optimizer], parameters: list[Tensor], lr: float, options: dict[str, Any]
) -> torch.optim.Optimizer:
    """The torch optimizer; fused where torch has it, which is three to six times faster."""
    fusible = (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD, torch.optim.Adagrad)
    if kind in fusible and not (options.get("foreach") or options.get("differentiable")):
        options = {"fused": True, **options}
    return kind(parameters, lr=lr, **options)  # type: ignore[call-arg]


@lru_cache(maxsize=64)
def _counters(kind: type[torch.optim.Optimizer], options: Settings) -> frozenset[str]:
    """The names of what the optimizer keeps as one number for a whole tensor, and `BEGUN`."""
    found = _remembered(kind, options)  # type: ignore[arg-type]
    return frozenset(n for n, v in found.items() if not v.dim()) | {BEGUN}


@lru_cache(maxsize=64)
def _remembered(kind: type[torch.optim.Optimizer], options: Settings) -> Moments:
    """What the optimizer keeps after a step on a small matrix."""
    theta = torch.zeros(2, 3)
    theta.grad = torch.ones_like(theta)
    optimizer = _build(kind, [theta], 0.01, dict(options))
    optimizer.step()
    return {n: v for n, v in optimizer.state[theta].items() if isinstance(v, Tensor)}


@lru_cache(maxsize=64)
def _problem(kind: type[torch.optim.Optimizer], options: Settings) -> str:
    """Why ``kind`` cannot serve as a local optimizer, or nothing.

    Found by trying: three steps on a small matrix must equal the same steps on each of its
    elements alone.
    """
    wrong = _option_problem(kind, options)
    if wrong:
        return wrong
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(2, 3, dtype=torch.float64, generator=generator)
    gradients = torch.randn(3, 2, 3, dtype=torch.float64, generator=generator)
    try:
        whole = _trial(kind, start, gradients, options)
        single = [
            _trial(kind, start[i : i + 1, j : j + 1], gradients[:, i : i + 1, j : j + 1], options)
            for i in range(2)
            for j in range(3)
        ]
    except Exception as error:
        if options and not _problem(kind, ()):  # type: ignore[arg-type]
            return f"{kind.__name__} refuses the options {dict(options)} ({error}); correct them"
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


def _option_problem(kind: type[torch.optim.Optimizer], options: Settings) -> str:
    """Which option the class does not take, or nothing."""
    accepted = [p for p in inspect.signature(kind).parameters if p not in ("params", "lr")]
    for name, _ in options:
        if name == "lr":
            return f"{kind.__name__} takes no option 'lr': it is the method's own argument"
        if name not in accepted:
            return f"{kind.__name__} takes no option {name!r}; {nearest(name, accepted)}"
    return ""


def _trial(
    kind: type[torch.optim.Optimizer],
    start: Tensor,
    gradients: Tensor,
    options: Settings,
) -> Tensor:
    theta = start.clone()
    optimizer = _build(kind, [theta], 0.01, dict(options))
    for gradient in gradients:
        theta.grad = gradient.clone()
        optimizer.step()
    return theta
