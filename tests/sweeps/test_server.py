"""The process that forks the jobs."""

import importlib
import os
import signal
import sys
import time

import pytest

from litmus.runs.job_channel import messages
from litmus.sweeps.server import Server


def prepare():
    importlib.import_module("tabnanny")


def work(request, line):
    if request == "modules":
        line.send("modules", there="tabnanny" in sys.modules, pid=os.getpid(), group=os.getpgid(0))
    elif request == "ask":
        line.send("heard", answer=line.request("question"))
    elif request == "raise":
        raise ValueError("on purpose")
    elif request == "sleep":
        line.send("asleep")
        time.sleep(60)
    return 3 if request == "status" else 0


@pytest.fixture
def server():
    made = Server(prepare, work)
    yield made
    made.close()


def ended(server: Server, pid: int) -> int:
    while pid not in server.exits:
        server.wait([], 10)
    return server.exits.pop(pid)


def test_each_job_is_a_preloaded_process_that_leads_its_group(server):
    assert "tabnanny" not in sys.modules
    pids = set()
    for _ in range(2):
        pid, line = server.start("modules")
        assert ended(server, pid) == 0
        assert list(messages(line)) == [("modules", {"there": True, "pid": pid, "group": pid})]
        pids.add(pid)
        line.close()
    assert len(pids) == 2
    assert "tabnanny" not in sys.modules


def test_a_job_is_answered(server):
    pid, line = server.start("ask")
    assert line.recv() == ("question", {})
    line.send(42)
    assert line.recv() == ("heard", {"answer": 42})
    assert ended(server, pid) == 0
    line.close()


@pytest.mark.parametrize(("what", "status"), [("status", 3), ("raise", 1)])
def test_the_exit_status_is_told(server, what, status):
    pid, line = server.start(what)
    assert ended(server, pid) == status
    line.close()


def test_a_killed_job_is_told(server):
    pid, line = server.start("sleep")
    line.recv()
    os.kill(pid, signal.SIGKILL)
    assert ended(server, pid) == -signal.SIGKILL
    line.close()


def test_messages_closes_the_line_of_a_job_that_has_ended(server):
    pid, line = server.start("ask")
    assert list(messages(line)) in ([], [("question", {})])
    assert not line.closed
    line.send(42)
    assert ended(server, pid) == 0
    assert list(messages(line))[-1] == ("heard", {"answer": 42})
    assert line.closed
    assert list(messages(line)) == []


def test_a_job_ends_with_whoever_holds_the_other_end_of_its_line(server):
    pid, line = server.start("sleep")
    line.recv()
    line.close()
    assert ended(server, pid) == -signal.SIGKILL


def test_whoever_asks_learns_that_the_server_is_gone():
    server = Server(lambda: None, work)
    os.kill(server.pid, signal.SIGKILL)
    with pytest.raises(OSError):  # noqa: PT011 (a broken pipe or a reset connection)
        server.start("status")
    server.close()
