"""How a graph is called, and how its agents are."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

import networkx as nx

Build = ParamSpec("Build")


def named(build: Callable[Build, nx.Graph]) -> Callable[Build, nx.Graph]:
    """The graph remembers what it is called, for records and reports."""

    @wraps(build)
    def build_named(*args: Build.args, **kwargs: Build.kwargs) -> nx.Graph:
        graph = build(*args, **kwargs)
        graph.graph["name"] = build.__name__
        return graph

    return build_named


def numbered(graph: nx.Graph) -> nx.Graph:
    """The same graph with its nodes named and ordered 0..n-1 and its edges in order."""
    agents = range(len(graph))
    labels = agents if set(graph) == set(agents) else list(graph)
    number = {label: agent for agent, label in enumerate(labels)}
    plain = nx.Graph(name=graph.graph.get("name", ""))
    plain.add_nodes_from((number[label], graph.nodes[label]) for label in labels)
    edges = ((number[i], number[j]) for i, j in graph.edges)
    plain.add_edges_from(sorted((min(e), max(e)) for e in edges))
    return plain
