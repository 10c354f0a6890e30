"""The figures of Kamp et al., short: that each can be made, and the direction of what it shows."""

from __future__ import annotations

from functools import cache
from tempfile import mkdtemp

import numpy as np
import pytest

from peerlearn import record, reproduce
from peerlearn.data import MissingData, files, load
from peerlearn.reproduce.averaging import (
    Point,
    Runs,
    communication,
    cumulative_loss,
    grouped,
    point,
)
from peerlearn.reproduce.averaging_mnist import bound_of

CNN_BYTES = 28_440 * 4

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
]  # each trains for ten to twenty seconds on a quiet machine


@cache
def short(name: str) -> dict[str, Runs]:
    """group -> label -> runs."""
    folder = reproduce.run(name, mkdtemp(), short=True)
    plan = reproduce.REPRODUCTIONS[name]
    assert (folder / "figure.svg").stat().st_size > 5000
    assert (folder / "table.md").read_text().startswith("| ")
    return grouped({p.folder: record.read(folder / p.folder) for p in plan.shorten(plan.plan())})


def ends(name: str) -> dict[str, Point]:
    """label -> where it ended, in the only group."""
    (runs,) = short(name).values()
    return {label: point(of_label) for label, of_label in runs.items()}


@pytest.fixture
def mnist() -> None:
    try:
        load("mnist")
    except MissingData:
        pytest.skip(f"mnist is not in the folder named by {files.VARIABLE}")


def test_figure_1_periodic_averaging_lies_between_serial_and_nosync() -> None:
    found = ends("averaging-drift")
    assert found["serial"].loss < 0.9 * found["periodic 50"].loss
    assert found["periodic 50"].loss < 0.97 * found["nosync"].loss
    (runs,) = short("averaging-drift").values()
    (run,) = runs["nosync"]
    assert run.drifts == [200]
    lost = np.diff(cumulative_loss(run))  # in each twentieth of the stream
    assert lost[10] > 1.5 * lost[9]  # the drift hurts


@pytest.mark.usefixtures("mnist")
def test_figure_2_more_communication_is_less_loss() -> None:
    found = ends("averaging-mnist")
    order = ["serial", "periodic 1", "periodic 2", "periodic 4", "nosync"]
    assert sorted(order, key=lambda n: found[n].loss) == order
    sent = [found[f"dynamic {d:g}"].megabytes for d in (0.1, 0.3, 1.0, 3.0)]
    assert sent == sorted(sent, reverse=True)
    assert 0 < sent[-1] < 0.1 * found["periodic 1"].megabytes
    # 100 rounds, every time ten networks up and ten down
    assert found["periodic 1"].megabytes == pytest.approx(100 * 20 * CNN_BYTES / 1e6)
    assert found["periodic 4"].megabytes == pytest.approx(25 * 20 * CNN_BYTES / 1e6)
    assert found["serial"].megabytes == pytest.approx(100 * 10 * 10 * 785 / 1e6, rel=0.01)


@pytest.mark.usefixtures("mnist")
def test_figures_3_and_4_fedavg_sends_evenly_and_dynamic_averaging_less_and_less() -> None:
    (runs,) = short("averaging-fedavg").values()
    (fedavg,) = runs["FedAvg b 5 C 0.3"]
    # forty rounds of communication, three networks up and three down
    even = fedavg.rounds * 6 * CNN_BYTES / 1e6
    np.testing.assert_allclose(communication(fedavg), even)
    found = ends("averaging-fedavg")
    sent = [found[f"dynamic {d:g}"].megabytes for d in (0.1, 0.3, 1.0, 3.0)]
    assert sent == sorted(sent, reverse=True)
    assert sent[-1] < found["FedAvg b 5 C 0.3"].megabytes


def test_figure_5_dynamic_averaging_talks_after_a_drift_and_falls_silent() -> None:
    (runs,) = short("averaging-concepts").values()
    (run,) = runs["dynamic 1"]
    sent = np.diff(communication(run))  # in each twentieth; the drift is in the middle
    assert sent[10:14].sum() > 2 * sent[6:10].sum()
    assert sent[16:].sum() < 0.8 * sent[10:14].sum()
    found = ends("averaging-concepts")
    assert found["dynamic 1"].loss < 0.95 * found["nosync"].loss
    assert found["dynamic 1"].megabytes < 0.7 * found["periodic 10"].megabytes


@pytest.mark.usefixtures("mnist")
def test_figure_7_dynamic_averaging_needs_less_than_periodic_in_teams_of_any_size() -> None:
    for runs in short("averaging-scaling").values():
        found = {label: point(of_label) for label, of_label in runs.items()}
        assert found["periodic 1"].loss < found["dynamic 0.3"].loss < found["nosync"].loss
        assert found["dynamic 0.3"].megabytes < 0.5 * found["periodic 1"].megabytes


@pytest.mark.usefixtures("mnist")
def test_figure_8_networks_that_start_far_apart_cannot_be_averaged_once() -> None:
    apart, alike = (
        float(
            short("averaging-starts")[f"epsilon {e}"]["one averaging"][0].final["accuracy"].mean()
        )
        for e in (5, 0)
    )
    assert apart < 0.5 < 0.5 + 0.1 < alike


@pytest.mark.usefixtures("mnist")
def test_any_optimizer_gains_from_dynamic_averaging() -> None:
    for runs in short("averaging-optimizers").values():
        found = {label: point(of_label) for label, of_label in runs.items()}
        assert found["periodic 1"].loss < found["dynamic 0.3"].loss < found["nosync"].loss
        assert found["dynamic 0.3"].megabytes < 0.5 * found["periodic 1"].megabytes


@pytest.mark.usefixtures("mnist")
def test_communication_stays_below_its_bound() -> None:
    (runs,) = short("averaging-bound").values()
    for (run,) in runs.values():
        assert (communication(run) <= bound_of(run)).all()


@pytest.mark.usefixtures("mnist")
def test_mcmahans_network_has_1663370_parameters() -> None:
    (runs,) = short("averaging-mcmahan").values()
    (run,) = runs["periodic 1"]
    assert run.start["parameters"] == 1_663_370
    assert communication(run)[-1] == pytest.approx(5 * 6 * 1_663_370 * 4 / 1e6)
