"""Builds the data module, the model and the trainer of a run. Writes nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.profilers import PassThroughProfiler

from litmus.callbacks import TestCurve
from litmus.core.checkpoint_io import AtomicCheckpointIO
from litmus.core.counts import format_count
from litmus.core.lightning_hooks import is_overridden
from litmus.data.protocol import complete_data_module
from litmus.errors import require, whole_number
from litmus.models.classifier import Classifier
from litmus.runs.building import build
from litmus.runs.checkpoints import FORMAT
from litmus.runs.distributed import export_rank_env, in_slurm, is_rank_zero
from litmus.runs.model_building import build_model
from litmus.runs.model_checks import (
    check_class_order,
    check_model,
    check_optimizer,
    check_single_image,
    check_trains,
)
from litmus.runs.run import Run
from litmus.training.before_others import BeforeOthers
from litmus.training.check_batches import CheckBatches, check_loader
from litmus.training.check_direction import CheckDirection
from litmus.training.checkpoint import Checkpoint
from litmus.training.compile_checks import check_compilable
from litmus.training.epoch_seed import EpochSeed
from litmus.training.lightning_callbacks import check_callbacks, has_progress_bar, log_like_litmus
from litmus.training.metrics_csv import MetricsCSV
from litmus.training.progress import Progress
from litmus.training.report_epoch import ReportEpoch
from litmus.training.validate_last import ValidateLast

THREADS = 1024  # many more end the process without an error


@dataclass(frozen=True)
class Preparation:
    """The parts of a run. `checkpoint`, `metrics` and `reporter` are callbacks of the trainer."""

    data: Any
    model: Classifier
    trainer: pl.Trainer
    checkpoint: Checkpoint
    metrics: MetricsCSV
    reporter: ReportEpoch | None  # of a sweep's job
    has_test: bool
    is_tested: bool


def prepare(run: Run) -> Preparation:
    """Builds the data module, the model and the trainer, and reads the data.

    Raises ConfigError for options that do not fit.
    """
    pl.seed_everything(run.cfg.seed, verbose=False)
    data = complete_data_module(build(run.cfg.data))
    is_resumed = run.last_checkpoint is not None
    model = build_model(run.cfg, data.num_classes, data.image_shape, is_resumed)
    check_model(run.cfg, model, data.num_classes, data.image_shape)
    check_trains(model)
    check_optimizer(model, is_resumed)

    checkpoint = Checkpoint(run.path / "checkpoints", run.monitor, lambda: _metadata(run, data), mode=run.mode)
    metrics = MetricsCSV(run.path / "metrics.csv")
    reporter = ReportEpoch(run.objective, run.channel.epoch) if run.channel else None
    trainer = _build_trainer(run, model, data, checkpoint, metrics, reporter)
    _set_threads(run, model, data)
    if is_rank_zero():
        data.prepare_data()
    _set_up(data)
    check_class_order(model, data)
    _check_last_batch(model, data, trainer)

    has_test = data.size("test") > 0
    option = "test=true" if run.cfg.test else "callbacks=test_curve"
    needs_test = run.cfg.test or any(isinstance(c, TestCurve) for c in trainer.callbacks)  # type: ignore[attr-defined]
    require(has_test or not needs_test, f"{data.name} has no test images: leave {option} out, or add a test part")
    is_tested = has_test and (not run.in_sweep if run.cfg.test is None else bool(run.cfg.test))
    _check_batch_counts(data, trainer, ["train", *(["val"] if run.monitor else []), *(["test"] if is_tested else [])])
    return Preparation(data, model, trainer, checkpoint, metrics, reporter, has_test, is_tested)


def _set_up(data: Any) -> None:
    """Reads the data, as Lightning does before training and the test. Raises ConfigError for unusable loaders."""
    data.setup("fit")
    if hasattr(data, "batches"):  # one of litmus.data
        return
    for part in ("train", "val", "test"):
        hook = f"{part}_dataloader"
        if is_overridden(data, hook, pl.LightningDataModule):
            if part == "test":
                data.setup("test")
            name, loader = f"{hook} of {type(data).__name__}", getattr(data, hook)()
            check_loader(name, loader)
            if part == "train" and getattr(loader, "generator", None) is not None:
                data.notes.append(
                    f"{name} shuffles with its own generator, so a resumed run sees another order; leave it out, and "
                    "the order is a function of seed and epoch"
                )


def _metadata(run: Run, data: Any) -> dict[str, Any]:
    return {"format": FORMAT, "config": run.config, "choices": run.choices, **data.facts()}


def _build_trainer(
    run: Run,
    model: Classifier,
    data: Any,
    checkpoint: Checkpoint,
    metrics: MetricsCSV,
    reporter: ReportEpoch | None,
) -> pl.Trainer:
    """The Trainer with the callbacks and loggers of the config, and the callbacks that every run has."""
    listed = {str(name): build(node) for name, node in run.cfg.callbacks.items() if node is not None}
    for name, callback in listed.items():
        require(
            isinstance(callback, pl.Callback),
            f"callbacks.{name} is a {type(callback).__name__}, not a Lightning callback; set its _target_",
        )
    shows_progress = has_progress_bar(listed.values())
    make_trainer = build(run.cfg.trainer, _partial_=True)
    in_cluster = in_slurm(run.cfg.accelerator.devices, run.cfg.accelerator.num_nodes)
    own = _own_callbacks(run, data, checkpoint, metrics, has_bar=not shows_progress)
    trainer: pl.Trainer = make_trainer(
        callbacks=[BeforeOthers(checkpoint), *listed.values(), *own, *([reporter] if reporter else [])],
        logger=[build(node) for node in run.cfg.logger.values() if node is not None],
        plugins=[AtomicCheckpointIO(), *in_cluster, *(make_trainer.keywords.get("plugins") or [])],
        default_root_dir=run.path,
        num_sanity_val_steps=0,
        limit_val_batches=run.cfg.trainer.limit_val_batches if run.monitor else 0,
        enable_checkpointing=True,
        enable_progress_bar=shows_progress,
        enable_model_summary=False,
    )
    _check_batch_size(data, trainer.world_size)
    is_resumed, is_compiled = run.last_checkpoint is not None, bool(run.cfg.trainer.compile)
    check_callbacks(listed, trainer, model, resumes=is_resumed, compiles=is_compiled)
    log_like_litmus(listed.values())
    if is_compiled:
        check_compilable(trainer, model)
    _write_profile_to(run, trainer)
    export_rank_env(trainer, run.path, run.in_sweep, run.overrides, run.channel)
    return trainer


def _own_callbacks(
    run: Run, data: Any, checkpoint: Checkpoint, metrics: MetricsCSV, has_bar: bool
) -> Sequence[pl.Callback]:
    """The callbacks of every run. They come after those that log, because they read what was logged."""
    directions = CheckDirection((m.metric, m.mode, m.option) for m in run.monitors if not m.is_given)
    progress = Progress(bar=has_bar, monitor=run.monitor)
    checks = [] if hasattr(data, "batches") else [CheckBatches(data.num_classes, data.image_shape)]
    return [*checks, EpochSeed(run.cfg.seed), ValidateLast(), directions, progress, metrics, checkpoint]


def _set_threads(run: Run, model: Classifier, data: Any) -> None:
    """Sets the number of CPU threads: that of the config, or what a training step of the model profits from."""
    given = run.cfg.accelerator.threads
    threads = (
        model.threads(data.batch_size) if given is None else whole_number("accelerator.threads", given, 1, THREADS)
    )
    data.prefetch_in_thread = threads is not None and threads < torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)


def _check_batch_size(data: Any, world_size: int) -> None:
    require(
        data.batch_size % world_size == 0 or not hasattr(data, "batches"),  # Lightning splits others
        f"data.batch_size={data.batch_size} cannot be split equally among {world_size} processes; set "
        f"data.batch_size={-(-data.batch_size // world_size) * world_size}",
    )


def _check_last_batch(model: Classifier, data: Any, trainer: pl.Trainer) -> None:
    """Raises StoppedRun if the last batch of an epoch, of the remaining images, is too small for the model."""
    if not hasattr(data, "batches") or trainer.limit_train_batches != 1.0:  # other data modules form batches themselves
        return
    images = data.size("train") // trainer.world_size
    last = images % data.batch_size or min(images, data.batch_size)
    model.check_batch(last)
    if last == 1:
        check_single_image(model, data.image_shape)


def _check_batch_counts(data: Any, trainer: pl.Trainer, parts: Sequence[str]) -> None:
    """Raises ConfigError if trainer options leave no batch of a part, or validate after more batches than there are."""
    require(
        "test" not in parts or trainer.limit_test_batches != 0,
        "trainer.limit_test_batches=0 leaves nothing to test; set test=false instead",
    )
    if not hasattr(data, "batches"):  # other data modules form batches themselves
        return
    left = {}
    for part in parts:
        count = -(-data.size(part) // (data.batch_size if part == "train" else data.eval_batch_size))
        limit = getattr(trainer, f"limit_{part}_batches")
        left[part] = int(count * limit) if isinstance(limit, float) else min(count, limit)
        require(
            left[part] > 0,
            f"trainer.limit_{part}_batches={limit} leaves none of {format_count(count, 'batch', 'batches')}; "
            "set a whole number of 1 or more",
        )
    interval = trainer.val_check_interval
    require(
        not isinstance(interval, int) or trainer.check_val_every_n_epoch is None or interval <= left["train"],
        f"trainer.val_check_interval={interval} is more than an epoch has, "
        f"{format_count(left['train'], 'batch', 'batches')}; lower "
        "it, or set trainer.check_val_every_n_epoch to validate every N epochs",
    )


def _write_profile_to(run: Run, trainer: pl.Trainer) -> None:
    """Writes a profiler's table to the run directory. Without a file, Lightning logs it where nobody sees it."""
    profiler: Any = trainer.profiler  # type: ignore[attr-defined]
    if type(profiler) is not PassThroughProfiler and not (profiler.dirpath and profiler.filename):
        profiler.dirpath, profiler.filename = run.path, profiler.filename or "profile"
