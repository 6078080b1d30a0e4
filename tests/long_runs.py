"""Long runs, by hand: python tests/long_runs.py [epochs|sweep], 15 minutes on a quiet machine. Linux only.

One run of 500 epochs with everything switched on that is by default, and one sweep of 200 jobs. While they run, the
memory and the open files of the process are looked at ten times a second; the tables set the first quarter of the time
against the last. A figure that grows with the epochs or with the jobs is a leak.
"""

import csv
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import NamedTuple

from board import Board
from conftest import ROOT

SMALL = ("data.train_size=5000", "data.test_size=1000", "accelerator=cpu", "accelerator.threads=1")
EPOCHS = (*SMALL, "trainer.max_epochs=500", "callbacks.early_stopping=null", "output_dir=run")
JOBS = 200
SWEEP = (
    *("-m", *SMALL, "data.train_size=500", "trainer.max_epochs=2", "sweep_name=long"),
    f"seed={','.join(map(str, range(JOBS)))}",
)


class Look(NamedTuple):
    time: float
    memory: float  # MiB
    files: int


def looks(process: subprocess.Popen) -> Iterator[Look]:
    while process.poll() is None:
        try:
            pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
            files = len(os.listdir(f"/proc/{process.pid}/fd"))
        except (FileNotFoundError, PermissionError):
            return
        yield Look(time.time(), pages * os.sysconf("SC_PAGE_SIZE") / 2**20, files)
        time.sleep(0.1)


def watched(arguments: tuple[str, ...], folder: Path) -> list[Look]:
    command = [sys.executable, str(ROOT / "train.py"), *arguments]
    with (folder / "printed.txt").open("w") as printed:
        process = subprocess.Popen(command, cwd=folder, stdout=printed, stderr=printed)
        seen = list(looks(process))
    assert process.wait() == 0, (folder / "printed.txt").read_text()[-2000:]
    return seen


def table(title: str, seen: list[Look], times: list[float]) -> None:
    """`times`: when each epoch or job ended. What happens before the first and after the last is not looked at."""
    between = [look for look in seen if times[0] <= look.time <= times[-1]]
    seconds = [after - before for before, after in pairwise(sorted(times))]
    print(f"\n| {title} | first quarter | last quarter |\n| --- | ---: | ---: |")
    for what, values, digits in (
        ("seconds of each, median", seconds, 3),
        ("memory, MiB, median", [look.memory for look in between], 1),
        ("open files, median", [look.files for look in between], 0),
    ):
        quarter = len(values) // 4
        first, last = median(values[:quarter]), median(values[-quarter:])
        print(f"| {what} | {first:.{digits}f} | {last:.{digits}f} |", flush=True)


def epochs(folder: Path) -> None:
    seen = watched(EPOCHS, folder)
    run = folder / "run"
    assert len(list(csv.DictReader((run / "metrics.csv").open()))) == 500
    table("a run of 500 epochs", seen, Board(run).times("train/loss"))


def sweep(folder: Path) -> None:
    seen = watched(SWEEP, folder)
    results = list(folder.glob("outputs/sweeps/long/*/result.json"))
    assert len(results) == JOBS
    table(f"a sweep of {JOBS} jobs", seen, sorted(file.stat().st_mtime for file in results))


if __name__ == "__main__":
    for name in sys.argv[1:] or ("epochs", "sweep"):
        with tempfile.TemporaryDirectory() as temporary:
            {"epochs": epochs, "sweep": sweep}[name](Path(temporary))
