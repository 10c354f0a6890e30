"""Whether a graph is of the kind that is needed."""

from __future__ import annotations

from typing import Any

import networkx as nx

from ..words import first_few


def undirected(graph: Any) -> nx.Graph:
    """``graph``, after checking that it is a networkx graph without directions or parallels."""
    if not isinstance(graph, nx.Graph) or graph.is_directed() or graph.is_multigraph():
        raise ValueError(
            f"got a {type(graph).__name__}, expected an undirected networkx.Graph without parallel "
            "edges, such as peerlearn.graphs.cycle(10); networkx.Graph(...) converts most things"
        )
    return graph


def require_agents(graph: nx.Graph, which: str = "the graph") -> None:
    """Refuse a graph whose nodes are not the numbers of its agents, in any order."""
    if set(graph) != set(range(len(graph))):
        raise ValueError(
            f"the nodes of {which} are {first_few(graph)}, expected the agents 0 to "
            f"{len(graph) - 1}; rename them, or number them in the graph's order with "
            "graphs.from_networkx"
        )
