"""What training takes on this machine's GPU, and whether the GPU path works: one command, one Markdown page.

    python scripts/benchmark gpu                              everything that 8 minutes allow
    python scripts/benchmark gpu --out docs/benchmarks-gpu.md    also into a file, complete after every step
    python scripts/benchmark gpu --minutes 30                 everything; how long it takes depends on the processor
    python scripts/benchmark gpu --cases resnet224 --rounds 5 --minutes 20
    python scripts/benchmark gpu --device cpu --images 12 --steps 1    a trial of all steps without a GPU

First come the checks (16-mixed, bf16-mixed, resuming, a sweep's GPUs), with the compiler filling its cache beside
them, then the time to 99 % on MNIST, then rounds in which the contestants take turns, each in a process of its own.
The rounds end when --minutes have passed: what was not reached says so in its cell. Exit status 1: a check failed.
"""

import argparse
import json
import os
import platform
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date
from importlib.metadata import version
from pathlib import Path

from gpu.cases import CASES, CONTESTANTS
from gpu.checks import Check, Checks, mnist
from gpu.process import Runner, cell
from gpu.steps import StepBenchmark
from litmus import cli
from litmus.errors import number, require, whole_number
from machine import machine

CHECK_IMAGES = 1024
CORES_PER_COMPILATION = 2
COMPILE_SHARE = 0.25  # of the minutes, at most, for one case
NOTE = """Steps per second are those of windows of consecutive training steps within an epoch, each closed by a
synchronization with the device, over all rounds; the first epoch of each process is left out. Whole epochs add
validation on the same images for all, and logging and checkpoints where the contestant has them. Warm-up is what the
first epoch takes longer than the others, compilation or graph capture included; that of `trainer.compile=true` is
measured with an empty compiler cache, several cases at a time. fp32 is torch's default: TF32 in convolutions, not in
matrix products."""
FACTS = """import json, torch
available = torch.cuda.is_available()
name = torch.cuda.get_device_name() if available else None
print(json.dumps({"count": torch.cuda.device_count() if available else 0, "name": name, "cuda": torch.version.cuda}))"""


@dataclass
class Page:
    """The Markdown page, written to `out` whenever a part is added or replaced."""

    header: str
    out: Path | None
    parts: dict[str, str] = field(default_factory=dict)

    def put(self, part: str, text: str) -> None:
        self.parts[part] = text
        if self.out is not None:
            self.out.write_text(str(self), encoding="utf-8")

    def __str__(self) -> str:
        return "\n\n".join([self.header, *self.parts.values()]) + "\n"


def main(arguments: Sequence[str]) -> None:
    args = parsed(arguments)
    gpus = require_device(args.device)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        runner = Runner(Path(folder), deadline=started + 60 * args.minutes)
        page = Page(header(gpus, args.device, ["gpu", *arguments]), args.out)
        cases = {name: CASES[name].resized(args.images, args.steps) for name in args.cases}
        steps = StepBenchmark(cases, args.contestants, args.device, runner)
        checks = run_checks(args, gpus.count, steps, runner, page)
        page.put("mnist", mnist(args.device, args.images, runner))
        run_rounds(steps, args.rounds, page)
    print(page, end="")
    if any(check.outcome == "failed" for check in checks):
        sys.exit(1)


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "benchmark gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: to try the command out")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), help="default: all")
    parser.add_argument("--contestants", nargs="+", choices=CONTESTANTS, default=list(CONTESTANTS), help="default: all")
    parser.add_argument("--rounds", type=int, default=3, help="at most; default: 3")
    parser.add_argument("--minutes", type=float, default=8.0, help="after which no process runs; default: 8")
    parser.add_argument("--steps", type=int, help="in a timed window; default: 25 to 100, by case")
    parser.add_argument("--images", type=int, help="training images; default: 4,800 to 32,000, by case")
    parser.add_argument("--out", type=Path, help="a file for the page")
    args = parser.parse_args(arguments)
    for name in ("rounds", "steps", "images"):
        if getattr(args, name) is not None:
            whole_number(f"--{name}", getattr(args, name), least=1)
    number("--minutes", args.minutes, least=0)
    require(
        args.out is None or args.out.resolve().parent.is_dir(), f"--out={args.out} is in a folder that does not exist"
    )
    return args


@dataclass(frozen=True)
class GPUs:
    count: int
    name: str | None
    cuda: str | None


def require_device(device: str) -> GPUs:
    """The GPUs that torch can use, found in another process: this one must not occupy any. Raises ConfigError."""
    found = subprocess.run([sys.executable, "-c", FACTS], capture_output=True, text=True, check=True).stdout
    gpus = GPUs(**json.loads(found.strip().splitlines()[-1]))
    require(
        device == "cpu" or gpus.count > 0,
        "benchmark gpu needs a GPU that torch can use, and there is none here; set --device cpu to try it out",
    )
    return gpus


def header(gpus: GPUs, device: str, arguments: Sequence[str]) -> str:
    name = f"{gpus.count} × {gpus.name}, driver {driver()}, CUDA {gpus.cuda}" if device == "cuda" else "none: a trial"
    libraries = f"torchvision {version('torchvision')}, {platform.platform()}"
    lines = [f"- GPU: {name}", f"- Machine: {machine()}, {libraries}", f"- Date: {date.today().isoformat()}"]
    lines += [f"- Command: `python scripts/benchmark {shlex.join(arguments)}`"]
    return "\n".join(["# GPU benchmark\n", *lines, f"\n{NOTE}"])


def driver() -> str:
    try:
        command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0]
    except (OSError, subprocess.CalledProcessError, IndexError):
        return "unknown"


def run_checks(args: argparse.Namespace, gpus: int, steps: StepBenchmark, runner: Runner, page: Page) -> list[Check]:
    """The checks time nothing, so the compiler fills its cache at the same time."""
    checks = Checks(args.device, gpus, CHECK_IMAGES, runner)
    workers = max(1, (os.cpu_count() or 1) // CORES_PER_COMPILATION)
    with ThreadPoolExecutor(1) as pool:
        compiling = pool.submit(steps.compile_ahead, workers, COMPILE_SHARE * 60 * args.minutes)
        found = checks.run(lambda check: progress(f"{check.title}: {check.outcome}, {check.detail}"))
        compiling.result()
    rows = [f"| {check.title} | {check.outcome} | {cell(check.detail)} |" for check in found]
    page.put("checks", "\n".join(["**Checks**\n", "| check | outcome | detail |", "| --- | --- | --- |", *rows]))
    return found


def run_rounds(steps: StepBenchmark, rounds: int, page: Page) -> None:
    for i in range(1, rounds + 1):
        for case in steps.cases:
            for contestant in steps.contestants:
                if steps.runner.remaining <= 0:
                    break
                steps.measure(case, contestant)
                progress(f"round {i}, {case}, {CONTESTANTS[contestant]}: {steps.summary(case, contestant)}")
            page.put("steps", "\n\n".join(steps.tables()))


def progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


@cli.script
def script() -> None:
    main(sys.argv[1:])


if __name__ == "__main__":
    script()
