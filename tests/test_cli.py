"""The command line, as people type it."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from peerlearn import cli, experiment, experiment_folder, record
from peerlearn.cli.list import Kind
from peerlearn.cli.run import _measured
from peerlearn.config import ExperimentFile
from peerlearn.config_tables import ENTRIES, TABLES
from peerlearn.errors import ConfigurationError
from peerlearn.lock import holding
from peerlearn.training import train

TINY = """
name = "tiny"
rounds = 6
seeds = [0, 1]
evaluate_every = 2
[task]
name = "quadratic"
agents = 4
[graph]
name = "cycle"
[[algorithms]]
name = "DSGD"
lr = 0.02
[[algorithms]]
name = "DSGD"
label = "mixed"
lr = 0.02
gradient_at = "mixed"
"""
DIVERGES = '[[algorithms]]\nname = "DSGT"\nlr = 1e30\n'
RUNS = [f"{label}/seed-{seed}" for label in ("DSGD", "mixed") for seed in (0, 1)]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An own working folder with an experiment in it, and no color in what is printed."""
    monkeypatch.chdir(tmp_path)
    for name, value in {"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}.items():
        monkeypatch.setenv(name, value)
    Path("tiny.toml").write_text(TINY)
    return tmp_path


def peerlearn(*words):
    return CliRunner().invoke(cli.app, list(words), catch_exceptions=False)


def numbers(folder):
    """Everything measured in a run, but for the time it took."""
    kept = record.read(folder)
    return {"round": kept.rounds, **kept.history}


def same(one, other):
    return one.keys() == other.keys() and all(np.array_equal(one[k], other[k]) for k in one)


# --- run, and what becomes of its folder ----------------------------------------------------------


def test_run_writes_records_experiment_and_report():
    result = peerlearn("run", "tiny.toml", "--set", "algorithms.mixed.lr=0.01")
    assert result.exit_code == 0, result.output
    assert "report: runs/tiny/report.html" in result.output
    assert Path("runs/tiny/report.html").exists()
    assert sorted(str(p.parent) for p in Path("runs").rglob("record.jsonl")) == sorted(
        f"runs/tiny/{r}" for r in RUNS
    )
    described = json.loads(Path("runs/tiny/experiment.json").read_text())
    assert [a["lr"] for a in described["algorithms"]] == [0.02, 0.01]
    assert all(record.read(p.parent).finished for p in Path("runs").rglob("record.jsonl"))


def test_all_methods_begin_at_the_same_network_and_see_the_same_data():
    loaded = experiment.load("tiny.toml", ["task={name='digits', agents=4}", "rounds=1"])
    experiment.run(loaded, "out")
    for seed in (0, 1):
        first = [numbers(f"out/{label}/seed-{seed}")["loss"][0] for label in ("DSGD", "mixed")]
        assert np.array_equal(*first)
    described = [record.read(f"out/DSGD/seed-{s}").start["task"]["partition_seed"] for s in (0, 1)]
    assert described == [0, 1]


def test_a_method_that_does_not_talk_gets_no_graph():
    Path("tiny.toml").write_text(TINY + "[[algorithms]]\nname = 'Isolated'\n")
    loaded = experiment.load("tiny.toml")
    assert loaded.graph_of("DSGD") is not None
    assert loaded.graph_of("Isolated") is None


def test_a_folder_with_another_run_is_refused_unless_resumed():
    loaded = experiment.load("tiny.toml")
    assert experiment.run(loaded, "out").skipped == 0
    before = Path("out/DSGD/seed-0/record.jsonl").read_bytes()
    result = peerlearn("run", "tiny.toml", "--out", "out")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: out holds another run; ")
    assert experiment.run(loaded, "out", resume=True).skipped == 4
    assert Path("out/DSGD/seed-0/record.jsonl").read_bytes() == before


def test_an_experiment_that_another_process_runs_is_left_alone():
    experiment.run(experiment.load("tiny.toml", ["seeds=[0]"]), "out")
    before = Path("out/experiment.json").read_bytes()
    more = experiment.load("tiny.toml", ["seeds=[0, 1]"])
    with holding(Path("out")), pytest.raises(ConfigurationError, match="out is being written by"):
        experiment.run(more, "out", resume=True)
    assert Path("out/experiment.json").read_bytes() == before


def test_an_experiment_above_others_is_refused():
    experiment.run(experiment.load("tiny.toml", ["seeds=[0]"]), "runs/one")
    with pytest.raises(ConfigurationError, match=r"runs holds other experiments, such as runs/one"):
        experiment.run(experiment.load("tiny.toml"), "runs", resume=True)


def test_resuming_another_configuration_is_refused_before_anything_is_trained():
    experiment.run(experiment.load("tiny.toml"), "out")
    kept = {p: p.read_bytes() for p in Path("out").rglob("*") if p.is_file()}
    result = peerlearn("run", "tiny.toml", "--out", "out", "--resume", "--set", "rounds=5")
    assert result.exit_code == 2
    assert "rounds was 6 and is now 5" in result.stderr
    assert "error: and 1 more like these" in result.stderr
    assert {p: p.read_bytes() for p in Path("out").rglob("*") if p.is_file()} == kept


@pytest.mark.parametrize("change", ["task.agents=5", "algorithms.DSGD.lr=0.9"])
def test_runs_of_another_request_are_not_mixed(change):
    experiment.run(experiment.load("tiny.toml", ["seeds=[0]"]), "out")
    kept = {p: p.read_bytes() for p in Path("out").rglob("*") if p.is_file()}
    other = experiment.load("tiny.toml", ["seeds=[1]", change])
    said = (
        rf"out holds runs of another request, such as out/DSGD/seed-0: {change.split('=')[0]} was"
    )
    with pytest.raises(ConfigurationError, match=said):
        experiment.run(other, "out", resume=True)
    assert {p: p.read_bytes() for p in Path("out").rglob("*") if p.is_file()} == kept


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"name": "ti', "Unterminated string starting at: line 1 column 10 (char 9)"),
        (b"\xff", "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"),
        (b"[]", "it holds [], expected a table"),
        (b"{}", "algorithms is None, expected a list of tables, each with its label"),
        (b'{"algorithms": ["DSGD"], "seeds": [0]}', "algorithms is ['DSGD'], expected a list"),
        (b'{"algorithms": [{}], "seeds": [0]}', "algorithms is [{}], expected a list of tables"),
        (b'{"algorithms": [], "seeds": 0}', "seeds is 0, expected a list of whole numbers"),
        (b'{"algorithms": [], "seeds": ["0"]}', "seeds is ['0'], expected a list of whole"),
    ],
)
def test_a_damaged_description_beside_other_runs_is_told(content, said):
    experiment.run(experiment.load("tiny.toml", ["seeds=[0]"]), "out")
    Path("out/experiment.json").write_bytes(content)
    result = peerlearn("run", "tiny.toml", "--out", "out", "--resume", "--set", "seeds=[1]")
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: out/experiment.json is damaged: {said}")
    assert "runs beside it, such as out/DSGD/seed-0, are of this request" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_how_runs_are_carried_out_may_differ_from_those_beside_them():
    experiment.run(experiment.load("tiny.toml", ["seeds=[0]"]), "out")
    how = ["name=other", "device=cpu", "engine=processes", "timeout_s=60", "checkpoint_every=1"]
    other = experiment.load("tiny.toml", ["seeds=[1]", *how])
    assert experiment_folder._other_request(other, Path("out")) == []


def test_runs_whose_description_was_removed_are_described_no_more():
    experiment.run(experiment.load("tiny.toml", ["seeds=[0]"]), "out")
    Path("out/experiment.json").unlink()
    experiment.run(experiment.load("tiny.toml", ["seeds=[1]"]), "out", resume=True)
    assert json.loads(Path("out/experiment.json").read_text())["seeds"] == [1]
    assert len(record.read_all("out")) == 4


def test_a_run_that_has_not_begun_is_trained_when_the_others_are_left_alone():
    loaded = experiment.load("tiny.toml")
    experiment.run(loaded, "out")
    Path("out/DSGD/seed-1/record.jsonl").write_text("")
    Path("out/DSGD/seed-1/checkpoint.safetensors").unlink()
    assert experiment.run(loaded, "out", resume=True).skipped == 3
    assert all(run.finished for run in record.read_all("out"))


def test_a_record_that_was_mended_wrongly_is_told():
    """Before anything is trained: it would fail when the run is done."""
    experiment.run(experiment.load("tiny.toml", ["seeds=[0]"]), "out")
    path = Path("out/mixed/seed-0/record.jsonl")
    path.write_text(path.read_text().replace('"distance": [', '"distance": ["far", ', 1))
    kept = {p: p.read_bytes() for p in Path("out").rglob("*") if p.is_file()}
    for command in (["report", "out"], ["run", "tiny.toml", "--out", "out", "--resume"]):
        result = peerlearn(*command)
        assert result.exit_code == 2
        assert result.stderr.startswith(f"error: {path} is damaged: line 2, ")
        assert ", gives measures.distance as ['far', " in result.stderr
        assert len(result.stderr.splitlines()) == 1
    assert {p: p.read_bytes() for p in Path("out").rglob("*") if p.is_file()} == kept


def test_a_description_that_cannot_be_written_is_told():
    Path("out/experiment.json").mkdir(parents=True)
    result = peerlearn("run", "tiny.toml", "--out", "out")
    said = "cannot write out/experiment.json: Is a directory; make room for it and go on; what is"
    assert (result.exit_code, result.stderr) == (1, f"error: {said} there stays\n")


def test_resuming_with_more_rounds_goes_on_with_all_runs():
    experiment.run(experiment.load("tiny.toml"), "out")
    longer = experiment.load("tiny.toml", ["rounds=10"])
    experiment.run(longer, "whole")
    assert experiment.run(longer, "out", resume=True).skipped == 0
    assert all(same(numbers(f"out/{run}"), numbers(f"whole/{run}")) for run in RUNS)
    assert experiment.load("out").settings.rounds == 10


def test_resuming_with_another_method_and_seed_runs_only_those():
    experiment.run(experiment.load("tiny.toml"), "out")
    Path("tiny.toml").write_text(TINY + "[[algorithms]]\nname = 'DSGT'\n")
    wider = experiment.load("tiny.toml", ["seeds=[0, 1, 2]"])
    assert experiment.run(wider, "out", resume=True).skipped == 4
    assert len(record.read_all("out")) == 9


def test_resuming_with_fewer_methods_and_seeds_forgets_none_whose_runs_stay():
    """The page shows all runs, so what it says of the experiment holds for all of them."""

    def told():
        found = json.loads(Path("out/experiment.json").read_text())
        return found["seeds"], {method["label"]: method for method in found["algorithms"]}

    experiment.run(experiment.load("tiny.toml"), "out")
    seeds, methods = told()
    Path("tiny.toml").write_text(TINY.partition('[[algorithms]]\nname = "DSGD"\nlabel')[0])
    fewer = experiment.load("tiny.toml", ["seeds=[1]"])
    experiment.run(fewer, "out", resume=True)
    assert (sorted(told()[0]), told()[1]) == (seeds, methods)
    for run in ("DSGD/seed-0", "mixed/seed-0", "mixed/seed-1"):
        shutil.rmtree(Path("out", run))
    experiment.run(fewer, "out", resume=True)
    assert told() == ([1], {"DSGD": methods["DSGD"]})


def test_a_folder_is_run_again_as_it_was_asked_for():
    changes = ("--set", "algorithms.mixed.lr=0.01", "--set", "seeds=[1]")
    assert peerlearn("run", "tiny.toml", *changes).exit_code == 0
    before = numbers("runs/tiny/mixed/seed-1")
    shutil.rmtree("runs/tiny/mixed")
    Path("tiny.toml").unlink()
    assert peerlearn("check", "runs/tiny").exit_code == 0
    assert "runs/tiny holds another run; resume it" in peerlearn("run", "runs/tiny").stderr
    assert peerlearn("run", "runs/tiny", "--resume").exit_code == 0
    assert same(numbers("runs/tiny/mixed/seed-1"), before)


# --- runs as they stand -------------------------------------------------------------------------


@pytest.fixture
def trained():
    """Two runs of digits, one of them of pooled data."""
    methods = "[[algorithms]]\nname = 'DSGD'\n[[algorithms]]\nname = 'Centralized'\n"
    table = "[task]\nname = 'digits'\nagents = 4\n[graph]\nname = 'cycle'\n"
    Path("tiny.toml").write_text(f"name = 'tiny'\nrounds = 2\nseeds = [3]\n{table}{methods}")
    loaded = experiment.load("tiny.toml")
    experiment.run(loaded, "out")
    return loaded


@pytest.mark.parametrize(("label", "agent"), [("DSGD", 2), ("Centralized", 0)])
def test_a_run_is_read_with_its_networks(trained, label, agent):
    asked = trained.request(label, 3)
    run = train(trained.task(3), trained.algorithms[label], trained.graph_of(label), **asked)
    path = Path("out/experiment.json")  # as if it came from another machine
    elsewhere = json.loads(path.read_text()) | {"device": "cuda:9", "engine": "processes"}
    path.write_text(json.dumps(elsewhere))
    kept = {p: p.read_bytes() for p in Path("out").rglob("*") if p.is_file()}
    found = experiment.read(f"out/{label}/seed-3")
    assert torch.equal(found.theta, run.theta)
    assert np.array_equal(found.final["accuracy"], run.final["accuracy"])
    assert found.rounds == 2
    pairs = zip(found.model(agent).parameters(), run.model(agent).parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
    assert {p: p.read_bytes() for p in Path("out").rglob("*") if p.is_file()} == kept


def test_a_run_that_cannot_be_read_is_told(trained):
    path = Path("out/experiment.json")
    told = path.read_text()
    path.write_text(told.replace('"label": "DSGD"', '"label": "other"'))
    with pytest.raises(ValueError, match="unknown label 'DSGD'"):
        experiment.read("out/DSGD/seed-3")
    path.unlink()
    with pytest.raises(ConfigurationError, match=r"/out has no experiment.json that tells"):
        experiment.read("out/DSGD/seed-3")
    path.write_text(told[:9])
    with pytest.raises(ConfigurationError, match=r"out/experiment.json is damaged: "):
        experiment.read("out/DSGD/seed-3")
    path.write_text(told)
    Path("out/DSGD/seed-3/checkpoint.safetensors").unlink()
    with pytest.raises(ConfigurationError, match=r"checkpoint.safetensors beside it is missing"):
        experiment.read("out/DSGD/seed-3")


def test_a_method_that_diverges_does_not_keep_the_others_from_running():
    Path("tiny.toml").write_text(TINY.replace("[[algorithms]]", DIVERGES + "[[algorithms]]", 1))
    result = peerlearn("run", "tiny.toml", "--out", "out", "--set", "seeds=[0]")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: DSGT diverged in round ")
    assert [r.finished for r in record.read_all("out")] == [False, True, True]
    assert Path("out/report.html").exists()


def test_a_method_that_diverged_is_not_trained_again():
    Path("tiny.toml").write_text(TINY.replace("[[algorithms]]", DIVERGES + "[[algorithms]]", 1))
    first = peerlearn("run", "tiny.toml", "--out", "out", "--set", "seeds=[0]")
    text = Path("out/DSGT/seed-0/record.jsonl").read_bytes()
    again = peerlearn("run", "tiny.toml", "--out", "out", "--set", "seeds=[0]", "--resume")
    assert (first.exit_code, again.exit_code) == (1, 1)
    assert "2 of 3 runs were finished before" in again.output
    assert again.stderr.startswith(first.stderr.strip())
    assert "found before, remove out/DSGT/seed-0 to train it again" in again.stderr
    assert Path("out/DSGT/seed-0/record.jsonl").read_bytes() == text


def test_a_method_that_diverged_is_trained_on_for_other_rounds():
    table = TINY.partition("[[algorithms]]")[0].replace("seeds = [0, 1]", "")
    rate = "{schedule = 'linear', start = 1e30, end = 0.0}"
    Path("tiny.toml").write_text(f"{table}[[algorithms]]\nname = 'DSGT'\nlr = {rate}\n")
    assert experiment.run(experiment.load("tiny.toml"), "out").failures
    again = experiment.run(experiment.load("tiny.toml", ["rounds=8"]), "out", resume=True)
    assert "found before" not in again.failures[0]
    assert record.read("out/DSGT/seed-0").start["rounds"] == 8


def test_progress_is_told_for_every_round_and_evaluation():
    steps = []
    experiment.run(experiment.load("tiny.toml", ["seeds=[5]"]), "out", progress=steps.append)
    of_first = [s for s in steps if s.label == "DSGD"]
    assert {s.seed for s in steps} == {5}
    assert [s.round for s in of_first if s.evaluation is None] == [1, 2, 3, 4, 5, 6]
    assert [s.round for s in of_first if s.evaluation is not None] == [0, 2, 4, 6]


def test_what_progress_returns_ends_no_run():
    outcome = experiment.run(
        experiment.load("tiny.toml", ["seeds=[5]"]), "out", progress=lambda step: True
    )
    assert all(run.finished for run in record.read_all(outcome.folder))


# --- Ctrl-C ---------------------------------------------------------------------------------------

INTERRUPTED = """
import os, signal, sys
from peerlearn import cli, experiment

def interrupt(step, count=[0]):
    count[0] += 1
    if step.label == "mixed" and step.round == 3 and step.evaluation is None:
        os.kill(os.getpid(), signal.SIGINT)

begin = experiment.run
experiment.run = lambda e, out, resume, progress: begin(e, out, resume, interrupt)
sys.argv = ["peerlearn", *sys.argv[1:]]
cli.main()
"""


def test_ctrl_c_leaves_a_checkpoint_and_resume_goes_on_to_the_same_numbers():
    command = ["run", "tiny.toml", "--out", "a b", "--set", "seeds=[3]", "--set", "dtype=float64"]
    found = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, *command], capture_output=True, text=True, timeout=100
    )
    assert found.returncode == 130, found.stderr
    assert found.stderr.splitlines() == [
        "stopped; go on with: peerlearn run tiny.toml --set 'seeds=[3]' --set dtype=float64 "
        "--out 'a b' --resume"
    ]
    stopped = record.read("a b/mixed/seed-3")
    assert stopped.events[-1] == {
        "kind": "stop", "round": 3, "cause": "interrupted", "reason": "interrupted",
    }  # fmt: skip
    assert Path("a b/mixed/seed-3/checkpoint.safetensors").exists()
    loaded = experiment.load("tiny.toml", ["seeds=[3]", "dtype=float64"])
    assert experiment.run(loaded, "a b", resume=True).skipped == 1
    experiment.run(loaded, "whole")
    for label in ("DSGD", "mixed"):
        assert same(numbers(f"a b/{label}/seed-3"), numbers(f"whole/{label}/seed-3"))


def test_a_signal_at_any_moment_ends_with_130():
    """From outside, with as many rounds as the test needs to be in the middle of them."""
    command = ["run", "tiny.toml", "--out", "out", "--set", "rounds=1000000"]
    process = subprocess.Popen(
        [sys.executable, "-m", "peerlearn", *command, "--set", "evaluate_every=1000"],
        stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    while not Path("out/DSGD/seed-0/checkpoint.safetensors").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert errors.startswith("stopped; go on with: peerlearn run tiny.toml ")
    assert record.read("out/DSGD/seed-0").events[-1]["reason"] == "interrupted"


STRUCK = """
import os, signal, time
os.kill(os.getpid(), signal.SIGINT)
time.sleep(60)
"""


@pytest.mark.parametrize(
    ("command", "status", "said"),
    [
        (["-m", "peerlearn", "list", "tasks"], 130, ""),
        (["-c", "import peerlearn"], -signal.SIGINT, "KeyboardInterrupt"),
    ],
    ids=["command", "script"],
)
def test_ctrl_c_while_the_command_is_imported_ends_it_without_a_traceback(command, status, said):
    """A script that imports peerlearn gets what is usual."""
    Path("torch.py").write_text(STRUCK)
    place = os.pathsep.join([".", os.environ.get("PYTHONPATH", "")])
    found = subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, timeout=50,
        env={**os.environ, "PYTHONPATH": place},
    )  # fmt: skip
    assert found.returncode == status, found.stderr
    assert found.stdout == ""
    assert said in found.stderr
    assert bool(found.stderr) == bool(said)


# --- the other verbs ------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "name"), [(k, n) for k in TABLES for n in ENTRIES[k]])
def test_the_keys_of_every_table_are_listed(kind, name):
    result = peerlearn("list", kind, name.upper() if kind == "algorithms" else name)
    assert result.exit_code == 0, result.stderr
    assert "<" not in result.stdout, "no word of Python's for what it cannot write"


def test_keys_are_those_that_a_file_may_hold():
    listed = peerlearn("list", "keys").stdout
    assert all(f"\n{key} " in "\n" + listed for key in ExperimentFile.model_fields)
    keys = peerlearn("list", "algorithms", "DiNNO").stdout
    assert re.search(r"^local_steps +a whole number +.*= 2", keys, re.M)
    assert re.search(r"^persistent +true or false +.*= false", keys, re.M)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("tasks digits", r"batch_size .*= 16"),
        ("keys", r"engine +'stacked' or 'processes' += 'stacked'"),
        ("tasks digits", r"model +'mlp' or 'dinno_cnn' or 'vgg_small' or 'mcmahan_cnn'"),
        ("tasks mnist", r"batch_size .*= 64"),
        ("tasks cifar100", r"batch_size .*= 128"),
        ("tasks pursuit", r"hidden .*= \[64, 64, 64\]"),
        ("algorithms DSGD", r"lr .*= \{schedule = 'decaying', start = 0.5, mu = 0.01\}"),
        ("rates log", r"start +a number +must be given"),
        ("partitions dirichlet", r"alpha +a number += 0.5"),
        ("drifts rotation", r"degrees +a number += 90.0"),
        ("schedules static", r"static has no options"),
    ],
)
def test_what_is_listed_of_an_entry(words, line, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert re.search(f"^{line} *$", peerlearn("list", *words.split()).stdout, re.M)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("algorithms dino", "unknown algorithm 'dino'; did you mean 'DiNNO'?"),
        ("data mnist", "data have no table of their own in a file; known: tasks, graphs"),
        ("keys seeds", "keys have no table of their own in a file; known: tasks, graphs"),
        (
            "graphs link_failures",
            "link_failures is one of the schedules; see peerlearn list schedules link_failures",
        ),
    ],
)
def test_keys_of_what_has_none(words, said):
    result = peerlearn("list", *words.split())
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: {said}")


def test_check_of_a_good_file_says_what_would_run():
    result = peerlearn("check", "tiny.toml", "--set", "rounds=9")
    assert result.exit_code == 0
    assert result.stdout == (
        "tiny.toml is fine: DSGD, mixed on quadratic with 4 agents over cycle, 9 rounds, "
        "seeds 0, 1\n"
    )
    assert not Path("runs").exists()


def test_check_counts_one_agent_and_one_round():
    alone = [o for k in ("rounds=1", "task.agents=1", "graph.name=complete") for o in ("--set", k)]
    said = peerlearn("check", "tiny.toml", *alone).stdout
    assert "with 1 agent over complete, 1 round, seeds" in said


def test_check_of_a_bad_file_names_all_mistakes_and_trains_nothing():
    Path("bad.toml").write_text(TINY.replace("0.02", "-1").replace('"cycle"', '"cicle"'))
    result = peerlearn("check", "bad.toml", "--set", "engine=staked")
    assert result.exit_code == 2
    lines = result.stderr.splitlines()
    assert [line.split(": ")[:2] for line in lines] == [
        ["error", key] for key in ("engine", "graph.name", "algorithms[0].lr", "algorithms[1].lr")
    ]
    assert not Path("runs").exists()


@pytest.mark.parametrize("verb", ["check", "run"])
@pytest.mark.parametrize(
    ("name", "text"), [("none.toml", None), ("broken.toml", "a = ["), ("binary.toml", "\udcff")]
)
def test_a_file_that_cannot_be_read_is_one_line(verb, name, text):
    if text is not None:
        Path(name).write_bytes(text.encode(errors="surrogateescape"))
    result = peerlearn(verb, name)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert name in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    "words", [["--engine", "staked"], ["--device", "gpu"], ["--set", "rounds=-1"]], ids=str
)
def test_bad_options_of_run(words):
    result = peerlearn("run", "tiny.toml", *words)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: {words[0].strip('-').replace('set', 'rounds')}: ")
    assert not Path("runs").exists()


def test_a_file_where_the_folder_should_be():
    Path("out").write_text("")
    result = peerlearn("run", "tiny.toml", "--out", "out")
    assert result.exit_code == 2
    assert result.stderr == "error: out is a file, expected a folder for the runs\n"


def test_report_of_a_folder_without_runs():
    Path("empty").mkdir()
    result = peerlearn("report", "empty")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: empty holds no run")


def test_report_of_what_is_no_folder():
    result = peerlearn("report", "tiny.toml")
    assert result.stderr == "error: tiny.toml holds no run: it is no folder\n"


@pytest.mark.parametrize("name", ["report.html", "table.csv", "figures/consensus.png"])
def test_a_report_that_cannot_be_written_is_told_with_the_file(name):
    experiment.run(experiment.load("tiny.toml", ["seeds=[0]"]), "out")
    Path("out/experiment.json").write_bytes(b"\xff")  # which is shown as it is
    path = Path("out", name)
    path.mkdir(parents=True)
    result = peerlearn("report", "out")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"error: cannot write {path}: Is a directory; make room")
    assert not [*Path("out").rglob("*.tmp")]


def test_a_file_that_cannot_be_read_is_told_with_its_name():
    Path("out/run/record.jsonl").mkdir(parents=True)
    result = peerlearn("report", "out")
    assert (result.exit_code, result.stderr) == (2, "error: out/run/record.jsonl: Is a directory\n")


def test_report_of_a_folder_with_runs():
    experiment.run(experiment.load("tiny.toml", ["seeds=[0]"]), "out")
    result = peerlearn("report", "out")
    assert (result.exit_code, result.stdout) == (0, "report: out/report.html\n")
    assert "DSGD" in Path("out/report.html").read_text()


def test_runs_without_a_record_are_left_out_of_a_report_and_named():
    experiment.run(experiment.load("tiny.toml"), "out")
    Path("out/DSGD/seed-0/record.jsonl").write_text("")
    Path("out/mixed/seed-1/record.jsonl").unlink()
    said = [
        "DSGD/seed-0 is left out, for its record.jsonl says nothing: the run has not begun",
        "mixed/seed-1 is left out, for its checkpoint.safetensors has no record.jsonl beside it",
    ]
    result = peerlearn("report", "out")
    assert result.exit_code == 0
    assert result.stderr.splitlines() == [f"warning: {sentence}" for sentence in said]
    page = Path("out/report.html").read_text()
    assert all(f"{sentence}." in page for sentence in said)


def test_every_kind_of_entry_can_be_listed():
    assert {*Kind} == {*ENTRIES, "experiments", "keys"}


@pytest.mark.parametrize("kind", [Kind(kind) for kind in ENTRIES])
def test_list_gives_every_entry_a_line(kind):
    from peerlearn.cli.list import _entries

    entries = dict(_entries(kind))
    result = peerlearn("list", kind.value)
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines] == list(entries)
    assert all(len(line.split()) > 2 for line in lines)


def test_list_experiments_shows_their_first_comment():
    Path("experiments").mkdir()
    Path("experiments/one.toml").write_text("# What it shows.\n# More.\n" + TINY)
    result = peerlearn("list", "experiments")
    assert result.stdout.split() == ["experiments/one.toml", "What", "it", "shows."]


def test_list_experiments_where_there_are_none():
    result = peerlearn("list", "experiments")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: no experiment file")


def test_list_of_something_else():
    result = peerlearn("list", "algoritms")
    assert result.exit_code == 2
    assert "algorithms" in result.stderr


def test_reproduce_without_a_name_lists_them():
    from peerlearn.reproduce import REPRODUCTIONS

    result = peerlearn("reproduce")
    assert result.exit_code == 0
    assert [line.split()[0] for line in result.stdout.splitlines()] == list(REPRODUCTIONS)


def test_reproduce_of_an_unknown_name():
    result = peerlearn("reproduce", "dinno-mnst")
    assert result.exit_code == 2
    assert "did you mean 'dinno-mnist'" in result.stderr


def test_reproduce_needs_no_resume_to_go_on():
    """It always goes on, and its help says so."""
    assert peerlearn("reproduce", "--resume").exit_code == 2
    assert "finished runs are kept" in " ".join(peerlearn("reproduce", "--help").stdout.split())


@pytest.mark.parametrize(
    ("measures", "shown"),
    [
        ({"loss": [1.0, 3.0], "accuracy": [0.5, 0.9]}, "accuracy 70.0\N{NO-BREAK SPACE}%"),
        ({"train_loss": [1.0, 3.0], "bytes_sent": [8.0, 8.0]}, "train loss 2"),
        ({"bytes_sent": [8.0, 8.0]}, ""),
    ],
)
def test_the_bar_shows_what_there_is(measures, shown):
    assert _measured({name: np.array(v) for name, v in measures.items()}) == shown


@pytest.mark.parametrize("words", [["--version"], ["--help"], ["run", "--help"]], ids=str)
def test_the_module_runs_as_a_command(words):
    environment = {**os.environ, "PYTHONWARNINGS": "error"}
    found = subprocess.run(
        [sys.executable, "-m", "peerlearn", *words], capture_output=True, text=True,
        env=environment, timeout=100,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    assert "peerlearn" in found.stdout
    assert found.stderr == ""


def test_what_takes_long_to_import_is_imported_where_it_is_needed():
    """A second each, for which every process of a team would wait."""
    code = "import sys, peerlearn.cli; print({'sklearn', 'matplotlib'} & {*sys.modules})"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.stdout == "set()\n", found.stderr
