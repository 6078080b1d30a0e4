"""What runs in the process of a job."""

import fcntl
import logging
import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus, run_job
from hydra.errors import HydraException
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, read_write
from omegaconf.errors import OmegaConfBaseException

from litmus.errors import ConfigError, DirectoryInUse, Diverged, StoppedRun
from litmus.runs.identity import sweep_folder
from litmus.runs.job_channel import JobChannel

PATIENCE = 5.0  # seconds to wait for a job of a killed sweep
EXPECTED = (ConfigError, StoppedRun, HydraException, OmegaConfBaseException)


@dataclass(frozen=True)
class Request:
    """What the process of a job gets."""

    config: DictConfig
    command: Sequence[str]  # the command line that runs it alone
    log: Path  # for what it prints
    environment: dict[str, str]
    side_by_side: int  # jobs that share the cores
    prunes: bool


class Task:
    """Runs one job of `function`, which Hydra would call with the job's config."""

    def __init__(self, hydra_context: HydraContext, function: TaskFunction):
        self.hydra_context = hydra_context
        # Errors go through the channel to the sweep, not to the terminal.
        self.function: Callable[..., Any] = getattr(function, "__wrapped__", function)

    def __call__(self, request: Request | None, channel: JobChannel) -> int:
        if request is None:
            channel.request("gpus", count=count_gpus())
            return 0
        os.environ.update(request.environment)
        sys.argv[1:] = request.command
        channel.prunes = request.prunes
        try:
            print_to(request.log)
            share_cores(request.side_by_side)
            self.run(request.config, channel)
        except BaseException as error:
            channel.send("failed", **reason_of(error))
            return 2 if isinstance(error, EXPECTED) else 1
        channel.send("finished")
        return 0

    def run(self, config: DictConfig, channel: JobChannel | None = None) -> None:
        with read_write(config):  # Hydra makes this folder, and an interpolation can't join an absolute sweep_name
            config.hydra.sweep.dir = str(sweep_folder(str(config.sweep_name)))
        done: JobReturn = run_job(
            hydra_context=self.hydra_context,
            task_function=partial(self.function, channel=channel),
            config=config,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )
        if done.status == JobStatus.FAILED:
            raise done._return_value  # `return_value` would print as well


def reason_of(error: BaseException) -> dict[str, Any]:
    """Prints why a job ended. Returns the reason in one line, and whether training diverged or the job was refused."""
    if isinstance(error, EXPECTED):
        sentence = " ".join(part.strip() for part in str(error).splitlines())
        print(f"error: {sentence}", file=sys.stderr)
        return {
            "reason": sentence,
            "diverged": isinstance(error, Diverged),
            "refused": not isinstance(error, StoppedRun | DirectoryInUse),
        }
    traceback.print_exception(error)
    first = str(error).strip().splitlines() or [""]
    return {"reason": f"{type(error).__name__}: {first[0]}".rstrip(": "), "diverged": False, "refused": False}


def print_to(path: Path, patience: float = PATIENCE) -> None:
    """Redirects the output of this process to `path`, without what train.log gets anyway.

    The file stays locked until the process ends, so that no two processes write into one run directory.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise DirectoryInUse(
                    f"another process is running this job (it holds {path}): wait for it, or choose another sweep_name"
                ) from None
            time.sleep(0.1)
        except OSError:
            break  # some cluster file systems have no locks
    os.ftruncate(file, 0)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    logger = logging.getLogger("litmus")
    for handler in list(logger.handlers):
        logger.removeHandler(handler)


def share_cores(side_by_side: int) -> None:
    import torch

    if side_by_side > 1:  # a single job keeps torch's default
        torch.set_num_threads(max(1, torch.get_num_threads() // side_by_side))


def count_gpus() -> int:
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def gpu_names(count: int) -> list[str]:
    """The value of CUDA_VISIBLE_DEVICES for each of the GPUs that torch counts."""
    visible: Any = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    return visible[:count] if len(visible) >= count and visible[0] else [str(i) for i in range(count)]
