"""Roll-outs in a report: what is drawn is what was played, and rewards are measured as rewards."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.colors import same_color, to_rgb
from matplotlib.patches import Circle
from PIL import Image
from rich.console import Console

import peerlearn as pl
from peerlearn import snapshots
from peerlearn.record import FILE_NAME, from_lines, read_all
from peerlearn.report import build, figures, rollouts, style, summarize, summary_table
from peerlearn.report.chases import chases
from peerlearn.report.measures import leading, rises
from peerlearn.report.numbers import Number, show
from peerlearn.report.summary import cells

STEPS, EVALUATED = 20, (0, 10)
NAMES = {"rollout-frames.png", "rollout-frames.svg", "rollout-chase.gif"}
REWARDS = [-90.0, 110.25]


def chase(lag: float = 0.0, start: float = 0.0, steps: int = STEPS) -> dict[str, np.ndarray]:
    """Two pursuers go right after an evader that waits: (T + 1, things, 2).

    The first begins 1 away and comes 0.1 nearer in a step, after ``lag`` steps.
    """
    way = np.maximum(np.arange(steps + 1) - lag, 0) / 10
    first, second, evader = (np.zeros((steps + 1, 2)) for _ in range(3))
    first[:, 0] = start - 1 + np.minimum(way, 1)
    second[:, 0], second[:, 1] = start - 0.5, 0.8
    evader[:, 0] = start
    obstacles = np.tile([[0.5, -0.5], [-0.5, 0.5], [0.9, 0.9]], (steps + 1, 1, 1))
    return {
        "pursuers": np.stack([first, second], 1), "evaders": evader[:, None],
        "obstacles": obstacles,
    }  # fmt: skip


def played(
    folder: Path,
    method: str = "DiNNO",
    *,
    seed: int = 0,
    places: dict[str, np.ndarray] | None = None,
    kept: Sequence[int] = EVALUATED,
    rewards: Sequence[float] = REWARDS,
) -> Path:
    """A run's folder; what is kept of its first evaluation is not what it plays at last."""
    run = folder / f"{method}{seed}"
    networks = 1 if method == "Centralized" else 2
    lines: list[dict[str, Any]] = [_start(method, seed)]
    for k, reward in zip(EVALUATED, rewards, strict=True):
        own = {"reward": reward / 2, "team_reward": reward, "captures": 1.0, "first_capture": 9.0}
        own |= {"environment_steps": 700.0 * (k or 1)}
        sent = {f"{what}_{way}": 100.0 * k for what in ("messages", "bytes") for way in WAYS}
        measures = {name: [value] * networks for name, value in own.items()}
        measures |= {name: [value] * 2 for name, value in sent.items()}
        lines.append({"kind": "evaluation", "round": k, "measures": measures, "seconds": {}})
    run.mkdir(parents=True)
    (run / FILE_NAME).write_text("".join(json.dumps(x) + "\n" for x in lines), encoding="utf-8")
    for k in kept:
        shown = chase(lag=STEPS) if k == 0 else (places or chase())
        tensors = {n: torch.from_numpy(p).float() for n, p in shown.items()}
        every = {n: t.expand(networks, *t.shape) for n, t in tensors.items()}
        snapshots.save(snapshots.path(run, k), every)
    return folder


WAYS = ("sent", "received")


def _start(method: str, seed: int) -> dict[str, Any]:
    graph = {"name": "complete", "schedule": None, "agents": 2, "edges": [[0, 1]]}
    return {
        "kind": "start",
        "schema": 1,
        "started": f"2025-01-01T00:00:{len(method):02d}+00:00",
        "algorithm": method,
        "label": method,
        "task": {"name": "pursuit"},
        "agents": 2,
        "graph": None if method == "Centralized" else graph,
        "rounds": 10,
        "seed": seed,
    }


def strip(folder: Path) -> style.Drawing:
    (drawing,) = rollouts.draw(read_all(folder))
    return drawing


def gif(folder: Path) -> Image.Image:
    (animation,) = rollouts.animate(read_all(folder))
    return Image.open(io.BytesIO(animation.gif))


def circles(axes: Axes, kind: str) -> dict[tuple[float, float], float]:
    """Place -> radius of all bodies of a kind."""
    found = [a for a in axes.artists + axes.patches if isinstance(a, Circle)]
    of_kind = [c for c in found if same_color(c.get_facecolor(), rollouts.COLORS[kind])]
    return {
        tuple(np.round(np.array(c.get_center(), float), 3)): round(c.get_radius(), 3)
        for c in of_kind
    }


def test_a_row_for_each_method_and_a_panel_for_each_moment(tmp_path: Path) -> None:
    for method in ("DSGD", "DiNNO", "Centralized"):
        played(tmp_path, method)
    drawing = strip(tmp_path)
    panels = drawing.figure.axes
    steps = [f"step {k}" for k in (0, 4, 8, 12, 16, 20)]
    assert [axes.get_xlabel() for axes in panels] == steps * 3
    titles = [axes.get_title("left") for axes in panels]
    assert [t.partition(" · ")[0] for t in titles[::6]] == ["DSGD", "DiNNO", "Centralized"]
    assert not any(titles[k] for k in range(18) if k % 6)
    assert drawing.wide


def test_bodies_where_they_were_as_large_as_they_are(tmp_path: Path) -> None:
    third = strip(played(tmp_path)).figure.axes[2]  # after 8 of 20 steps
    assert circles(third, "pursuers") == {(-0.2, 0.0): 0.075, (-0.5, 0.8): 0.075}
    assert circles(third, "evaders") == {(0.0, 0.0): 0.05}
    assert circles(third, "obstacles") == dict.fromkeys([(0.5, -0.5), (-0.5, 0.5), (0.9, 0.9)], 0.2)


@pytest.mark.parametrize(("number", "begun"), [(0, 0.0), (2, -1.0), (3, -0.8)])
def test_a_trail_of_the_latest_steps(number: int, begun: float, tmp_path: Path) -> None:
    """After 0, 8 and 12 of 20 steps."""
    axes = strip(played(tmp_path)).figure.axes[number]
    trail = np.asarray(axes.lines[0].get_xydata())
    assert same_color(axes.lines[0].get_color(), rollouts.COLORS["pursuers"])
    assert len(trail) == min(4 * number, rollouts.TRAIL) + 1
    assert trail[0, 0] == pytest.approx(begun or -1)


def test_the_first_touch_is_told(tmp_path: Path) -> None:
    """Bodies of radii 0.075 and 0.05 touch when they are less than 0.125 apart."""
    played(tmp_path, "DiNNO")
    played(tmp_path, "DSGD", places=chase(lag=STEPS))
    titles = {axes.get_title("left") for axes in strip(tmp_path).figure.axes}
    assert titles == {"", "DiNNO · first touch in step 9", "DSGD · no touch"}


def test_the_first_touch_is_what_the_environment_counts() -> None:
    world = pl.tasks.pursuit().make_environment()
    for seed in range(20):
        scenes: list[dict[str, np.ndarray]] = []
        seen = world.reset(1, np.random.default_rng(seed))
        scenes.append(world.scene())
        for _ in range(world.steps):
            ahead = seen[:, :, -4:-2]  # where the evader is
            actions = np.zeros((3, 1, 5))
            actions[..., 1::2], actions[..., 2::2] = 9 * ahead, -9 * ahead
            seen = world.step(actions).observations
            scenes.append(world.scene())
        places = {n: np.stack([s[n][:, 0] for s in scenes]).astype(np.float32) for n in scenes[0]}
        found = rollouts.Rollout(from_lines([_start("DiNNO", seed)]), 0, places).first_touch
        assert (found or world.steps) == world.tally()["first_capture"][0]


def test_the_animation_has_a_frame_for_each_step(tmp_path: Path) -> None:
    played(tmp_path, "DiNNO")
    played(tmp_path, "DSGD", places=chase(lag=STEPS))
    moving = gif(tmp_path)
    assert moving.n_frames == STEPS + 1
    assert moving.info["loop"] == 0
    durations, reds = [], []
    for number in range(moving.n_frames):
        moving.seek(number)
        pixels = np.asarray(moving.convert("RGB"), float) / 255
        durations.append(moving.info["duration"])
        red = np.abs(pixels - to_rgb(rollouts.COLORS["pursuers"])).max(axis=2) < 0.02
        reds.append(np.flatnonzero(red.any(axis=0)).max())
        for color in (*rollouts.COLORS.values(), "white"):
            assert np.abs(pixels - to_rgb(color)).max(axis=2).min() < 0.02
    assert durations == [100] * STEPS + [2000]
    assert reds[7] > reds[0] + 10  # DiNNO, on the right, has a pursuer that passes the other


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollouts, "MOST_FRAMES", 3)


@pytest.mark.usefixtures("hurried")
def test_a_long_chase_has_no_more_frames_than_can_be_watched(tmp_path: Path) -> None:
    assert gif(played(tmp_path)).n_frames == 3


@pytest.mark.usefixtures("hurried")
def test_the_same_roll_outs_give_the_same_animation(tmp_path: Path) -> None:
    once, twice = (rollouts.animate(read_all(played(tmp_path / name))) for name in "ab")
    assert once == twice


@pytest.mark.usefixtures("hurried")
def test_a_page_with_roll_outs(tmp_path: Path) -> None:
    played(tmp_path, "DiNNO")
    played(tmp_path, "Centralized")
    page = build(tmp_path).read_text(encoding="utf-8")
    assert 'id="rollout-frames" class="wide"' in page
    assert 'id="rollout-chase" class="moving"' in page
    assert 'src="data:image/gif;base64,R0lGOD' in page
    sentence = (
        "The most likely actions of the policies after 10 rounds, seed 0, from the same start for "
        "all methods: pursuers (red) hunt the evader (green) among obstacles (black); lines are "
        "their ways in the last 10 steps."
    )
    assert page.count(f"<p>{sentence}</p>") == 2
    assert {p.name for p in (tmp_path / "figures").glob("rollout*")} == NAMES
    assert "map-" not in page


def test_colors_of_bodies_stay_on_a_dark_page() -> None:
    assert not set(rollouts.COLORS.values()) & {*style.LIGHT, style.INK}


@pytest.mark.parametrize(
    "other", [{}, {"map": np.zeros((2, 3))}, {"pursuers": np.zeros((2, 3))}], ids=str
)
def test_other_runs_have_no_such_pictures(other: dict[str, np.ndarray], tmp_path: Path) -> None:
    played(tmp_path, kept=EVALUATED if other else (), places=other)
    if other:
        snapshots.path(tmp_path / "DiNNO0", 0).unlink()
    records = read_all(tmp_path)
    assert not rollouts.draw(records)
    assert not rollouts.animate(records)


def test_snapshots_of_rounds_to_be_run_again_do_not_count(tmp_path: Path) -> None:
    played(tmp_path, kept=(0, 10, 20))
    ((found,),) = [c.rollouts.values() for c in chases(read_all(tmp_path))]
    assert found.round == 10


def test_methods_are_compared_from_the_same_start(tmp_path: Path) -> None:
    """Another seed starts elsewhere; the start is drawn that most methods share."""
    for seed, methods in enumerate((["DiNNO"], ["DiNNO", "DSGD"], ["DSGT"])):
        for method in methods:
            played(tmp_path, method, seed=seed, places=chase(start=0.1 * seed))
    found = chases(read_all(tmp_path))
    assert [{label: r.record.seed for label, r in c.rollouts.items()} for c in found] == [
        {"DSGD": 1, "DiNNO": 1}, {"DSGT": 2},
    ]  # fmt: skip
    names = [drawing.name for drawing in rollouts.draw(read_all(tmp_path))]
    assert names == ["rollout-frames", "rollout-frames-2"]
    assert "same start" not in rollouts.draw(read_all(tmp_path))[1].caption


@pytest.mark.parametrize(("farthest", "told"), [(2.5, False), (40.0, True)])
def test_who_leaves_the_field(farthest: float, told: bool, tmp_path: Path) -> None:
    places = chase()
    places["evaders"] = np.linspace([[0, 0]], [[farthest, 0]], STEPS + 1)
    drawing = strip(played(tmp_path, places=places))
    left, right = drawing.figure.axes[0].get_xlim()
    bottom, top = drawing.figure.axes[0].get_ylim()
    assert right - left == pytest.approx(top - bottom)
    assert right - left < 6
    assert (right < farthest + 0.05) == told
    assert ("Who leaves a frame" in drawing.caption) == told
    assert left <= -1.075


@pytest.mark.usefixtures("hurried")
def test_a_lost_body_and_a_world_without_obstacles(tmp_path: Path) -> None:
    places = chase()
    places["pursuers"][5:, 0] = np.nan
    places["obstacles"] = places["obstacles"][:, :0]
    drawing = strip(played(tmp_path, places=places))
    assert "(green); lines" in drawing.caption
    assert np.isfinite(drawing.figure.axes[0].get_xlim()).all()
    assert "nan" not in style.save(drawing, tmp_path).lower()
    assert gif(tmp_path).n_frames == 3


def test_what_is_measured_of_rewards() -> None:
    measured = ["reward", "team_reward", "captures", "first_capture", "environment_steps"]
    assert leading(measured) == "team_reward"
    assert leading(["reward", "environment_steps"]) == "reward"
    assert leading(["environment_steps"]) == "loss"
    assert leading(["team_reward", "accuracy"][::-1]) == "accuracy"
    assert [rises(m) for m in measured[:4]] == [True, True, True, False]
    assert show(Number(-1234.56, 0.25), "team_reward") == "-1,234.6 ± 0.2"
    assert show(Number(3.14159), "reward") == "3.1"


def test_a_team_has_one_reward(tmp_path: Path) -> None:
    played(tmp_path, "DiNNO", kept=())
    played(tmp_path, "Centralized", kept=(), rewards=[-90.0, 90.0])
    row, other = summarize(read_all(tmp_path))
    assert row.mean == (110.25, None)
    assert other.mean == (90.0, None)
    assert (row.best, row.worst, row.variance) == (None, None, None)
    assert cells(row)["team reward, mean"] == "110.2"
    console = Console(width=80)
    with console.capture() as shown:
        console.print(summary_table(read_all(tmp_path)))
    assert "110.2" in shown.get()
    assert "agent " not in shown.get()
    page = build(tmp_path).read_text(encoding="utf-8")
    assert "Mean team reward: DiNNO 110.2, Centralized 90.0." in page
    assert "worst agent" not in page


def test_rewards_over_environment_steps(tmp_path: Path) -> None:
    """The mean of the seeds, a thin line for each, and a band between them."""
    played(tmp_path, seed=0)
    played(tmp_path, seed=1, rewards=[-70.0, 50.25])
    drawings = {d.name: d for d in figures.draw(read_all(tmp_path))}
    drawing = drawings["environment_steps"]
    axes = drawing.figure.axes[0]
    assert drawing.title == "Team reward against environment steps"
    assert axes.get_xlabel() == "environment steps"
    *seeds, mean = [np.asarray(line.get_xydata()).tolist() for line in axes.lines]
    assert seeds == [[[700, -90], [7000, 110.25]], [[700, -70], [7000, 50.25]]]
    assert mean == [[700, -80], [7000, 80.25]]
    band = axes.collections[0].get_paths()[0].vertices
    assert band[:, 1].min() == -90
    assert band[:, 1].max() == 110.25
    assert "mean of 2 seeds; thin lines and band: the seeds" in drawing.caption
    assert list(drawings).index("rounds") + 1 == list(drawings).index("environment_steps")


def test_runs_that_play_nothing_have_no_such_chart() -> None:
    measures = {"accuracy": [0.5, 0.6], "loss": [1.0, 1.0]}
    evaluations = [
        {"kind": "evaluation", "round": k, "measures": measures, "seconds": {}} for k in EVALUATED
    ]
    record = from_lines([_start("DiNNO", 0), *evaluations])
    assert "environment_steps" not in {d.name for d in figures.draw([record])}


def test_a_graph_of_agents_with_equal_rewards_has_no_color_bar(tmp_path: Path) -> None:
    graph = figures.draw(read_all(played(tmp_path)))[0]
    assert len(graph.figure.axes) == 1
    assert graph.caption.endswith("The last reward of DiNNO, seed 0, is the same everywhere: 55.1.")
