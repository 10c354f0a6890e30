"""What can be wrong with a supervised task: each check returns its complaints, a sentence each."""

from __future__ import annotations

import copy
import random
import typing
from collections.abc import Iterable, Mapping, Sequence, Sized
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ..data.datasets import Deferred, dataset_problems, length, unequal_problems
from ..errors import first_line, nearest, short
from ..measure import RESERVED
from ..values import is_number, is_whole
from ..words import counted

if TYPE_CHECKING:
    from .supervised import Task


def problems(task: Task) -> list[str]:
    """Everything that is wrong; where the data are no datasets, the sizes are not looked at."""
    found = [*choice_problems(task), *function_problems(task), *fall_problems(task)]
    kinds = kind_problems(task)
    found += kinds or size_problems(task)
    return found + batch_problems(task) + model_problems(task) + spread_problems(task)


def choice_problems(task: Task) -> list[str]:
    """Settings that have a few possible values."""
    hints = typing.get_type_hints(type(task))
    choices = {n: typing.get_args(h) for n, h in hints.items() if typing.get_origin(h) is Literal}
    return [
        f"{name} is {getattr(task, name)!r}; {nearest(getattr(task, name), known)}"
        for name, known in choices.items()
        if getattr(task, name) not in known
    ]


def function_problems(task: Task) -> list[str]:
    optional = {"transform": task.transform, "evaluate": task.evaluate}
    if not isinstance(task.measures, Mapping):
        return [f"measures is {short(task.measures)}, expected a dict of name -> function"]
    given = {"loss": task.loss, **{n: f for n, f in optional.items() if f is not None}}
    given |= {f"the measure {n!r}": f for n, f in task.measures.items()}
    return [
        f"the measure {name!r} has the name of what is measured of every run; choose another one"
        for name in task.measures
        if name in RESERVED or str(name).startswith("train_")
    ] + [
        *(f"{n} is {f!r}, expected a function" for n, f in given.items() if not callable(f)),
        *(
            f"{n} is the class {f.__name__}; make one of it: {f.__name__}()"
            for n, f in given.items()
            if isinstance(f, type) and issubclass(f, nn.Module)
        ),
        *_generator_problems(task.transform),
    ]


def _generator_problems(transform: Any) -> list[str]:
    """A generator of one's own is not kept for resuming, and not an agent's own."""
    owner = getattr(transform, "__self__", None)  # of a bound method
    held = [v for o in (transform, owner) for v in getattr(o, "__dict__", {}).values()]
    held += getattr(transform, "args", ())
    code = getattr(transform, "__code__", None)
    held += [transform.__globals__.get(n) for n in code.co_names] if code else []
    for cell in getattr(transform, "__closure__", None) or ():
        with suppress(ValueError):  # an empty one
            held.append(cell.cell_contents)
    held += [*(getattr(transform, "keywords", None) or {}).values()]
    kinds = (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)
    if not any(isinstance(value, kinds) for value in held):
        return []
    return [
        "the transform has a random generator of its own, which is not kept when a run is resumed; "
        "let it draw from the global ones (torch.rand, numpy.random, random), which are each "
        "agent's own while it is called"
    ]


def fall_problems(task: Task) -> list[str]:
    """Whether measures fall; that there are such is asked when networks are first judged."""
    wanted = "expected a dict of name -> whether less is better, such as {'latency_s': True}"
    if not isinstance(task.falls, Mapping):
        return [f"falls is {short(task.falls)}, {wanted}"]
    wrong = {n: v for n, v in task.falls.items() if not isinstance(v, bool)}
    return [f"falls gives {name!r} {value!r}, {wanted}" for name, value in wrong.items()]


def kind_problems(task: Task) -> list[str]:
    """Data and test sets that are no datasets."""
    data = task.datasets
    if not isinstance(data, Sized):
        return [
            f"data is {data!r}, expected a list with one dataset per agent, or a stream such as "
            "streams.dealt((inputs, targets), agents)"
        ]
    if not isinstance(data, Sequence) or _is_one_dataset(data):
        return [
            "data is one dataset, expected a list with one dataset per agent, such as "
            "[(inputs, targets), ...]"
        ]
    found = [s for a, d in enumerate(data) for s in _kind(d, f"the dataset of agent {a}")]
    return found + [s for t in task.tests() if t is not None for s in _kind(t, "a test set")]


def _is_one_dataset(data: Sequence[Any]) -> bool:
    return isinstance(data, tuple) and any(isinstance(d, Tensor) for d in data)


def _kind(data: Any, what: str) -> list[str]:
    if isinstance(data, Deferred):
        return _deferred_problems(data, what)
    return dataset_problems(data, what)


def _deferred_problems(data: Deferred, what: str) -> list[str]:
    if not is_whole(data.samples):
        return [f"{what} declares {data.samples!r} samples, expected a whole number of at least 1"]
    if not callable(data.load):
        return [f"{what} is loaded by {data.load!r}, expected a function"]
    return []


def size_problems(task: Task) -> list[str]:
    """How many datasets, samples and test sets there are."""
    found = [
        f"the dataset of agent {a} is empty; give every agent at least one sample"
        for a, d in enumerate(task.datasets)
        if length(d) == 0
    ]
    found += [s for a, d in enumerate(task.datasets) for s in unequal_problems(d, f"agent {a}")]
    tests = task.tests()
    found += [s for t in tests for s in unequal_problems(t, "a test set")]
    without = [a for a, t in enumerate(tests) if t is None]
    if len(tests) > 1 and without:
        found.append(
            f"agents {without} have no test set, but others have; give one to each, one for all, "
            "or leave test out"
        )
    if any(t is not None and length(t) == 0 for t in tests):
        found.append("a test set is empty; give it at least one sample, or leave test out")
    if not task.agents:
        found.append("the task has no datasets; give one per agent")
    if len(tests) not in (1, task.agents):
        found.append(
            f"got {len(tests)} test sets for {counted(task.agents, 'agent')}; give one for all or "
            "one per agent"
        )
    return found


def batch_problems(task: Task) -> list[str]:
    """Numbers of samples: batch sizes, and what is evaluated of the training data."""
    each = isinstance(task.batch_size, list | tuple)
    sizes: Sequence[Any] = task.batch_size if each else [task.batch_size]  # type: ignore[assignment]
    found = []
    if each and len(sizes) != task.agents:
        found.append(
            f"batch_size has {len(sizes)} entries for {counted(task.agents, 'agent')}; give one "
            "for all or one per agent"
        )
    numbers = {"training_sample": task.training_sample, "sample_bytes": task.sample_bytes}
    if task.stream is not None and any(size is None for size in sizes):
        found.append(
            f"batch_size is {task.batch_size!r}, but a stream has no end; give the number of "
            "samples that each agent draws at a time"
        )
    wrong = {"batch_size": task.batch_size} if not all(map(_is_count, sizes)) else {}
    wrong |= {n: v for n, v in numbers.items() if not _is_count(v)}
    return found + [
        f"{name} is {value!r}, expected a whole number of at least 1, or None"
        for name, value in wrong.items()
    ]


def _is_count(value: Any) -> bool:
    return value is None or is_whole(value)


def model_problems(task: Task) -> list[str]:
    """One network for all or one each, alike but for the values of what is trained."""
    if not isinstance(task.model, nn.Module | Sequence) and not callable(task.model):
        return [f"model is {task.model!r}, expected a module or a function that makes one"]
    try:
        models = task.models(0)
    except Exception as error:
        return [f"the model could not be made ({type(error).__name__}: {error}); call it yourself"]
    strange = [m for m in models if not isinstance(m, nn.Module)]
    if strange:
        return [f"model gave a {type(strange[0]).__name__}, expected a torch.nn.Module"]
    if any(is_lazy(p) for m in models for p in m.parameters()):
        return ["the model has parameters without a shape yet; call it once on a batch"]
    if any(t.is_complex() for m in models for t in (*m.parameters(), *m.buffers())):
        return ["the model has complex numbers, of which only the real part would be trained"]
    if any(p.is_meta for m in models for p in m.parameters()):
        return ["the model is on the device 'meta', without values; make it on the CPU"]
    uncopied = _copy_problem(models[0])
    if uncopied:
        return [uncopied]
    if len(models) not in (1, task.agents):
        team = counted(task.agents, "agent")
        return [f"got {len(models)} models for {team}; give one, or one each"]
    found = _unlike(models)
    if not any(p.requires_grad for p in models[0].parameters()):
        found.append("the model has no trainable parameter; set requires_grad on some")
    return found + _rate_problems(task, models[0])


def _copy_problem(model: nn.Module) -> str:
    """Runs train a copy, so that the network that was given stays as it is."""
    try:
        copy.deepcopy(model)
    except Exception as error:
        reason = first_line(error).partition(". ")[0]
        return (
            f"the model cannot be copied ({reason}); keep nothing in it that was computed, and "
            "take weight_norm and spectral_norm from torch.nn.utils.parametrizations"
        )
    return ""


def _unlike(models: Sequence[nn.Module]) -> list[str]:
    found = []
    shapes = [
        {n: (p.shape, p.requires_grad) for n, p in m.named_parameters()}
        | {n: (b.shape, b.dtype) for n, b in m.named_buffers()}
        for m in models
    ]
    for agent, other in enumerate(shapes):
        if other != shapes[0]:
            names = [n for n in {*other, *shapes[0]} if other.get(n) != shapes[0].get(n)]
            found.append(
                f"the model of agent {agent} differs from agent 0's in {sorted(names)[0]!r}; "
                "all agents need the same parameters and buffers, only the values may differ"
            )
        elif (layer := _unlike_layer(models[agent], models[0])) is not None:
            found.append(
                f"the model of agent {agent} differs from agent 0's in {layer!r}; all agents need "
                "the same layers, only the values of their parameters may differ"
            )
        elif (name := _unequal_frozen(models[agent], models[0])) is not None:
            found.append(
                f"the frozen {name!r} of agent {agent}'s model has other values than agent "
                "0's; what is not trained must be the same for all agents"
            )
    return found


def _unlike_layer(model: nn.Module, first: nn.Module) -> str | None:
    """The name of a layer of another kind, or with other settings, than in the first model."""
    kinds = [{n: (type(m), m.extra_repr()) for n, m in x.named_modules()} for x in (model, first)]
    names = [n for n in {**kinds[0], **kinds[1]} if kinds[0].get(n) != kinds[1].get(n)]
    return names[0] if names else None


def _unequal_frozen(model: nn.Module, first: nn.Module) -> str | None:
    """The name of a frozen parameter whose values differ between two models."""
    values = dict(first.named_parameters())
    frozen = ((n, p) for n, p in model.named_parameters() if not p.requires_grad)
    return next((n for n, p in frozen if not torch.equal(p, values[n])), None)


def _rate_problems(task: Task, model: nn.Module) -> list[str]:
    trained = [n for n, p in model.named_parameters() if p.requires_grad]
    every = dict(model.named_parameters(remove_duplicate=False))
    first = {id(p): n for n, p in model.named_parameters()}

    def under(prefix: str, names: Iterable[str]) -> list[str]:
        return [n for n in names if n == prefix or n.startswith(prefix + ".")]

    found = []
    for prefix, rate in task.rates.items():
        if not under(prefix, trained):
            same = {first[id(every[n])] for n in under(prefix, every)} & {*trained}
            if same:
                why = f"which is tied to {', '.join(sorted(same))}; give that a rate"
            elif under(prefix, every):
                why = "which is frozen; set requires_grad, or leave it out"
            else:
                why = f"but the trained parameters are: {', '.join(trained)}"
            found.append(f"rates names {prefix!r}, {why}")
        if not is_number(rate, 0):
            found.append(f"the rate of {prefix!r} is {rate!r}, expected a number, zero or more")
    return found


def spread_problems(task: Task) -> list[str]:
    """What is wrong with networks that differ at the start."""
    spread = task.initial_spread
    if not is_number(spread, 0):
        return [f"initial_spread is {spread!r}, expected a finite number that is not negative"]
    if spread and isinstance(task.model, nn.Module | Sequence):
        return [
            f"initial_spread is {spread}, but model is no function that makes a network, so none "
            "can be drawn for each agent; give a function"
        ]
    return []


def supply_problems(task: Task, gradients: int, rounds: int) -> list[str]:
    """Why the stream cannot feed so many gradients of each agent, in so many rounds."""
    stream = task.stream
    if stream is None:
        return []
    needs = [(a, stream.length(a), gradients * b) for a, b in enumerate(task.sizes())]
    return stream.drift.problems(rounds) + [
        f"the stream of agent {agent} ends after {held} samples, but {gradients} minibatches of "
        f"{need // gradients} may be drawn; give it more, or train for fewer rounds"
        for agent, held, need in needs
        if held is not None and held < need
    ]
