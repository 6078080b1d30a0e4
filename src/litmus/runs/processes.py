"""Several processes that train one run together."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from hydra.core.hydra_config import HydraConfig
from lightning_fabric.plugins.environments import LightningEnvironment, SLURMEnvironment, TorchElasticEnvironment
from pytorch_lightning.strategies.launchers import _SubprocessScriptLauncher
from pytorch_lightning.utilities import rank_zero_only

from litmus.errors import require

ANNOUNCEMENT = "LITMUS_RUN"


def is_first() -> bool:
    """Whether this process is the one that writes and speaks."""
    return not getattr(rank_zero_only, "rank", 0)


def announced() -> dict[str, Any] | None:
    """What the first process said of the run (see `announce`), for the others."""
    return json.loads(os.environ[ANNOUNCEMENT]) if ANNOUNCEMENT in os.environ and not is_first() else None


def announce(trainer: pl.Trainer, path: Path, in_sweep: bool, overrides: list[str]) -> None:
    """Prepares the processes that Lightning will start by repeating the command line.

    They must find the same directory, and a job of a sweep must repeat the job, not the sweep.
    """
    if not isinstance(trainer.strategy.launcher, _SubprocessScriptLauncher) or not is_first():
        return
    os.environ[ANNOUNCEMENT] = json.dumps({"path": str(path.absolute()), "in_sweep": in_sweep})
    sys.argv = [sys.argv[0], *overrides]
    HydraConfig.instance().cfg = None  # or Lightning gives the new processes Hydra options of its own


def check_directory_agreed(given: bool) -> None:
    """Raises ConfigError if processes that a cluster or torchrun started would each make a directory of its own."""
    world = max(int(os.environ.get("WORLD_SIZE", 1)), tasks_of_srun()) if ANNOUNCEMENT not in os.environ else 1
    require(
        given or world <= 1, f"the {world} processes of this run can't agree on a new directory: say output_dir=DIR"
    )


def tasks_of_srun() -> int:
    """How many processes srun has started together with this one."""
    interactive = SLURMEnvironment.job_name() in ("bash", "interactive")  # where Lightning, too, leaves srun alone
    return 1 if interactive else int(os.environ.get("SLURM_STEP_NUM_TASKS", 1))


def in_slurm(devices: int, num_nodes: int) -> list[Any]:
    """The plugin by which Lightning finds a run's other processes inside a job of Slurm; none elsewhere.

    By itself it takes the whole allocation for the run's, and it would queue the job again in its own way.
    Raises ConfigError if srun has started another number of processes than the run is to have.
    """
    if "SLURM_JOB_ID" not in os.environ or TorchElasticEnvironment.detect():
        return []
    tasks, wanted = tasks_of_srun(), devices * num_nodes
    if tasks == num_nodes == 1:
        return [LightningEnvironment()]
    fit = f"start the run with srun --nodes={num_nodes} --ntasks-per-node={devices}"
    require(
        tasks == wanted,
        f"accelerator.devices={devices} times accelerator.num_nodes={num_nodes} make {wanted} processes, and there are "
        f"{tasks}: {fit}",
    )
    require("SLURM_NTASKS_PER_NODE" in os.environ, f"{tasks} processes may be spread in any way: {fit}")
    return [SLURMEnvironment(auto_requeue=False)]
