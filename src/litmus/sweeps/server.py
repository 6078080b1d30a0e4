"""Fork server: prepares what all jobs need once, and forks a fresh process per job."""

import atexit
import gc
import os
import pickle
import signal
import socket
import struct
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import Any, NoReturn

from litmus.runs.job_channel import JobChannel

Work = Callable[[Any, JobChannel], int]

SIZE = struct.Struct("Q")
NOTICE = struct.Struct("ii")
FORKED = -(2**30)  # in a notice, in place of an exit status


class Server:
    """Calls `prepare()` once in the server's process, and `work(request, channel)` in a fork of it for each `start`.

    Create it before its creator has threads, connections or a GPU in use, which a forked process could not share;
    `prepare` must not start any of these either. The methods raise OSError when the process is gone.
    """

    def __init__(self, prepare: Callable[[], None], work: Work):
        self.exits: dict[int, int] = {}
        self.channel, theirs = socket.socketpair()
        _flush()
        self.pid = os.fork()
        if self.pid == 0:
            self.channel.close()
            _finish(lambda: _serve(theirs, prepare, work))
        theirs.close()

    def start(self, request: Any) -> tuple[int, Connection]:
        """Returns the ID of the new process, which is its process group too, and this end of the connection."""
        here, there = socket.socketpair()
        payload = pickle.dumps(request)
        with there:
            socket.send_fds(self.channel, [SIZE.pack(len(payload))], [there.fileno()])
            self.channel.sendall(payload)
        connection = Connection(here.detach())
        while True:
            pid, status = NOTICE.unpack(_receive(self.channel, NOTICE.size))
            if status == FORKED:
                return pid, connection
            self.exits[pid] = status

    def wait(self, connections: Sequence[Connection], seconds: float | None = None) -> None:
        """Waits for a message on a connection, or until a process has ended; its status is then in `exits`."""
        if self.exits:
            return
        if self.channel in wait([self.channel, *connections], seconds):
            pid, status = NOTICE.unpack(_receive(self.channel, NOTICE.size))
            self.exits[pid] = status

    def close(self) -> None:
        self.channel.close()
        os.kill(self.pid, signal.SIGKILL)  # it may still be importing
        os.waitpid(self.pid, 0)


def _serve(channel: socket.socket, prepare: Callable[[], None], work: Work) -> int:
    # The terminal sends Ctrl-C to the whole group; the sweep decides what follows.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    prepare()
    gc.collect()
    gc.freeze()  # otherwise the first garbage collection of a job copies the shared pages
    woken, wake = socket.socketpair()
    for end in (woken, wake):
        end.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake.fileno())
    while True:
        ready = wait([channel, woken])
        if woken in ready:
            woken.recv(4096)
            for pid, status in _ended():
                channel.sendall(NOTICE.pack(pid, status))
        if channel in ready:
            header, fds, _, _ = socket.recv_fds(channel, SIZE.size, 1)
            if not header:
                return 0  # the sweep is gone; its jobs notice it themselves
            request = pickle.loads(_receive(channel, SIZE.unpack(header)[0]))
            _flush()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # forking with threads, as BLAS has
                pid = os.fork()
            if pid == 0:
                for end in (channel, woken, wake):
                    end.close()
                _finish(lambda: _job(fds[0], request, work))  # noqa: B023 (called at once)
            os.close(fds[0])
            with suppress(OSError):
                os.setpgid(pid, pid)  # here too, so that it is done before the sweep knows of the process
            channel.sendall(NOTICE.pack(pid, FORKED))


def _job(fd: int, request: Any, work: Work) -> int:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.setpgid(0, 0)
    os.set_inheritable(fd, False)
    try:
        return work(request, JobChannel(fd))
    finally:
        atexit._run_exitfuncs()


def _finish(function: Callable[[], int]) -> NoReturn:
    """Ends this forked process with the status of `function`; never returns into the code of its parent."""
    status = 1
    try:
        status = function()
    except (BrokenPipeError, ConnectionResetError):
        pass  # the parent is gone
    except BaseException:
        traceback.print_exc()
    finally:
        _flush()
        os._exit(status)


def _ended() -> Iterator[tuple[int, int]]:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        yield pid, os.waitstatus_to_exitcode(status)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        stream.flush()


def _receive(channel: socket.socket, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        part = channel.recv(size - len(parts))
        if not part:
            raise BrokenPipeError("the other end is closed")
        parts += part
    return bytes(parts)
