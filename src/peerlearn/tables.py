"""Tables of a TOML file: what they may say, and every mistake in one at once.

A table is handed to a function or class of the library, so what it may say is read
from their signatures: a new option, method or graph is known here as soon as it exists.
"""

from __future__ import annotations

import inspect
import re
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, create_model

from .errors import nearest, short
from .schedules import RATES, Schedule

STRICT = ConfigDict(extra="forbid", strict=True, arbitrary_types_allowed=True)
WORDS = {
    bool: "true or false", int: "a whole number", float: "a number", str: "a text",
    Any: "anything", Schedule: "a schedule such as {schedule = 'log', start = 0.1, end = 0.01}",
}  # fmt: skip


class Problem(NamedTuple):
    """A mistake in an experiment file.

    Attributes:
        path: the key it is about, as in ``algorithms[1].rho``.
        text: what was got, what was expected.
    """

    path: str
    text: str

    def __str__(self) -> str:
        return f"{self.path}: {self.text}" if self.path else self.text


def options_model(
    *functions: Callable[..., Any], skip: Iterable[str] = (), **fields: Any
) -> type[BaseModel]:
    """What a table may say whose values become arguments of ``functions``.

    Args:
        functions: functions or classes; arguments no TOML value can fill are left out.
        skip: arguments the file does not set.
        fields: keys of the table besides the arguments, as pydantic's `create_model` takes them.
    """
    skip = {*skip, *fields}
    for function in functions:
        whole = function.func if isinstance(function, partial) else function
        hints = typing.get_type_hints(whole)
        for name, parameter in inspect.signature(function).parameters.items():
            accepted = in_toml(hints.get(name))
            if accepted and name not in skip and parameter.kind is not parameter.VAR_KEYWORD:
                default = ... if parameter.default is parameter.empty else None
                fields.setdefault(name, (typing.Union[tuple(accepted)], default))  # noqa: UP007
    return create_model("Table", __config__=STRICT, **fields)


def in_toml(hint: Any) -> list[Any]:
    """The part of a type hint that values of a TOML file can have, as alternatives."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Schedule:
        return [Annotated[Schedule, BeforeValidator(_schedule)]]
    if hint in (bool, int, float, str, Any) or origin is Literal:
        return [hint]
    if origin in (types.UnionType, typing.Union):
        return [part for argument in arguments for part in in_toml(argument)]
    if origin in (list, Sequence):
        return [list[part] for part in in_toml(arguments[0])]  # type: ignore[valid-type]
    if origin in (dict, Mapping):
        return [dict[str, part] for part in in_toml(arguments[1])]  # type: ignore[valid-type]
    return []


def checked(
    model: type[BaseModel], values: Mapping[str, Any], path: str = ""
) -> tuple[dict[str, Any], list[Problem]]:
    """The values that were set and are right, and what is wrong with the others.

    There are none where a key is missing.
    """
    try:
        table = model.model_validate(dict(values))
    except ValidationError as error:
        wrong = {e["loc"][0]: e for e in _one_per_key(error)}
        rest = {name: value for name, value in values.items() if name not in wrong}
        right = checked(model, rest)[0] if len(rest) < len(values) else {}
        return right, [p for e in wrong.values() for p in _problems(e, model, values, path)]
    return {name: getattr(table, name) for name in values}, []


def keys_of(
    model: type[BaseModel], functions: Sequence[Callable[..., Any]] = ()
) -> Iterator[tuple[str, str, str]]:
    """For each key of a table: its name, what it must be, and what it is where it is not given.

    Args:
        model: of the table.
        functions: that take the values as arguments, and so have the defaults.
    """
    defaults = {
        name: parameter.default
        for function in reversed(functions)
        for name, parameter in inspect.signature(function).parameters.items()
    }
    for name, field in model.model_fields.items():
        words = field.description or describe(field.annotation)
        default = defaults.get(name, field.default)
        yield name, words, "must be given" if field.is_required() else _default(default)


def _default(value: Any) -> str:
    """As a file would have it; nothing where it has no words for it."""
    if isinstance(value, bool):
        return f"= {str(value).lower()}"
    if isinstance(value, Schedule):
        settings = {"schedule": type(value).__name__, **vars(value)}
        return f"= {{{', '.join(f'{k} = {v!r}' for k, v in settings.items())}}}"
    value = list(value) if isinstance(value, tuple) else value
    return f"= {short(value, 40)}" if isinstance(value, str | int | float | list) else ""


def at_key(path: str, sentence: str, keys: Iterable[str]) -> Problem:
    """A sentence of the library, at the key of the table at ``path`` that it speaks of first."""
    head = re.split(r"[,;]", sentence)[0]
    found = [(m.start(), key) for key in keys if (m := re.search(rf"\b{re.escape(key)}\b", head))]
    return Problem(join(path, min(found)[1]) if found else path, sentence)


def join(path: str, key: str | int) -> str:
    """``algorithms``, 1 -> ``algorithms[1]``; ``task``, "agents" -> ``task.agents``."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    return f"{path}.{key}" if path else key


class _Nested(ValueError):
    """Problems inside a value, with paths that begin there."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems = problems


def _schedule(value: Any) -> Any:
    """A table with the key ``schedule`` as the schedule it names."""
    if not isinstance(value, dict):
        return value
    name = value.get("schedule")
    if not isinstance(name, str) or name not in RATES:
        said = f"unknown schedule {name!r}" if name else "missing"
        raise _Nested([Problem("schedule", f"{said}; {nearest(str(name), RATES)}")])
    model = options_model(RATES[name], schedule=(str, ...))
    settings, problems = checked(model, value)
    if problems:
        raise _Nested(problems)
    settings.pop("schedule")
    try:
        return RATES[name](**settings)
    except ValueError as error:
        raise _Nested([at_key("", str(error), settings)]) from error


def _one_per_key(error: ValidationError) -> list[Any]:
    """One error for each key; of a value's alternatives the one that says most."""
    found: dict[Any, Any] = {}
    for e in sorted(error.errors(), key=lambda e: _nested(e) is None):
        found.setdefault(e["loc"][0], e)
    return list(found.values())


def _problems(
    error: Any, model: type[BaseModel], values: Mapping[str, Any], path: str
) -> list[Problem]:
    key = error["loc"][0]
    here = join(path, key)
    nested = _nested(error)
    if nested:
        return [Problem(join(here, p.path) if p.path else here, p.text) for p in nested.problems]
    if error["type"] == "extra_forbidden":
        return [Problem(here, f"unknown key; {nearest(key, model.model_fields)}")]
    field = model.model_fields[key]
    expected = field.description or describe(field.annotation)
    got = "missing;" if error["type"] == "missing" else f"got {values[key]!r},"
    return [Problem(here, f"{got} expected {expected}")]


def _nested(error: Any) -> _Nested | None:
    cause = error.get("ctx", {}).get("error")
    return cause if isinstance(cause, _Nested) else None


def describe(hint: Any) -> str:
    """What a value must be, in words."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return describe(arguments[0])
    if origin is Literal:
        return " or ".join(map(repr, arguments))
    if origin in (types.UnionType, typing.Union):
        return " or ".join(describe(a) for a in arguments if a is not type(None))
    if origin is list:
        return f"a list, each {describe(arguments[0])}"
    return "a table" if origin is dict else WORDS.get(hint, str(hint))
