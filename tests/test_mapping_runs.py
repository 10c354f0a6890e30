"""Whole mapping runs: the demo, and the published one in short."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from torch.nn.functional import binary_cross_entropy

from peerlearn import experiment, record
from peerlearn.data import MissingData
from peerlearn.reproduce.dinno_mapping import DinnoMapping, world
from peerlearn.training import train

DEMO = Path(__file__).parents[1] / "experiments" / "mapping.toml"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_team_maps_nearly_as_well_as_with_pooled_data(tmp_path: Path) -> None:
    """And what an agent never saw, at least twice as well as agents that do not talk.

    The demo in half of its rounds; all scans have come after 300.
    """
    demo = experiment.load(DEMO)
    kept = ("DiNNO", "Centralized", "Isolated")
    half = demo.settings.rounds // 2
    few = replace(
        demo,
        settings=demo.settings.model_copy(update={"rounds": half, "evaluate_every": half}),
        algorithms={name: demo.algorithms[name] for name in kept},
    )
    experiment.run(few, tmp_path)
    final = {r.label: r.final for r in record.read_all(tmp_path)}
    found = {name: measured["wall_iou"].mean() for name, measured in final.items()}
    unseen = {name: measured["wall_iou_unseen"].mean() for name, measured in final.items()}
    assert found["DiNNO"] > found["Centralized"] - 0.05
    assert unseen["DiNNO"] > 2 * unseen["Isolated"]
    assert final["DiNNO"]["consensus_error"].max() < 0.1


def test_a_short_run_is_judged_twice_and_its_table_says_how_short_it_was() -> None:
    """80 of 4,000 rounds, evaluated at their start and end."""
    reproduction = DinnoMapping()
    short = reproduction.shorten(reproduction.plan())
    assert {(run.rounds, run.evaluate_every) for run in short} == {(80, 80)}
    measures = {"loss": [0.5, 0.7], "wall_iou": [0.1, 0.2], "wall_iou_unseen": [0.0, 0.1]}
    evaluation = {"kind": "evaluation", "round": 80, "measures": measures, "seconds": {}}
    records = {
        run.folder: record.from_lines([
            {"kind": "start", "schema": 1, "label": run.label, "seed": 0, "rounds": run.rounds},
            evaluation, {"kind": "end", "round": 80},
        ])
        for run in short
    }  # fmt: skip
    heading, _, first = reproduction.table(records).splitlines()[:3]
    assert "| 80 rounds: validation BCE | 80 rounds: IoU of walls |" in heading
    assert heading.count("rounds") == 3
    assert first == "| DiNNO | as centralized | 0.600 | 0.150 | 0.050 |"


@pytest.fixture
def plan() -> None:
    try:
        world()
    except MissingData as missing:
        pytest.skip(f"DiNNO's floor plan is not here: {missing}")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_published_direction_in_short(plan: None, tmp_path: Path) -> None:
    """After 80 rounds: validation losses of the team, of pooled data, of plain steps.

    The team has learned more than how many walls there are, which is all that a map tells that is
    the same everywhere. Minibatches and validation have a part of their points: that is enough for
    the direction.
    """
    reproduction = DinnoMapping()
    loss = {}
    for run in reproduction.shorten(reproduction.plan()):
        if run.label in ("DiNNO", "Centralized", "DSGT", "DSGD"):
            task = run.task()
            fewer = tuple(values[::9] for values in task.test)  # 9 is prime to a scan's 500
            task = replace(task, batch_size=task.batch_size // 5, test=fewer)
            ended = train(
                task, run.algorithm, run.graph, rounds=run.rounds, seed=run.seed,
                evaluate_every=run.evaluate_every, label=run.label,
            )  # fmt: skip
            loss[run.label] = ended.final["loss"].mean()
    share = task.test[1].mean()
    constant = binary_cross_entropy(share.expand_as(task.test[1]), task.test[1])
    assert loss["DiNNO"] < constant
    assert loss["DiNNO"] < 1.1 * loss["Centralized"]
    assert loss["DiNNO"] < 0.5 * min(loss["DSGT"], loss["DSGD"])
