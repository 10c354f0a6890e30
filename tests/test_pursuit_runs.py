"""The pursuit's demo as a whole."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from peerlearn import experiment, record

DEMO = Path(__file__).parents[1] / "experiments" / "pursuit.toml"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_team_learns_to_hunt_nearly_as_well_as_with_pooled_experience(tmp_path: Path) -> None:
    """Its reward around two thirds of the rounds, and how far it came from where it began."""
    demo = experiment.load(DEMO)
    kept = {name: demo.algorithms[name] for name in ("DiNNO", "Centralized")}
    settings = demo.settings.model_copy(update={"rounds": 660})
    experiment.run(replace(demo, algorithms=kept, settings=settings), tmp_path)
    gained = {}
    for run in record.read_all(tmp_path):
        reward = run.history["team_reward"].mean(axis=1)
        late = run.rounds >= 600
        assert late.sum() == 3
        assert reward[late].mean() > 0
        gained[run.label] = reward[late].mean() - reward[0]
    assert gained["DiNNO"] > 0.8 * gained["Centralized"]
