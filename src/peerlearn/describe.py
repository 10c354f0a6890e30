"""A request in words and numbers that JSON can hold, for records and checkpoints."""

from __future__ import annotations

import hashlib
import platform
from dataclasses import fields, is_dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import networkx as nx
import numpy as np
import torch

from . import graphs
from .algorithm import Algorithm
from .checks import known
from .graphs import GraphSchedule, spectrum


def describe_graph(
    schedule: GraphSchedule | None, rule: graphs.Rule | None
) -> dict[str, Any] | None:
    """Who talks to whom, and the spectrum of the graph and of its weights."""
    if schedule is None:
        return None
    if not isinstance(schedule, graphs.static):
        return describe_schedule(schedule)
    graph = schedule.graph
    found = {
        "agents": len(graph),
        "name": graph.graph.get("name", ""),
        "edges": edges_of(graph),
        "fiedler_value": round(spectrum.fiedler_value(graph), 9),
        "schedule": None,
    }
    positions = nx.get_node_attributes(graph, "position")
    if positions:
        found["positions"] = [[float(x) for x in positions[i]] for i in range(len(graph))]
    return found | (_spectrum(rule(graph)) if rule is not None and len(graph) > 1 else {})


def _spectrum(mixing: Any) -> dict[str, float]:
    """Of symmetric weights; others have no real eigenvalues to speak of."""
    if spectrum.asymmetry(mixing) > spectrum.SYMMETRY:
        return {}
    values = spectrum.extremes(mixing)
    found = {
        "lambda_2": values[1],
        "lambda_N": values[-1],
        "spectral_gap": 1 - max(abs(values[1]), abs(values[-1])),
    }
    return {name: round(float(value), 9) for name, value in found.items()}


def edges_of(graph: nx.Graph) -> list[list[int]]:
    return sorted([min(i, j), max(i, j)] for i, j in graph.edges)


def settings_of(algorithm: Algorithm) -> dict[str, Any]:
    """The hyper-parameters as JSON has them, schedules with their names."""
    return {name: _plain(value) for name, value in vars(algorithm).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, int | float | str | bool | None):
        return value
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, type) or (callable(value) and hasattr(value, "__qualname__")):
        return value.__qualname__
    if is_dataclass(value):
        return {"schedule": type(value).__name__, **_fields(value)}
    return repr(value)


def _fields(value: Any) -> dict[str, Any]:
    return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}


def describe_schedule(schedule: GraphSchedule) -> dict[str, Any]:
    """Its arguments and the edges it thins out, or else those of its first round."""
    name = type(schedule).__name__
    settings: dict[str, Any] = _fields(schedule) if is_dataclass(schedule) else {}
    graph = vars(schedule).get("graph")
    if graph is None and known(schedule):
        graph = schedule.at(0)
    shown = ", ".join(f"{k}={v}" for k, v in settings.items() if k not in ("graph", "agents"))
    return {
        "agents": schedule.agents,
        "name": "" if graph is None else graph.graph.get("name", ""),
        "schedule": f"{name}({shown})",
        "edges": [] if graph is None else edges_of(graph),
    }


def digest(weights: Any) -> str:
    """A short description of weights that are not named by a rule."""
    if callable(weights):
        return getattr(weights, "__qualname__", repr(weights))
    dense = weights.toarray() if hasattr(weights, "toarray") else np.asarray(weights, float)
    return f"matrix {hashlib.sha256(np.ascontiguousarray(dense).tobytes()).hexdigest()[:16]}"


def versions() -> dict[str, str]:
    """What the run was made with."""
    try:
        own = version("peerlearn")
    except PackageNotFoundError:
        own = "unknown"
    return {"peerlearn": own, "torch": torch.__version__, "python": platform.python_version()}
