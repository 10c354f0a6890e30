"""The maps in a report: what is drawn is what was kept, and only where something was."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from peerlearn import snapshots
from peerlearn.record import FILE_NAME, read_all
from peerlearn.report import animation, build, maps, style
from peerlearn.report.panels import AGENTS

AGENTS_HERE = 3
EXTENT = (-2.0, 2.0, -1.0, 1.0)
WALL = np.zeros((8, 16), bool)
WALL[[0, -1]] = WALL[:, [0, -1]] = True
KNOWN = np.ones_like(WALL)
KNOWN[0, :3] = False
WAYS = np.stack([[[0.5 * a, 0.1 * k] for k in range(5)] for a in range(AGENTS_HERE)])
SCAN = np.tile(np.array([[0.0, 0.0], [1.9, 0.0], [0.0, 0.9], [np.nan, np.nan]]), (3, 1, 1))
SHARED = {"map-ground", "map-methods", "map-frames"}


def mapped(
    folder: Path,
    method: str = "DiNNO",
    *,
    seed: int = 0,
    evaluated: Sequence[int] = (0, 5, 10),
    kept: Sequence[int] | None = None,
    edges: Sequence[tuple[int, int]] = ((0, 1),),
    wall: np.ndarray = WALL,
    raw: np.ndarray | None = None,
    agents: int = AGENTS_HERE,
) -> Path:
    """A run's folder: network i after k rounds maps shade 20 i + k + seed, and finds i + k %."""
    run = folder / f"{method}{seed}"
    networks = 1 if method == "Centralized" else agents
    talks = method not in ("Centralized", "Isolated")
    lines: list[dict[str, Any]] = [_start(method, seed, agents, talks)]
    for k in evaluated:
        heard = [k * talks] * agents
        iou = [(a + k) / 100 for a in range(networks)]
        measures = {"loss": [1.0] * networks, "wall_iou": iou, "messages_received": heard}
        lines.append({"kind": "evaluation", "round": k, "measures": measures, "seconds": {}})
    scene = {"wall": wall, "known": KNOWN, "ways": WAYS, "scan": SCAN, "extent": EXTENT}
    if raw is not None:
        scene |= {"raw_wall": raw, "raw_known": np.ones_like(raw)}
    for k in evaluated if kept is None else kept:
        shades = (
            np.full((networks, *wall.shape), k + seed) + 20 * np.arange(networks)[:, None, None]
        )
        found = {
            "map": torch.from_numpy(shades.astype(np.uint8)),
            "positions": torch.from_numpy(WAYS[:, k % 5]),
            "edges": torch.tensor(edges if talks else [], dtype=torch.int64).reshape(-1, 2),
        }
        snapshots.save(snapshots.path(run, k), found)
        tensors = {n: torch.from_numpy(np.asarray(t)) for n, t in scene.items()}
        snapshots.save(snapshots.scene_path(run), tensors)
    run.mkdir(parents=True, exist_ok=True)
    (run / FILE_NAME).write_text("".join(json.dumps(x) + "\n" for x in lines), encoding="utf-8")
    return folder


def _start(method: str, seed: int, agents: int, talks: bool) -> dict[str, Any]:
    graph = {"name": "", "schedule": "proximity(radius=9.0)", "agents": agents, "edges": [[1, 2]]}
    return {
        "kind": "start",
        "schema": 1,
        "started": f"2025-01-01T00:00:{len(method):02d}+00:00",
        "algorithm": method,
        "label": method,
        "task": {"name": "mapping"},
        "agents": agents,
        "graph": graph if talks else None,
        "rounds": 10,
        "seed": seed,
    }


def drawn(folder: Path) -> dict[str, style.Drawing]:
    return {d.name: d for d in maps.draw(read_all(folder))}


def images(figure: Figure) -> list[np.ndarray]:
    """The pictures on the panels of a figure, without its color bar."""
    return [np.asarray(axes.images[0].get_array()) for axes in figure.axes if axes.images]


def titles(figure: Figure) -> list[str]:
    return [axes.get_title("left") for axes in figure.axes if axes.images]


def shade(value: float) -> np.ndarray:
    return np.asarray(maps.shades({"known": np.array([[True]])}, np.array([[value]]))[0, 0])


def frames(gif: bytes) -> Image.Image:
    return Image.open(io.BytesIO(gif))


def test_every_picture_of_a_team_that_talks_and_one_that_does_not(tmp_path: Path) -> None:
    for method in ("DSGD", "DiNNO", "Isolated", "Centralized"):
        mapped(tmp_path, method)
    pictures = drawn(tmp_path)
    assert set(pictures) == SHARED | {"map-graph", "map-own"}
    assert [len(images(d.figure)) for d in pictures.values()] == [1, 1, 5, 3, 3]
    wide = {d.name for d in pictures.values() if d.wide}
    assert wide == {"map-methods", "map-own", "map-frames"}


def test_a_page_with_maps_needs_nothing_from_outside(tmp_path: Path) -> None:
    mapped(tmp_path)
    page = build(tmp_path).read_text(encoding="utf-8")
    assert 'src="data:image/gif;base64,R0lGOD' in page
    assert 'alt="The map growing, round by round: DiNNO. Mean of' in page
    assert 'id="map-frames" class="wide"' in page
    assert "http:" not in page
    assert "https:" not in page
    names = {p.name for p in (tmp_path / "figures").glob("map-*")}
    figures = SHARED | {"map-graph"}
    assert names == {f"{n}.{end}" for n in figures for end in ("svg", "png")} | {"map-growing.gif"}
    assert frames((tmp_path / "figures" / "map-growing.gif").read_bytes()).n_frames == 3


def test_the_same_maps_give_the_same_animation(tmp_path: Path) -> None:
    once, twice = (maps.animate(read_all(mapped(tmp_path / name))) for name in "ab")
    assert once == twice


def test_a_run_without_maps_has_no_pictures_of_them(tmp_path: Path) -> None:
    mapped(tmp_path / "nothing kept", kept=())
    other = mapped(tmp_path / "something else") / "DiNNO0"
    for k in snapshots.rounds(other):
        snapshots.save(snapshots.path(other, k), {"field": torch.zeros(3, 2)})
    for folder in tmp_path.iterdir():
        assert not drawn(folder)
        assert not maps.animate(read_all(folder))
        page = build(folder).read_text(encoding="utf-8")
        assert "<img" not in page
        assert not list((folder / "figures").glob("map-*"))


def test_the_common_map_is_the_mean_of_the_agents(tmp_path: Path) -> None:
    figure = drawn(mapped(tmp_path))["map-methods"].figure
    truth, common = images(figure)
    assert common[4, 4] == pytest.approx(shade((10 + 30 + 50) / 3 / 255))
    assert truth[4, 4] == pytest.approx([1, 1, 1])
    assert truth[-1, 4] == pytest.approx([0, 0, 0])
    assert titles(figure) == ["ground truth", "DiNNO · IoU 0.11"]


def test_beside_the_maps_of_a_log_stands_what_all_its_scans_draw(tmp_path: Path) -> None:
    drawing = drawn(mapped(tmp_path, raw=~WALL))["map-methods"]
    judged, raw, common = images(drawing.figure)
    assert titles(drawing.figure)[:2] == ["held-out scans", "all raw scans"]
    assert judged[4, 4] == pytest.approx([1, 1, 1])
    assert raw[4, 4] == pytest.approx([0, 0, 0])
    assert raw[0, 0] == pytest.approx([1, 1, 1])
    assert common[4, 4] == pytest.approx(shade((10 + 30 + 50) / 3 / 255))
    assert "black where a beam ended" in drawing.caption


def test_cells_that_are_not_judged_are_gray(tmp_path: Path) -> None:
    truth, common = images(drawn(mapped(tmp_path))["map-methods"].figure)
    assert 0.7 < truth[0, 0].mean() < 0.9
    assert abs(common[0, 0] - truth[0, 0]).max() < abs(common[4, 4] - truth[0, 0]).max()


def test_row_0_is_the_top(tmp_path: Path) -> None:
    axes = drawn(mapped(tmp_path))["map-ground"].figure.axes[0]
    assert tuple(axes.images[0].get_extent()) == EXTENT
    assert axes.images[0].origin == "upper"
    assert axes.get_ylim() == (-1, 1)


def test_ways_scan_and_numbers(tmp_path: Path) -> None:
    axes = drawn(mapped(tmp_path))["map-ground"].figure.axes[0]
    drawn_lines = [np.asarray(line.get_xydata()) for line in axes.lines]
    for way, color in zip(WAYS, AGENTS, strict=False):
        (line,) = [x for x in axes.lines if np.array_equal(x.get_xydata(), way)]
        assert line.get_color() == color
    assert sum(np.array_equal(x, SCAN[0, :2]) for x in drawn_lines) == 1
    assert {t.get_text(): t.get_position() for t in axes.texts} == {
        str(a): tuple(WAYS[a, 0]) for a in range(AGENTS_HERE)
    }


def test_isolated_agents_each_have_a_panel(tmp_path: Path) -> None:
    drawing = drawn(mapped(tmp_path, "Isolated"))["map-own"]
    assert titles(drawing.figure) == [f"agent {a} · IoU 0.1{a}" for a in range(AGENTS_HERE)]
    for agent, (own, axes) in enumerate(
        zip(images(drawing.figure), drawing.figure.axes, strict=False)
    ):
        assert own[4, 4] == pytest.approx(shade((20 * agent + 10) / 255))
        (way,) = axes.lines
        assert np.array_equal(way.get_xydata(), WAYS[agent])


def test_the_graph_as_it_was_at_the_end(tmp_path: Path) -> None:
    drawing = drawn(mapped(tmp_path))["map-graph"]
    ends = WAYS[:, 0]  # where the agents are after 10 rounds
    drawn_lines = [np.asarray(line.get_xydata()) for line in drawing.figure.axes[0].lines]
    assert sum(np.array_equal(x, ends[[0, 1]]) for x in drawn_lines) == 1
    assert not any(np.array_equal(x, ends[[1, 2]]) for x in drawn_lines)
    assert drawing.title == "Who talks to whom: proximity"
    assert "3 agents and 1 edge, in 2 parts" in drawing.caption


def test_agents_out_of_reach_have_a_graph_without_edges(tmp_path: Path) -> None:
    drawing = drawn(mapped(tmp_path, edges=()))["map-graph"]
    assert "3 agents and 0 edges, in 3 parts" in drawing.caption


@pytest.mark.parametrize("method", ["Isolated", "Centralized"])
def test_who_does_not_talk_has_no_graph(method: str, tmp_path: Path) -> None:
    pictures = drawn(mapped(tmp_path, method))
    assert set(pictures) == SHARED | ({"map-own"} if method == "Isolated" else set())


def test_only_pooled_data(tmp_path: Path) -> None:
    mapped(tmp_path, "Centralized")
    assert titles(drawn(tmp_path)["map-methods"].figure)[1:] == ["Centralized · IoU 0.10"]
    (animation,) = maps.animate(read_all(tmp_path))
    assert animation.caption.startswith("The map from 0 to 10 rounds, seed 0.")


def test_of_several_seeds_the_first_with_maps_is_drawn(tmp_path: Path) -> None:
    mapped(tmp_path, seed=2)
    mapped(tmp_path, seed=1)
    mapped(tmp_path, seed=0, evaluated=())
    drawing = drawn(tmp_path)["map-methods"]
    assert "seed 1." in drawing.caption
    assert images(drawing.figure)[1][4, 4] == pytest.approx(shade((11 + 31 + 51) / 3 / 255))


def test_interrupted_before_any_evaluation(tmp_path: Path) -> None:
    assert not drawn(mapped(tmp_path, evaluated=()))
    assert "nothing to draw" in build(tmp_path).read_text(encoding="utf-8")


def test_interrupted_after_the_first_evaluation(tmp_path: Path) -> None:
    """Nothing has grown yet, and nobody has heard of anybody."""
    assert set(drawn(mapped(tmp_path, evaluated=[0]))) == {"map-ground", "map-methods", "map-own"}
    assert not maps.animate(read_all(tmp_path))


def test_snapshots_of_rounds_to_be_run_again_do_not_count(tmp_path: Path) -> None:
    mapped(tmp_path, evaluated=[0, 5], kept=[0, 5, 10])
    assert titles(drawn(tmp_path)["map-methods"].figure)[1:] == ["DiNNO · IoU 0.06"]
    (animation,) = maps.animate(read_all(tmp_path))
    assert frames(animation.gif).n_frames == 2


def test_a_snapshot_that_cannot_be_written_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = snapshots.path(tmp_path, 3)
    snapshots.save(path, {"map": torch.zeros(2)})

    def full(tensors: dict[str, torch.Tensor], scratch: Path) -> None:
        scratch.write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(snapshots, "save_file", full)
    with pytest.raises(OSError, match="no space"):
        snapshots.save(path, {"map": torch.ones(2)})
    assert torch.equal(snapshots.load(tmp_path, 3)["map"], torch.zeros(2))
    assert list(path.parent.iterdir()) == [path]


def test_an_evaluation_whose_snapshot_is_missing(tmp_path: Path) -> None:
    mapped(tmp_path, kept=[0, 5])
    assert titles(drawn(tmp_path)["map-methods"].figure)[1:] == ["DiNNO · IoU 0.06"]


def test_six_frames_of_the_first_method_that_talks(tmp_path: Path) -> None:
    mapped(tmp_path, "Isolated")
    mapped(tmp_path, "ConsensusADMM", evaluated=range(21))
    mapped(tmp_path, "DynamicAveraging")
    strip = drawn(tmp_path)["map-frames"]
    assert strip.title.endswith("ConsensusADMM")
    rounds = [int(title.split()[0]) for title in titles(strip.figure)]
    assert rounds == [0, 4, 8, 12, 16, 20]


def test_the_animation_shows_each_snapshot(tmp_path: Path) -> None:
    (animation,) = maps.animate(read_all(mapped(tmp_path, evaluated=[0, 40, 80, 120])))
    gif = frames(animation.gif)
    assert gif.n_frames == 4
    assert gif.info["loop"] == 0
    durations = []
    for number, k in enumerate([0, 40, 80, 120]):
        gif.seek(number)
        pixels = np.asarray(gif.convert("RGB"), float) / 255
        width, height = gif.size
        expected = shade((k + 20) / 255)  # to the nearest of the colors of the animation
        assert pixels[height // 2, width // 4] == pytest.approx(expected, abs=0.03)
        for color in AGENTS[:AGENTS_HERE]:
            assert np.abs(pixels - to_rgb(color)).max(axis=2).min() < 0.02
        durations.append(gif.info["duration"])
    assert durations[:3] == [250] * 3
    assert durations[3] > 1000


def test_an_animation_that_grows_too_large_skips_rounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = read_all(mapped(tmp_path, evaluated=[0, 40, 80, 120]))
    (whole,) = maps.animate(records)
    monkeypatch.setattr(animation, "MAX_BYTES", len(whole.gif) - 1)
    (shorter,) = maps.animate(records)
    assert len(shorter.gif) < len(whole.gif)
    ends = []
    for gif in map(frames, (whole.gif, shorter.gif)):
        gif.seek(gif.n_frames - 1)
        ends.append(np.asarray(gif.convert("RGB")))
    assert frames(shorter.gif).n_frames == 2
    assert np.array_equal(*ends)


def test_each_building_has_its_pictures(tmp_path: Path) -> None:
    mapped(tmp_path, "DiNNO")
    mapped(tmp_path, "Centralized", wall=~WALL)
    assert set(drawn(tmp_path)) == SHARED | {"map-graph"} | {f"{name}-2" for name in SHARED}
    names = [animation.name for animation in maps.animate(read_all(tmp_path))]
    assert names == ["map-growing", "map-growing-2"]


def test_colors_of_agents_stay_on_a_dark_page() -> None:
    """Maps keep their shades there; the page's own colors, which change, would not be seen."""
    assert not {*AGENTS, maps.EDGE} & {*style.LIGHT, style.INK}
    parts = np.array([to_rgb(c) for c in AGENTS])
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    assert (1.05 / (linear @ [0.2126, 0.7152, 0.0722] + 0.05)).min() >= 4.5
