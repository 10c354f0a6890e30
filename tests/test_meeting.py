"""How the processes of a team find each other, and what they hear of those that do not come."""

from __future__ import annotations

import os
import signal
import socket
import threading

import pytest
import torch.distributed as dist
from processes import FILE, finish, start
from typer.testing import CliRunner

from peerlearn import cli
from peerlearn.engines import rendezvous
from peerlearn.engines.place import Place, place
from peerlearn.errors import ConfigurationError

pytestmark = pytest.mark.timeout(120)

PLACE = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
WRONG = {
    "RANK=x": "RANK is 'x', expected a whole number from 0 to 1, as WORLD_SIZE is 2; whoever",
    "RANK=5": "RANK is '5', expected a whole number from 0 to 1, as WORLD_SIZE is 2; whoever",
    "WORLD_SIZE=zwei": "WORLD_SIZE is 'zwei', expected a whole number of at least 1; whoever",
    "LOCAL_RANK=-1": "LOCAL_RANK is '-1', expected a whole number of at least 0; whoever",
    "MASTER_PORT=abc": "MASTER_PORT is 'abc', expected a whole number from 1 to 65535; whoever",
    "MASTER_PORT=70000": "MASTER_PORT is '70000', expected a whole number from 1 to 65535; whoever",
}


@pytest.fixture
def placed(monkeypatch, tmp_path):
    """The second of two processes, on the machine of the first, in a folder with a file."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "two.toml").write_text(FILE)
    for name, value in {**PLACE, "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    before = signal.getsignal(signal.SIGTERM)  # which a command ignores once it has failed
    yield monkeypatch
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("variable", WRONG)
def test_a_wrong_variable_is_named_by_the_process_that_has_it(variable, placed):
    placed.setenv(*variable.split("="))
    placed.setattr(rendezvous, "MISTAKE_S", 0.0)
    result = CliRunner().invoke(cli.app, ["run", "two.toml", "--engine", "processes"])
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith(f"error: the environment variable {WRONG[variable]}")


def test_a_process_that_cannot_join_says_so_whichever_it_is(placed):
    def refuse(*_, **__):
        raise RuntimeError("no such host\nframe #0")

    placed.setattr(dist, "TCPStore", refuse)
    placed.setattr(rendezvous, "_reach", lambda *_: None)
    result = CliRunner().invoke(cli.app, ["run", "two.toml", "--engine", "processes"])
    assert result.exit_code == 2
    assert result.stderr == (
        "error: the processes did not all meet at 127.0.0.1:29500 (MASTER_ADDR:MASTER_PORT): no "
        "such host; check address, port, firewall, and that all were started\n"
    )


def test_the_place_of_a_process(placed):
    assert place() == Place(rank=1, size=2, local=1, address="127.0.0.1", port=29500)
    placed.delenv("LOCAL_RANK")
    assert place().local == 0
    placed.setenv("MASTER_ADDR", "")
    with pytest.raises(ConfigurationError, match=r"finds no processes \(MASTER_ADDR not set\)"):
        place()


# --- who comes ------------------------------------------------------------------------------------


def meet(limit_s=0.3, size=3, **told):
    """The second of three, with what others have told the store."""
    store = dist.HashStore()
    for key, value in told.items():
        store.set(key.replace("_", "/"), value)
    rendezvous._all_there(store, Place(1, size, 1, "127.0.0.1", 29500), "size", limit_s)
    return store.get("size/1")


def test_processes_that_all_come_meet():
    assert meet(size_0="3", size_2="3") == b"3"


def test_those_that_do_not_come_are_named():
    with pytest.raises(RuntimeError, match=r"^no word from process 0, process 2$"):
        meet()
    with pytest.raises(RuntimeError, match=r"^no word from process 2$"):
        meet(size_0="3")


def test_processes_that_expect_other_numbers_hear_it_at_once():
    with pytest.raises(
        ConfigurationError, match=r"^process 1 has WORLD_SIZE 3, but process 0 has 2; start all"
    ):
        meet(limit_s=60.0, size_0="2")


def test_one_that_was_stopped_stops_those_that_wait_for_it():
    with pytest.raises(KeyboardInterrupt, match="process 2 was stopped before all had met"):
        meet(limit_s=60.0, left="2", size_0="0")


# --- what one of them tells the others ------------------------------------------------------------


@pytest.fixture
def store(placed):
    """That of the team, of which the first two have come, and are connected."""
    store = dist.HashStore()
    placed.setattr(dist, "TCPStore", lambda *_, **__: store)
    placed.setattr(rendezvous, "_make_group", lambda *_: True)
    for name in ("HEARD_S", "MISTAKE_S", "WORD_S"):
        placed.setattr(rendezvous, name, 0.0)
    placed.setattr(rendezvous, "SLACK_S", 1.0)
    for key in ("size/0", "made/0", "size/1"):
        store.set(f"0/{key}", "2")
    return store


def refuse(*_):
    raise RuntimeError("Gloo cannot connect\nframe #0")


def wrong_rank(placed):
    placed.setattr(rendezvous, "_reach", lambda *_: None)
    placed.setenv("RANK", "5")


def taken_rank(placed):
    placed.setattr(rendezvous, "_reach", lambda *_: None)
    rendezvous.rendezvous(5.0)


def wrong_address(placed):
    placed.setenv("RANK", "0")
    placed.setenv("MASTER_ADDR", "no.such.host.invalid")


def wrong_network(placed):
    placed.setattr(rendezvous, "_reach", lambda *_: None)
    placed.setattr(rendezvous, "_make_group", refuse)


@pytest.mark.parametrize(
    ("wrong", "heard"),
    [
        (wrong_rank, "on host {host} the environment variable RANK is '5', expected a whole numb"),
        (taken_rank, "process 1 has come twice, from host {host} and from host {host}; give eac"),
        (wrong_address, "process 0 (host {host}): the processes did not all meet at no.such.host."),
        (wrong_network, "process 1 (host {host}): the processes did not all meet at 127.0.0.1:295"),
    ],
)
def test_the_others_hear_what_keeps_one_from_joining(wrong, heard, store, placed):
    wrong(placed)
    with pytest.raises((ConfigurationError, RuntimeError)):
        rendezvous.rendezvous(5.0)
    assert store.check(["0/mistaken"])
    told = store.get("0/mistaken").decode()
    assert told.startswith(heard.format(host=socket.gethostname()))
    assert "frame" not in told


def test_nobody_waits_for_a_group_of_which_one_is_mistaken(store, placed):
    over = threading.Event()
    wrong_network(placed)
    placed.setattr(rendezvous, "_make_group", lambda *_: over.wait())
    threading.Timer(0.3, lambda: store.set("0/mistaken", "process 0: no network")).start()
    with pytest.raises(ConfigurationError, match=r"^process 0: no network$"):
        rendezvous.rendezvous(2.0)
    over.set()


# --- what one of them meets -----------------------------------------------------------------------

BEGIN = """
import os, sys
from peerlearn import experiment, report
os.chdir(sys.argv[1])
error = eval(sys.argv[3])
def fail(*_):
    raise error
if os.environ["RANK"] == sys.argv[2]:
    {replaced} = fail
sys.argv = ["peerlearn", "run", "two.toml", "--engine", "processes", "--out", "runs"]
from peerlearn.cli import main
main()
"""


def run(folder, replaced, rank, error):
    """What two processes say, and their statuses, where something fails in one of them."""
    (folder / "two.toml").write_text(FILE)
    code = BEGIN.format(replaced=replaced)
    processes = start(2, "-c", code, str(folder), str(rank), error, NO_COLOR="1", COLUMNS="200")
    return finish(processes), [p.returncode for p in processes]


@pytest.mark.parametrize("rank", [0, 1])
def test_an_error_while_the_file_is_read_is_heard_by_all(rank, tmp_path):
    said, statuses = run(tmp_path, "experiment.load", rank, "KeyError('boo')")
    assert statuses == ([1, 2] if rank == 0 else [2, 1]), said
    assert "KeyError: 'boo'" in said[rank]
    assert "Traceback" in said[rank]
    if rank == 1:  # else the first one has told it to this machine
        assert "error: process 1 (host " in said[0]
        assert "): KeyError: 'boo'" in said[0]


@pytest.mark.parametrize("rank", [0, 1])
def test_ctrl_c_while_the_file_is_read_stops_all(rank, tmp_path):
    said, statuses = run(tmp_path, "experiment.load", rank, "KeyboardInterrupt()")
    assert statuses == [130, 130], said
    assert said == ["stopped; go on by starting all again with --resume\n", ""]


WAITS = """
import os, signal, sys, threading, time
import peerlearn as pl
from peerlearn.engines import rendezvous
os.environ["WORLD_SIZE"] = "3"  # the last one never comes
rank, all_there = int(os.environ["RANK"]), rendezvous._all_there
def stop(store):
    while not store.check([f"size/{1 - rank}"]):
        time.sleep(0.1)
    os.kill(os.getpid(), signal.SIGINT)
def waits(store, *told):
    if rank == int(sys.argv[1]):
        threading.Thread(target=stop, args=(store,)).start()
    all_there(store, *told)
rendezvous._all_there = waits
try:
    pl.train(pl.tasks.quadratic(3, 2), pl.DSGD(), pl.graphs.cycle(3), rounds=4, engine="processes")
except KeyboardInterrupt as error:
    print(f"stopped: {error}")
"""


@pytest.mark.parametrize("who", [0, 1])
def test_ctrl_c_while_one_waits_for_others_stops_those_that_wait(who):
    said = finish(start(2, "-c", WAITS, str(who)), timeout_s=60)
    assert said[who] == "stopped: \n"
    assert said[1 - who] == f"stopped: process {who} was stopped before all had met\n"


def test_a_report_that_cannot_be_written_is_no_loss(tmp_path):
    (first, second), statuses = run(tmp_path, "report.build", 0, "OSError(28, 'the disk is full')")
    assert statuses == [2, 3], (first, second)
    assert first.endswith("error: [Errno 28] the disk is full\n")
    assert second.startswith("error: process 0 (host ")
    assert second.endswith(
        "failed: OSError: [Errno 28] the disk is full; all runs are done; write the report with "
        "peerlearn report runs\n"
    )
    assert (tmp_path / os.path.join("runs", "DSGD", "seed-0", "record.jsonl")).exists()
