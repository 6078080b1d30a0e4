"""Runs train.py and the contestants of a benchmark as processes, each with a time limit."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from litmus.errors import StoppedRun

FOLDER = Path(__file__).resolve().parents[1]
TRAIN = FOLDER.parents[1] / "train.py"
CONTESTANTS = FOLDER / "contestants"
CELL_LENGTH = 200


@dataclass(frozen=True)
class Finished:
    stdout: str
    seconds: float


@dataclass(frozen=True)
class Runner:
    """Runs commands in `folder`, each for at most `limit` seconds and never past `deadline` (`time.monotonic()`)."""

    folder: Path
    deadline: float
    limit: float = 240.0
    environment: dict[str, str] = field(default_factory=lambda: inherited_environment())

    @property
    def remaining(self) -> float:
        return self.deadline - time.monotonic()

    def run(self, command: Sequence[str], extra: dict[str, str] | None = None) -> Finished:
        """Raises StoppedRun, with the last line of stderr, unless the command exits with status 0 in time."""
        left = min(self.limit, self.remaining)
        if left <= 0:
            raise StoppedRun("not run: no time left (--minutes)")
        started = time.perf_counter()
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            process = subprocess.Popen(
                [str(part) for part in command],
                stdout=out,
                stderr=err,
                cwd=self.folder,
                env=self.environment | (extra or {}),
                start_new_session=True,
            )
            try:
                status = process.wait(left)
            except subprocess.TimeoutExpired:
                raise StoppedRun(f"stopped after {left:.0f} s") from None
            finally:
                # The whole group: data loader workers and compiler processes may outlive their parent.
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            seconds = time.perf_counter() - started
            out.seek(0)
            err.seek(0)
            if status != 0:
                raise StoppedRun(f"exit status {status}: {last_line(err.read())}")
            return Finished(out.read(), seconds)

    def train(self, *overrides: str, extra: dict[str, str] | None = None) -> Finished:
        return self.run([sys.executable, str(TRAIN), *overrides], extra)

    def contestant(self, program: str, case: dict[str, Any]) -> Any:
        """The JSON in the last line that scripts/benchmark/contestants/`program` prints."""
        finished = self.run([sys.executable, str(CONTESTANTS / program), json.dumps(case)])
        return json.loads(finished.stdout.strip().splitlines()[-1])


def inherited_environment() -> dict[str, str]:
    """This process's, with an absolute PYTHONPATH: the commands run in another folder."""
    environment = dict(os.environ)
    if path := environment.get("PYTHONPATH"):
        environment["PYTHONPATH"] = os.pathsep.join(os.path.abspath(part) for part in path.split(os.pathsep) if part)
    return environment


def last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1].removeprefix("error: ") if lines else "no message"


def cell(text: str) -> str:
    """`text` in one line that fits into a cell of a Markdown table."""
    return " ".join(text.split()).replace("|", "\\|")[:CELL_LENGTH]
