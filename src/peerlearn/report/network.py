"""The figure of the graph: who talks to whom, and how well each agent does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import networkx as nx
import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .. import graphs
from ..record import Record
from ..words import counted
from .groups import graph_name, kind_of
from .measures import is_share, last
from .numbers import Number, show
from .style import FAINT, INK, NUMBERED, Drawing, percent
from .words import words

EDGES_DRAWN = 4000  # more would be a gray disc, and megabytes
ROUND = (
    graphs.cycle, graphs.complete, graphs.exponential, graphs.small_world,
    graphs.one_peer_exponential,
)  # fmt: skip
CIRCLES = {made.__name__ for made in ROUND}  # whose agents are neighbors by their numbers
SMALLEST_RANGE = 0.01  # of the colors: a smaller difference should not look like a large one

Places = dict[int, Any]  # agent -> its (x, y) on the figure


def draw_graph(name: str, record: Record, measure: str, schedules: Sequence[str]) -> Drawing:
    """The graph of a run, its agents colored by the last values of ``measure``.

    Args:
        name: of the figure.
        record: of the run.
        measure: see above.
        schedules: by which the graph changes, in this run and in others; "static" does not.
    """
    graph = record.start["graph"]
    network = nx.Graph()
    network.add_nodes_from(range(graph["agents"]))
    network.add_edges_from(graph["edges"])
    figure = Figure(layout="constrained")
    axes = figure.add_subplot(aspect="equal")
    axes.set_axis_off()
    places, edges = _places(network, graph), _some(list(network.edges))
    width = 1.2 if len(edges) < 300 else 0.4
    nx.draw_networkx_edges(network, places, edges, ax=axes, edge_color=FAINT, width=width)
    values = last(record, measure)
    if len(values) != len(network):
        values = np.full(len(network), np.nan)
    range_seen = _draw_agents(axes, network, places, values, measure)
    told = f"{_told(network, len(edges))}{_changing(schedules)}"
    caption = f"{told} {_colored(record, measure, range_seen)}"
    return Drawing(name, figure, f"The graph: {graph_name(record)}", caption)


def _draw_agents(
    axes: Axes, network: nx.Graph, places: Places, values: np.ndarray, measure: str
) -> tuple[float, float] | None:
    """Agents as dots, with a color bar where there are values; the range of the values."""
    known = values[np.isfinite(values)]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)
    scale = ScalarMappable(_norm(low, high), colormaps["viridis"].with_extremes(bad=FAINT))
    colors = scale.to_rgba(np.ma.masked_invalid(values))
    size = float(np.clip(5000 / len(network), 10, 230))
    outline = 0.5 if len(network) <= NUMBERED else 0
    dots = {"node_size": size, "node_color": colors, "edgecolors": INK, "linewidths": outline}
    nx.draw_networkx_nodes(network, places, ax=axes, **dots)
    if len(network) <= NUMBERED:
        _number_agents(axes, places, values <= (low + high) / 2)
    if not known.size:
        return None
    if low < high:  # else there is nothing to tell apart
        _color_bar(axes, scale, measure)
    return low, high


def _number_agents(axes: Axes, places: Places, dark: np.ndarray) -> None:
    """Black numbers on the bright half of the colors, white ones on the dark half."""
    size = 8 if len(places) <= 30 else 5.5
    for agent, (x, y) in places.items():
        shade = "white" if dark[agent] else "black"
        axes.text(x, y, str(agent), color=shade, size=size, ha="center", va="center_baseline")


def _norm(low: float, high: float) -> Normalize:
    spare = max(0.0, SMALLEST_RANGE - (high - low)) / 2
    return Normalize(low - spare, high + spare)


def _color_bar(axes: Axes, scale: ScalarMappable, measure: str) -> None:
    assert isinstance(axes.figure, Figure)
    bar = axes.figure.colorbar(scale, ax=axes, shrink=0.75, label=words(measure))
    bar.ax.yaxis.set_major_locator(MaxNLocator(5))
    bar.ax.spines["outline"].set_visible(False)
    if is_share(measure):
        bar.ax.yaxis.set_major_formatter(percent(decimals=1))


def _told(network: nx.Graph, drawn: int) -> str:
    edges = network.number_of_edges()
    part = f" ({drawn:,} of them drawn, chosen at random)" if drawn < edges else ""
    return f"{counted(len(network), 'agent')}, {counted(edges, 'edge')}{part}."


def _changing(schedules: Sequence[str]) -> str:
    if [*schedules] == ["static"]:
        return ""
    several = ", not the same in every run" if len(schedules) > 1 else ""
    return f" Changing with the rounds{several}: {'; '.join(schedules)}."


def _colored(record: Record, measure: str, seen: tuple[float, float] | None) -> str:
    if seen is None:
        return "No agent has a value to color it by."
    low, high = (show(Number(value), measure) for value in seen)
    what = f"last {words(measure)} of {record.label}, seed {record.seed}"
    if seen[0] == seen[1]:
        return f"The {what}, is the same everywhere: {low}."
    return f"Colored by the {what}: {low if low == high else f'from {low} to {high}'}."


def _places(network: nx.Graph, graph: dict[str, Any]) -> Places:
    if graph.get("positions"):
        return dict(enumerate(graph["positions"]))
    if kind_of(graph) in CIRCLES:
        return nx.circular_layout(network)
    if len(network) <= 100 and nx.is_connected(network):
        return nx.kamada_kawai_layout(network)
    return nx.spring_layout(network, seed=0, iterations=30)


def _some(edges: list) -> list:
    """All edges, or a fixed random choice of them where they are too many to be seen."""
    if len(edges) <= EDGES_DRAWN:
        return edges
    chosen = np.random.default_rng(0).choice(len(edges), EDGES_DRAWN, replace=False)
    return [edges[i] for i in sorted(chosen)]
