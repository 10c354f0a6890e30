"""The same numbers in processes as in one: every method, with stopping and going on in between."""

import functools
import importlib.metadata
import io
import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import in_processes
import numpy as np
import pytest
import torch.distributed as dist
from helpers import METHODS, recorded
from hypothesis import given
from hypothesis import strategies as st
from in_processes import (
    DIVERGE,
    HALF,
    LATE,
    ROUNDS,
    every,
    exact,
    measures,
    numbers,
    resumed,
    resumptions,
    rounded,
)
from once import made_once
from processes import finish, start
from rich.console import Console
from typer.testing import CliRunner

import peerlearn as pl
from peerlearn import cli, experiment, report
from peerlearn.checkpoint import FILE_NAME as CHECKPOINT
from peerlearn.checkpoint import load
from peerlearn.engines import launcher, rendezvous
from peerlearn.engines.process_team import ProcessTeam
from peerlearn.errors import ConfigurationError, Diverged, Unwritten
from peerlearn.setup import prepare
from peerlearn.team import Alone
from peerlearn.words import counted

SCRIPT = Path(__file__).with_name("in_processes.py")
HOST = socket.gethostname()
BLOCKS = {2: [[0, 1, 2], [3, 4]], 4: [[0, 1], [2], [3], [4]]}
LIMIT_S = 300.0  # of a group of processes, on a machine that has much else to do
sizes = pytest.mark.parametrize("size", BLOCKS)
pytestmark = [pytest.mark.slow, pytest.mark.timeout(2 * LIMIT_S)]


@pytest.fixture(scope="module")
def groups(tmp_path_factory):
    """A folder with what four processes had to show, and then two."""

    def make(folder):
        for name, case in resumed.items():
            in_processes.half(case, "stacked", folder / "1" / "halves" / name)
        for size in (4, 2):
            (folder / str(size)).mkdir()
            processes = start(size, "-W", "error", SCRIPT, folder)
            assert finish(processes, LIMIT_S) == [""] * size
            assert [p.returncode for p in processes] == [0] * size

    return made_once(tmp_path_factory, "groups", make)


@functools.cache
def stacked(name):
    return numbers({**exact, **rounded}[name].train("stacked"))


def gathered(folder):
    """What all processes together had to show: their rows in order, and what all know alike."""
    parts = [dict(np.load(path)) for path in sorted(folder.glob("*.npz"))]
    found = {}
    for name in parts[0]:
        values = [part[name] for part in parts]
        if name in ("theta", "agents", "networks"):
            found[name] = np.concatenate([v for v in values if len(v)])
        else:
            assert all(np.array_equal(v, values[0]) for v in values), name
            found[name] = values[0]
    return found


def check_same(found, expected, atol=0.0):
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=0, atol=atol, err_msg=name)


def tolerance(name):
    """Bit for bit, but where torch solves several linear systems at once."""
    return 1e-12 if name == "ConsensusADMM" else 0.0


# --- the same numbers ---------------------------------------------------------------------------


@sizes
@pytest.mark.parametrize("name", [*METHODS, *(n for n in exact if n not in METHODS)])
def test_processes_give_the_bits_of_the_stacked_engine(name, size, groups):
    folder = groups / str(size) / name
    check_same(gathered(folder), stacked(name), tolerance(name))
    check_same(measures(pl.record.read(folder / "run")), measures_of(gathered(folder)))


def measures_of(found):
    return {n: v for n, v in found.items() if n not in ("theta", "agents", "networks")}


@sizes
@pytest.mark.parametrize("name", rounded)
def test_where_bits_depend_on_the_stack_the_rest_is_rounding(name, size, groups):
    check_same(gathered(groups / str(size) / name), stacked(name), atol=1e-12)


@sizes
def test_the_record_says_who_carried_it_out(size, groups):
    start = pl.record.read(groups / str(size) / "DSGD" / "run").start
    assert (start["engine"], start["processes"]) == ("processes", size)


@sizes
def test_each_process_has_its_own_agents(size, groups):
    for rank, block in enumerate(BLOCKS[size]):
        folder = groups / str(size) / "DSGD"
        kept, whole = np.load(folder / f"{rank}.npz"), stacked("DSGD")
        assert kept["agents"].tolist() == block
        np.testing.assert_array_equal(kept["theta"], whole["theta"][block])
        np.testing.assert_array_equal(kept["networks"], whole["networks"][block])
        other = (block[0] + 3) % 5
        said = (folder / f"{rank}.txt").read_text()
        assert said.startswith(f"agent is {other}: ")
        only = f"there is one network here; use run.model({block[0]})"
        many = f"expected an agent from {block[0]} to {block[-1]}"
        assert said.endswith(only if len(block) == 1 else many)


@sizes
def test_pooled_data_are_the_first_process_s(size, groups):
    kept = [np.load(groups / str(size) / "Serial" / f"{rank}.npz") for rank in range(size)]
    assert [k["agents"].tolist() for k in kept] == [[0]] + [[]] * (size - 1)


# --- stopping and going on ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "by", "size"),
    [(name, by, size) for size in BLOCKS for name in resumed for by in resumptions(name, size)],
)
def test_a_run_goes_on_in_any_number_of_processes(name, by, size, groups):
    folder = groups / str(size) / f"{name}, half by {by}"
    check_same(gathered(folder), stacked(name), tolerance(name))
    events = [(e["kind"], e["round"]) for e in pl.record.read(folder / "run").events]
    assert events == [("stop", HALF), ("resume", HALF), ("end", ROUNDS)]


@pytest.mark.parametrize("name", resumed)
def test_one_process_goes_on_with_what_four_have_stopped(name, groups, tmp_path):
    run = in_processes.go_on(resumed[name], groups / "4" / "halves" / name, tmp_path)
    check_same(numbers(run), stacked(name), tolerance(name))
    assert [e["kind"] for e in run.record.events] == ["stop", "resume", "end"]


@pytest.mark.parametrize("name", resumed)
def test_the_checkpoint_of_four_processes_is_that_of_one(name, groups):
    one, four = (load(groups / by / "halves" / name / CHECKPOINT) for by in ("1", "4"))
    assert (four.round, four.configuration) == (HALF, one.configuration)
    for part in ("state", "learner", "traffic"):
        check_same(getattr(four, part), getattr(one, part), tolerance(name))


# --- what goes wrong, goes wrong everywhere -------------------------------------------------------


def told(folder):
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]


@sizes
@pytest.mark.parametrize("name", DIVERGE)
def test_all_processes_find_the_same_fault(name, size, groups, tmp_path):
    with pytest.raises(Diverged) as caught:
        DIVERGE[name].train("stacked", out=tmp_path)
    error, folder = caught.value, groups / str(size) / name
    if name == "diverges in one":
        assert error.agents == [3]
        assert error.round % 4, "a round after which they do not meet in any case"
    expected = {"kind": "Diverged", "sentences": [str(error)]}
    expected |= {"round": error.round, "agents": error.agents}
    assert told(folder) == [expected] * size
    assert pl.record.read(folder / "run").events == pl.record.read(tmp_path).events
    assert load(folder / "run" / CHECKPOINT).round == load(tmp_path / CHECKPOINT).round


REFUSED = {
    "seed": ["process {last} ({who}) has seed 1, but process 0 has 0; start all processes with "
             "the same request and the same versions"],
    "edges": ["process {last} ({who}) has graph.edges "],
    "weights": ["process {last} ({who}) has graphs "],
    "fifth graph": ["process {last} ({who}) has graphs "],
    LATE[0]: ["by round N the process that hosts agent {agent} had taken other graphs than the "],
    LATE[1]: ["the process that hosts agent {agent} measures other things than the first process, "
              "which measures "],
    "width": ["process {last} ({who}) has parameters 20, but process 0 has 15"],
    "method": ["process {last} ({who}) has algorithm 'DSGT', but process 0 has 'DSGD'"],
    "declared": ["process {last} ({who}) has task.samples.most 9, but process 0 has 8",
                 "process {last} ({who}) has task.samples.total 34, but process 0 has 29"],
    "samples": ["process {last} ({who}): agent 4 has 6 samples, but 7 were declared"],
    "one is wrong": ["process {last} ({who}): rounds is 0, expected a whole number"],
    "too many": ["got {size} processes for {fewer}; start at most one for each agent"],
}  # fmt: skip


@sizes
@pytest.mark.parametrize("name", REFUSED)
def test_requests_that_differ_are_refused_by_all(name, size, groups):
    block = BLOCKS[size][-1]
    agents = f"agent {block[0]}" if len(block) == 1 else f"agents {block[0]} to {block[-1]}"
    known = {"last": size - 1, "who": f"host {HOST}, {agents}", "size": size,
             "fewer": counted(size - 1, "agent"), "agent": block[0]}  # fmt: skip
    first, *others = told(groups / str(size) / name)
    assert others == [first] * (size - 1)
    assert first["kind"] == "ConfigurationError"
    said = [re.sub(r"by round \d+", "by round N", s) for s in first["sentences"]]
    for text in REFUSED[name]:
        assert any(s.startswith(text.format(**known)) for s in said), said
    assert (groups / str(size) / name / "run").exists() == (name in LATE), "trained in vain"


def test_processes_compare_the_versions_of_all_that_makes_numbers():
    setup = prepare(
        pl.tasks.quadratic(3, 2), pl.DSGD(), pl.graphs.cycle(3), rounds=3, seed=0,
        weights="metropolis", evaluate_every=None, out=None, resume=False, checkpoint_every=None,
        device="cpu", dtype="float64", engine="stacked", timeout_s=30.0, label=None,
    )  # fmt: skip
    told = setup.agreement()
    libraries = {"peerlearn", "torch", "numpy", "scipy", "networkx"}
    assert {name: told[name] for name in libraries} == {
        name: importlib.metadata.version(name) for name in libraries
    }


def test_processes_on_different_devices_do_not_begin():
    store = dist.HashStore()
    store.set("host/1", "b")
    store.set("1/prepared/1", json.dumps({"agreement": {"agents": 5, "device": "cuda"}}))
    team = ProcessTeam(store, rank=0, size=2, timeout_s=5.0)
    with pytest.raises(ConfigurationError, match=r"process 1 \(host b, agents 3 to 4\) has device "
                       "'cuda', but process 0 has 'cpu'; start all"):  # fmt: skip
        team.agree(lambda: Prepared({"agents": 5, "device": "cpu"}))
    team._watch.leave()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("one\ntwo"), ["one", "two"]),
        (ValueError(), ["ValueError"]),
        (FileNotFoundError(2, "No such file", "data.npz"), ["data.npz: No such file"]),
    ],
)
def test_whatever_one_process_finds_wrong_is_told_by_all(error, said):
    store = dist.HashStore()
    store.set("host/1", "b")
    store.set("1/prepared/1", json.dumps({"agreement": {"agents": 5, "device": "cpu"}}))
    team = ProcessTeam(store, rank=0, size=2, timeout_s=5.0)

    def prepare():
        raise error

    with pytest.raises(ConfigurationError) as caught:
        team.agree(prepare)
    assert [p.partition("): ")[2] for p in caught.value.problems] == said
    assert json.loads(store.get("1/prepared/0")) == {"problems": said}
    team._watch.leave()


@pytest.mark.parametrize("rank", [0, 1])
def test_what_one_process_cannot_write_all_hear_as_it_does(rank):
    told = {"unwritten": ["runs/experiment.json", 28, "No space left on device"]}
    agreement = {"agents": 5, "device": "cpu"}
    store = dist.HashStore()
    store.set("host/1", "b")
    store.set("1/prepared/1", json.dumps(told if rank == 1 else {"agreement": agreement}))
    team = ProcessTeam(store, rank=0, size=2, timeout_s=5.0)

    def prepare():
        if rank == 0:
            raise Unwritten(Path("runs/experiment.json"), OSError(*told["unwritten"][1:]))
        return Prepared(agreement)

    with pytest.raises(Unwritten) as caught:
        team.agree(prepare)
    assert re.fullmatch(
        rf"process {rank} \(host .*, agents .*\): cannot write runs/experiment.json: No space left "
        r"on device; make room for it and go on; what is there stays",
        str(caught.value),
    )
    assert caught.value.errno == 28
    assert team._shared is caught.value, "all raise it"
    if rank == 0:
        assert json.loads(store.get("1/prepared/0")) == told
    team._watch.leave()


class Prepared:
    def __init__(self, agreement):
        self.agreement = lambda: agreement


# --- where they meet ------------------------------------------------------------------------------


def in_place(monkeypatch, **variables):
    place = {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
    for name, value in {**place, **variables}.items():
        monkeypatch.setenv(name, value)


JOINS = """
import sys
from peerlearn.engines import process_team, rendezvous
process_team.JOIN_S = 2.0
rendezvous.SLACK_S = rendezvous.WORD_S = 1.0
try:
    process_team.ProcessTeam.join(30.0)
except process_team.ConfigurationError as error:
    sys.exit(str(error))
"""


@pytest.mark.parametrize("listening", [True, False])
def test_a_port_that_is_in_use(listening):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen() if listening else None
        at = f"127.0.0.1:{taken.getsockname()[1]}"
        processes = start(2, "-c", JOINS, MASTER_PORT=at.partition(":")[2])
        first, second = finish(processes, 60)
    assert f"the processes cannot meet at {at} (MASTER_ADDR:MASTER_PORT): the port is in" in first
    hindrance = (
        "what listens there does not answer" if listening else "within 2 s: process 0 cannot"
    )
    assert f"the processes did not all meet at {at} (MASTER_ADDR:MASTER_PORT)" in second
    assert hindrance in second
    assert [p.returncode for p in processes] == [1, 1]


def test_a_host_whose_name_leads_to_itself(monkeypatch):
    monkeypatch.setenv("MASTER_ADDR", "10.77.0.1")
    monkeypatch.setenv("MASTER_PORT", "29500")
    reason = "Gloo failed: Connection refused, remote=[127.0.1.1]:37781\nframe #0"
    found = rendezvous._why(reason, 120.0)
    assert "its own loopback address (Gloo failed: " in found
    assert "set GLOO_SOCKET_IFNAME" in found
    assert "frame" not in found
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")  # where all are on one machine it is right
    at = "127.0.0.1:29500 (MASTER_ADDR:MASTER_PORT)"
    assert f"did not all meet at {at} within 120 s: Gloo" in rendezvous._why(reason, 120.0)
    assert f"did not all meet at {at}: Gloo failed: " in rendezvous._why(reason, None)
    reason = "Gloo connectFullMesh failed with [...] No route to host, remote=[10.77.0.2]:18867"
    said = rendezvous._why(reason, None)
    assert f"have met at {at}, but do not all reach each other (Gloo" in said


def test_a_process_that_is_started_again_cannot_join_its_old_team(monkeypatch):
    store = dist.HashStore()
    store.set("0/size/0", "2")
    store.set("1/size/0", "2")
    in_place(monkeypatch, RANK="1", WORLD_SIZE="2")
    monkeypatch.setattr(dist, "TCPStore", lambda *_, **__: store)
    monkeypatch.setattr(rendezvous, "_make_group", lambda *_: True)
    monkeypatch.setattr(rendezvous, "_reach", lambda *_: None)
    store.set("0/made/0", "2")
    store.set("1/made/0", "2")
    assert rendezvous.rendezvous(5.0)[1:] == (1, 2)
    with pytest.raises(
        ConfigurationError, match=r"^process 1 has come twice, from host .* start all anew: one t"
    ):
        rendezvous.rendezvous(5.0)
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")  # torchrun has started all of them anew
    assert rendezvous.rendezvous(5.0)[1:] == (1, 2)


def test_without_processes_there_is_no_team(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(ConfigurationError, match=r"finds no processes \(RANK, .*torchrun"):
        every["DSGD"].train("processes")


# --- the command line -----------------------------------------------------------------------------


TWO = """
name = "two"
rounds = 5
evaluate_every = 2
dtype = "float64"
[task]
name = "digits"
agents = 3
gradients = "loop"
[graph]
name = "cycle"
[[algorithms]]
name = "DSGD"
[[algorithms]]
name = "FedAvg"
local_steps = 2
"""


def peerlearn(folder, *words):
    """Of the processes that it starts, only the first may say anything."""
    return subprocess.run(
        [sys.executable, "-m", "peerlearn", "run", "two.toml", "--engine", "processes", *words],
        cwd=folder, capture_output=True, text=True, timeout=LIMIT_S,
        env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"},
    )  # fmt: skip


def table(folder):
    """The summary, as the command prints it."""
    screen = Console(width=200, no_color=True, file=io.StringIO())
    screen.print(report.summary_table(pl.record.read_all(folder)))
    return screen.file.getvalue()


@pytest.mark.parametrize("processes", [1, 2])
def test_an_experiment_in_processes(processes, tmp_path):
    count = str(processes)
    (tmp_path / "two.toml").write_text(TWO)
    experiment.run(experiment.load(tmp_path / "two.toml"), tmp_path / "stacked")
    done = peerlearn(tmp_path, "--processes", count, "--out", "several")
    assert (done.returncode, done.stderr) == (0, "")
    assert table(tmp_path / "stacked") in done.stdout
    for label in ("DSGD", "FedAvg"):
        one, several = (tmp_path / by / label / "seed-0" for by in ("stacked", "several"))
        assert pl.record.read(several).start["processes"] == processes
        check_same(recorded(several), recorded(one))
    again = peerlearn(tmp_path, "--processes", count, "--out", "several", "--resume")
    assert (again.returncode, again.stderr) == (0, "")
    assert "2 of 2 runs were finished before, in several\n" in again.stdout
    assert table(tmp_path / "several") in again.stdout


def test_a_team_that_cannot_write_ends_as_one_process_does(tmp_path):
    (tmp_path / "two.toml").write_text(TWO)
    (tmp_path / "runs" / "experiment.json").mkdir(parents=True)
    done = peerlearn(tmp_path, "--processes", "2", "--out", "runs")
    assert done.returncode == 1
    assert re.fullmatch(
        r"error: process 0 \(host .*, agents 0 to 1\): cannot write runs/experiment.json: Is a "
        r"directory; make room for it and go on; what is there stays\n",
        done.stderr,
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--processes", "2"], "got --processes, which only --engine processes uses; give both"),
        (["--port", "4000"], "got --port, which only --engine processes uses; give both"),
        (
            ["--engine", "processes", "--processes", "4"],
            "got 4 processes for 3 agents; start at most one for each agent",
        ),
    ],
)
def test_wrong_options_are_told(words, said, tmp_path):
    (tmp_path / "two.toml").write_text(TWO)
    result = CliRunner().invoke(cli.app, ["run", str(tmp_path / "two.toml"), *words])
    assert (result.exit_code, result.stderr) == (2, f"error: {said}\n")


def test_a_port_that_another_program_has(tmp_path):
    (tmp_path / "two.toml").write_text(TWO)
    words = ["run", str(tmp_path / "two.toml"), "--engine", "processes", "--processes", "2"]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        result = CliRunner().invoke(cli.app, [*words, "--port", port])
    assert result.exit_code == 2
    assert re.fullmatch(
        rf"error: port {port} of this machine cannot be used \(.*\); choose another one\n",
        result.stderr,
    )


def test_processes_that_were_asked_to_stop_say_how_to_go_on(monkeypatch, tmp_path):
    """Also where only one of them was asked, and not the command that started them."""
    (tmp_path / "two.toml").write_text(TWO)
    monkeypatch.setattr(launcher, "launch", lambda *_: {0: 130, 1: 130})
    words = ["run", str(tmp_path / "two.toml"), "--engine", "processes", "--processes", "2"]
    result = CliRunner().invoke(cli.app, words)
    assert result.exit_code == 130
    assert result.stderr.startswith("stopped; go on with: peerlearn run ")


@pytest.mark.parametrize(
    ("statuses", "status", "said"),
    [
        ({1: -15, 0: -15}, 3, "error: process 1 was ended by SIGTERM\nerror: process 0 was ended"),
        ({1: -9, 0: -15}, 3, "error: process 1 was ended by SIGKILL\n"),
        ({1: 2, 0: -15}, 2, ""),
        ({1: -2, 0: -15}, 130, "stopped; go on with: peerlearn run "),
    ],
)
def test_the_command_ends_as_its_processes_did(statuses, status, said, monkeypatch, tmp_path):
    """Those that the launcher ends by SIGTERM are told only where nothing else is."""
    (tmp_path / "two.toml").write_text(TWO)
    monkeypatch.setattr(launcher, "launch", lambda *_: statuses)
    words = ["run", str(tmp_path / "two.toml"), "--engine", "processes", "--processes", "2"]
    result = CliRunner().invoke(cli.app, words)
    assert result.exit_code == status
    assert result.stderr.startswith(said)
    assert bool(result.stderr) == bool(said)


# --- small laws -----------------------------------------------------------------------------------


@given(size=st.integers(1, 40), more=st.integers(0, 200))
def test_blocks_hold_every_agent_once_and_in_order(size, more):
    total, team = size + more, Alone()
    team.size = size
    blocks = team.blocks(total)
    assert [a for block in blocks for a in block] == list(range(total))
    lengths = [len(block) for block in blocks]
    assert len(blocks) == size
    assert max(lengths) - min(lengths) <= 1
    for team.rank in range(size):
        assert team.hosted(total) == blocks[team.rank]
