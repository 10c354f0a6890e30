"""Processes that die, fall silent or are cut off: the others say so, stop, and the run goes on."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import recorded
from namespaces import refused
from once import made_once
from processes import free_port
from struck import AGENTS, CASES, GATE

import peerlearn as pl
from peerlearn import experiment
from peerlearn.checkpoint import FILE_NAME as CHECKPOINT
from peerlearn.checkpoint import load
from peerlearn.lock import FILE_NAME as LOCK
from peerlearn.team import Alone

HERE = Path(__file__).parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(HERE), "OMP_NUM_THREADS": "1"}
LIMIT_S = 100.0
STRUCK_S = 240.0  # of all cases, four at a time, beside other tests
SLACK_S = 15.0  # of a machine that is busy with other tests
ASKED_S = {"kill": 3.0, "stop": 3.0 + 6.0, "cut": 3.0 + 6.0}
"""Seconds from the blow until the others know: time-out, and asking, of a store that is silent too.

A killed process closes its connections, so nobody has to wait for the time-out.
"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(STRUCK_S + LIMIT_S)]


@pytest.fixture(scope="module")
def struck(tmp_path_factory) -> Path:
    """A folder for each case of struck.py."""
    names = [name for name, case in CASES.items() if case.blow != "cut" or not refused()]

    def make(folder: Path) -> None:
        done = subprocess.run(
            [sys.executable, "-W", "error", str(HERE / "struck.py"), str(folder), *names],
            env=ENVIRONMENT, capture_output=True, text=True, timeout=STRUCK_S,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    return made_once(tmp_path_factory, "struck", make)


def told(folder: Path, name: str) -> dict:
    if CASES[name].blow == "cut" and not (folder / name).exists():
        pytest.skip("ip netns add is refused: cutting a link needs network namespaces")
    return json.loads((folder / name / "told.json").read_text())


def survivors(folder: Path, name: str) -> dict[int, dict]:
    """What those processes met to which nothing happened."""
    case = CASES[name]
    hurt = () if case.blow == "cut" else case.victim
    return {
        rank: json.loads((folder / name / "struck" / f"{rank}.json").read_text())
        for rank in range(case.size) if rank not in hurt
    }  # fmt: skip


def named(name: str, rank: int) -> str:
    """A process, as sentences call it."""
    case, team = CASES[name], Alone()
    team.size = case.size
    block = team.blocks(AGENTS)[rank]
    agents = f"agents {block[0]} to {block[-1]}" if len(block) > 1 else f"agent {block[0]}"
    host = f"host{rank}" if case.blow == "cut" else socket.gethostname()
    return f"process {rank} (host {host}, {agents})"


def silent(name: str, rank: int) -> str:
    """How a process is told whose signs of life ended."""
    return f"{named(name, rank)} was lost in round ROUND: no sign of life for 3 s; resume the run"


SENTENCES = {
    "killed": silent("killed", 2),
    "killed-last": silent("killed-last", 3),
    "killed-first": f"{named('killed-first', 0)}, which holds the store of the team, was lost in",
    "killed-coordinated": silent("killed-coordinated", 1),
    "stopped": silent("stopped", 2),
    "stopped-first": f"{named('stopped-first', 0)}, which holds the store of the team, was lost in",
    "raised": f"{named('raised', 1)} failed in round 7: ValueError: a minibatch of agent 2 failed: "
    "the disk is gone; check model, loss and data; resume the",
    "cut": f"in round ROUND {named('cut', 1)} and {named('cut', 2)} no longer hear each other",
    "cut-first": silent("cut-first", 3),
    "cut-coordinated": (
        f"{named('cut-coordinated', 1)} and {named('cut-coordinated', 2)} no longer hear each "
        "other, though both live: the network between them may be cut"
    ),
}
IN_A_COLLECTIVE = "no longer hear each other, though all live: the network between some of them"
LOST = {name: [list(case.victim)] for name, case in CASES.items()} | {
    "cut-first": [[3]],  # which the others, who reach the store of the first, no longer hear
    "cut-coordinated": [[1, 2], [0, 1, 2]],  # in a collective, all wait for all
}


@pytest.mark.parametrize("name", CASES)
def test_the_others_say_who_was_lost(name, struck):
    went = told(struck, name)
    met = survivors(struck, name)
    if name == "cut-first":
        alone = met.pop(3)
        assert alone["kind"] == "Lost"
        assert alone["processes"] in ([0], [3])  # its own view, unless the others' still came
    for lost in met.values():
        assert lost["kind"] == "Lost", lost
        everybody = name == "cut-coordinated" and len(lost["processes"]) == CASES[name].size
        sentence = IN_A_COLLECTIVE if everybody else SENTENCES[name]
        assert sentence.replace("ROUND", str(lost["round"])) in lost["said"]
        assert lost["processes"] in LOST[name]
        first = 7 if name == "raised" else went["moment"]
        last = 7 if name == "raised" else GATE + CASES[name].size
        assert first - CASES[name].size <= lost["round"] <= last


@pytest.mark.parametrize("name", CASES)
def test_the_others_end_in_time_and_with_a_status(name, struck):
    went, case = told(struck, name), CASES[name]
    gone = case.victim if case.blow in ("kill", "stop") else ()
    failed = case.victim if case.blow == "raise" else ()
    statuses = [1 if rank in failed else 3 for rank in range(case.size) if rank not in gone]
    assert went["statuses"] == statuses
    if case.blow != "raise":
        for rank, lost in survivors(struck, name).items():
            assert lost["at"] - went["at"] < ASKED_S[case.blow] + SLACK_S, rank
    assert went["seconds"] < ASKED_S.get(case.blow, 9.0) + 2 * SLACK_S


@pytest.mark.parametrize("name", CASES)
def test_what_was_kept_can_be_read(name, struck):
    went, folder = told(struck, name), struck / name / "struck"
    kept, record = load(folder / CHECKPOINT), pl.record.read(folder)
    assert went["moment"] - CASES[name].size - 3 <= kept.round <= GATE + CASES[name].size
    assert record.rounds[-1] <= kept.round
    assert [e for e in record.events if e["kind"] == "end"] == []
    written = {CHECKPOINT, "record.jsonl", LOCK}
    if 0 in CASES[name].victim:
        written |= {f"{CHECKPOINT}.tmp"}  # of a process that was killed while it wrote
    assert {f for f in went["left"] if not f[0].isdigit()} <= written


AGAIN = [(name, size) for name, case in CASES.items() for size in case.again]


@pytest.mark.parametrize(("name", "size"), AGAIN)
def test_the_run_goes_on_to_the_same_numbers(name, size, struck):
    case, folder = CASES[name], struck / name / f"again-{size}"
    again = told(struck, name)["again"][str(size)]
    assert again == [0] * size, (folder / "0.txt").read_text()
    whole = struck / f"whole-{case.method}" / f"again-{case.size}"
    same_run(folder, whole, bits=size == case.size)


def same_run(one: Path, other: Path, bits: bool = True) -> None:
    """Record and checkpoint of a finished run are those of another, bit for bit or to rounding."""
    tolerance = {"rtol": 0.0, "atol": 0.0 if bits else 1e-12}
    assert {path.name for path in one.glob("*.tmp")} == set()
    first, second = recorded(one), recorded(other)
    assert first.keys() == second.keys()
    for measure, values in first.items():
        np.testing.assert_allclose(values, second[measure], **tolerance, err_msg=measure)
    kept, whole = load(one / CHECKPOINT), load(other / CHECKPOINT)
    assert kept.round == whole.round
    torch.testing.assert_close(kept.state["theta"], whole.state["theta"], **tolerance)
    for part in ("state", "learner", "traffic"):
        values, expected = getattr(kept, part), getattr(whole, part)
        torch.testing.assert_close(values, expected, **tolerance)


# --- the command --------------------------------------------------------------------------

RUN_ROUNDS = 1500
EXPERIMENT = f"""
name = "lost"
rounds = {RUN_ROUNDS}
evaluate_every = 100
checkpoint_every = 20
device = "cpu"

[task]
name = "digits"
agents = 6
gradients = "loop"

[graph]
name = "cycle"

[[algorithms]]
name = "DSGT"
"""


@dataclass
class Command:
    """A ``peerlearn run`` that was struck, and the processes that it had started."""

    process: subprocess.Popen[str]
    folder: Path
    workers: dict[int, int] = field(default_factory=dict)  # rank -> pid
    said: str = ""  # on the standard error

    @property
    def run(self) -> Path:
        return self.folder / "DSGT" / "seed-0"

    def strike(self, name: str) -> None:
        """Once it trains, one blow, told by its name."""
        record = self.run / "record.jsonl"
        until_true(lambda: record.exists() and record.read_text().count("\n") > 2)
        self.workers = children(self.process.pid)
        assert sorted(self.workers) == [0, 1, 2]
        if name == "asked":
            for pid in (self.process.pid, *self.workers.values()):
                os.kill(pid, signal.SIGINT)
        else:
            pid = self.workers[1] if name == "worker" else self.process.pid
            os.kill(pid, signal.SIGKILL)

    def finish(self) -> None:
        _, self.said = self.process.communicate(timeout=LIMIT_S)
        until_true(lambda: not any(map(runs, self.workers.values())))


def until_true(holds: Callable[[], bool], limit_s: float = LIMIT_S) -> None:
    """Wait until something holds that nobody announces."""
    until = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.02)


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def children(pid: int) -> dict[int, int]:
    """rank -> pid of the processes of a team that a command has started."""
    found = {}
    for entry in Path("/proc").iterdir():
        try:
            parent = (entry / "stat").read_text().rpartition(")")[2].split()[1]
            words = (entry / "environ").read_bytes().split(b"\0")
        except (OSError, IndexError):
            continue
        own = dict(word.partition(b"=")[::2] for word in words)
        if parent == str(pid) and b"RANK" in own:
            found[int(own[b"RANK"])] = int(entry.name)
    return found


def peerlearn(file: Path, out: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "peerlearn", "run", str(file), "--out", str(out), *options],
        env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.fixture(scope="module")
def commands(tmp_path_factory) -> Iterator[dict[str, Command]]:
    """Commands that were struck in the middle of their runs, after which no process was left."""
    folder = tmp_path_factory.mktemp("commands")
    file = folder / "lost.toml"
    file.write_text(EXPERIMENT)
    options = ("--engine", "processes", "--processes", "3")
    made = {
        name: Command(peerlearn(file, folder / name, *options), folder / name)
        for name in ("worker", "asked", "launcher")
    }
    try:
        for name, command in made.items():
            command.strike(name)
        for command in made.values():
            command.finish()
        yield made
    finally:
        for command in made.values():
            for pid in (command.process.pid, *command.workers.values()):
                if runs(pid):
                    os.kill(pid, signal.SIGKILL)


@pytest.mark.timeout(2 * LIMIT_S)
def test_the_command_tells_of_a_killed_process_and_resumes_with_fewer(commands, tmp_path):
    command = commands["worker"]
    assert command.process.returncode == 3, command.said
    one, other = command.said.strip().splitlines()
    host = socket.gethostname()
    assert one.startswith(f"error: process 1 (host {host}, agents 2 to 3) was lost in round ")
    assert one.endswith("; resume the run from its last checkpoint")
    assert other == "error: process 1 was ended by SIGKILL"
    assert 0 < load(command.run / CHECKPOINT).round < RUN_ROUNDS
    file = command.folder.parent / "lost.toml"
    options = ("--engine", "processes", "--processes", "2", "--resume")
    again = peerlearn(file, command.folder, *options)
    _, said = again.communicate(timeout=LIMIT_S)
    assert again.returncode == 0, said
    experiment.run(experiment.load(file), tmp_path)
    same_run(command.run, tmp_path / "DSGT" / "seed-0")


def test_ctrl_c_leaves_a_checkpoint_and_says_how_to_go_on(commands):
    command = commands["asked"]
    assert command.process.returncode == 130, command.said
    (line,) = command.said.strip().splitlines()
    assert line.startswith("stopped; go on with: peerlearn run ")
    assert line.endswith("--processes 3 --resume")
    check_stopped(command, "interrupted")


def test_processes_whose_launcher_is_gone_end_by_themselves(commands):
    command = commands["launcher"]
    assert command.process.returncode == -signal.SIGKILL
    assert "Traceback" not in command.said
    check_stopped(command, "lost")


def check_stopped(command: Command, cause: str) -> None:
    """The run stopped after a round, with a checkpoint of that round."""
    stop = pl.record.read(command.run).events[-1]
    assert stop["cause"] == cause
    assert 0 < stop["round"] < RUN_ROUNDS
    assert load(command.run / CHECKPOINT).round == stop["round"]


# --- where the first process works alone ----------------------------------------------------------


@dataclass
class Pair:
    """Two processes of one_for_all.py, of which one is struck; what the other says and when."""

    status: int
    said: dict
    seconds: float


def pair(tmp_path: Path, what: str, victim: int, blow: int) -> Pair:
    place = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    ranks = [
        subprocess.Popen(
            [sys.executable, str(HERE / "one_for_all.py"), str(tmp_path / "run"), what],
            env={**ENVIRONMENT, **place, "RANK": str(rank)}, stdout=subprocess.PIPE, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    try:
        lines = iter(ranks[0].stdout or ())
        for line in lines:
            if line.strip() in ("loads", "12"):
                break
        begun = time.monotonic()
        ranks[victim].send_signal(blow)
        rest, _ = ranks[1 - victim].communicate(timeout=LIMIT_S)
        seconds = time.monotonic() - begun
        return Pair(ranks[1 - victim].returncode, json.loads(rest.splitlines()[-1]), seconds)
    finally:
        for rank in ranks:
            rank.kill()
            rank.communicate()


@pytest.mark.parametrize(
    ("what", "victim", "blow", "said"),
    [
        ("pooled", 1, signal.SIGKILL, "(host {host}, agent 1) was lost in round "),
        ("pooled", 1, signal.SIGSTOP, "(host {host}, agent 1) was lost in round "),
        ("pooled", 0, signal.SIGSTOP, "(host {host}, agent 0), which holds the store of the team"),
        ("loading", 0, signal.SIGSTOP, "(host {host}, agent 0), which holds the store of the team"),
    ],
)
def test_nobody_waits_for_ever_for_one_who_works_alone(tmp_path, what, victim, blow, said):
    """Nor does the one who works train to the end of a run that others have left."""
    left = pair(tmp_path, what, victim, blow)
    assert left.status == 3
    assert left.said["processes"] == [victim]
    assert f"process {victim} {said.format(host=socket.gethostname())}" in left.said["said"]
    assert left.seconds < 6.0 + ASKED_S["stop"] + SLACK_S
    if victim == 1:
        round = int(left.said["said"].split("was lost in round ")[1].split(":")[0])
        assert round >= 12
        assert load(tmp_path / "run" / CHECKPOINT).round >= 10
