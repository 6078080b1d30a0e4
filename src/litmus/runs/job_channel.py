"""Messages between a job and its sweep."""

import os
import queue
import signal
import threading
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any


class JobChannel:
    """The job's end of the connection to its sweep. When the sweep closes the other end, the job ends."""

    prunes = False  # whether the sweep may end a job early

    def __init__(self, fd: int):
        self.connection = Connection(fd)
        self.answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        try:
            while True:
                self.answers.put(self.connection.recv())
        except (EOFError, OSError):
            os.kill(0, signal.SIGKILL)  # this job's process group

    def send(self, kind: str, **facts: Any) -> None:
        self.connection.send((kind, facts))

    def request(self, kind: str, **facts: Any) -> Any:
        self.send(kind, **facts)
        return self.answers.get()

    def epoch(self, epoch: int, value: float) -> bool:
        """Reports an epoch of this job. Returns whether the job is to end."""
        if self.prunes:
            return bool(self.request("epoch", epoch=epoch, value=value))
        self.send("epoch", epoch=epoch, value=value)
        return False


def messages(connection: Connection) -> Iterator[tuple[str, dict[str, Any]]]:
    """The messages that a job has sent by now. Closes the connection if the job has closed its end."""
    try:
        while connection.poll():
            yield connection.recv()
    except (EOFError, OSError):
        connection.close()  # the job has ended; its exit status says how
