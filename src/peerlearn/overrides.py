"""Settings of an experiment given beside its file: ``key=value``."""

from __future__ import annotations

import re
import sys
from typing import Any

from .errors import nearest
from .tables import Problem

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def override(raw: dict[str, Any], text: str) -> list[Problem]:
    """Apply one ``key=value``."""
    path, sign, value = (part.strip() for part in text.partition("="))
    if not sign or not path:
        return [Problem("", f"got the override {text!r}, expected key=value, as in rounds=300")]
    try:
        word = re.fullmatch(r"(?!(true|false|inf|nan)$)[A-Za-z_][\w-]*", value)
        parsed = value if word else _value(value)
        *parents, last = re.sub(r"\[(\d+)\]", r".\1", path).split(".")  # as errors write it
        table = raw
        for key in parents:
            table = _child(table, key)
        if not isinstance(table, dict):
            raise ValueError(f"expected the key of a table below {parents[-1]!r}")
    except ValueError as error:
        return [Problem(path, str(error))]
    table[last] = parsed
    return []


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        raise ValueError(
            f"got {text!r}, expected a TOML value: a number, true, false, a 'text' in quotes, "
            "a [list] or a {key = value} table"
        ) from None


def _child(table: Any, key: str) -> Any:
    """The table below ``key``; of a list the one with that number, label or name."""
    if isinstance(table, dict):
        return table.setdefault(key, {})
    if not isinstance(table, list):
        raise ValueError(f"{key!r} is looked for in {table!r}, which is no table")
    names = [str(t.get("label", t.get("name"))) for t in table if isinstance(t, dict)]
    if key.isdecimal() and int(key) < len(table):
        return table[int(key)]
    matches = [t for t, name in zip(table, names, strict=False) if name.lower() == key.lower()]
    if not matches:
        raise ValueError(f"no algorithm {key!r}; {nearest(key, names)}")
    return matches[0]
