"""Distributed runs: the processes that train one run together."""

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch.distributed
from hydra.core.hydra_config import HydraConfig
from lightning_fabric.plugins.environments import LightningEnvironment, SLURMEnvironment, TorchElasticEnvironment
from pytorch_lightning.strategies.launchers import _SubprocessScriptLauncher, subprocess_script
from pytorch_lightning.utilities import rank_zero_only

from litmus.core.counts import format_count
from litmus.core.hydra_values import quote
from litmus.errors import require
from litmus.runs.identity import ANNOUNCEMENT
from litmus.runs.job_channel import JobChannel

log = logging.getLogger("litmus")

PATIENCE = 5.0  # seconds for a process to notice that another has failed


def is_rank_zero() -> bool:
    """Whether this process writes and logs."""
    return not getattr(rank_zero_only, "rank", 0)


def read_rank_env() -> dict[str, Any] | None:
    """What rank zero exported (see `export_rank_env`), for the other processes."""
    return json.loads(os.environ[ANNOUNCEMENT]) if ANNOUNCEMENT in os.environ and not is_rank_zero() else None


def export_rank_env(
    trainer: pl.Trainer, path: Path, in_sweep: bool, overrides: list[str], channel: JobChannel | None
) -> None:
    """Prepares the processes that Lightning starts by repeating the command line.

    They must find the same directory, and a job of a sweep must repeat the job, not the sweep.
    """
    if not isinstance(trainer.strategy.launcher, _SubprocessScriptLauncher) or not is_rank_zero():
        return
    os.environ[ANNOUNCEMENT] = json.dumps({"path": str(path.absolute()), "in_sweep": in_sweep})
    sys.argv = [sys.argv[0], *_config_arguments(), *overrides]
    HydraConfig.instance().cfg = None  # otherwise Lightning adds Hydra options to the command
    subprocess_script._launch_process_observer = partial(
        _watch, channel
    )  # Lightning's kills this process, without a word


def _config_arguments() -> list[str]:
    """The command-line flags that locate the config: --config-path, --config-name and the search path."""
    hydra = HydraConfig.get()
    sources = [(source.provider, source.path) for source in hydra.runtime.config_sources if source.schema == "file"]
    added = [quote(f"file://{path}") for provider, path in sources if provider.endswith("command-line")]
    main = next(path for provider, path in sources if provider == "main")
    return [
        *("--config-path", main, "--config-name", str(hydra.job.config_name)),
        *([f"hydra.searchpath=[{','.join(added)}]"] if added else []),
    ]


def child_processes(trainer: pl.Trainer) -> list[subprocess.Popen]:
    """The processes that Lightning has started for the other ranks."""
    return getattr(trainer.strategy.launcher, "procs", [])


def failed_rank(processes: list[subprocess.Popen]) -> str | None:
    """A sentence about the first rank that failed, or None."""
    for number, process in enumerate(processes, start=2):
        status = process.poll()
        if status:
            how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
            run = json.loads(os.environ[ANNOUNCEMENT])
            again = "the same command again" if run["in_sweep"] else f"resume={run['path']}"
            return (
                f"process {number} of the {len(processes) + 1} that train this run {how}: say {again}, and the run "
                "resumes from its last complete epoch"
            )
    return None


def failed_rank_of(error: BaseException, processes: list[subprocess.Popen]) -> str | None:
    """The same, if `error` is a lost connection to another rank; otherwise None."""
    text = str(error).lower()
    if not isinstance(error, torch.distributed.DistError) and not any(name in text for name in ("gloo", "nccl")):
        return None
    deadline = time.monotonic() + PATIENCE  # the connection may be gone before the process is
    while not (sentence := failed_rank(processes)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return sentence


def _watch(channel: JobChannel | None, child_processes: list[subprocess.Popen]) -> None:
    """Ends this process if another rank has failed and this one still waits for it."""

    def watch() -> None:
        while not (sentence := failed_rank(child_processes)):
            if all(process.poll() == 0 for process in child_processes):
                return
            time.sleep(0.2)
        time.sleep(PATIENCE)
        log.error(f"stopped by StoppedRun({sentence!r})")
        print(f"error: {sentence}", file=sys.stderr, flush=True)
        if channel is not None:
            channel.send("failed", reason=sentence, diverged=False, refused=False)
        for process in child_processes:
            process.kill()
        os._exit(2)

    threading.Thread(target=watch, daemon=True).start()


def end_with_the_first(trainer: pl.Trainer) -> None:
    """Ends the other ranks with rank zero, and at once on a signal."""
    if ANNOUNCEMENT not in os.environ:
        return  # the launcher that started them takes care of it
    trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]
    first = os.getppid()

    def watch() -> None:
        while os.getppid() == first:
            time.sleep(0.2)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def check_processes(accelerator: Any, is_directory_given: bool) -> None:
    """Compares the processes that a launcher has announced in the environment with those that the config requests.

    A run that starts its own processes is rank zero, whatever rank variable is left in the shell: Lightning reads the
    rank at import, and a process of another rank writes and prints nothing. Raises ConfigError if a launcher started
    another number of processes.
    """
    if read_rank_env() is not None:
        return
    world, tasks = int(os.environ.get("WORLD_SIZE", 1)), tasks_of_srun()
    whole = all(isinstance(count, int) for count in (accelerator.devices, accelerator.num_nodes))
    wanted = accelerator.devices * accelerator.num_nodes if whole else 1
    if tasks <= 1:
        require(
            world in (1, wanted),
            f"WORLD_SIZE={world} in the environment, but accelerator.devices={accelerator.devices} times "
            f"accelerator.num_nodes={accelerator.num_nodes} make {wanted}; unset WORLD_SIZE, or set accelerator=ddp "
            f"accelerator.devices={world}",
        )
        require(
            "LOCAL_RANK" not in os.environ or world == wanted,
            f"LOCAL_RANK={os.environ.get('LOCAL_RANK')} in the environment without WORLD_SIZE={wanted}, so the other "
            "processes would never be started; unset LOCAL_RANK",
        )
        if world == 1 and accelerator.num_nodes == 1:
            rank_zero_only.rank = 0  # type: ignore[attr-defined]
    started = max(world, tasks)
    require(
        is_directory_given or started == 1,
        f"the {started} processes of this run cannot agree on a new directory; set output_dir=DIR",
    )


def tasks_of_srun() -> int:
    """The number of processes that srun has started together with this one."""
    interactive = SLURMEnvironment.job_name() in ("bash", "interactive")  # where Lightning, too, leaves srun alone
    return 1 if interactive else int(os.environ.get("SLURM_STEP_NUM_TASKS", 1))


def in_slurm(devices: int, num_nodes: int) -> list[Any]:
    """The plugin by which Lightning finds the other processes of a run inside a Slurm job; none elsewhere.

    Without it, Lightning takes the whole allocation for the run, and requeues the job in its own way. Raises
    ConfigError if srun has started another number of processes than the run requests.
    """
    if "SLURM_JOB_ID" not in os.environ or TorchElasticEnvironment.detect():
        return []
    tasks, wanted = tasks_of_srun(), devices * num_nodes
    if tasks == num_nodes == 1:
        return [LightningEnvironment()]
    fit = f"start the run with srun --nodes={num_nodes} --ntasks-per-node={devices}"
    require(
        tasks == wanted,
        f"accelerator.devices={devices} times accelerator.num_nodes={num_nodes} make "
        f"{format_count(wanted, 'process', 'processes')}, and srun started {tasks}: {fit}",
    )
    require("SLURM_NTASKS_PER_NODE" in os.environ, f"{tasks} processes may be spread in any way: {fit}")
    return [SLURMEnvironment(auto_requeue=False)]
