"""The examples and the Python of the documents run; what the documents point to is there."""

from __future__ import annotations

import doctest
import importlib
import os
import pkgutil
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import peerlearn
from peerlearn import experiment
from peerlearn.config import ExperimentFile

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
TIMEOUT_S = 110


def run(script: Path, folder: Path) -> str:
    """Run a script on one core in an empty folder; what it printed.

    Warnings are errors, and the folder must stay empty.
    """
    done = subprocess.run(
        [sys.executable, "-W", "error", script],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    assert done.returncode == 0, done.stderr
    assert not list(folder.iterdir()), "wrote outside of a temporary folder"
    return done.stdout


def python_of(document: Path) -> str:
    """All fenced Python of a document, as one script.

    The document on contributing shows a file of the package, whose relative imports are made
    absolute here.
    """
    blocks = re.findall(r"^```python\n(.*?)^```", document.read_text("utf-8"), re.S | re.M)
    return "\n".join(blocks).replace("from ..", "from peerlearn.")


def run_python_of(document: Path, folder: Path) -> str:
    code = python_of(document)
    assert code, f"{document.name} has no Python block"
    script, empty = folder / "script.py", folder / "empty"
    script.write_text(code, encoding="utf-8")
    empty.mkdir()
    return run(script, empty)


def links_of(document: Path) -> list[str]:
    """The files a document points to, as written there."""
    found = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", document.read_text("utf-8"))
    return [link for link in found if "://" not in link]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_example(example: Path, tmp_path: Path) -> None:
    assert run(example, tmp_path).strip(), "an example says what came out"


def hosts_can_be_made() -> bool:
    """Whether this machine lets us make network namespaces."""
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        return False
    inside = "mount -t tmpfs none /run && ip netns add some && ip link add type veth"
    user = [] if os.geteuid() == 0 else ["--map-root-user"]
    command = ["unshare", *user, "--net", "--mount", "sh", "-c", inside]
    return subprocess.run(command, capture_output=True).returncode == 0


@pytest.mark.slow
@pytest.mark.skipif(not hosts_can_be_made(), reason="separate_hosts needs network namespaces")
def test_separate_hosts(tmp_path: Path) -> None:
    """One of three hosts is lost, and named; the other two go on from the checkpoint to the end."""
    printed = run(ROOT / "examples/separate_hosts/on_one_machine.py", tmp_path)
    before, after = printed.split("--- beta's disk")
    for host in ("alpha", "gamma"):
        assert f"{host}: process 1 (host beta, agent 1) was lost in round" in before
    rounds = [int(r) for r in re.findall(r"^alpha: round (\d+)", after, re.M)]
    assert rounds == [300, 400, 500, 600], "it went on from the last checkpoint"
    answers = re.findall(r"^(\w+): agent (\d) says that sin\(2.7\) is ([\d.]+)$", after, re.M)
    assert [(host, agent) for host, agent, _ in answers] == [
        ("alpha", "0"), ("alpha", "1"), ("gamma", "2")
    ]  # fmt: skip
    assert all(abs(float(y) - 0.427) < 0.15 for *_, y in answers)


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "docs/choosing.md", "docs/machines.md"])
def test_python_in_documents(name: str, tmp_path: Path) -> None:
    run_python_of(ROOT / name, tmp_path)


def test_the_page_on_experiment_files_is_complete(tmp_path: Path) -> None:
    """Its file is a good one, and it tells of every key."""
    page = (ROOT / "docs/experiments.md").read_text("utf-8")
    file = tmp_path / "trial.toml"
    file.write_text(re.search(r"```toml\n(.*?)```", page, re.S)[1], encoding="utf-8")
    assert experiment.load(file, ["rounds=20", "task.agents=6"]).name == "trial"
    told = re.findall(r"`\[*(\w+)\]*`", "".join(re.findall(r"^\|.*?\|", page, re.M)))
    assert {*ExperimentFile.model_fields} <= {*told}


MODULES = [m.name for m in pkgutil.walk_packages(peerlearn.__path__, "peerlearn.")]


@pytest.mark.parametrize("name", [n for n in MODULES if not n.endswith("__main__")])
def test_examples_in_docstrings(name: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    failed, _ = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert failed == 0
    assert not list(tmp_path.iterdir())


def test_the_readme_keeps_its_promise(tmp_path: Path) -> None:
    """Ten digits, each known to one agent: the README's agents read all of them."""
    printed = run_python_of(ROOT / "README.md", tmp_path)
    mean, worst = map(float, re.findall(r"([\d.]+)%", printed))
    assert mean >= worst > 85


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_point_to_files(document: Path) -> None:
    missing = [link for link in links_of(document) if not (document.parent / link).exists()]
    assert not missing


def test_the_readme_shows_code_early() -> None:
    lines = (ROOT / "README.md").read_text("utf-8").splitlines()
    assert lines.index("## Install") < 20
    assert lines.index("```python") < 30
