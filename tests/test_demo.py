"""The demo's experiment: the team reads all digits, although every agent has seen only one."""

from __future__ import annotations

from pathlib import Path

import pytest

from peerlearn import experiment, record

DEMO = Path(__file__).parents[1] / "experiments" / "digits.toml"


@pytest.mark.timeout(300)
def test_the_team_reads_all_digits_and_nobody_does_alone(tmp_path: Path) -> None:
    demo = experiment.load(DEMO, ["seeds=[0]", "rounds=300", "evaluate_every=300"])
    outcome = experiment.run(demo, tmp_path)
    final = {r.label: r.final for r in record.read_all(outcome.folder)}
    mean = {label: measured["accuracy"].mean() for label, measured in final.items()}
    assert mean["DiNNO"] > mean["Centralized"] - 0.02
    assert mean["DSGT"] > mean["DSGD"] > 0.8
    assert mean["Isolated"] < 0.15
    parameters, neighbors, rounds = 4810, 2, 300
    assert set(final["DiNNO"]["bytes_sent"]) == {4 * parameters * neighbors * rounds}
    assert set(final["DSGT"]["bytes_sent"]) == {2 * 4 * parameters * neighbors * rounds}
    assert sum(final["Centralized"]["bytes_sent"]) == 1437 * 65  # 64 pixels and a label
