"""Starts `train.py` in processes of its own that have the imports already: a sweep in a test then costs no start-up.

Run as a script, it is the process that forks; the tests use `Starter`.
"""

import importlib
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parent.parent
FORKING = "hydra_plugins.litmus.launcher"


class Started:
    """A command that was started: what it printed goes to `path`."""

    def __init__(self, starter: "Starter", pid: int, path: Path):
        self.starter, self.pid, self.path = starter, pid, path

    def wait(self) -> int:
        return self.starter.wait(self.pid)

    def kill(self, number: int = signal.SIGKILL) -> int:
        os.kill(self.pid, number)
        return self.wait()

    def wait_for(self, condition: Callable[[], Any], seconds: float = 60) -> Any:
        """What the condition gives as soon as it holds."""
        end = time.monotonic() + seconds
        while not (found := condition()):
            assert time.monotonic() < end, self.text
            time.sleep(0.002)
        return found

    @property
    def text(self) -> str:
        return self.path.read_text()


class Starter:
    def __init__(self) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        environment.pop("HYDRA_FULL_ERROR", None)
        self.process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def request(self, **question: object) -> int:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def start(self, *arguments: str, cwd: Path, prepared: dict[str, object] | None = None) -> Started:
        """With `prepared`, the process first calls trust/killing.py's `prepare` with it."""
        path = cwd / f"output-{time.monotonic_ns()}.txt"
        question = {"arguments": arguments, "cwd": str(cwd), "path": str(path), "prepared": prepared}
        return Started(self, self.request(**question), path)

    def wait(self, pid: int) -> int:
        return self.request(wait=pid)

    def close(self) -> None:
        self.process.communicate()


class Process(NamedTuple):
    pid: int
    name: str
    parent: int
    session: int


def processes() -> Iterator[Process]:
    """Those of this machine, without zombies."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, rest = path.read_text().rsplit(")", 1)
        except (FileNotFoundError, ProcessLookupError):
            continue
        state, parent, _, session = rest.split()[:4]
        if state != "Z":
            yield Process(int(path.parent.name), name.split("(", 1)[1], int(parent), int(session))


def _run(arguments: list[str], cwd: str, path: str, prepared: dict[str, object] | None) -> None:
    os.setsid()
    os.chdir(cwd)
    # What a shell's background jobs, such as a CI's, ignore, their children would too.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    file = os.open(path, os.O_WRONLY | os.O_CREAT)
    for stream in (1, 2):
        os.dup2(file, stream)
    sys.argv = ["train.py", *arguments]
    import train

    if prepared is not None:
        importlib.import_module("killing").prepare(**prepared)
    status = 1
    try:
        train.main()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def main() -> None:
    sys.path.insert(0, str(ROOT))
    for name in importlib.import_module(FORKING).IMPORTS:
        importlib.import_module(name)
    for line in sys.stdin:
        question = json.loads(line)
        if "wait" in question:
            answer = os.waitstatus_to_exitcode(os.waitpid(question["wait"], 0)[1])
        else:
            answer = os.fork()
            if answer == 0:
                _run(**question)
        print(answer, flush=True)


if __name__ == "__main__":
    main()
