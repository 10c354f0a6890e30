"""Three hosts on one machine: a network between them, a lost host, and the other two go on.

Each host is a Linux network namespace with an address, a name and a disk (a folder) of its own; it
sees its own disk only, and reaches the others by the cable alone. All of it lives inside one
`unshare`, so that the kernel takes it away when this script ends, however it ends. Needs Linux with
`ip` and `unshare`, and root or the right to make user namespaces.
"""

import math
import os
import random
import shlex
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

TRAIN = Path(__file__).with_name("train.py").resolve()
HOSTS = {"alpha": "10.77.0.1", "beta": "10.77.0.2", "gamma": "10.77.0.3"}
NAMESPACES = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]


def sh(command: str) -> str:
    return subprocess.run(command.split(), check=True, capture_output=True, text=True).stdout


def lay_cables() -> None:
    """A switch, and a cable from it to each host."""
    sh("mount -t tmpfs none /run")  # where `ip` keeps names: here, only for us
    sh("ip netns add switch")
    sh("ip -n switch link add bridge type bridge")
    sh("ip -n switch link set bridge up")
    for host, address in HOSTS.items():
        sh(f"ip netns add {host}")
        sh(f"ip -n {host} link add eth0 type veth peer name {host} netns switch")
        sh(f"ip -n {host} address add {address}/24 dev eth0")
        sh(f"ip -n {host} link set eth0 up")
        sh(f"ip -n {host} link set lo up")
        sh(f"ip -n switch link set {host} master bridge up")


def measure(disks: Path) -> None:
    """On each host's disk the measurements of its agent: 60 points of a third of the curve."""
    draw = random.Random(0)
    for agent, host in enumerate(HOSTS):
        x = [-1 + (agent + draw.random()) * 2 / 3 for _ in range(60)]
        lines = [f"{a},{math.sin(3 * a) + draw.gauss(0, 0.05)}\n" for a in x]
        (disks / host).mkdir()
        (disks / host / f"agent_{agent}.csv").write_text("".join(lines))


def start(host: str, rank: int, hosts: list[str], disks: Path) -> subprocess.Popen[str]:
    """On one host, the command that a person would type there."""
    torchrun = shlex.join([
        sys.executable, "-m", "torch.distributed.run",
        "--nnodes", str(len(hosts)), "--node-rank", str(rank),
        "--master-addr", HOSTS[hosts[0]], "--master-port", "29500", str(TRAIN),
    ])  # fmt: skip
    boot = f"hostname {host}; mount --bind {disks / host} {disks}; cd {disks}; exec {torchrun}"
    return subprocess.Popen(
        ["ip", "netns", "exec", host, "unshare", "--uts", "--mount", "sh", "-ec", boot],
        env={**os.environ, "GLOO_SOCKET_IFNAME": "eth0", "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def pull_the_plug(host: str) -> None:
    """The network hears nothing more of it, not even a good-bye."""
    sh(f"ip -n {host} link set eth0 down")
    for process in sh(f"ip netns pids {host}").split():
        os.kill(int(process), signal.SIGKILL)


def train(hosts: list[str], disks: Path, lose: str | None = None) -> list[int]:
    """Start all hosts, show what they say, and return how they ended."""
    started = [start(host, rank, hosts, disks) for rank, host in enumerate(hosts)]
    for line in started[0].stdout or ():
        print(line, end="", flush=True)
        if lose and ": round 200" in line:
            print(f"--- {lose} loses its power", flush=True)
            pull_the_plug(lose)
    for process in started:
        said, complaints = process.communicate()
        lines = [line for line in said.splitlines() if ": round" not in line]
        lines += [line for line in complaints.splitlines() if line.startswith(tuple(HOSTS))]
        print(*(f"{line}\n" for line in lines), sep="", end="", flush=True)
    return [process.returncode for process in started]


def main() -> None:
    lay_cables()
    with tempfile.TemporaryDirectory() as folder:
        disks = Path(folder)
        measure(disks)
        ended = train([*HOSTS], disks, lose="beta")
        assert all(ended), "all should have noticed"
        print("--- beta's disk is put into alpha, which hosts two agents now; go on", flush=True)
        (disks / "beta" / "agent_1.csv").rename(disks / "alpha" / "agent_1.csv")
        ended = train(["alpha", "gamma"], disks)
        assert not any(ended), f"the two should have finished, but ended with {ended}"


if __name__ == "__main__":
    if os.environ.get("INSIDE"):
        main()
    else:
        user = [] if os.geteuid() == 0 else ["--map-root-user"]
        inside = {**os.environ, "INSIDE": "1"}
        os.execvpe("unshare", [*NAMESPACES, *user, sys.executable, __file__], inside)
