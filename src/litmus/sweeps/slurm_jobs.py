"""Slurm jobs: sbatch options, the state of the queue, and what runs in a job."""

import logging
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, suppress
from importlib.util import find_spec
from io import StringIO
from math import ceil
from pathlib import Path
from typing import Any

from litmus.core.atomic_files import read_json
from litmus.errors import ConfigError, require, whole_number
from litmus.sweeps.job_process import Request, Task, print_to, reason_of

NOTICE = 90  # seconds before the end of its time at which Slurm wakes a job
ENDED = {
    "COMPLETED": "it left nothing behind in Slurm",
    "TIMEOUT": "its time was over before it could be queued again; the same command resumes it",
    "PREEMPTED": "Slurm preempted it for good; the same command resumes it",
    "CANCELLED": "it was canceled in Slurm",
    "OUT_OF_MEMORY": "Slurm ended it because it ran out of memory; set launcher.memory=GB",
    "FAILED": "it ended with an error before it could report it",
    "NODE_FAIL": "its node failed; the same command resumes it",
    "BOOT_FAIL": "its node failed; the same command resumes it",
    "DEADLINE": "its deadline in Slurm was over",
}
GONE = "it left the queue without a result"


def check_available() -> None:
    """Raises ConfigError if no job can be submitted to Slurm."""
    require(
        shutil.which("sbatch") is not None and shutil.which("srun") is not None,
        "launcher=slurm needs Slurm's sbatch and srun, which are not on the PATH here: start the sweep where they "
        "are, on a login node of the cluster, or leave launcher=slurm out",
    )
    require(
        find_spec("submitit") is not None,
        "launcher=slurm needs the package submitit: pip install -c constraints.txt -e '.[slurm]'",
    )


def check_fits(accelerator: Any, options: dict[str, Any]) -> None:
    """Raises ConfigError for a job that needs more than it would be given."""
    require(
        accelerator.num_nodes == 1,
        "a job of a sweep runs on one node: leave accelerator.num_nodes=1, or start a run of several nodes by itself "
        "with srun (docs/clusters.md)",
    )
    lacks = accelerator.accelerator in ("gpu", "cuda") and accelerator.devices > options["gpus"]
    require(
        not lacks or "gpu" in str(options["extra"]),
        f"each job needs {accelerator.devices} GPU(s), and launcher.gpus={options['gpus']}; "
        f"set launcher.gpus={accelerator.devices}, or accelerator=cpu",
    )


def parameters(
    name: str,
    *,
    jobs: int,
    partition: str | None,
    account: str | None,
    qos: str | None,
    constraint: str | None,
    time: int | str | None,
    gpus: int,
    cpus: int | None,
    memory: float | str | None,
    setup: list[str],
    extra: str | None,
) -> dict[str, Any]:
    """The launcher's options for submitit. Raises ConfigError for an invalid one."""
    limit = minutes(time)
    require(isinstance(setup, list), f"launcher.setup is {setup!r}, and must be a list of shell commands")
    given: dict[str, Any] = {
        "job_name": f"litmus-{name}",
        "array_parallelism": whole_number("jobs", jobs, least=1),
        "time": limit,
        "signal_delay_s": min(NOTICE, 15 * limit),
        "partition": partition,
        "account": account,
        "qos": qos,
        "constraint": constraint,
        "gpus_per_node": whole_number("launcher.gpus", gpus, least=0) or None,
        "mem": gigabytes(memory),
        "setup": setup or None,
        "stderr_to_stdout": True,
        "additional_parameters": {"requeue": True, **long_options(extra)},
    }
    if cpus is not None:
        given["cpus_per_task"] = whole_number("launcher.cpus", cpus, least=1)
        given["srun_args"] = [f"--cpus-per-task={given['cpus_per_task']}"]  # srun does not ask sbatch any more
    return {"wckey": None, **{key: value for key, value in given.items() if value is not None}}


def long_options(text: str | None) -> dict[str, Any]:
    """The long options of a command line; those without a value are True."""
    words = shlex.split(str(text)) if text is not None else []
    for word in words:
        require(
            re.match("--[a-z]", word) is not None,
            f"launcher.extra has {word}: write sbatch's options in full, as in launcher.extra='\"--gres=gpu:1\"'",
        )
    pairs = (word.removeprefix("--").partition("=") for word in words)
    return {name: value if equals else True for name, equals, value in pairs}


def minutes(time: int | str | None) -> int:
    if time is None:
        return 60
    if isinstance(time, str) and (found := re.fullmatch(r"(?:(\d+)-)?(\d+):(\d\d)(?::(\d\d))?", time)):
        days, hours, mins, seconds = (int(part or 0) for part in found.groups())
        if found[4] is None and found[1] is None:
            raise ConfigError(f"launcher.time={time} can mean two things: write HH:MM:SS, or a number of minutes")
        return max(1, ceil(((24 * days + hours) * 60 + mins) + seconds / 60))
    require(
        isinstance(time, int) and not isinstance(time, bool) and time >= 1,
        f"launcher.time is {time!r}, and must be a whole number of minutes, HH:MM:SS or D-HH:MM:SS",
    )
    return int(time)


def gigabytes(memory: float | str | None) -> str | None:
    if memory is None or (isinstance(memory, str) and re.fullmatch(r"\d+[KMGT]", memory)):
        return memory
    require(
        isinstance(memory, int | float) and not isinstance(memory, bool) and memory > 0,
        f"launcher.memory is {memory!r}, and must be a number of GB, or such as 500M",
    )
    return f"{ceil(float(memory) * 1024)}M"


@contextmanager
def outside_any_job() -> Iterator[None]:
    """Hides the Slurm job that the sweep itself may run in, whose settings its jobs would inherit."""
    hidden = {}
    if "SLURM_JOB_ID" in os.environ:
        names = [n for n in os.environ if n.startswith(("SLURM_", "SLURMD_", "SRUN_")) and n != "SLURM_CONF"]
        hidden = {name: os.environ.pop(name) for name in names}
    try:
        yield
    finally:
        os.environ.update(hidden)


def submit(function: Any, requests: Sequence[Any], folder: Path, requeues: int, options: dict[str, Any]) -> list[str]:
    """Submits an array of jobs, each of which calls `function` with its request. Returns their IDs. Raises ConfigError
    with the reason if Slurm refuses them.
    """
    import submitit
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    executor = submitit.SlurmExecutor(folder=folder, max_num_timeout=requeues)
    executor.update_parameters(**options)
    before = set(folder.glob("*")) if folder.exists() else None
    try:
        with outside_any_job(), redirect_stderr(StringIO()):  # where submitit says it a first time
            return [job.job_id for job in executor.map_array(function, requests)]
    except (FailedJobError, FailedSubmissionError) as error:
        for path in set(folder.glob("*")) - (before or set()):
            path.unlink()
        if before is None:
            folder.rmdir()
            with suppress(OSError):
                folder.parent.rmdir()
        reason = "; ".join(line.removeprefix("sbatch: error: ") for line in str(error).splitlines())
        raise ConfigError(f"Slurm refuses the jobs: {reason}") from error


def states() -> dict[str, str] | None:
    """The state of each of this user's jobs, including those that ended recently. None if Slurm does not answer."""
    command = ["squeue", f"--user={os.getuid()}", "--array", "--states=all", "--noheader", "--format=%i|%T"]
    try:
        output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return dict(line.strip().split("|") for line in output.splitlines() if "|" in line)


class Payload:
    """What a Slurm job does: a run in its own directory, which resumes if it had started.

    Returns the result of the run, or the reason why there is none. At the end of its time or on preemption, submitit
    calls `checkpoint` for what to queue again: the same.
    """

    def __init__(self, task: Task, script: str):
        self.task, self.script = task, script

    def __call__(self, request: Request) -> dict[str, Any]:
        from hydra.core.utils import setup_globals

        from litmus.core.console_log import start_logging

        setup_globals()
        start_logging()
        # Lightning starts a run's other processes by repeating the command line, which is submitit's own so far.
        sys.modules["__main__"].__spec__ = None
        sys.argv = [self.script, *request.command]
        try:
            print_to(request.log, patience=120)  # for the locks of a node that has failed
            use_cores_of_the_job()
            self.task.run(request.config)
            return {"result": read_json(Path(request.config.output_dir, "result.json"))}
        except Exception as error:  # a SystemExit is the way out of a job that is queued again
            logging.getLogger("submitit").setLevel(logging.WARNING)  # to it, a job that gives a reason is a success
            outcome = reason_of(error)
            if type(error).__name__ == "UncompletedJobError":  # submitit's word
                outcome["reason"] = (
                    "its time was over more often than launcher.requeues allows; the same command resumes it"
                )
            return {"result": None, **outcome}

    def checkpoint(self, request: Request) -> Any:
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, request)


def use_cores_of_the_job() -> None:
    """Uses as many threads as the job has cores, where Slurm does not confine it to them."""
    import torch

    given = os.environ.get("SLURM_CPUS_PER_TASK") or os.environ.get("SLURM_CPUS_ON_NODE")
    if given:
        torch.set_num_threads(max(1, min(int(given), torch.get_num_threads())))
