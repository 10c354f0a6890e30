"""The demo's experiment: the team reads all digits, although every agent has seen only one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from peerlearn import experiment, record

DEMO = Path(__file__).parents[1] / "experiments" / "digits.toml"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_team_reads_all_digits_and_nobody_does_alone(tmp_path: Path) -> None:
    """Means of three seeds, after half of the demo's rounds."""
    demo = experiment.load(DEMO, ["rounds=300", "evaluate_every=300"])
    outcome = experiment.run(demo, tmp_path)
    runs = record.read_all(outcome.folder)
    assert [r.start["seed"] for r in runs if r.label == "DiNNO"] == [0, 1, 2]
    final = {r.label: r.final for r in runs}
    mean = {
        label: np.mean([r.final["accuracy"].mean() for r in runs if r.label == label])
        for label in final
    }
    assert mean["DiNNO"] > mean["Centralized"] - 0.02
    assert mean["DSGT"] > mean["DSGD"] > 0.8
    assert mean["Isolated"] < 0.15
    parameters, neighbors, rounds = 4810, 2, 300
    assert set(final["DiNNO"]["bytes_sent"]) == {4 * parameters * neighbors * rounds}
    assert set(final["DSGT"]["bytes_sent"]) == {2 * 4 * parameters * neighbors * rounds}
    assert sum(final["Centralized"]["bytes_sent"]) == 1437 * 65  # 64 pixels and a label
