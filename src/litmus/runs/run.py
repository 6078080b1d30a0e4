"""A run before it starts: config, directory, result."""

import logging
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from litmus.core.environment import flush_denormals
from litmus.errors import one_of, require, whole_number
from litmus.runs.distributed import check_processes, read_rank_env
from litmus.runs.identity import COMBINED, config_hash, experiment, is_hash_of, job_directory, run_name
from litmus.runs.job_channel import JobChannel
from litmus.runs.monitors import find_monitors
from litmus.runs.records import read_record
from litmus.runs.result import summary
from litmus.runs.resume import check_same_experiment, resume_config
from litmus.runs.stale import OPTIONS, RERUN, data_fingerprint, find_changes
from litmus.training.trainer_options import check_trainer_options

log = logging.getLogger("litmus")

RESULT_KEYS = (
    *("config_hash", "metrics", "objective", "objective_name"),
    *("best_epoch", "epochs", "seconds", "stop_reason"),
)


class Run:
    """One run and its directory. Nothing is written before `runs.train`.

    `channel` connects a job to its sweep. Raises ConfigError if the directory holds another experiment, naming the
    difference.
    """

    def __init__(self, cfg: DictConfig, channel: JobChannel | None = None):
        flush_denormals()
        self.channel = channel
        hydra = HydraConfig.get()
        self.overrides = list(hydra.overrides.task)
        self.choices = {key: str(value) for key, value in hydra.runtime.choices.items() if "hydra" not in key}
        for group, _, option in (override.partition("=") for override in self.overrides):
            if group in COMBINED:  # Hydra does not list what is combined, as in callbacks=[ema,more]
                self.choices.setdefault(group, option)
        rank_zero = read_rank_env() or {}
        self.in_sweep = rank_zero.get("in_sweep", hydra.mode == RunMode.MULTIRUN)
        _check_root(cfg)
        self.cfg = cfg
        if cfg.resume:
            self.path = Path(cfg.resume).expanduser()
            self.cfg, self.choices, self.overrides = resume_config(self.path, self.overrides, cfg.trust or ())
        check_processes(self.cfg.accelerator, is_directory_given=bool(cfg.output_dir or cfg.resume))
        self.config = experiment(self.cfg)
        self.hash = config_hash(self.config)
        if not cfg.resume:
            self.path = Path(rank_zero["path"]) if rank_zero else self._directory()
            check_same_experiment(self.path, self.config)
        self.cfg = OmegaConf.merge(self.cfg, {"output_dir": str(self.path)})  # type: ignore[assignment]
        self.is_replaced = False  # whether the directory is set aside when the run starts
        self._check_stale(cfg.stale, alternative="start a new run" if cfg.resume else None)
        check_trainer_options(self.cfg.trainer)
        self.monitors = find_monitors(self.cfg)
        self.monitor: str | None = self.monitors[0].metric
        self.mode = self.monitors[0].mode
        require(
            self.cfg.trainer.limit_val_batches != 0,
            "trainer.limit_val_batches=0 leaves no validation; to train without one, set data.val_size=0",
        )
        if self.cfg.data.get("val_size") == 0:
            self.monitor, self.mode = None, "min"  # for train/loss
            _check_without_validation(self.cfg, self.overrides, self.choices)

    def _check_stale(self, stale: str | None, alternative: str | None) -> None:
        """Raises ConfigError if the directory was made with other code or data, and `stale` is null."""
        changes = find_changes({self.path: self.cfg}, data_fingerprint)
        changes.require_answer(stale, alternative)
        self.is_replaced = bool(changes.paths) and stale == RERUN
        require(
            not (self.is_replaced and Path.cwd().is_relative_to(self.path.resolve())),
            f"stale={RERUN} renames {self.path}, which is impossible from within it; start from another folder, or set "
            "another output_dir",
        )
        changes.warn_if_kept(stale)

    def _directory(self) -> Path:
        if self.cfg.output_dir:
            return Path(self.cfg.output_dir).expanduser()
        if self.in_sweep:
            return job_directory(str(self.cfg.sweep_name), sorted(self.overrides), self.config)
        now = datetime.now()
        path = Path("outputs", f"{now:%Y-%m-%d}", f"{now:%H-%M-%S}-{run_name(sorted(self.overrides), self.hash)}")
        return path if not path.exists() else path.with_name(f"{path.name}-{time.time_ns() % 10**6:06}")

    @property
    def objective(self) -> str:
        return self.monitor or "train/loss"

    @property
    def best_checkpoint(self) -> Path:
        return self.path / "checkpoints" / "best.ckpt"

    @property
    def last_checkpoint(self) -> Path | None:
        path = self.path / "checkpoints" / "last.ckpt"
        return path if path.exists() and not self.is_replaced else None

    @property
    def result(self) -> dict[str, Any] | None:
        """The contents of result.json, if this run is complete. A pruned run is incomplete unless the sweep prunes."""
        path = self.path / "result.json"
        found = read_record(path, *RESULT_KEYS) if path.exists() and not self.is_replaced else None
        if not found or not is_hash_of(found["config_hash"], self.config):
            return None
        accepts_pruned = self.channel is not None and self.channel.prunes
        return None if found.get("pruned") and not accepts_pruned else found

    def show(self, result: dict[str, Any]) -> float:
        """Prints the final metrics and the run directory. Returns the best value of the objective."""
        log.info(f"\n{summary(result)}\n\n{self.path}")
        return float(result["objective"])

    def show_again(self, result: dict[str, Any]) -> float:
        log.info("this run is already complete; set a new output_dir to run it again")
        return self.show(result)


def _check_root(cfg: DictConfig) -> None:
    for name in ("output_dir", "resume"):
        given = cfg.get(name)
        require(given is None or isinstance(given, str), f"{name}={given} is not a path; put quotes around a number")
    names = [cfg.trust] if isinstance(cfg.trust, str) else cfg.trust or []
    require(
        isinstance(names, Sequence) and all(isinstance(name, str) for name in names),
        f"trust={cfg.trust} is not a list of modules; write it as trust=[mine]",
    )
    whole_number("seed", cfg.seed, least=0, most=2**32 - 1)
    if cfg.stale is not None:
        one_of("stale", cfg.stale, OPTIONS)
    require(cfg.test in (True, False, None), f"test is {cfg.test!r}, and must be true, false or null")


def _check_without_validation(cfg: DictConfig, overrides: list[str], choices: dict[str, str]) -> None:
    objective = next((o for o in overrides if o.startswith("objective=")), "objective=train/loss")
    require(
        objective == "objective=train/loss",
        f"data.val_size=0 leaves no validation part, and the last epoch is kept; leave {objective} out",
    )
    stopping = cfg.callbacks.get("early_stopping")
    require(
        stopping is None or not stopping.monitor.startswith("val/"),
        "data.val_size=0 leaves no validation part for early stopping to monitor; set callbacks.early_stopping=null",
    )
    require(
        not str(cfg.scheduler.get("monitor")).startswith("val/"),
        f"data.val_size=0 leaves no validation part for scheduler={choices.get('scheduler')} to monitor; choose "
        "another scheduler",
    )
