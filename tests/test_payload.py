"""What leaves a process, as somebody sees it who listens on the wire."""

from __future__ import annotations

import socket
import struct
import threading
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from in_payload import FEATURES, MARK, ROUNDS, SAMPLES
from processes import finish, start

SCRIPT = Path(__file__).with_name("in_payload.py")
ALL_PROTOCOLS, TCP, IPV6 = 3, 6, 0x86DD
FORCED_BUFFER = 33  # SO_RCVBUFFORCE
ROOM = 256 * 2**20  # bytes that may wait to be read
DRAIN_S = 1.0  # to read them


class Wire:
    """Everything that TCP carries over the loopback interface, from `open` to `close`."""

    def __init__(self) -> None:
        self.segments: dict[tuple[int, int], list[tuple[int, bytes]]] = defaultdict(list)
        self._socket = socket.socket(
            socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ALL_PROTOCOLS)
        )
        self._socket.setsockopt(socket.SOL_SOCKET, FORCED_BUFFER, ROOM)
        self._socket.bind(("lo", ALL_PROTOCOLS))
        self._socket.settimeout(0.2)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def close(self) -> None:
        """After what is on the wire already; others may never be silent."""
        self._over.wait(DRAIN_S)
        self._over.set()
        self._thread.join()
        self._socket.close()

    def _listen(self) -> None:
        while not self._over.is_set():
            try:
                packet, (_, protocol, kind, *_) = self._socket.recvfrom(2**18)
            except TimeoutError:
                continue
            if kind == socket.PACKET_OUTGOING:  # what goes out on loopback also comes in
                self._take(packet, protocol)

    def _take(self, packet: bytes, protocol: int) -> None:
        carried, start = (6, 40) if protocol == IPV6 else (9, 4 * (packet[0] & 15))
        if packet[carried] != TCP:
            return
        source, target, number = struct.unpack_from("!HHI", packet, start)
        content = packet[start + 4 * (packet[start + 12] >> 4) :]
        if content:
            self.segments[source, target].append((number, content))

    def stream(self, source: int, target: int) -> bytes:
        """All bytes from one port to another, in order; none may be missing."""
        segments = self.segments[source, target]
        first = segments[0][0]
        whole = bytearray()
        for number, content in sorted(((n - first) % 2**32, c) for n, c in segments):
            assert number <= len(whole), "a packet was missed"
            whole[number : number + len(content)] = content  # what is sent again is the same
        return bytes(whole)


def open_wire() -> Wire:
    try:
        return Wire()
    except PermissionError:
        pytest.skip("listening on the loopback interface needs root")


@pytest.fixture(scope="module")
def heard(tmp_path_factory):
    """What each process has to tell, and the streams by who sent them."""
    folder, wire = tmp_path_factory.mktemp("payload"), open_wire()
    try:
        processes = start(2, "-W", "error", SCRIPT, folder)
        assert finish(processes, 200) == ["", ""]
    finally:
        wire.close()
    told = [dict(np.load(folder / f"{rank}.npz")) for rank in (0, 1)]
    streams = [
        [wire.stream(a, b) for a, b in t["ports"].tolist() if wire.segments.get((a, b))]
        for t in told
    ]
    return told, streams


def test_no_value_of_the_data_is_sent(heard):
    told, streams = heard
    sent = b"\n".join(s for own in streams for s in own)
    values = told[0]["data"].ravel()
    assert len(np.unique(values)) == 2 * SAMPLES * (FEATURES + 1)
    double = [v.tobytes() for v in values]
    single = [v.tobytes() for v in values.astype(np.float32)]
    assert not any(v in sent for v in double)
    assert not any(a + b in sent for a, b in pairwise(single)), "four bytes may occur by chance"
    assert not any(repr(float(v)).encode() in sent for v in values)


def test_the_rows_that_agents_say_are_sent_once_each(heard):
    told, streams = heard
    for own, said in zip(streams, told, strict=True):
        assert len(said["said"]) == sum(ROUNDS)
        sent = b"\n".join(own)
        for row in said["said"][1:]:
            assert row.tobytes() in sent
        later = [row.tobytes() for row in said["said"][2:10]]  # neither a first network nor a last
        assert [sent.count(row) for row in later] == [2] * len(later), "once in each run"


def test_what_travels_is_what_the_record_counts(heard):
    told, streams = heard
    for rank, own in enumerate(streams):
        (sent,) = [s for s in own if MARK in s]
        first, second, _ = map(len, sent.split(MARK))
        counted = told[rank]["counted"][:, rank]
        assert second - first == pytest.approx(counted[1] - counted[0], rel=0.02)
