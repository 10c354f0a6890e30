"""The maps of a report: the building, what each method made of it, and how a map grew."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import networkx as nx
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from numpy.typing import NDArray

from ..record import Record
from ..words import counted, listed
from .animation import Animation, Film
from .groups import first_to_talk
from .mapped import Arrays, Building, MappedRun, buildings
from .measures import talks
from .panels import AGENTS, color, draw_agents, draw_ways, panels, shades, show, truth
from .style import Drawing, shorten, styled

EDGE = "#2b323a"  # of the graph
FAINT_WALLS, FAINT_WAYS = 0.4, 0.3  # behind the graph
FRAMES = 6  # of a strip
SHOWN = 12  # agents whose own maps are shown
FRAME_MS = 250  # of the animation
SHADES_KEPT = 40  # of 256: GIF has few colors


def draw(records: Sequence[Record]) -> list[Drawing]:
    """Every picture of maps; none where no run has kept one."""
    with styled():
        return [drawing for building in buildings(records) for drawing in _draw(building)]


def animate(records: Sequence[Record]) -> list[Animation]:
    """A growing map for each building of which several were kept."""
    with styled():
        return [_growing(b) for b in buildings(records) if len(b.watched[1].rounds) > 1]


def _draw(building: Building) -> Iterator[Drawing]:
    yield _ground(building)
    yield from _graphs(building)
    yield _methods(building)
    yield from _own_maps(building)
    if len(building.watched[1].rounds) > 1:
        yield _strip(building)


def _ground(building: Building) -> Drawing:
    scene = building.scene
    figure, (axes,) = panels(1, scene)
    axes.set_axis_on()
    axes.set(xlabel="metres", ylabel="metres")
    show(axes, scene, truth(scene))
    draw_ways(axes, scene, alpha=0.9)
    place, *ends = scene["scan"][0]
    for end in ends:
        axes.plot(*np.stack([place, end]).T, ".-", color=color(0), linewidth=0.5, markersize=2.5)
    draw_agents(axes, scene["ways"][:, 0])
    gray = "" if scene["known"].all() else "; gray: not judged"
    caption = (
        f"Black: walls{gray}. Each line is the way of an agent, which starts at its number; "
        "the rays are one scan of agent 0."
    )
    return Drawing(building.name("map-ground"), figure, "The building and the agents", caption)


def _graphs(building: Building) -> Iterator[Drawing]:
    """As the first method that talks over each graph left its agents."""
    placed = {label: run.record for label, run in building.runs.items() if "edges" in run.last}
    for number, (graph, label) in enumerate(first_to_talk(placed).items(), start=1):
        yield _graph(building.name("map-graph", number), graph, label, building.runs[label])


def _graph(name: str, graph: str, label: str, run: MappedRun) -> Drawing:
    places, edges = run.last["positions"], run.last["edges"]
    figure, (axes,) = panels(1, run.scene)
    show(axes, run.scene, 1 - FAINT_WALLS * (1 - truth(run.scene)))
    draw_ways(axes, run.scene, FAINT_WAYS)
    for edge in edges:
        axes.plot(*places[edge].T, color=EDGE, linewidth=1.3 if len(edges) < 300 else 0.4)
    draw_agents(axes, places)
    network = nx.Graph(edges.tolist())
    network.add_nodes_from(range(len(places)))
    parts = nx.number_connected_components(network)
    apart = f", in {parts} parts that do not hear of each other" if parts > 1 else ""
    caption = (
        f"{counted(len(places), 'agent')} and {counted(len(edges), 'edge')}{apart}: {_when(run)} "
        f"of {label}."
    )
    return Drawing(name, figure, f"Who talks to whom: {graph}", caption)


def _methods(building: Building) -> Drawing:
    scene, runs = building.scene, building.runs
    grounds = _grounds(scene)
    figure, grid = panels(len(grounds) + len(runs), scene, across=3)
    for axes, (title, pixels) in zip(grid, grounds.items(), strict=False):
        show(axes, scene, pixels, title)
    for axes, (label, run) in zip(grid[len(grounds) :], runs.items(), strict=True):
        title = shorten(label) + _scored(run.iou(run.rounds[-1]))
        show(axes, scene, shades(scene, _common(run.last)), title)
    seeds = sorted({run.record.seed for run in runs.values()})
    caption = (
        f"Mean of the agents' maps at the last evaluation, seed {listed(seeds)}. "
        f"{_explained(scene)}{_drawn(scene)} IoU: walls found and real, over walls found or real; "
        "mean over the agents."
    )
    title = "What each method mapped"
    return Drawing(building.name("map-methods"), figure, title, caption, wide=True)


def _grounds(scene: Arrays) -> dict[str, NDArray[Any]]:
    """title -> pixels of what maps are judged by and, of a log, of what all its scans draw."""
    if "raw_wall" not in scene:
        return {"ground truth": truth(scene)}
    raw = {"wall": scene["raw_wall"], "known": scene["raw_known"]}
    return {"held-out scans": truth(scene), "all raw scans": truth(raw)}


def _drawn(scene: Arrays) -> str:
    drawn = " Of scans: black where a beam ended, white where beams only crossed, else gray."
    return drawn if "raw_wall" in scene else ""


def _own_maps(building: Building) -> Iterator[Drawing]:
    """The maps of agents that do not talk, for each method of that kind."""
    runs = building.runs.items()
    alone = [(label, run) for label, run in runs if run.networks > 1 and not talks(run.record)]
    for number, (label, run) in enumerate(alone, start=1):
        maps, scores = run.last["map"][:SHOWN] / 255, run.iou(run.rounds[-1])
        figure, grid = panels(len(maps), run.scene, across=4)
        for agent, (axes, own) in enumerate(zip(grid, maps, strict=True)):
            title = f"agent {agent}{_scored(scores[agent : agent + 1])}"
            show(axes, run.scene, shades(run.scene, own), title)
            axes.plot(*run.scene["ways"][agent].T, color=color(agent), linewidth=1, alpha=0.6)
        some = f" The first {SHOWN} of {run.networks:,} agents." if run.networks > SHOWN else ""
        caption = (
            f"The map of each agent, which hears from no other, and its way: {_when(run)}.{some} "
            f"{_explained(run.scene)}"
        )
        title = f"Each agent's own map: {label}"
        yield Drawing(building.name("map-own", number), figure, title, caption, wide=True)


def _strip(building: Building) -> Drawing:
    label, run = building.watched
    chosen = np.unique(np.linspace(0, len(run.rounds) - 1, FRAMES).round().astype(int))
    figure, grid = panels(len(chosen), run.scene, across=3)
    for axes, number in zip(grid, chosen, strict=True):
        _show_round(axes, run, run.rounds[number])
    name, title = building.name("map-frames"), f"The map as it grows: {label}"
    return Drawing(name, figure, title, _grown(run), wide=True)


def _growing(building: Building) -> Animation:
    label, run = building.watched
    figure, (axes,) = panels(1, run.scene)
    film = Film(figure, _colors())
    for round in run.rounds:
        axes.clear()
        axes.set_axis_off()
        _show_round(axes, run, round)
        film.take()
    name, title = building.name("map-growing"), f"The map growing, round by round: {label}"
    return Animation(name, film.gif(FRAME_MS), title, _grown(run))


def _colors() -> NDArray[Any]:
    """All colors of a frame: shades of walls, judged or not, and the agents."""
    steps = np.linspace(0, 1, SHADES_KEPT)
    walls = [shades({"known": np.full(SHADES_KEPT, known)}, steps) for known in (True, False)]
    return np.concatenate([*walls, [to_rgb(c) for c in AGENTS]])


def _show_round(axes: Axes, run: MappedRun, round: int) -> None:
    """The common map after a round, and where the agents are then."""
    kept = run.at(round)
    title = f"{counted(round, 'round')}{_scored(run.iou(round))}"
    show(axes, run.scene, shades(run.scene, _common(kept)), title)
    for agent, place in enumerate(kept.get("positions", ())):
        axes.plot(*place, "o", color=color(agent), markersize=4, markeredgecolor="white")


def _common(kept: Arrays) -> NDArray[Any]:
    """(H, W) the mean of all networks' maps: a probability of walls."""
    return kept["map"].mean(axis=0) / 255


def _scored(iou: NDArray[np.float64]) -> str:
    known = iou[np.isfinite(iou)]
    return f" · IoU {known.mean():.2f}" if known.size else ""


def _when(run: MappedRun) -> str:
    return f"after {counted(run.rounds[-1], 'round')}, seed {run.record.seed}"


def _grown(run: MappedRun) -> str:
    mean = "Mean of the agents' maps" if run.networks > 1 else "The map"
    where = " Dots: where the agents are." if "positions" in run.last else ""
    rounds = f"from {run.rounds[0]:,} to {counted(run.rounds[-1], 'round')}"
    return f"{mean} {rounds}, seed {run.record.seed}.{where} {_explained(run.scene)}"


def _explained(scene: Arrays) -> str:
    veiled = "" if scene["known"].all() else "; under a gray veil: not judged"
    return f"White: free; black: a wall{veiled}."
