"""`launcher=slurm`: each job of a sweep as a Slurm job."""

import logging
import os
import pickle
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import sleep
from typing import Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from litmus.core.atomic_files import read_json, write_json
from litmus.core.counts import format_count
from litmus.errors import ConfigError, StoppedRun, require, whole_number
from litmus.runs.identity import sweep_folder
from litmus.sweeps.jobs import Job, JobOutcome

log = logging.getLogger("litmus")

LOOK = 1.0  # seconds between looks into the folder
ASK = 20.0  # seconds between calls of squeue
GRACE = 20.0  # seconds for the files of a job to arrive through the cluster file system
MOST = 1000  # jobs per array, the default limit of Slurm

Watch = Callable[[Job, int, float], bool]


@dataclass
class Submitted:
    """A Slurm job, and all jobs of the sweep that wait for its result."""

    id: str
    jobs: list[Job]
    submitted: float = field(default_factory=time.monotonic, init=False)
    over: tuple[str, float] | None = None  # its last state in Slurm, and since when

    def ended(self, outcome: dict[str, Any], logs: list[Path]) -> Iterator[JobOutcome]:
        result = outcome.get("result")
        seconds = result["seconds"] if result else time.monotonic() - self.submitted
        shown = next((path for path in logs if path.exists() and path.stat().st_size), logs[-1])
        for job in self.jobs:
            if result:
                yield JobOutcome(job, result, seconds)
            else:
                diverged, refused = outcome.get("diverged", False), outcome.get("refused", False)
                yield JobOutcome(job, None, seconds, outcome["reason"], diverged, shown, refused)


class SlurmLauncher(Launcher):
    """Gives all jobs of a grid to Slurm as one array, and those of a search as they are chosen, `jobs` at a time.

    They need nothing from this process, which only waits for them. When it is ended they go on, and when the sweep is
    started again those that are in Slurm's queue are waited for.
    """

    def __init__(self, options: DictConfig):
        self.options: Any = OmegaConf.to_container(options, resolve=True)
        self.running: list[Submitted] = []

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Raises ConfigError for what Slurm cannot do, before anything is composed."""
        from litmus.sweeps import job_process as process
        from litmus.sweeps import slurm_jobs as slurm

        self.slurm = slurm
        self.task = process.Task(hydra_context, task_function)
        self.searches = config.get("sampler") is not None
        require(
            config.hydra.runtime.choices.get("pruner", "none") == "none",
            "launcher=slurm can't end hopeless trials early; set pruner=none, or leave launcher=slurm out",
        )
        options = dict(self.options)
        self.requeues = whole_number("launcher.requeues", options.pop("requeues"), least=0)
        self.sbatch = slurm.parameters(str(config.sweep_name), **options)
        self.jobs = self.sbatch["array_parallelism"]
        slurm.check_available()

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        raise ConfigError("launcher=slurm works with Litmus' own sweeper: leave hydra/sweeper out")

    def __enter__(self) -> None:
        pass

    def work(self, jobs: Iterator[Job], watch: Watch, prunes: bool) -> Iterator[JobOutcome]:
        """Yields each job as it ends. In a search, takes the next jobs when there is room."""
        while True:
            chosen: list[Job] = []
            while not self.searches or sum(len(s.jobs) for s in self.running) + len(chosen) < self.jobs:
                job = next(jobs, None)
                if job is None:
                    break
                chosen.append(job)
            if chosen:
                self._start(chosen)
            if not self.running:
                return
            yield from self._some_that_end()

    def __exit__(self, *exception: object) -> None:
        if self.running:
            arrays = " ".join(dict.fromkeys(s.id.split("_")[0] for s in self.running))
            log.info(
                f"\nSlurm keeps the {format_count(len(self.running), 'job')} that had not ended: the same command "
                f"waits for them again and collects what they found, and scancel {arrays} ends them"
            )

    # --- giving jobs to Slurm ---

    def _start(self, jobs: list[Job]) -> None:
        for job in jobs:
            self.slurm.check_fits(job.config.accelerator, self.options)
        name = str(jobs[0].config.sweep_name)
        self.folder = sweep_folder(name) / "slurm"
        record = self.folder / "jobs.json"
        known: dict[str, str] = read_json(record) if record.exists() else {}
        states = self.slurm.states()
        if states is None:
            raise StoppedRun("Slurm's squeue doesn't answer: run the same command again when it does")
        new: list[Submitted] = []
        waiting = 0
        for job in jobs:
            same = [s for s in (*self.running, *new) if s.jobs[0].hash == job.hash]
            id = known.get(job.path.name)
            if same:
                same[0].jobs.append(job)
            elif id in states and states[id] not in self.slurm.ENDED:
                self.running.append(Submitted(id, [job]))
                waiting += 1
            else:
                new.append(Submitted("", [job]))
        if waiting:
            log.info(f"{format_count(waiting, 'job')} in Slurm's queue already")
        for first in range(0, len(new), MOST):
            self._submit(name, new[first : first + MOST], record, known)

    def _submit(self, name: str, new: list[Submitted], record: Path, known: dict[str, str]) -> None:
        requests = [self._request(name, submitted.jobs[0]) for submitted in new]
        function = self.slurm.Payload(self.task, sys.argv[0])
        ids = self.slurm.submit(function, requests, self.folder, self.requeues, self.sbatch)
        for submitted, id in zip(new, ids, strict=True):
            submitted.id = known[submitted.jobs[0].path.name] = id
            self.running.append(submitted)
        write_json(record, known)
        array = ids[0].split("_")[0]
        log.info(f"{format_count(len(ids), 'job')} given to Slurm as {array}, {min(len(ids), self.jobs)} at once")

    def _request(self, name: str, job: Job) -> Any:
        from litmus.sweeps.job_process import Request

        command = ["-m", *job.overrides, f"sweep_name={name}"]
        return Request(job.config, command, self._log(job), {}, side_by_side=1, prunes=False)

    def _log(self, job: Job) -> Path:
        return job.path.parent / "logs" / f"{job.path.name}.log"

    # --- waiting for them ---

    def _some_that_end(self) -> Iterator[JobOutcome]:
        asked = time.monotonic() - ASK / 2  # what Slurm can't start ends soon
        while True:
            with suppress(OSError):
                os.chmod(self.folder, self.folder.stat().st_mode)  # makes a network file system refresh
            there = set(os.listdir(self.folder))
            ended = [s for s in self.running if self._paths(s).result_pickle.name in there or _is_lost(s)]
            if ended:
                for submitted in ended:
                    self.running.remove(submitted)
                    yield from self._finish(submitted)
                return
            if time.monotonic() - asked > ASK:
                asked = time.monotonic()
                self._ask()
            sleep(LOOK)

    def _ask(self) -> None:
        states = self.slurm.states()
        if states is None:
            return
        for submitted in self.running:
            state = states.get(submitted.id, "")
            if state and state not in self.slurm.ENDED:
                submitted.over = None
            elif submitted.over is None:
                submitted.over = (state, time.monotonic())

    def _finish(self, submitted: Submitted) -> Iterator[JobOutcome]:
        paths = self._paths(submitted)
        if paths.result_pickle.exists():
            kind, outcome = pickle.loads(paths.result_pickle.read_bytes())
            if kind == "error":  # of submitit's own
                outcome = {"reason": str(outcome).strip().splitlines()[-1]}
        else:
            state = submitted.over[0] if submitted.over else ""
            outcome = {"reason": self.slurm.ENDED.get(state, self.slurm.GONE)}
        logs = [self._log(submitted.jobs[0]), Path(os.path.relpath(paths.stdout))]
        yield from submitted.ended(outcome, [*logs, Path(os.path.relpath(paths.submission_file))])
        needless = logs if outcome.get("result") else []
        for path in (paths.result_pickle, paths.submitted_pickle, *needless):
            path.unlink(missing_ok=True)

    def _paths(self, submitted: Submitted) -> Any:
        from submitit.core.utils import JobPaths

        return JobPaths(self.folder, submitted.id)


def _is_lost(submitted: Submitted) -> bool:
    return submitted.over is not None and time.monotonic() - submitted.over[1] > GRACE
