"""Several processes that train one run together."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from hydra.core.hydra_config import HydraConfig
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
    world = int(os.environ.get("WORLD_SIZE", 1)) if ANNOUNCEMENT not in os.environ else 1
    require(
        given or world <= 1, f"the {world} processes of this run can't agree on a new directory: say output_dir=DIR"
    )
