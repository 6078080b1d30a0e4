"""What is in a run's directory already, and whether to go on with it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from litmus.atomic import is_draft
from litmus.errors import ConfigError, require
from litmus.files import read_json
from litmus.models.classifier import laid_out_over_all_steps
from litmus.runs.identity import config_hash, differences, experiment
from litmus.runs.loading import read_config
from litmus.runs.processes import is_first
from litmus.training.lightning_callbacks import find_averaging_over_run


def refuse_another(path: Path, digest: str, config: dict[str, Any]) -> None:
    """Raises ConfigError if the directory holds another experiment, naming what differs, or is none of a run's."""
    record = path / "run.json"
    if record.exists():
        if read_json(record, "config_hash")["config_hash"] != digest:
            there = experiment(read_config(path / ".hydra" / "config.yaml"))
            raise ConfigError(f"{path} holds another run: {differences(there, config)}; choose another output_dir")
    elif is_first() and path.exists() and not (path.is_dir() and all(map(is_draft, path.iterdir()))):
        raise ConfigError(f"{path} is there already and is not a run: choose another output_dir")


def other_threads(record: Path) -> str | None:
    """What to say where a run goes on with another number of threads than its run.json has."""
    before, now = read_json(record).get("threads") if record.exists() else None, torch.get_num_threads()
    if before in (None, now):
        return None
    return (
        f"it was begun with {before} threads on the CPU and goes on with {now}: it may differ in its last bits from "
        "one that never stopped"
    )


def resumed(path: Path, overrides: Sequence[str]) -> tuple[DictConfig, dict[str, str], list[str]]:
    """The config, the choices and the overrides of the run to go on with. Of `overrides`, those of this command,
    `trainer.max_epochs` may be given anew; raises ConfigError for others."""
    record = path / "run.json"
    require(record.exists(), f"resume={path} is not a run directory: it has no run.json")
    others = [o for o in overrides if o.split("=")[0] not in ("resume", "trainer.max_epochs")]
    require(
        not others,
        f"resume takes the run's own config, and only trainer.max_epochs may change: leave out {' '.join(others)}",
    )
    facts = read_json(record, "config_hash", "choices")
    cfg = read_config(path / ".hydra" / "config.yaml")
    require(
        config_hash(experiment(cfg)) == facts["config_hash"],
        f"{path / '.hydra' / 'config.yaml'} is not what the run was started with: put it back, or start a new run",
    )
    epochs = [o.split("=")[1] for o in overrides if o.startswith("trainer.max_epochs=")]
    if epochs and int(epochs[0]) != cfg.trainer.max_epochs:
        require(
            not laid_out_over_all_steps(cfg.scheduler.scheduler),
            f"{path} laid its learning rates out over {cfg.trainer.max_epochs} epochs, so it can't go on to "
            f"{epochs[0]}: start a new run, or use scheduler=constant from the start",
        )
        averaging = find_averaging_over_run(cfg.callbacks)
        require(
            averaging is None,
            f"{path} averages its weights up to epoch {cfg.trainer.max_epochs} (callbacks.{averaging}), so it cannot "
            f"resume to {epochs[0]}; start a new run",
        )
        cfg.trainer.max_epochs = int(epochs[0])
    return cfg, facts["choices"], list(read_config(path / ".hydra" / "overrides.yaml"))
