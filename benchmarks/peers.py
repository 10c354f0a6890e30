"""Other projects beside this one: the same network, batch and number of agents, in one run."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from statistics import median

import torch
from cases import NETWORKS, methods, session
from peer_worker import PACKAGES
from speed import seconds

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".bench-venv"  # of its own: the peers need other versions than we do
AGENTS, BATCH = 100, 64

Row = tuple[str, str, float | None, str]
"""name, version, ms per agent and minibatch gradient (None: it did not run), remark."""


class Peer:
    """Another project in a process of its own, which waits between rounds."""

    def __init__(self, name: str) -> None:
        command = [FOLDER / "bin/python", ROOT / "benchmarks/peer_worker.py", name]
        sizes = [str(n) for n in (AGENTS, BATCH, torch.get_num_threads())]
        self._process = subprocess.Popen(
            [*map(str, command), *sizes], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.version = self._answer()["version"]

    def round_ms(self) -> float:
        """One round, in ms per agent's gradient."""
        print(file=self._process.stdin, flush=True)
        told = self._answer()
        return 1e3 * told["seconds"] / max(told["gradients"], 1)

    def close(self) -> None:
        self._process.communicate()

    def _answer(self) -> dict:
        line = self._process.stdout.readline()  # type: ignore[union-attr]
        if not line:
            _, said = self._process.communicate()
            raise RuntimeError(said.strip().splitlines()[-1] if said.strip() else "it ended")
        return json.loads(line)


def install(python: str | None) -> None:
    """Make the peers' environment, with our version of torch; decent-bench needs Python 3.13."""
    python = python or shutil.which("python3.13") or sys.executable
    subprocess.run([python, "-m", "venv", str(FOLDER)], check=True)
    (FOLDER / ".gitignore").write_text("*\n")
    for package in PACKAGES.values():
        pip = [str(FOLDER / "bin/python"), "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, "-c", str(ROOT / "constraints.txt"), "torch", package], check=False)


def measure(repetitions: int) -> list[Row]:
    """Ours and the peers', a round each in turn."""
    peers: dict[str, Peer] = {}
    failed: list[Row] = []
    for name in PACKAGES:
        try:
            peers[name] = Peer(name)
            peers[name].round_ms()  # to warm up
        except (RuntimeError, OSError) as error:
            peers.pop(name, None)
            failed.append((name, "", None, f"does not run here: {error}"))
    run = session(NETWORKS["MNIST CNN"].task(AGENTS, BATCH), methods()["DSGD"][0])
    run._round()
    times: dict[str, list[float]] = {name: [] for name in ("peerlearn", *peers)}
    for _ in range(repetitions):
        times["peerlearn"].append(1e3 * seconds(run._round) / AGENTS)
        for name, peer in peers.items():
            times[name].append(peer.round_ms())
    for peer in peers.values():
        peer.close()
    versions = {name: peer.version for name, peer in peers.items()}
    versions["peerlearn"] = version("peerlearn")
    remarks = {
        "peerlearn": "DSGD",
        "decent-bench": "DGD, the same recursion",
        "fluke": "GossipDFL, policy aggregate: one random neighbor; local data are one batch",
    }
    measured: list[Row] = [
        (name, versions.get(name, ""), median(found), remarks[name])
        for name, found in times.items()
    ]
    return measured + failed
