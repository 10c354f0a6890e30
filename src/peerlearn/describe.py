"""A request in words and numbers that JSON can hold, for records and checkpoints."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import networkx as nx
import numpy as np
import scipy
import torch
from scipy import sparse

from . import graphs
from .algorithm import Algorithm
from .graphs import GraphSchedule, spectrum
from .schedules import Schedule

SIMPLE = bool | int | float | str | None


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
        "name": str(graph.graph.get("name", "")),
        "edges": edges_of(graph),
        "fiedler_value": round(spectrum.fiedler_value(graph), 9),
        "schedule": None,
    }
    positions = _positions(graph)
    if positions is not None:
        found["positions"] = positions
    return found | (_spectrum(rule(graph)) if rule is not None and len(graph) > 1 else {})


def _positions(graph: nx.Graph) -> list[list[float]] | None:
    """Where the agents are in the plane, if the nodes' attributes say it of all of them."""
    told = nx.get_node_attributes(graph, "position")
    try:
        places = np.array([told[agent] for agent in range(len(graph))], float)
    except (KeyError, TypeError, ValueError):
        return None
    plane = places.shape == (len(graph), 2) and bool(np.isfinite(places).all())
    return places.tolist() if plane else None


def _spectrum(mixing: Any) -> dict[str, float]:
    """Of symmetric weights; others have no real eigenvalues to speak of."""
    if spectrum.asymmetry(mixing) > spectrum.TOLERANCE:
        return {}
    values = spectrum.extremes(mixing)
    found = {
        "lambda_2": values[1],
        "lambda_N": values[-1],
        "spectral_gap": 1 - max(abs(values[1]), abs(values[-1])),
    }
    return {name: round(float(value), 9) for name, value in found.items()}


def fingerprint_of(rounds: Sequence[nx.Graph], rule: graphs.Rule | None = None) -> str:
    """Sixteen digits that change with any edge of the graphs, and with what a rule makes of one."""
    parts = [
        [edges_of(graph), None if rule is None else _fingerprint(rule(graph))] for graph in rounds
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def edges_of(graph: nx.Graph) -> list[list[int]]:
    return sorted([min(i, j), max(i, j)] for i, j in graph.edges)


def settings_of(algorithm: Algorithm) -> dict[str, Any]:
    """The hyper-parameters as JSON has them, schedules with their names."""
    return plain(vars(algorithm))


def plain(value: Any) -> Any:
    """Any value as JSON has it, alike in every process: contents and names, never an address."""
    if isinstance(value, SIMPLE):
        return value
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, torch.Tensor | np.ndarray) or sparse.issparse(value):
        return _fingerprint(value)
    if isinstance(value, torch.dtype | torch.device):
        return str(value)
    if isinstance(value, partial):
        return {"partial": plain(value.func), "args": plain(value.args), **plain(value.keywords)}
    return value.__qualname__ if hasattr(value, "__qualname__") else _object(value)


def _object(value: Any) -> dict[str, Any]:
    """The class of an object and its fields; of one that has none, what is simple in it."""
    kind = "schedule" if isinstance(value, Schedule) else "class"
    if is_dataclass(value):
        return {kind: type(value).__qualname__, **_fields(value)}
    simple = {k: v for k, v in getattr(value, "__dict__", {}).items() if isinstance(v, SIMPLE)}
    return {kind: type(value).__qualname__, **plain(simple)}


def _fields(value: Any) -> dict[str, Any]:
    return {f.name: plain(getattr(value, f.name)) for f in fields(value)}


def _fingerprint(array: Any) -> str:
    """Sixteen digits that change with any entry of a tensor, array or sparse matrix."""
    if isinstance(array, torch.Tensor):
        array = array.detach().cpu().float() if array.dtype == torch.bfloat16 else array
        array = array.detach().cpu().numpy()
    dense = np.asarray(array.toarray() if hasattr(array, "toarray") else array)
    head = f"{dense.dtype} {dense.shape} ".encode()
    return hashlib.sha256(head + np.ascontiguousarray(dense).tobytes()).hexdigest()[:16]


def describe_schedule(schedule: GraphSchedule) -> dict[str, Any]:
    """Its arguments and the edges it thins out, or else those of its first round."""
    graph = vars(schedule).get("graph")
    if graph is None and schedule.known:
        graph = schedule.at(0)
    return {
        "agents": schedule.agents,
        "name": "" if graph is None else str(graph.graph.get("name", "")),
        "schedule": _call(schedule, skip=("graph", "agents", "window")),
        "edges": [] if graph is None else edges_of(graph),
    }


def digest(weights: Any) -> str:
    """Weights in a few words: ``metropolis``, ``lazy(rule=mine)``, ``given(matrix=...)``."""
    return weights if isinstance(weights, str) else _call(graphs.as_rule(weights))


def _call(value: Any, skip: tuple[str, ...] = ()) -> str:
    """``link_failures(p=0.3, seed=2)``: what would make the object again."""
    found = plain(value)
    if not isinstance(found, dict):
        return str(found)
    name = found.pop("class", "")
    return f"{name}({', '.join(f'{k}={v}' for k, v in found.items() if k not in skip)})"


def versions() -> dict[str, str]:
    """What the run was made with."""
    try:
        own = version("peerlearn")
    except PackageNotFoundError:
        own = "unknown"
    libraries = {m.__name__: m.__version__ for m in (torch, np, scipy, nx)}
    return {"peerlearn": own, **libraries, "python": platform.python_version()}
