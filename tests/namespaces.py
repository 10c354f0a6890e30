"""Hosts on one machine: network namespaces, each with a wire to every other one."""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import combinations

NEW_HOSTNAME, NEW_NETWORK = 0x04000000, 0x40000000  # CLONE_NEWUTS, CLONE_NEWNET


def ip(*words: str) -> bool:
    """Whether the command ``ip`` with these words was obeyed."""
    return subprocess.run(["ip", *words], capture_output=True).returncode == 0


def refused() -> bool:
    """Whether this user, on this machine, may not make namespaces."""
    name = f"probe{os.getpid()}"
    try:
        made = ip("netns", "add", name)
    except OSError:
        return True
    if made:
        ip("netns", "del", name)
    return not made


class Hosts:
    """So many hosts, of which host i has the one address 10.77.0.(i+1), on the interface pl0."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.names = [f"host{os.getpid()}x{i}" for i in range(size)]

    def address(self, host: int) -> str:
        return f"10.77.0.{host + 1}"

    def build(self) -> None:
        for i, name in enumerate(self.names):
            self._do("netns", "add", name)
            self._do("-n", name, "link", "set", "lo", "up")
            self._do("-n", name, "link", "add", "pl0", "type", "veth", "peer", "name", "unused")
            self._do("-n", name, "addr", "add", f"{self.address(i)}/32", "dev", "pl0")
            for end in ("pl0", "unused"):
                self._do("-n", name, "link", "set", end, "up")
        for i, j in combinations(range(self.size), 2):
            one, other = self.names[i], self.names[j]
            self._do(
                "-n", one, "link", "add", f"to{j}", "type", "veth",
                "peer", "name", f"to{i}", "netns", other,
            )  # fmt: skip
            for a, b in ((i, j), (j, i)):
                self._do("-n", self.names[a], "link", "set", f"to{b}", "up")
            for a, b in ((i, j), (j, i)):
                self._do(
                    "-n", self.names[a], "route", "add", f"{self.address(b)}/32",
                    "dev", f"to{b}", "src", self.address(a),
                )  # fmt: skip

    def enter(self, host: int) -> None:
        """This process lives there from now on."""
        libc = ctypes.CDLL(None, use_errno=True)
        with open(f"/var/run/netns/{self.names[host]}") as file:
            if libc.setns(file.fileno(), NEW_NETWORK) or libc.unshare(NEW_HOSTNAME):
                raise OSError(ctypes.get_errno(), "cannot enter the namespace")
        socket.sethostname(f"host{host}")

    def cut(self, one: int, other: int) -> None:
        """Nothing passes between these two any more, and neither is told."""
        self._do("-n", self.names[one], "link", "set", f"to{other}", "down")

    def remove(self) -> None:
        for name in self.names:
            ip("netns", "del", name)

    def _do(self, *words: str) -> None:
        if not ip(*words):
            raise OSError(f"refused: ip {' '.join(words)}")


@contextmanager
def hosts(size: int) -> Iterator[Hosts]:
    """So many hosts, which are gone afterwards."""
    made = Hosts(size)
    try:
        made.build()
        yield made
    finally:
        made.remove()
