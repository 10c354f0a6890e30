"""Teams of which one is mistaken, stopped or slow: all hear why, and none is left waiting."""

from __future__ import annotations

import os
import re
import signal
import time

import pytest
from processes import FILE, finish, start

import peerlearn as pl
from peerlearn.checkpoint import FILE_NAME as CHECKPOINT
from peerlearn.team import LONGEST_TIMEOUT_S, timeout_problems

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

COMMAND = """
import os, runpy, sys
own = sys.argv[2:] if os.environ["RANK"] == "1" else []
sys.argv = ["peerlearn", "run", *sys.argv[1].split(), "--out", "runs", *own]
runpy.run_module("peerlearn", run_name="__main__")
"""
TRAIN = """
import os, sys, time
import peerlearn as pl
FIRST = os.environ["RANK"] == "0"
def train(algorithm=None, timeout_s=30.0, rounds=4, **options):
    algorithm = algorithm or pl.DSGD()
    graph = pl.graphs.cycle(3) if algorithm.communicates else None
    return pl.train(
        pl.tasks.quadratic(3, 2), algorithm, graph, rounds=rounds, engine="processes",
        timeout_s=timeout_s, **options,
    )
"""


def command(folder, words, *own):
    """What two processes say of the same command, and of words of the second one's own."""
    (folder / "two.toml").write_text(FILE)
    begin = f"import os; os.chdir({str(folder)!r})\n"
    processes = start(2, "-c", begin + COMMAND, f"two.toml {words}", *own)
    said = finish(processes)
    assert [p.returncode for p in processes] == [2, 2], said
    return said


def test_a_process_that_alone_is_mistaken_is_heard(tmp_path):
    first, second = command(tmp_path, "--engine processes", "--set", "rounds=none")
    assert "error: process 1 (host " in first
    assert "rounds" in first
    assert second == "", "one speaks for all of a machine"
    assert not (tmp_path / "runs").exists()


def test_a_mistake_of_all_is_told_once(tmp_path):
    first, second = command(tmp_path, "--engine processes --set rounds=none")
    assert first.count("error: ") == 1
    assert "process 1" not in first
    assert second == ""


def test_several_processes_without_their_engine_are_refused(tmp_path):
    first, second = command(tmp_path, "")
    assert first.startswith("error: several processes were started, of which each would carry out")
    assert second == ""


def test_more_processes_than_agents_leave_no_folder_behind(tmp_path):
    first, _ = command(tmp_path, "--engine processes --set task.agents=1 --set graph.name=complete")
    assert "got 2 processes for 1 agent;" in first
    assert not (tmp_path / "runs").exists()


ENDS = (
    TRAIN
    + """
def fail(evaluation):
    raise RuntimeError("the plotter is gone")
for callback in (fail if FIRST else None, None):
    try:
        train(callback=callback)
    except Exception as error:
        print(f"{type(error).__name__}: {error}")
"""
)


def test_a_team_that_has_ended_says_so_when_it_is_asked_again():
    first, second = finish(start(2, "-c", ENDS))
    reason = "RuntimeError: the plotter is gone"
    assert first.splitlines()[0] == reason
    assert second.splitlines()[0].startswith("Lost: process 0 (host ")
    assert f"failed in round 0: {reason}" in second
    for said in (first, second):
        last = said.splitlines()[-1]
        assert last.startswith("ConfigurationError: this team has ended (")
        assert last.endswith(f"{reason}); start all processes anew")


GONE = (
    TRAIN
    + """
import signal
train()
if not FIRST:
    os.kill(os.getpid(), signal.SIGKILL)
begun = time.monotonic()
try:
    train()
except pl.Lost as lost:
    print(f"{time.monotonic() - begun:.1f} s: {lost}")
"""
)


def test_a_process_that_ends_between_runs_is_noticed_at_once():
    """Though before a run one may load data for long, without a sign of life."""
    said, _ = finish(start(2, "-c", GONE))
    seconds, lost = said.split(" s: ")
    assert float(seconds) < 20.0
    assert lost.startswith("process 1 (host ")
    assert "was lost in round 0: no sign of life for 3 s" in lost


LATE = (
    TRAIN
    + """
import networkx as nx
from scipy import sparse
kind = sys.argv[1]
own = {"more": nx.complete_graph(5), "other": nx.relabel_nodes(nx.cycle_graph(5), {1: 3, 3: 1})}
last = int(os.environ["RANK"]) == int(os.environ["WORLD_SIZE"]) - 1
def graph(round):
    if kind == "weights":
        return nx.complete_graph(5) if round >= 20 else nx.cycle_graph(5)
    return own[kind] if last and round >= 20 else nx.cycle_graph(5)
def weights(graph):
    least = 0.05 if kind == "weights" and last and graph.number_of_edges() == 10 else 0.1
    return sparse.csr_array(sparse.eye(5) - least * nx.laplacian_matrix(graph))
sent = []
try:
    pl.train(
        pl.tasks.quadratic(5, 2), pl.DSGD(), pl.graphs.function(graph, agents=5), rounds=4000,
        engine="processes", timeout_s=2.0, evaluate_every=4000, on_round=sent.append,
        weights=weights,
    )
except Exception as error:
    print(sent[-1], f"{type(error).__name__}: {error}")
"""
)


@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize("graph", ["more", "other", "weights"])
def test_no_message_passes_over_graphs_that_differ(graph, size):
    processes = start(size, "-c", LATE, graph)
    said = finish(processes)
    assert [p.returncode for p in processes] == [0] * size, said
    expected = (
        rf"ConfigurationError: in round 20 process {size - 1} \(host .*\) took another graph or "
        r"other weights than process 0 \(host .*\); make the graph"
    )
    for words in said:
        _, _, error = words.partition(" ")
        assert re.match(expected, error), words
    assert said[-1].startswith("20 "), "it finished a round over another graph than its neighbors"


SLOW = (
    TRAIN
    + """
train(timeout_s=1.0, rounds=3, on_round=lambda done: time.sleep(2.5 if FIRST else 0.0))
print("done")
"""
)


def test_what_a_caller_does_after_a_round_is_part_of_it():
    """Else the others would take the first one, which is busy there, for lost."""
    assert [said.strip() for said in finish(start(2, "-c", SLOW))] == ["done", "done"]


POOLED = (
    TRAIN
    + """
def slowly(done):
    open(sys.argv[1] + "/begun", "w").close()
    time.sleep(1.5)
try:
    train(pl.Centralized(), rounds=50, on_round=slowly, out=sys.argv[1] + "/run")
except BaseException as error:
    print(type(error).__name__)
"""
)


def test_ctrl_c_where_one_works_alone_is_no_loss(tmp_path):
    processes = start(2, "-c", POOLED, tmp_path)
    until = time.monotonic() + 60
    while not (tmp_path / "begun").exists() and time.monotonic() < until:
        time.sleep(0.05)
    for process in processes:
        os.kill(process.pid, signal.SIGINT)
    assert [said.strip() for said in finish(processes)] == ["KeyboardInterrupt"] * 2
    assert (tmp_path / "run" / CHECKPOINT).exists()
    assert pl.record.read(tmp_path / "run").events[-1]["cause"] == "interrupted"


ALONE = (
    TRAIN
    + """
def fail(evaluation):
    raise RuntimeError("the plotter is gone")
for callback in (fail, None):
    try:
        train(pl.Centralized(), callback=callback)
    except Exception as error:
        print(f"{type(error).__name__}: {error}")
"""
)


def test_what_fails_where_one_works_alone_is_heard_by_all():
    first, second = (said.splitlines() for said in finish(start(2, "-c", ALONE)))
    reason = "RuntimeError: the plotter is gone"
    assert first[0] == reason
    assert second[0].startswith("Lost: process 0 (host ")
    assert second[0].endswith(f" failed: {reason}; resume the run from its last checkpoint")
    again = f"ConfigurationError: this team has ended ({reason}); start all processes anew"
    assert (first[1:], second[1:]) == ([again], [again])


BROKEN = """
import sys
import torch, peerlearn as pl
bad = (torch.full((4, 2), torch.nan), torch.zeros(4, 1))
task = pl.Task(
    model=lambda: torch.nn.Linear(2, 1), loss=torch.nn.functional.mse_loss,
    data=[(torch.zeros(4, 2), torch.zeros(4, 1)), bad],
)
for method in (pl.Centralized(), pl.DSGD(lr=0.0)):
    try:
        pl.train(task, method, pl.graphs.path(2), rounds=3, engine="processes", device="cpu")
    except Exception as error:
        print(f"{type(error).__name__}: {error}")
"""


def test_a_mistake_that_one_who_works_alone_finds_is_that_of_all():
    """And the next run begins as if nothing had been."""
    first, second = finish(start(2, "-c", BROKEN))
    begins = "ConfigurationError: before any training the loss on the training data"
    pooled, each = first.splitlines()
    assert pooled.startswith(f"{begins} is NaN")
    assert each.startswith(f"{begins} of agent 1 is NaN")
    assert second == first


REFUSES = """
import os, sys
import torch, peerlearn as pl
torch.manual_seed(0)
def loss(outputs, targets):
    if not outputs.isfinite().all():
        raise ValueError("outputs are not finite")
    return torch.nn.functional.cross_entropy(outputs, targets)
data = [(torch.randn(6, 4) * (1e18 if a == 3 else 1), torch.arange(6) % 3) for a in range(4)]
task = pl.Task(model=lambda: torch.nn.Linear(4, 3), loss=loss, data=data, batch_size=2)
try:
    pl.train(
        task, pl.DSGD(lr=1e30), pl.graphs.cycle(4), rounds=9, engine="processes", device="cpu",
        out=sys.argv[1], evaluate_every=9,
    )
except Exception as error:
    print(f"{type(error).__name__}: {error}")
"""


def test_a_loss_that_refuses_what_is_no_number_diverges_for_all(tmp_path):
    first, second = finish(start(2, "-c", REFUSES, tmp_path))
    said = first.splitlines()[-1]
    assert said.startswith("Diverged: DSGD diverged in round "), first
    assert second.splitlines()[-1] == said
    last = pl.record.read(tmp_path).events[-1]
    assert (last["kind"], last["cause"]) == ("stop", "diverged")
    assert f"Diverged: {last['reason']}" == said


OWN_GROUP = (
    TRAIN
    + """
import torch.distributed as dist
dist.init_process_group("cuda:gloo" if sys.argv[1] == "gpu" else "gloo")
for _ in range(2):
    try:
        train()
        print("done")
    except Exception as error:
        print(f"{type(error).__name__}: {error}")
    if sys.argv[1] == "destroyed":
        dist.destroy_process_group()
"""
)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("gpu", ["the script's process group has only cuda:gloo; make it with 'cpu:gloo"] * 2),
        ("destroyed", ["done", "ConfigurationError: the process group was destroyed after an ea"]),
        ("whole", ["done", "done"]),
    ],
)
def test_a_group_that_the_script_has_made(kind, said):
    for words in finish(start(2, "-c", OWN_GROUP, kind)):
        lines = [x for x in words.splitlines() if x.startswith(("done", "Config"))]
        assert all(x in line for x, line in zip(said, lines, strict=True)), words


@pytest.mark.parametrize("timeout_s", ["10", None, True, 0, -1.0, float("nan"), 1e10])
def test_a_timeout_that_nobody_can_wait_for_is_refused_before_the_team_meets(timeout_s):
    with pytest.raises(pl.ConfigurationError, match=r"timeout_s is .*expected a positive number"):
        pl.train(
            pl.tasks.quadratic(3, 2), pl.DSGD(), pl.graphs.cycle(3), rounds=2, engine="processes",
            timeout_s=timeout_s,
        )  # fmt: skip
    assert timeout_problems(LONGEST_TIMEOUT_S) == []
