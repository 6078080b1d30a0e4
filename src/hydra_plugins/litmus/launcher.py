"""`launcher=local`: each job in a separate process on this machine."""

import importlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from litmus.errors import ConfigError, StoppedRun, whole_number
from litmus.runs.code_version import imported_code
from litmus.runs.identity import sweep_folder
from litmus.runs.job_channel import messages
from litmus.sweeps.jobs import Job, JobOutcome

GRACE = 3.0  # seconds for a job to end after it is asked to
IMPORTS = (
    "pytorch_lightning",
    "litmus.runs.run",
    "litmus.inference.loading",
    "litmus.training.trainer",
    "litmus.data",
    "litmus.models",
)

Watch = Callable[[Job, int, float], bool]  # job, epoch, the objective's value → whether to end it


@dataclass
class Running:
    job: Job
    pid: int
    line: Connection
    log: Path
    gpus: list[str]
    started: float = field(default_factory=time.monotonic, init=False)
    reason: str = ""
    diverged: bool = False
    refused: bool = False
    waiting: list[Job] = field(default_factory=list)  # jobs with the same config

    def ended(self, status: int) -> Iterator[JobOutcome]:
        self.line.close()
        result = self.job.result(pruned_too=True) if status == 0 else None
        reason = self.reason or ("it left no result.json" if status == 0 else _told(status))
        with suppress(OSError):
            if self.log.stat().st_size == 0 and result is None:
                self.log.write_text(f"error: {reason}\n")  # for the report
            elif self.log.stat().st_size == 0:
                self.log.unlink()
        for job in (self.job, *self.waiting):
            seconds = time.monotonic() - self.started
            if result is not None:
                yield JobOutcome(job, result, seconds)
            else:
                yield JobOutcome(job, None, seconds, reason, self.diverged, self.log, self.refused)


class LocalLauncher(Launcher):
    """Runs jobs in separate processes, `jobs` at a time.

    The cores are divided among them, and each job has its own GPUs if there are any: at most `jobs_per_gpu` jobs share
    one. A job that fails or is killed does not affect the others.
    """

    def __init__(self, jobs: int, jobs_per_gpu: int):
        self.jobs = whole_number("jobs", jobs, least=1)
        self.jobs_per_gpu = whole_number("launcher.jobs_per_gpu", jobs_per_gpu, least=1)
        self.running: list[Running] = []
        self.gpus: list[str] | None = None  # found when the first job needs one

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context = hydra_context
        self.task_function = task_function
        self.config = config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        raise ConfigError("launcher=local works with Litmus' own sweeper: leave hydra/sweeper out")

    def __enter__(self) -> None:
        """Starts the fork server early, while this process is small and has nothing open."""
        from litmus.sweeps.job_process import Task
        from litmus.sweeps.server import Server

        self.server = Server(self._prepare, Task(self.hydra_context, self.task_function))

    def _prepare(self) -> None:
        """Imports what every job needs, in the process that jobs are forked from."""
        if sys.platform != "linux":
            return  # torch may not survive a fork there, so each job imports it
        for name in IMPORTS:
            importlib.import_module(name)
        imported_code()  # computes the digests once for all jobs
        if OmegaConf.select(self.config, "data.source._target_") == "litmus.data.sources.MNIST":
            from litmus.data.sources import MNIST

            with suppress(Exception):  # a job that cannot read them reports why
                MNIST.preload()

    def work(self, jobs: Iterator[Job], watch: Watch, prunes: bool) -> Iterator[JobOutcome]:
        """Runs the jobs, takes the next one when there is room, and yields each as it ends. `watch` is called after
        every epoch, and if `prunes`, its answer may end the job.
        """
        self.prunes = prunes
        job = None
        try:
            while True:
                while self._room() and (job := job or next(jobs, None)) and self._start(job):
                    job = None
                if not self.running:
                    return
                yield from self._some_that_end(watch)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise StoppedRun("the process that starts the jobs has gone: run the same command again") from error

    def __exit__(self, *exception: object) -> None:
        """Ends all running jobs: by a signal, and after a few seconds by SIGKILL."""
        before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
        logs = [running.log for running in self.running]
        for number in (signal.SIGTERM, signal.SIGKILL):
            for running in self.running:
                with suppress(ProcessLookupError):
                    os.killpg(running.pid, number)
            deadline = time.monotonic() + GRACE
            while self.running and (left := deadline - time.monotonic()) > 0:
                try:
                    self.server.wait([], left)
                except OSError:
                    break
                self.running = [running for running in self.running if running.pid not in self.server.exits]
                self.server.exits.clear()
        self.server.close()
        for log in logs if isinstance(exception[1], ConfigError) else ():  # a refused job leaves nothing
            log.unlink(missing_ok=True)
        for number, handler in before.items():
            signal.signal(number, handler)

    def _room(self) -> bool:
        return sum(1 + len(running.waiting) for running in self.running) < self.jobs

    def _start(self, job: Job) -> bool:
        """Returns whether the job could be started; not if it needs a GPU and none is free."""
        from litmus.sweeps.job_process import Request

        for running in self.running:
            if running.job.hash == job.hash:
                running.waiting.append(job)
                return True
        gpus = self._take_gpus(job.config.accelerator)
        if gpus is None:
            return False
        name = str(job.config.sweep_name)
        log = sweep_folder(name) / "logs" / f"{job.path.name}.log"
        environment = {"CUDA_VISIBLE_DEVICES": ",".join(gpus)} if gpus else {}
        command = ["-m", *job.overrides, f"sweep_name={name}"]
        pid, line = self.server.start(Request(job.config, command, log, environment, self.jobs, self.prunes))
        self.running.append(Running(job, pid, line, log, gpus))
        return True

    def _take_gpus(self, accelerator: Any) -> list[str] | None:
        """The GPUs of another job: empty if it needs none, None if it has to wait."""
        if accelerator.accelerator not in ("auto", "gpu", "cuda"):
            return []
        if self.gpus is None:
            self.gpus = self._find_gpus()
        needed = accelerator.devices if isinstance(accelerator.devices, int) else 1
        taken = [gpu for running in self.running for gpu in running.gpus]
        free = sorted((gpu for gpu in self.gpus if taken.count(gpu) < self.jobs_per_gpu), key=taken.count)
        if len(self.gpus) < needed:
            return []  # the job reports itself what it lacks
        return free[:needed] if len(free) >= needed else None

    def _find_gpus(self) -> list[str]:
        """Counted by torch in a separate process, because a process that has used CUDA cannot be forked."""
        from litmus.sweeps.job_process import gpu_names

        _, line = self.server.start(None)
        with line:
            _, facts = line.recv()
            line.send("heard")
        return gpu_names(facts["count"])

    def _some_that_end(self, watch: Watch) -> Iterator[JobOutcome]:
        # A closed connection would end every wait at once, until the process of the job is gone 20 to 50 ms later.
        self.server.wait([running.line for running in self.running if not running.line.closed])
        for running in list(self.running):
            over = running.pid in self.server.exits
            for kind, facts in messages(running.line):
                if kind == "epoch":
                    answer = watch(running.job, facts["epoch"], facts["value"])
                    if self.prunes:
                        with suppress(OSError):
                            running.line.send(answer)
                elif kind == "failed":
                    running.reason, running.diverged = facts["reason"], facts["diverged"]
                    running.refused = facts["refused"]
            if over:
                self.running.remove(running)
                yield from running.ended(self.server.exits.pop(running.pid))
        self.server.exits.clear()  # of the one that counted the GPUs


def _told(status: int) -> str:
    if status >= 0:
        return f"it ended with status {status}"
    hint = ", most likely out of memory" if status == -signal.SIGKILL else ""
    return f"killed by {signal.Signals(-status).name}{hint}"
