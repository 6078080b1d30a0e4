"""One run and its directory."""

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.profilers import PassThroughProfiler

from litmus.callbacks import TestCurve
from litmus.core.atomic_files import remove_drafts
from litmus.core.checkpoint_io import AtomicCheckpointIO, read_json, write_json, write_text
from litmus.core.environment import flush_denormals
from litmus.core.tensorboard import write_best, write_config
from litmus.errors import StoppedRun, require, whole_number
from litmus.losses import uninformed_loss
from litmus.models.classifier import Classifier
from litmus.runs import job_channel as line
from litmus.runs.building import build
from litmus.runs.checkpoints import FORMAT, check_resumable, load_weights
from litmus.runs.directory import discard_if_empty, discard_if_refused, lock_directory
from litmus.runs.distributed import (
    check_processes,
    end_with_the_first,
    export_rank_env,
    in_slurm,
    is_rank_zero,
    read_rank_env,
)
from litmus.runs.identity import COMBINED, config_hash, experiment, job_directory, resolve_environment, run_name
from litmus.runs.interruption import handle_signals, translate_errors
from litmus.runs.launch_history import append_launch
from litmus.runs.log_file import log_to_file
from litmus.runs.model_building import model_name
from litmus.runs.monitors import find_monitors
from litmus.runs.provenance import collect_environment, device_label
from litmus.runs.result import build_result, has_diverged, stop_reason, summary
from litmus.runs.resume import check_same_experiment, describe_other_threads, resume_config
from litmus.training.before_others import BeforeOthers
from litmus.training.check_direction import CheckDirection
from litmus.training.checkpoint import Checkpoint
from litmus.training.compile_checks import check_compilable
from litmus.training.epoch_seed import EpochSeed
from litmus.training.lightning_callbacks import check_callbacks, has_progress_bar, log_like_litmus
from litmus.training.metrics_csv import MetricsCSV, read_metrics
from litmus.training.progress import Progress
from litmus.training.report_epoch import ReportEpoch
from litmus.training.trainer_options import check_trainer_options
from litmus.training.validate_last import ValidateLast

log = logging.getLogger("litmus")

RESULT = (
    *("config_hash", "metrics", "objective", "objective_name"),
    *("best_epoch", "epochs", "seconds", "stop_reason"),
)


class Run:
    """One run and its directory, which it writes nothing into before `opened`.

    Raises ConfigError if the directory holds another experiment, naming what differs.
    """

    def __init__(self, cfg: DictConfig):
        flush_denormals()
        hydra = HydraConfig.get()
        self.overrides = list(hydra.overrides.task)
        self.choices = {key: str(value) for key, value in hydra.runtime.choices.items() if "hydra" not in key}
        for group, _, option in (override.partition("=") for override in self.overrides):
            if group in COMBINED:  # Hydra does not list what is combined, as in callbacks=[ema,more]
                self.choices.setdefault(group, option)
        told = read_rank_env() or {}
        self.in_sweep = told.get("in_sweep", hydra.mode == RunMode.MULTIRUN)
        for name in ("output_dir", "resume"):
            given = cfg.get(name)
            require(given is None or isinstance(given, str), f"{name}={given} is no path: put quotes around a number")
        whole_number("seed", cfg.seed, least=0)
        require(cfg.seed < 2**32, f"seed is {cfg.seed}, and must be below 2**32")
        require(cfg.test in (True, False, None), f"test is {cfg.test!r}, and must be true, false or null")
        self.cfg = cfg
        if cfg.resume:
            self.path = Path(cfg.resume).expanduser()
            self.cfg, self.choices, self.overrides = resume_config(self.path, self.overrides)
        check_processes(self.cfg.accelerator, is_directory_given=bool(cfg.output_dir or cfg.resume))
        self.config = experiment(self.cfg)
        self.hash = config_hash(self.config)
        if not cfg.resume:
            self.path = Path(told["path"]) if told else self._directory()
            check_same_experiment(self.path, self.hash, self.config)
        self.cfg = OmegaConf.merge(self.cfg, {"output_dir": str(self.path)})  # type: ignore[assignment]
        check_trainer_options(self.cfg.trainer)
        self.watched = find_monitors(self.cfg)
        self.monitor: str | None = self.watched[0].metric
        self.mode = self.watched[0].mode
        require(
            self.cfg.trainer.limit_val_batches != 0,
            "trainer.limit_val_batches=0 leaves no validation: to train without one, say data.val_size=0",
        )
        if self.cfg.data.get("val_size") == 0:
            self.monitor, self.mode = None, "min"  # of train/loss
            self._refuse_without_validation()

    # --- where it is, and what is there already ---

    def _directory(self) -> Path:
        if self.cfg.output_dir:
            return Path(self.cfg.output_dir).expanduser()
        if self.in_sweep:
            return job_directory(str(self.cfg.sweep_name), sorted(self.overrides), self.hash)
        now = datetime.now()
        path = Path("outputs", f"{now:%Y-%m-%d}", f"{now:%H-%M-%S}-{run_name(sorted(self.overrides), self.hash)}")
        return path if not path.exists() else path.with_name(f"{path.name}-{time.time_ns() % 10**6:06}")

    def _refuse_without_validation(self) -> None:
        asked = next((o for o in self.overrides if o.startswith("objective=")), "objective=train/loss")
        require(
            asked == "objective=train/loss",
            f"data.val_size=0 leaves no validation part, and the last epoch is kept: leave {asked} out",
        )
        stopping = self.cfg.callbacks.get("early_stopping")
        require(
            stopping is None or not stopping.monitor.startswith("val/"),
            "data.val_size=0 leaves no validation part for early stopping to watch: say callbacks.early_stopping=null",
        )
        require(
            not str(self.cfg.scheduler.get("monitor")).startswith("val/"),
            f"data.val_size=0 leaves no validation part for scheduler={self.choices.get('scheduler')} to watch: "
            "choose another scheduler",
        )

    @property
    def result(self) -> dict[str, Any] | None:
        """What is in result.json, if this very run has finished."""
        path = self.path / "result.json"
        found = read_json(path, *RESULT) if path.exists() else None
        if not found or found["config_hash"] != self.hash:
            return None
        # What a pruner cut short is unfinished to whoever does not prune.
        return None if found.get("pruned") and not (line.current and line.current.prunes) else found

    @property
    def last_checkpoint(self) -> Path | None:
        path = self.path / "checkpoints" / "last.ckpt"
        return path if path.exists() else None

    # --- what it is made of ---

    def build_trainer(self, model: Classifier, data: Any) -> pl.Trainer:
        """The Trainer with the config's callbacks and loggers and those that every run has."""
        # Those that log at the epoch's end come first, those that read what was logged come last.
        listed = {str(name): build(node) for name, node in self.cfg.callbacks.items() if node is not None}
        for name, callback in listed.items():
            require(
                isinstance(callback, pl.Callback),
                f"callbacks.{name} is a {type(callback).__name__}, not a callback of Lightning: set its _target_",
            )
        shows_progress = has_progress_bar(listed.values())
        self.checkpoint = Checkpoint(self.path / "checkpoints", self.monitor, metadata={}, mode=self.mode)
        metrics = MetricsCSV(self.path / "metrics.csv")
        first = BeforeOthers(self.checkpoint)
        directions = CheckDirection((w.metric, w.mode, w.option) for w in self.watched if not w.is_given)
        progress = Progress(bar=not shows_progress, monitor=self.monitor)
        every = [EpochSeed(self.cfg.seed), ValidateLast(), directions, progress, metrics, self.checkpoint]
        self.reporting = ReportEpoch(self.monitor or "train/loss", line.current.epoch) if line.current else None
        if self.reporting is not None:
            every.append(self.reporting)
        loggers = [build(node) for node in self.cfg.logger.values() if node is not None]
        threads = model.threads(data.batch_size) if self.cfg.trainer.threads is None else self.cfg.trainer.threads
        data.prefetch_in_thread = threads is not None and threads < torch.get_num_threads()
        make_trainer = build(self.cfg.trainer, _partial_=True)
        in_cluster = in_slurm(self.cfg.accelerator.devices, self.cfg.accelerator.num_nodes)
        trainer = make_trainer(
            callbacks=[first, *listed.values(), *every],
            logger=loggers,
            plugins=[AtomicCheckpointIO(), *in_cluster, *(make_trainer.keywords.get("plugins") or [])],
            default_root_dir=self.path,
            threads=threads,
            num_sanity_val_steps=0,
            limit_val_batches=self.cfg.trainer.limit_val_batches if self.monitor else 0,
            enable_checkpointing=True,
            enable_progress_bar=shows_progress,
            enable_model_summary=False,
        )
        world = trainer.world_size
        require(
            data.batch_size % world == 0 or not hasattr(data, "batches"),  # Lightning splits those of other modules
            f"data.batch_size={data.batch_size} cannot be split equally among {world} processes; set "
            f"data.batch_size={-(-data.batch_size // world) * world}",
        )
        resumes = self.last_checkpoint is not None
        check_callbacks(listed, trainer, model, resumes=resumes, compiles=bool(self.cfg.trainer.compile))
        log_like_litmus(listed.values())
        if self.cfg.trainer.compile:
            check_compilable(trainer, model)
        self._write_profile(trainer)
        export_rank_env(trainer, self.path, self.in_sweep, self.overrides)
        return trainer

    def _write_profile(self, trainer: pl.Trainer) -> None:
        """Sends a profiler's table to the run directory: without a file, Lightning logs it where nobody sees it."""
        profiler: Any = trainer.profiler  # type: ignore[attr-defined]
        if type(profiler) is not PassThroughProfiler and not (profiler.dirpath and profiler.filename):
            profiler.dirpath, profiler.filename = self.path, profiler.filename or "profile"

    @contextmanager
    def opened(self, trainer: pl.Trainer, model: Classifier, data: Any) -> Iterator[None]:
        """Writes the directory's first files, and keeps train.log until the end.

        Raises ConfigError, before it does, if a test is requested of data without a test part.
        """
        self.has_test = data.size("test") > 0
        asked = "test=true" if self.cfg.test else "callbacks=test_curve"
        require(
            self.has_test or not (self.cfg.test or any(isinstance(c, TestCurve) for c in trainer.callbacks)),  # type: ignore[attr-defined]
            f"{data.name} has no test images: leave {asked} out, or add a test part",
        )
        self.checkpoint.metadata = {"format": FORMAT, "config": self.config, "choices": self.choices, **data.facts()}
        self.started = time.monotonic()
        if not is_rank_zero():
            log.setLevel(logging.ERROR)
            end_with_the_first(trainer)
            yield
            return
        if self.last_checkpoint:
            check_resumable(self.last_checkpoint, self.config, model)
        stopping = handle_signals(trainer, self.path, self.in_sweep)
        with (
            stopping,
            translate_errors(trainer, self.path),
            discard_if_empty(self.path),
            lock_directory(self.path),
            discard_if_refused(self.path),
        ):
            require(
                self.result is None,
                f"another process has completed {self.path} meanwhile; the same command shows its result",
            )
            self.resumed = self.last_checkpoint is not None
            self.continues = (self.path / "run.json").exists()
            remove_drafts(self.path)
            caution = describe_other_threads(self.path / "run.json") if self.resumed else None
            self._write_record()
            (self.path / "result.json").unlink(missing_ok=True)
            with log_to_file(log, self.path / "train.log"), translate_errors(trainer, self.path):
                self._introduce(model, data, trainer)
                if caution is not None and trainer.strategy.root_device.type == "cpu":
                    log.warning(caution)
                for logger in trainer.loggers:
                    write_config(logger, self.config, self.choices)
                yield

    def _write_record(self) -> None:
        record = self.path / "run.json"
        starts = append_launch(record, sys.argv[1:])
        facts = {"format": FORMAT, "config_hash": self.hash, "overrides": self.overrides, "choices": self.choices}
        write_json(record, {**facts, **collect_environment(), "starts": starts})
        saved = resolve_environment(self.cfg)
        saved.output_dir = None  # the directory may be moved
        saved.resume = None
        write_text(self.path / ".hydra" / "config.yaml", OmegaConf.to_yaml(saved))
        write_text(self.path / ".hydra" / "overrides.yaml", OmegaConf.to_yaml(OmegaConf.create(self.overrides)))

    def _introduce(self, model: Classifier, data: Any, trainer: pl.Trainer) -> None:
        sizes = " / ".join(f"{data.size(part):,}" for part in ("train", "val", "test"))
        parameters = sum(p.numel() for p in model.network.parameters())
        shape = "×".join(str(side) for side in data.image_shape)
        log.info(
            f"{model_name(model)} with {parameters:,} parameters on {data.name}, {sizes} images of {shape} in "
            f"{data.num_classes:,} classes to train / validate / test{'' if self.has_test else ' (so no test)'}, "
            f"on the {device_label(trainer.strategy.root_device)}"
        )
        if (profile := getattr(trainer.profiler, "filename", None)) is not None:  # type: ignore[attr-defined]
            log.info(f"the profiler's table will be in {trainer.profiler.dirpath}/fit-{profile}.txt")  # type: ignore[attr-defined]
        for note in getattr(data, "notes", []):  # a user's own data module need not have them
            log.info(note)
        if self.resumed:
            log.info(f"going on from {self.last_checkpoint}")
        elif self.continues:
            log.info(f"{self.path} has no completed epoch, so training starts from the first")

    # --- how it ends ---

    @property
    def test_wanted(self) -> bool:
        return self.has_test and (not self.in_sweep if self.cfg.test is None else bool(self.cfg.test))

    def load_best(self, model: Classifier) -> None:
        load_weights(model, self.path / "checkpoints" / "best.ckpt")

    def record_end(self, trainer: pl.Trainer) -> None:
        """Notes how the training ended; to be called before a test, which resets the trainer's counters."""
        self.seconds = time.monotonic() - self.started
        self.stop_reason = stop_reason(trainer)
        model: Any = trainer.lightning_module
        self.uninformed = uninformed_loss(model.loss, model.num_classes, model.device)
        if not self.checkpoint.best_epoch:
            monitor = self.monitor or "train/loss"
            if monitor in trainer.callback_metrics:
                raise StoppedRun(
                    f"objective={monitor} was nan in every epoch, so no epoch is the best; correct what logs it, or "
                    "choose another objective"
                )
            raise StoppedRun(
                f"{self.stop_reason} before the first epoch was measured, so there is no result; give it more time"
            )

    def finish(self, trainer: pl.Trainer) -> float:
        """Writes result.json, prints the final figures, and gives the objective's value at its best."""
        if not is_rank_zero():
            return self.checkpoint.best_score or float("nan")
        monitor = self.monitor or "train/loss"
        rows = read_metrics(self.path / "metrics.csv")
        # Without a test, what is called test/… is a test_curve's last epoch, and the best one's is in its row.
        result = build_result(
            rows, self.checkpoint.best_epoch, monitor, trainer.callback_metrics if self.test_wanted else {}
        )
        result |= {
            "objective_mode": self.mode,
            "stop_reason": self.stop_reason,
            "seconds": round(self.seconds, 3),
            "config_hash": self.hash,
        }
        result["diverged"] = has_diverged(result["last"], self.uninformed)
        if result["diverged"]:
            log.warning(
                "training diverged: the loss of the last epoch is far above that of equal outputs for all classes, "
                f"{self.uninformed:.4g}; lower optim.lr, or set trainer.gradient_clip_val=1"
            )
        if self.reporting is not None and self.reporting.reason:
            result["pruned"] = True
        for logger in trainer.loggers:
            write_best(logger, result["metrics"], result["objective"], result["best_epoch"])
            logger.finalize("success")
        write_json(self.path / "result.json", result)
        return self.show(result)

    def show_again(self, result: dict[str, Any]) -> float:
        log.info("this run has finished before, so nothing is run; another output_dir would run it anew")
        return self.show(result)

    def show(self, result: dict[str, Any]) -> float:
        """Prints the final figures and the run directory, and gives the objective's value."""
        log.info(f"\n{summary(result)}\n\n{self.path}")
        return float(result["objective"])
